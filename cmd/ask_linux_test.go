package cmd

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnswers: forget asks on a terminal, and only a yes removes anything.
func TestAnswers(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "l.txt")
	if err := os.WriteFile(list, []byte("no URL\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustHere(t, quietRun(list)...)
	for _, c := range []struct {
		answer string
		code   int
		said   string
	}{
		{"n\n", exitError, "facescan: nothing was removed\n"},
		{"\n", exitError, "facescan: nothing was removed\n"},
		{"\x04", exitError, "facescan: nothing was removed\n"}, // the end of what is typed
		{"Yes\n", exitOK, "facescan: forgot 1 row of "},
	} {
		pty, tty, text := keyboard(t)
		if _, err := pty.WriteString(c.answer); err != nil {
			t.Fatal(err)
		}
		code := Run(context.Background(), []string{"forget", list, "--where", "id = 1"}, tty, io.Discard, tty)
		tty.Close()
		said := text()
		if code != c.code || !strings.Contains(said, "It cannot be undone. [y/N] ") ||
			!strings.Contains(said, c.said) {
			t.Errorf("%q: exit %d, %q", c.answer, code, said)
		}
		_, out, _ := here(t, "export", list, "--columns", "reason")
		if want := c.code == exitOK; strings.Contains(out, "forgotten") != want {
			t.Errorf("%q: forgotten is %t, want %t: %q", c.answer, !want, want, out)
		}
	}
	// Where the question is not seen, or cannot be answered, it is not asked.
	for name, terminals := range map[string]struct{ in, err bool }{"stdin": {in: true},
		"stderr": {err: true}} {
		pty, tty, _ := keyboard(t)
		if _, err := pty.WriteString("yes\n"); err != nil {
			t.Fatal(err)
		}
		var in io.Reader = strings.NewReader("yes\n")
		var said io.Writer = io.Discard
		if terminals.in {
			in = tty
		}
		if terminals.err {
			said = tty
		}
		code := Run(t.Context(), []string{"forget", list, "--where", "id = 1"}, in, io.Discard, said)
		if tty.Close(); code != exitUsage {
			t.Errorf("only %s is a terminal: exit %d", name, code)
		}
	}
}
