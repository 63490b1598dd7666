package cmd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// filter is a process between a producer and a consumer: lines go in, rows come out.
type filter struct {
	*testing.T
	c      *exec.Cmd
	in     io.WriteCloser
	pipe   *os.File // what out reads
	out    *bufio.Reader
	stderr transcript
}

// filters are the arguments that make a run a filter.
func filters(args ...string) []string {
	return append([]string{"run", "-", "--db", "job.db", "--allow-private", "--detector",
		"none", "--progress", "none", "--out", "-"}, args...)
}

func startFilter(t *testing.T, dir string, args ...string) *filter {
	t.Helper()
	f := &filter{T: t, c: exec.Command(os.Args[0], args...)}
	f.c.Dir = dir
	f.c.Env = append(os.Environ(), beMain+"=1")
	f.c.Stderr = &f.stderr
	in, err := f.c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	f.c.Stdout = w
	if err := f.c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	f.in, f.pipe, f.out = in, out, bufio.NewReader(out)
	t.Cleanup(func() {
		f.c.Process.Kill()
		f.c.Wait()
		out.Close()
	})
	return f
}

// line is the next one that comes out.
func (f *filter) line() string {
	f.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.Fatalf("no more lines: %v\n%s", err, &f.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

// row is the id of the next row, which is ok.
func (f *filter) row() int {
	f.Helper()
	fields := strings.Split(f.line(), ",")
	id, err := strconv.Atoi(fields[0])
	if err != nil || len(fields) < 3 || fields[2] != "ok" {
		f.Fatalf("row %q", fields)
	}
	return id
}

// rest are the ids of the rows that still come, all of them ok, but for a last line that was cut off.
func (f *filter) rest() (ids []int) {
	f.Helper()
	for {
		line, err := f.out.ReadString('\n')
		if err != nil {
			return ids
		}
		if line == csvHeader+"\n" {
			continue
		}
		id, rest, _ := strings.Cut(line, ",")
		n, err := strconv.Atoi(id)
		if err != nil || !strings.Contains(rest, ",ok,") {
			f.Fatalf("row %q", line)
		}
		ids = append(ids, n)
	}
}

// ends reads what still comes, and waits for the process and its exit code.
func (f *filter) ends(code int) {
	f.Helper()
	io.Copy(io.Discard, f.out)
	f.exits(code)
}

// exits waits for the process, of which nothing is read meanwhile, and for its exit code.
func (f *filter) exits(code int) {
	f.Helper()
	f.c.Wait()
	if got := f.c.ProcessState.ExitCode(); got != code {
		f.Fatalf("exit code %d, want %d\n%s", got, code, &f.stderr)
	}
}

const csvHeader = "id,url,status,reason,http_status,format,width,height,bytes,faces,boxes"

// TestFilter has a producer that never ends: each line comes out as a row while it writes. Producer and run
// are killed and come again, and the numbers go on; the rows of an invocation come in order, each once, and
// what an earlier one wrote comes again only for the last rows before a kill.
func TestFilter(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	written := 0
	for round := range 6 {
		f := startFilter(t, dir, filters("--as", "monday")...)
		if h := f.line(); h != csvHeader {
			t.Fatalf("header %q", h)
		}
		seen, last := written, 0
		for range 8 {
			written++
			fmt.Fprintf(f.in, "%s/i/%d/p.jpg\n", s.URL, written)
			for last != written {
				id := f.row()
				if id < seen || id <= last || id > written {
					t.Fatalf("round %d: row %d after %d, of %d; %d were seen before", round, id, last,
						written, seen)
				}
				last = id
			}
		}
		switch round % 3 {
		case 0: // the run is killed
			f.c.Process.Kill()
			f.c.Wait()
		case 1: // the producer is
			f.in.Close()
			f.ends(exitOK)
		case 2:
			f.c.Process.Signal(syscall.SIGTERM)
			f.ends(exitInterrupted)
		}
	}
	mustHere(t, "verify", filepath.Join(dir, "job.db"), "-q")
}

// TestFilterSlowConsumer reads nothing of what comes out: the run comes to a standstill, and so does its
// producer. When the consumer goes on, the rows come in order, and none has failed for the wait.
func TestFilterSlowConsumer(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	f := startFilter(t, t.TempDir(), filters("--as", "monday", "--timeout", "5s", "--per-host", "0")...)
	const most = 1_000_000 // far more than are read ahead
	var written atomic.Int64
	var producer sync.WaitGroup
	producer.Go(func() {
		defer f.in.Close()
		for i := range most {
			if _, err := fmt.Fprintf(f.in, "%s/i/%d/%0100d.jpg\n", s.URL, i+1, i); err != nil {
				return
			}
			written.Add(1)
		}
	})
	defer producer.Wait()
	still, since := int64(-1), time.Now()
	eventually(t, "run and producer stand still", func() bool {
		if now := int64(s.Total()) + written.Load(); now != still {
			still, since = now, time.Now()
		}
		return still > 0 && time.Since(since) > 2*time.Second
	})
	if n := written.Load(); n == most {
		t.Fatalf("the producer could write all %d lines; %d were fetched", n, s.Total())
	}
	if h := f.line(); h != csvHeader {
		t.Fatalf("header %q", h)
	}
	for i := range s.Total() + 1_000 { // those that waited, and some that come when the run goes on
		if id := f.row(); id != i+1 {
			t.Fatalf("row %d, want %d", id, i+1)
		}
	}
	f.interrupt()
}

// checkRows fails unless the ids are all from first to last.
func checkRows(t *testing.T, ids []int, first, last int) {
	t.Helper()
	for i, id := range ids {
		if id != first+i {
			t.Fatalf("row %d, want %d", id, first+i)
		}
	}
	if len(ids) != last-first+1 {
		t.Fatalf("%d rows, want %d", len(ids), last-first+1)
	}
}

// TestFilterOutOfTime has a consumer that reads nothing, and a time limit: it ends the run all the same,
// while rows come in and when all are done, and the next one writes the rest.
func TestFilterOutOfTime(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	for name, ends := range map[string]bool{"endless": false, "all done": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := filters("--as", "monday", "--per-host", "0")
			f := startFilter(t, dir, append(args, "--max-duration", "3s")...)
			var written atomic.Int64
			var producer sync.WaitGroup
			producer.Go(func() {
				defer f.in.Close()
				for i := 0; !ends || i < 2_000; i++ {
					if _, err := fmt.Fprintf(f.in, "%s/i/%d/%0600d.jpg\n", s.URL, i+1, i); err != nil {
						return
					}
					written.Add(1)
				}
			})
			f.exits(exitLimited)
			producer.Wait()
			if !strings.Contains(f.stderr.String(), "standard output is not read") {
				t.Errorf("nothing was said of the consumer:\n%s", &f.stderr)
			}
			if !strings.Contains(f.stderr.String(), "held back mostly by the output") {
				t.Errorf("the summary does not name the output:\n%s", &f.stderr)
			}
			ids := f.rest()
			checkRows(t, ids, 1, len(ids))
			f = startFilter(t, dir, args...)
			var more []int
			if ends {
				f.in.Close()
				more = f.rest()
				f.exits(exitOK)
			} else { // far too many are left to wait for
				f.line()
				for range 1_000 {
					more = append(more, f.row())
				}
				f.interrupt()
			}
			if len(more) == 0 || more[0] > len(ids)+2 || ends && more[len(more)-1] != 2_000 {
				t.Fatalf("after row %d come %d, to %d", len(ids), len(more), more[len(more)-1])
			}
			checkRows(t, more, more[0], more[len(more)-1])
		})
	}
}

// TestFilterLosesItsConsumer ends the consumer: the run ends with the reason, and the next one writes what is
// left.
func TestFilterLosesItsConsumer(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	f := startFilter(t, dir, filters("--as", "monday")...)
	fmt.Fprintf(f.in, "%s/i/1/a.jpg\n", s.URL)
	f.line()
	if id := f.row(); id != 1 {
		t.Fatalf("row %d, want 1", id)
	}
	f.pipe.Close()
	fmt.Fprintf(f.in, "%s/i/2/b.jpg\n", s.URL)
	f.exits(exitError)
	if !strings.Contains(f.stderr.String(), "nobody reads standard output") {
		t.Fatal(&f.stderr)
	}
	f = startFilter(t, dir, filters("--as", "monday")...)
	f.in.Close()
	f.line()
	if id := f.row(); id != 2 {
		t.Errorf("row %d, want 2", id)
	}
	f.ends(exitOK)
}
