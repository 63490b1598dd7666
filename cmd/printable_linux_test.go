package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudoterminal that does not change what is written to it. The text that came is to be
// read when the terminal is closed.
func terminal(t *testing.T) (tty *os.File, text func() string) {
	t.Helper()
	_, tty, text = keyboard(t)
	return tty, text
}

// keyboard opens a terminal as well, with the side that types into it.
func keyboard(t *testing.T) (pty, tty *os.File, text func() string) {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pty.Close() })
	fd := int(pty.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	came := make(chan string)
	go func() {
		b, _ := io.ReadAll(pty) // ends with EIO when the last one closes the terminal
		came <- string(b)
	}()
	return pty, tty, func() string { return <-came }
}

// TestDataOnTerminal has rows with texts of strangers exported to a terminal, where they are quoted, and to a
// file, where they are as they are.
func TestDataOnTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list, job := filepath.Join(dir, "l.txt"), filepath.Join(dir, "j.db")
	url := "no URL " + strings.Repeat("ä", 20_000) + evil
	if err := os.WriteFile(list, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := here(t, "run", list, "--db", job, "-q"); code != 0 {
		t.Fatalf("%d %s", code, stderr)
	}
	want := strings.Repeat("ä", 20_000) + `\u001b]0;taken`
	for _, args := range [][]string{
		{"export", job}, {"export", job, "--format", "jsonl"}, {"export", job, "--columns", "url"},
	} {
		tty, text := terminal(t)
		code := Run(context.Background(), args, nil, tty, io.Discard)
		tty.Close()
		got := text()
		if r := unprintable(got); code != 0 || r >= 0 || !strings.Contains(got, want) {
			t.Errorf("%q: exit code %d, %d bytes, raw: %q", args, code, len(got), r)
		}
	}
	for want, args := range map[string][]string{
		"name a file: -o results.parquet": {"export", job, "--format", "parquet"},
		"name a file: -o report.html":     {"report", job},
	} {
		tty, text := terminal(t)
		var said strings.Builder
		code := Run(context.Background(), args, nil, tty, &said)
		tty.Close()
		if text() != "" || code != exitUsage || !strings.Contains(said.String(), want) {
			t.Errorf("%q on a terminal: exit code %d, %q", args, code, said.String())
		}
	}
	_, out, _ := here(t, "export", job, "--columns", "url")
	if !strings.Contains(out, evil) {
		t.Errorf("what is not a terminal gets %q", out[max(0, len(out)-200):])
	}
}
