package cmd

import (
	"io"
	"testing"
)

// TestProgressOnTerminal: there is a bar where a terminal can draw one, unless messages are JSON.
func TestProgressOnTerminal(t *testing.T) {
	for _, c := range []struct{ term, format, want string }{{"xterm", "text", "bar"},
		{"dumb", "text", "plain"}, {"xterm", "json", "records"}} {
		t.Setenv("TERM", c.term)
		tty, _ := terminal(t)
		g := &globals{streams: newStreams(nil, io.Discard, tty), logFormat: c.format}
		if got := newProgress(g, "auto").mode; got != c.want {
			t.Errorf("on %s, for messages as %s: %s, want %s", c.term, c.format, got, c.want)
		}
		tty.Close()
	}
}
