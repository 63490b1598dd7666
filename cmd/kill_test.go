package cmd

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// child starts facescan as a process of its own, in a folder.
func child(t testing.TB, dir string, args ...string) (*exec.Cmd, *transcript) {
	t.Helper()
	return childWith(t, nil, dir, args...)
}

// childWith starts a child with more in its environment.
func childWith(t testing.TB, env []string, dir string, args ...string) (*exec.Cmd, *transcript) {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Dir = dir
	c.Env = append(append(os.Environ(), beMain+"=1"), env...)
	var stderr transcript
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return c, &stderr
}

// transcript is what a process has written up to now.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *transcript) count(text string) int { return strings.Count(s.String(), text) }

// here runs a command line in this process and returns code, stdout and stderr.
func here(t testing.TB, args ...string) (int, string, string) {
	t.Helper()
	var out, errw bytes.Buffer
	code := Run(context.Background(), args, strings.NewReader(""), &out, &errw)
	return code, out.String(), errw.String()
}

func mustHere(t testing.TB, args ...string) string {
	t.Helper()
	code, out, errs := here(t, args...)
	if code != 0 {
		t.Fatalf("facescan %v: exit %d\n%s", args, code, errs)
	}
	return out
}

// quietRun are the words of a run over a list on loopback that shows nothing but errors.
func quietRun(list string, more ...string) []string {
	words := []string{"run", list, "--allow-private", "--progress", "none", "-q"}
	return slices.Clip(append(words, more...)) // callers append to it more than once
}

// badList is a list with every kind of row, and what becomes of each.
func badList(s *fetchtest.Server, n int) (lines, outcomes []string) {
	for i := range n {
		path, outcome := fmt.Sprintf("/i/%d/p%d.jpg", i, i), "ok"
		switch i % 12 {
		case 1:
			path, outcome = fmt.Sprintf("/status/404/%d", i), "http_4xx"
		case 3:
			path, outcome = fmt.Sprintf("/html/%d", i), "not_image"
		case 5:
			path, outcome = fmt.Sprintf("/redirect/2/%d/%d", i, i), "ok"
		case 7:
			path, outcome = fmt.Sprintf("/empty/%d", i), "not_image"
		case 9:
			path, outcome = fmt.Sprintf("/loop/%d", i), "redirect_loop"
		}
		line := s.URL + path
		if i%12 == 11 {
			line, outcome = fmt.Sprintf("no url, number %d", i), "bad_url"
		}
		lines, outcomes = append(lines, line), append(outcomes, outcome)
	}
	return lines, outcomes
}

