package cmd

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// drawn are pictures that no kill finds in a decoder twice, even where everything is slow: such a row would
// be bad_image.
func drawn(t testing.TB) map[string][]byte {
	all := pictures(t)
	delete(all, "a-faces.jpg")
	return all
}

// TestOutKilled kills a run with --out again and again, at random moments: in the end the file is, byte for
// byte, the export of a run that nobody disturbed, and at no moment more than a beginning of it, with
// anything behind its position.
func TestOutKilled(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 20*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	n := 20
	if os.Getenv("FACESCAN_SOAK") != "" {
		n = kills()
	}
	lines, _ := badList(s, 60*n)
	list := writeList(t, dir, lines)
	mustHere(t, quietRun(list, "--db", filepath.Join(dir, "plain.db"))...)
	want := mustHere(t, "export", filepath.Join(dir, "plain.db"))
	out := filepath.Join(dir, "out.csv")
	args := quietRun(list, "--fetchers", "4", "--shard-size", "100", "--out", out)
	rng := rand.New(rand.NewPCG(1, uint64(n)))

	killed, steps, size := 0, 0, 0
	for ; killed < n; killed++ {
		c, stderr := child(t, dir, args...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		if rng.IntN(4) > 0 { // some kills hit the start
			eventually(t, "more in the file than at the last kill", func() bool {
				st, err := os.Stat(out)
				return len(ended) > 0 || err == nil && st.Size() > int64(size)
			})
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("a run that nobody killed: %v\n%s", err, stderr)
			}
			ended <- nil
		// a moment that nobody chose
		case <-time.After(time.Duration(rng.Int64N(int64(200 * time.Millisecond)))):
		}
		c.Process.Kill()
		<-ended
		if got, err := os.ReadFile(out); err == nil {
			if !strings.HasPrefix(want, string(got)) {
				t.Fatalf("after kill %d the file is not a beginning of what it is to be", killed)
			}
			if len(got) > size {
				steps++
			}
			size = len(got)
		}
	}
	mustHere(t, append(args, "--fetchers", "32")...)
	if got := readFile(t, out); got != want {
		t.Fatalf("the file has %d bytes, the export of an undisturbed run %d", len(got), len(want))
	}
	if steps < 3 {
		t.Errorf("the file grew in %d steps over %d kills", steps, killed)
	}
	mustHere(t, "verify", list, "-q")
}

// TestOutHeldBack has a row hang: the output waits for it, the work does not. A drain leaves in the file what
// is done in order, and the next run completes it.
func TestOutHeldBack(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 600)
	lines[9] = s.URL + "/hang/1"
	list := writeList(t, dir, lines)
	out := filepath.Join(dir, "out.csv")
	c, stderr := child(t, dir, quietRun(list, "--timeout", "60s", "--out", out)...)
	eventually(t, "all other rows", func() bool {
		_, status, _ := here(t, "status", list, "--json")
		return strings.Contains(status, `"pending":1,`)
	})
	head := func() bool {
		b, _ := os.ReadFile(out)
		return strings.Count(string(b), "\n") == 10 // the header, and nine rows
	}
	eventually(t, "the rows before the one that hangs", head)
	c.Process.Signal(os.Interrupt)
	var e *exec.ExitError
	if err := c.Wait(); !errors.As(err, &e) || e.ExitCode() != exitInterrupted {
		t.Fatalf("%v, want exit %d\n%s", err, exitInterrupted, stderr)
	}
	if !head() {
		t.Errorf("after the drain the file is:\n%s", readFile(t, out))
	}
	mustHere(t, quietRun(list, "--timeout", "1s", "--retries", "0", "--out", out)...)
	if got := readFile(t, out); got != mustHere(t, "export", list) {
		t.Errorf("the file is not what is exported:\n%s", got)
	}
}

// TestOutOfTwo lets two processes work with the same --out. One writes; when it is killed, the other does.
func TestOutOfTwo(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 720)
	list := writeList(t, dir, lines)
	out := filepath.Join(dir, "out.csv")
	args := quietRun(list, "--fetchers", "4", "--out", out)
	first, _ := child(t, dir, args...)
	eventually(t, "some rows",
		func() bool { b, _ := os.ReadFile(out); return strings.Count(string(b), "\n") > 10 })
	second, stderr := child(t, dir, args...)
	before := s.Total()
	eventually(t, "work of both", func() bool { return s.Total() > before+50 })
	first.Process.Kill()
	first.Wait()
	if err := second.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if got := readFile(t, out); got != mustHere(t, "export", list) {
		t.Errorf("the file of %d bytes is not what is exported", len(got))
	}
}

