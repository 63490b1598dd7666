package cmd

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// TestHelpOnTerminal: help has the width of the terminal, unless COLUMNS says another. A terminal may not
// know its width.
func TestHelpOnTerminal(t *testing.T) {
	for _, c := range []struct {
		columns string
		width   uint16
		want    int
	}{{"", 57, 57}, {"100", 57, 100}, {"0", 57, 57}, {"", 0, 80}} {
		columns, want := c.columns, c.want
		t.Setenv("COLUMNS", columns)
		tty, text := terminal(t)
		size := unix.Winsize{Row: 24, Col: c.width}
		if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &size); err != nil {
			t.Fatal(err)
		}
		code := Run(t.Context(), []string{"help", "run"}, nil, tty, io.Discard)
		tty.Close()
		longest := 0
		for line := range strings.Lines(text()) {
			longest = max(longest, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
		}
		if code != 0 || longest > want || longest < want-5 {
			t.Errorf("COLUMNS=%s: exit code %d, %d columns, want %d", columns, code, longest, want)
		}
	}
}

// TestManOnTerminal: where stdout is a terminal man(1) shows the page, as it is called here.
func TestManOnTerminal(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"man $*\"\nexec cat\n"
	if err := os.WriteFile(filepath.Join(dir, "man"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	show := func(path string) string {
		t.Setenv("PATH", path)
		tty, text := terminal(t)
		code := Run(t.Context(), []string{"man", "run"}, nil, tty, io.Discard)
		tty.Close()
		if code != 0 {
			t.Errorf("exit code %d", code)
		}
		return text()
	}
	want := "man -l -\n'\\\" t\n.TH \"FACESCAN-RUN\""
	if got := show(dir + ":" + os.Getenv("PATH")); !strings.HasPrefix(got, want) {
		t.Errorf("man shows %.60q", got)
	}
	// Without man the help is shown, which a person can read.
	if got := show(t.TempDir()); !strings.Contains(got, "\nUsage:\n") || strings.Contains(got, ".TH") {
		t.Errorf("without man: %.60q", got)
	}
}