func writeList(t testing.TB, dir string, lines []string) string {
	t.Helper()
	path := filepath.Join(dir, "urls.txt")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkExport holds the CSV against the list: each id once and in order, URLs byte for byte, outcomes as
// expected.
func checkExport(t testing.TB, list string, lines, outcomes []string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(mustHere(t, "export", list))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(lines)+1 {
		t.Fatalf("%d rows exported, want %d", len(rows)-1, len(lines))
	}
	for i, row := range rows[1:] {
		if row[0] != strconv.Itoa(i+1) || row[1] != lines[i] {
			t.Fatalf("line %d: id %s url %q, want %d %q", i+2, row[0], row[1], i+1, lines[i])
		}
		got := row[2]
		if got == "failed" {
			got = row[3]
		}
		if got != outcomes[i] {
			t.Errorf("row %d %s: %s, want %s", i+1, lines[i], got, outcomes[i])
		}
	}
}

// kills is how many times the kill loops kill.
func kills() int {
	if os.Getenv("FACESCAN_SOAK") != "" {
		return 1000
	}
	return 50
}

// TestKillLoop kills a run at random moments, again and again. After each kill the job is sound; in the end
// every row is there once with its true outcome, and no more was fetched twice than was in flight.
func TestKillLoop(t *testing.T) {
	t.Parallel()
	const fetchers = 4
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	n := kills()
	lines, outcomes := badList(s, 30*n)
	list := writeList(t, dir, lines)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	args := quietRun(list, "--fetchers", strconv.Itoa(fetchers), "--shard-size", "100")

	killed := 0
	for range 20 * n {
		if killed == n {
			break
		}
		before := s.Total()
		c, stderr := child(t, dir, args...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		// Some kills hit the start, most hit the work.
		if rng.IntN(4) > 0 {
			eventually(t, "the first fetch after a kill",
				func() bool { return s.Total() > before || len(ended) > 0 })
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("a run that nobody killed: %v\n%s", err, stderr)
			}
			t.Fatalf("the job was finished after %d kills: the list is too short", killed)
		case <-time.After(time.Duration(rng.Int64N(int64(120 * time.Millisecond)))):
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		killed++
		if _, err := os.Stat(filepath.Join(dir, "urls.facescan.db")); err == nil {
			if code, out, errs := here(t, "verify", list, "-q"); code != 0 {
				t.Fatalf("after kill %d: verify exits %d\n%s%s", killed, code, out, errs)
			}
		}
	}
	mustHere(t, args...)
	mustHere(t, "verify", list, "--deep", "--require-source", "-q")
	checkExport(t, list, lines, outcomes)

	twice := 0
	for path, hits := range s.Paths() {
		if strings.HasPrefix(path, "/redirect/1/") || strings.HasPrefix(path, "/redirect/0/") {
			continue // further hops of a row that is counted by its first
		}
		if once := requests(path); hits > once {
			twice += (hits - once + once - 1) / once
		}
	}
	if most := killed * 2 * fetchers; twice > most {
		t.Errorf("%d rows fetched twice after %d kills with at most %d in flight", twice, killed, 2*fetchers)
	}
	before := s.Total()
	mustHere(t, args...)
	if s.Total() != before {
		t.Errorf("a finished job fetched %d URLs", s.Total()-before)
	}
}

// requests is how many requests one undisturbed row makes to a path: loops are asked for until the loop is
// seen.
func requests(path string) int {
	if strings.HasPrefix(path, "/loop/") {
		return 2
	}
	return 1
}

// TestWorkBeginsAtOnceAfterAKill holds the promise that a dead process's rows are back in work within a
// second.
func TestWorkBeginsAtOnceAfterAKill(t *testing.T) {
	s := fetchtest.New(pictures(t), 50*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 400)
	list := writeList(t, dir, lines)
	args := quietRun(list, "--fetchers", "2")
	c, _ := child(t, dir, args...)
	eventually(t, "work", func() bool { return s.Total() > 20 })
	c.Process.Kill()
	c.Wait()
	before := s.Total()
	child(t, dir, args...)
	begin := time.Now()
	eventually(t, "the next fetch", func() bool { return s.Total() > before })
	t.Logf("first fetch after %v", time.Since(begin))
	if d := time.Since(begin); d > slack(time.Second) {
		t.Errorf("the first fetch came after %v", d)
	}
}

// slack stretches a contract's time for a machine that runs other tests, with the race detector, at once.
func slack(d time.Duration) time.Duration { return 4 * d }

// TestDrain interrupts a run: it drains within 5 s, exits 130, tells so, and the same command goes on.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 240)
	lines[0], outcomes[0] = s.URL+"/hang/1", "timeout"
	list := writeList(t, dir, lines)
	args := []string{"run", list, "--allow-private", "--fetchers", "4", "--timeout", "8s", "--retries",
		"0", "--progress", "none"}
	c, stderr := child(t, dir, args...)
	eventually(t, "work", func() bool { return s.Total() > 60 })
	begin := time.Now()
	c.Process.Signal(os.Interrupt)
	err := c.Wait()
	if d := time.Since(begin); d > slack(5*time.Second) {
		t.Errorf("draining took %v", d)
	}
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitInterrupted {
		t.Fatalf("%v, want exit %d\n%s", err, exitInterrupted, stderr)
	}
	for _, want := range []string{"draining", "nothing is lost", "go on with"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	mustHere(t, "verify", list, "-q")
	mustHere(t, args...)
	checkExport(t, list, lines, outcomes)
}

// TestSecondSignal stops at once.
func TestSecondSignal(t *testing.T) {
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/hang/1", s.Listen("127.0.0.2:0") + "/hang/2"})
	c, stderr := child(t, dir, "run", list, "--allow-private", "--progress", "none")
	eventually(t, "work", func() bool { return s.Total() == 2 })
	c.Process.Signal(syscall.SIGTERM)
	time.Sleep(50 * time.Millisecond) // two signals in one instant may arrive as one
	begin := time.Now()
	c.Process.Signal(syscall.SIGTERM)
	err := c.Wait()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitInterrupted {
		t.Fatalf("%v, want exit %d\n%s", err, exitInterrupted, stderr)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("stopping at once took %v", d)
	}
	mustHere(t, "verify", list, "-q")
}

// TestSignalPassedOn: a signal that a shell passes on, which had it together with us, is not a second one.
// What is in flight ends well.
func TestSignalPassedOn(t *testing.T) {
	s := fetchtest.New(pictures(t), 500*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 240)
	c, stderr := child(t, dir, "run", writeList(t, dir, lines), "--allow-private", "--fetchers",
		"1", "--progress", "none")
	eventually(t, "work", func() bool { return s.Total() == 1 })
	c.Process.Signal(syscall.SIGTERM)
	c.Process.Signal(os.Interrupt) // of one kind, two in one instant may arrive as one
	err := c.Wait()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitInterrupted {
		t.Fatalf("%v, want exit %d\n%s", err, exitInterrupted, stderr)
	}
	if !strings.Contains(stderr.String(), "interrupted: 1 of 240 rows are done") {
		t.Errorf("the row in flight was cut off:\n%s", stderr)
	}
}

// TestTwoProcesses lets two processes share a job: every row is fetched once.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 5*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 480)
	list := writeList(t, dir, lines)
	args := quietRun(list, "--fetchers", "4")
	runTwo(t, dir, args, args)
	mustHere(t, "verify", list, "-q")
	checkExport(t, list, lines, outcomes)
	for path, hits := range s.Paths() {
		if hits > requests(path) {
			t.Errorf("%s was fetched %d times", path, hits)
		}
	}
}

// TestFullDisk lets the job file hit a size limit: the run stops with a message and exit 1, what was done is
// readable, and the same command finishes once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 1200)
	list := writeList(t, dir, lines)
	args := []string{"run", list, "--allow-private", "--progress", "none"}
	c := exec.Command("sh", append([]string{"-c", `ulimit -f 400; exec "$0" "$@"`, os.Args[0]}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), beMain+"=1")
	text, err := c.CombinedOutput()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitError {
		t.Fatalf("%v, want exit %d\n%s", err, exitError, text)
	}
	for _, want := range []string{"no room left", "run the same command again"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("stderr lacks %q:\n%s", want, text)
		}
	}
	mustHere(t, "verify", list, "-q")
	mustHere(t, append(args, "-q")...)
	mustHere(t, "verify", list, "-q")
	checkExport(t, list, lines, outcomes)
}