// TestOutOnAFullDisk has no room for the output: the run drains and says so, and the next one completes the
// file.
func TestOutOnAFullDisk(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	var lines []string
	for i := range 800 {
		lines = append(lines, fmt.Sprintf("no url, but long: %d %s", i, strings.Repeat("x", 1000)))
	}
	list := writeList(t, dir, lines)
	mustHere(t, "run", list, "--progress", "none", "-q")
	for _, args := range [][]string{{"run", list, "--progress", "none", "--out", "run.csv"},
		{"export", list, "--follow", "-o", "export.csv"}} {
		c := exec.Command("sh", append([]string{"-c", `ulimit -f 400; exec "$0" "$@"`, os.Args[0]},
			args...)...)
		c.Dir = dir
		c.Env = append(os.Environ(), beMain+"=1")
		text, err := c.CombinedOutput()
		var e *exec.ExitError
		if !errors.As(err, &e) || e.ExitCode() != exitError ||
			!strings.Contains(string(text), "no room left") {
			t.Fatalf("%v: %v, want exit %d\n%s", args, err, exitError, text)
		}
		mustHere(t, "verify", list, "-q")
		args[len(args)-1] = filepath.Join(dir, args[len(args)-1])
		mustHere(t, args...)
		if got := readFile(t, args[len(args)-1]); got != mustHere(t, "export", list) {
			t.Errorf("%v: %d bytes, which is not what is exported", args, len(got))
		}
	}
}

// TestGroupsOfThree has three processes, of which one is killed now and then, work on a list of albums, while
// a fourth follows the groups: each comes once, and is right.
func TestGroupsOfThree(t *testing.T) {
	t.Parallel()
	rows, albums := 1200, 120
	if os.Getenv("FACESCAN_SOAK") != "" {
		rows, albums = 100_000, 10_000
	}
	s := fetchtest.New(drawn(t), time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	type album struct{ images, ok int }
	want := map[string]album{}
	lines, outcomes := badList(s, rows)
	var text strings.Builder
	text.WriteString("url,album\n")
	for i, line := range lines {
		name := fmt.Sprint("album ", (i*7919)%albums) // scattered
		fmt.Fprintf(&text, "\"%s\",%s\n", line, name)
		a := want[name]
		if a.images++; outcomes[i] == "ok" {
			a.ok++
		}
		want[name] = a
	}
	list := filepath.Join(dir, "urls.csv")
	if err := os.WriteFile(list, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	args := quietRun(list, "--group-column", "album", "--fetchers", "8", "--shard-size", "100")
	run := func() *exec.Cmd { c, _ := child(t, dir, args...); return c }
	workers := []*exec.Cmd{run(), run(), run()}
	eventually(t, "the job", func() bool { return s.Total() > 0 })
	out := filepath.Join(dir, "groups.csv")
	follower, stderr := child(t, dir, "export", list, "--rows", "groups", "--follow", "-o", out)
	rng := rand.New(rand.NewPCG(2, 3))
	for range 6 {
		before := s.Total()
		eventually(t, "work",
			func() bool { return s.Total() > before+rows/20 || s.Total() > rows*9/10 })
		at := rng.IntN(len(workers))
		workers[at].Process.Kill()
		workers[at].Wait()
		workers[at] = run()
	}
	for _, c := range workers {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := follower.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	mustHere(t, "verify", list, "-q")
	got, err := csv.NewReader(strings.NewReader(readFile(t, out))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range got[1:] {
		images, _ := strconv.Atoi(g[1])
		ok, _ := strconv.Atoi(g[2])
		failed, _ := strconv.Atoi(g[3])
		if a, open := want[g[0]]; !open || a != (album{images, ok}) || failed != images-ok || g[10] != "1" {
			t.Errorf("group %v, want %+v, once", g, a)
		}
		delete(want, g[0])
	}
	if len(want) > 0 {
		t.Errorf("%d groups did not come", len(want))
	}
}
