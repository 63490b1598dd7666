package cmd

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// exitsWith waits for a child and holds it to an exit code.
func exitsWith(t *testing.T, c *exec.Cmd, stderr *transcript, code int) {
	t.Helper()
	err := c.Wait()
	var e *exec.ExitError
	if got := 0; errors.As(err, &e) || err == nil {
		if e != nil {
			got = e.ExitCode()
		}
		if got == code {
			return
		}
	}
	t.Fatalf("%v: %v, want exit %d\n%s", c.Args, err, code, stderr)
}

// runTwo runs two children at once, and holds both to the exit code of a finished run.
func runTwo(t *testing.T, dir string, first, second []string) {
	t.Helper()
	a, aerr := child(t, dir, first...)
	b, berr := child(t, dir, second...)
	exitsWith(t, a, aerr, exitOK)
	exitsWith(t, b, berr, exitOK)
}

// TestImportKilled kills imports of every format at random moments. In the end the job has each row of the
// list once.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	n, kills := 20_000, 4
	if os.Getenv("FACESCAN_SOAK") != "" {
		n, kills = 1_000_000, 100
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var txt, csv, jsonl, zipped bytes.Buffer
	csv.WriteString("note,url\n")
	for i := range n {
		url := fmt.Sprintf("http://127.0.0.1:9/%d/%s", i, strings.Repeat("x", i%50))
		fmt.Fprintf(&txt, "%s\n", url)
		fmt.Fprintf(&csv, "\"a\nb\",%s\n", url)
		fmt.Fprintf(&jsonl, "{\"url\":%q}\n", url)
	}
	z := gzip.NewWriter(&zipped)
	z.Write(txt.Bytes())
	z.Close()
	for name, list := range map[string][]byte{"urls.txt": txt.Bytes(), "urls.csv": csv.Bytes(),
		"urls.jsonl": jsonl.Bytes(), "urls.txt.gz": zipped.Bytes()} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, list, 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"import", path, "-q", "--lease-ttl", "1h", "--shard-size", "1000"}
		for range kills {
			c, _ := child(t, dir, args...)
			time.Sleep(time.Duration(random.IntN(int(150 * time.Millisecond)))) // a moment that nobody chose
			c.Process.Kill()
			c.Wait()
		}
		mustHere(t, args...)
		job := filepath.Join(dir, "urls.facescan.db")
		mustHere(t, "verify", job, "--deep", "--require-source", "-q")
		db, err := sql.Open("sqlite3", job)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		rows, err := db.Query("SELECT id, url FROM urls ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		i := 0
		for ; rows.Next(); i++ {
			var id int
			var url string
			if err := rows.Scan(&id, &url); err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("http://127.0.0.1:9/%d/%s", i, strings.Repeat("x", i%50)); id != i+1 ||
				url != want {
				t.Fatalf("%s: row %d is %q, want row %d %q", name, id, url, i+1, want)
			}
		}
		if rows.Err() != nil || i != n {
			t.Errorf("%s: %d rows, want %d: %v", name, i, n, rows.Err())
		}
	}
}

// TestRunWithoutTheList has a process on a job whose list another one is reading from a pipe: it works on
// what there is and waits. When that one dies, nobody can read the list to its end, and it says so.
func TestRunWithoutTheList(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	quiet := []string{"--allow-private", "--progress", "none"}
	reader := exec.Command(os.Args[0], append([]string{"run", "-", "--db", "job.db"}, quiet...)...)
	reader.Dir, reader.Env, reader.Stdin = dir, append(os.Environ(), beMain+"=1"), list
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	defer reader.Wait()
	defer reader.Process.Kill()
	list.Close()
	rows := 0
	more := func(n int) {
		t.Helper()
		for range n {
			rows++
			fmt.Fprintf(feed, "%s/i/1/%d.jpg\n", s.URL, rows)
		}
		eventually(t, "the rows that came", func() bool { return s.Total() == rows })
	}
	more(20)
	other, stderr := child(t, dir, append([]string{"run", "job.db"}, quiet...)...)
	job := filepath.Join(dir, "job.db")
	eventually(t, "the other process", func() bool { return owners(t, job) == 2 })
	more(20)
	reader.Process.Kill()
	exitsWith(t, other, stderr, exitError)
	for _, want := range []string{"import of - is not complete", "facescan run - --db"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	mustHere(t, "verify", job, "-q")
	if out := mustHere(t, "status", job, "--json"); !strings.Contains(out, `"done":40`) {
		t.Errorf("status %s", out)
	}
}

// TestDamagedList ends a run on a list that cannot be read to its end: what was fetched by then is kept.
func TestDamagedList(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	for i := range 5000 {
		fmt.Fprintf(z, "%s/status/404/%d/%d\n", s.URL, i, i*i*7919%1000003)
	}
	z.Close()
	list := filepath.Join(dir, "urls.txt.gz")
	if err := os.WriteFile(list, zipped.Bytes()[:zipped.Len()/2], 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, errs := here(t, "run", list, "--allow-private", "--progress", "none")
	if code != exitError || !strings.Contains(errs, "ends too early") ||
		!strings.Contains(errs, "run again") {
		t.Errorf("exit %d: %s", code, errs)
	}
	mustHere(t, "verify", filepath.Join(dir, "urls.facescan.db"), "-q")
	if err := os.WriteFile(list, zipped.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	mustHere(t, quietRun(list)...)
	if out := mustHere(t, "status", list, "--json"); !strings.Contains(out, `"done":5000`) {
		t.Errorf("status %s", out)
	}
}

// TestSmallListJoins adds a list to a job that is running on a long one: its row is fetched among the long
// one's.
func TestSmallListJoins(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	var lines []string
	for i := range 100_000 {
		lines = append(lines, fmt.Sprintf("%s/status/404/%d", s.URL, i))
	}
	list := writeList(t, dir, lines)
	job := filepath.Join(dir, "urls.facescan.db")
	c, stderr := child(t, dir, "run", list, "--allow-private", "--progress", "none", "--fetchers", "4")
	eventually(t, "work", func() bool { return s.Total() > 50 })
	small := filepath.Join(dir, "small.txt")
	if err := os.WriteFile(small, []byte(s.URL+"/i/1/small.jpg\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := s.Total()
	mustHere(t, "import", small, "--db", job, "-q")
	eventually(t, "the small list's row", func() bool { return s.Hits("/i/1/small.jpg") == 1 })
	if n := s.Total() - before; n > 20_000 {
		t.Errorf("%d rows of the long list came before it", n)
	}
	c.Process.Signal(os.Interrupt)
	exitsWith(t, c, stderr, exitInterrupted)
	mustHere(t, "verify", job, "-q")
}
