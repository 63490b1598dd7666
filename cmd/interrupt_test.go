package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// interruptible is a process that a test interrupts, with a pipe at each end.
type interruptible struct {
	*exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	stderr *bytes.Buffer
}

func startInterruptible(t *testing.T, dir string, args ...string) interruptible {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Dir, c.Env = dir, append(os.Environ(), beMain+"=1")
	p := interruptible{Cmd: c, stderr: &bytes.Buffer{}}
	c.Stderr = p.stderr
	var err, err2 error
	p.in, err = c.StdinPipe()
	p.out, err2 = c.StdoutPipe()
	if err := errors.Join(err, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return p
}

// end sends one signal and holds that the process ends by it, with the code of interruptions.
func (p interruptible) end(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		var e *exec.ExitError
		if !errors.As(err, &e) || e.ExitCode() != exitInterrupted ||
			strings.Contains(p.stderr.String(), "panic") {
			t.Fatalf("%v ended with %v, want exit %d\n%s", p.Args[1:], err, exitInterrupted, p.stderr)
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("%v goes on", p.Args[1:])
	}
}

// hidden are the files in a folder whose names begin with a dot.
func hidden(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestFirstSignalEnds interrupts commands in the middle of their work, once. Each ends at once, and leaves
// nothing half.
func TestFirstSignalEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text strings.Builder
	const rows = 150_000
	for i := range rows {
		fmt.Fprintf(&text, "no url, number %d\n", i)
	}
	list := writeList(t, dir, []string{strings.TrimSpace(text.String())})
	mustHere(t, "import", list, "-q")
	almostDone(t, filepath.Join(dir, "urls.facescan.db"), rows, rows+1)

	working := func(t *testing.T) {
		eventually(t, "a file", func() bool { return len(hidden(t, dir)) > 0 })
	}
	for _, args := range [][]string{
		{"export", list, "-o", "x.csv"}, {"export", list, "-o", "x.parquet", "-o", "x.csv.gz"},
		{"export", list, "--split-by", "status", "-o", "x"},
		{"report", list, "-o", "x.html"},
	} {
		for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
			p := startInterruptible(t, dir, args...)
			working(t)
			p.end(t, sig)
			left := hidden(t, dir)
			for _, name := range []string{"x", "x.csv", "x.parquet", "x.csv.gz", "x.html"} {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					left = append(left, name)
				}
			}
			if len(left) > 0 {
				t.Errorf("%v left %v", args, left)
			}
		}
	}

	for _, args := range [][]string{{"export", list, "-o", "-", "-o", "x.csv"},
		{"export", list, "--follow"}} {
		t.Run(strings.Join(args[2:], " "), func(t *testing.T) { // stdout is a pipe that nobody reads any more
			p := startInterruptible(t, dir, args...)
			if _, err := io.ReadFull(p.out, make([]byte, 1<<16)); err != nil {
				t.Fatal(err)
			}
			p.end(t, os.Interrupt)
			if left := hidden(t, dir); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}

	t.Run("merge", func(t *testing.T) {
		mustHere(t, "run", list, "--progress", "none", "-q", "--node", "0/1")
		p := startInterruptible(t, dir, "merge", "merged.db", "urls.node-0-of-1.facescan.db")
		eventually(t, "the merge",
			func() bool { _, err := os.Stat(filepath.Join(dir, "merged.db-wal")); return err == nil })
		p.end(t, os.Interrupt)
		if left := hidden(t, dir); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})

	for _, args := range [][]string{{"detect", "-"}, {"import", "-", "--db", "stdin.db"},
		{"run", "-", "--db", "stdin2.db"}} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) { // stdin has no end
			p := startInterruptible(t, dir, args...)
			// more than a pipe holds: it is read
			if _, err := io.Copy(p.in, strings.NewReader(strings.Repeat("nothing\n", 1<<17))); err != nil {
				t.Fatal(err)
			}
			p.end(t, os.Interrupt)
		})
	}
}

// TestSignalsWhileWaiting interrupts commands that wait for a server, or for time to pass.
func TestSignalsWhileWaiting(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/hang/1"})
	waits := func() {
		t.Helper()
		eventually(t, "a request", func() bool { return s.Hits("/hang/1") > 0 })
	}
	for _, args := range [][]string{{"estimate", list, "--allow-private"},
		{"detect", s.URL + "/hang/1", "--allow-private"}} {
		s.Reset()
		p := startInterruptible(t, dir, args...)
		waits()
		p.end(t, os.Interrupt)
	}
	s.Reset()
	p := startInterruptible(t, dir, "run", list, "--allow-private", "--progress", "none")
	waits()
	watch := startInterruptible(t, dir, "status", list, "--watch", "--every", "1h")
	if _, err := io.ReadFull(watch.out, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	watch.end(t, os.Interrupt)
	p.Process.Signal(os.Interrupt) // drains
	p.end(t, os.Interrupt)
}
