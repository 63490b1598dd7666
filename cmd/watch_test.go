package cmd

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/pgtest"
)

// watches are the arguments of a run that watches lists and writes rows as they are done.
func watches(job string, lists ...string) []string {
	args := append([]string{"run"}, lists...)
	return append(args, "--db", job, "--watch", "--allow-private", "--detector", "none", "--progress", "none",
		"--out", "-", "--format", "jsonl")
}

// appendTo writes text behind what is in a file.
func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// brings waits for the row of a URL, which is the next one.
func (f *filter) brings(url string) {
	f.Helper()
	if line := f.line(); !strings.Contains(line, `"url":"`+url+`","status":"ok"`) {
		f.Fatalf("the row of %s should come, not %s\n%s", url, line, &f.stderr)
	}
}

func (f *filter) interrupt() {
	f.Helper()
	f.c.Process.Signal(syscall.SIGTERM)
	f.ends(exitInterrupted)
}

// TestWatch has a list that is empty, then has a comment only, then grows by parts of lines: a line is a row
// once its newline is there, and the last one without newline only for a run that does not watch.
func TestWatch(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	for name, job := range map[string]string{"sqlite": "job.db", "postgres": pgtest.Start(t)} {
		t.Run(name, func(t *testing.T) {
			dir, before := t.TempDir(), s.Total()
			list := filepath.Join(dir, "urls.txt")
			url := func(i int) string { return fmt.Sprintf("%s/i/%d/%s.jpg", s.URL, i, name) }
			appendTo(t, list, "")
			f := startFilter(t, dir, watches(job, "urls.txt")...)
			appendTo(t, list, "# nothing yet\n")
			appendTo(t, list, url(1)+"\n"+url(2)[:20])
			f.brings(url(1))
			appendTo(t, list, url(2)[20:]+"\n"+url(3)+"\n"+url(4)[:20])
			f.brings(url(2))
			f.brings(url(3))
			f.interrupt()
			if n := s.Total(); n != before+3 {
				t.Errorf("%d requests, want 3: half a line was fetched", n-before)
			}

			// What came meanwhile comes first; another process that does not watch takes the last line as it
			// is.
			appendTo(t, list, url(4)[20:]+"\n")
			f = startFilter(t, dir, watches(job, "urls.txt")...)
			f.brings(url(4))
			appendTo(t, list, url(5))
			f.interrupt()
			dbPath := job
			if name == "sqlite" {
				dbPath = filepath.Join(dir, job)
			}
			mustHere(t, quietRun(list, "--db", dbPath)...)
			if n := s.Hits(url(5)[len(s.URL):]); n != 1 {
				t.Errorf("the last line was fetched %d times", n)
			}

			// A list that changed otherwise is refused.
			f = startFilter(t, dir, watches(job, "urls.txt")...)
			f.brings(url(5))
			if err := os.WriteFile(list, []byte(strings.Repeat("x", 1000)), 0o644); err != nil {
				t.Fatal(err)
			}
			f.ends(exitError)
			if !strings.Contains(f.stderr.String(), "has changed since its import began") {
				t.Error(&f.stderr)
			}
		})
	}
}

// packGzip is a whole .gz with the text.
func packGzip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWatchFolder puts lists of several formats into a folder and lets them grow in the middle of records: a
// quoted field with a newline in it, an object, a member of a .gz.
func TestWatchFolder(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	url := func(i int) string { return fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i) }
	f := startFilter(t, dir, watches("job.db", "in")...)
	csv := filepath.Join(in, "a.csv")
	appendTo(t, csv, "name,u")
	appendTo(t, filepath.Join(in, "b.jsonl"), fmt.Sprintf("{\"url\":%q}\n{\"url\":%q", url(1), url(2)))
	f.brings(url(1))
	appendTo(t, filepath.Join(in, "none.txt"), "\x89PNG\r\n\x1a\n\x00\x00\x00\x00")
	appendTo(t, csv, "rl\n\"x\",\""+url(3)+"\"\n\"two\n")
	f.brings(url(3))
	appendTo(t, csv, "lines\",\""+url(4)+"\"\n")
	f.brings(url(4))
	appendTo(t, filepath.Join(in, "b.jsonl"), "}\n")
	f.brings(url(2))
	packed := filepath.Join(in, "c.txt.gz")
	member := packGzip(t, url(5)+"\n")
	appendTo(t, packed, member)
	f.brings(url(5))
	member = packGzip(t, url(6)+"\n")
	appendTo(t, packed, member[:len(member)/2])
	appendTo(t, filepath.Join(in, "d.txt"), url(7)+"\n")
	f.brings(url(7))
	appendTo(t, packed, member[len(member)/2:])
	f.brings(url(6))
	// Lists that are through may be moved away.
	if err := os.Remove(csv); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(in, "d.txt"), url(8)+"\n")
	f.brings(url(8))
	f.interrupt()
	if !strings.Contains(f.stderr.String(), "none.txt") {
		t.Errorf("nothing was said of none.txt:\n%s", &f.stderr)
	}
}

// TestWatchTable adds rows to a table, that is copied into a job, and that is worked on in place.
func TestWatchTable(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "lists.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA journal_mode = WAL; CREATE TABLE urls (id INTEGER PRIMARY KEY, " +
		"url TEXT)"); err != nil {
		t.Fatal(err)
	}
	copied := startFilter(t, dir, append(watches("job.db", "lists.db"), "--table", "urls")...)
	add := func(i int) string {
		url := fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i)
		if _, err := db.Exec("INSERT INTO urls (url) VALUES (?)", url); err != nil {
			t.Fatal(err)
		}
		return url
	}
	copied.brings(add(1))
	copied.brings(add(2))
	copied.interrupt()
	place := startFilter(t, dir, "run", "lists.db", "--table", "urls", "--watch", "--allow-private",
		"--detector", "none", "--progress", "none", "--out", "-", "--format", "jsonl")
	for i := range 2 {
		place.brings(fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i+1))
	}
	place.brings(add(3))
	place.brings(add(4))
	place.interrupt()
	mustHere(t, "verify", filepath.Join(dir, "lists.db"), "-q")
	mustHere(t, "verify", filepath.Join(dir, "job.db"), "-q")
}

// TestWatchTogether has two processes watch a list: each line is one row, also when the one that imports it
// is killed.
func TestWatchTogether(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := filepath.Join(dir, "urls.txt")
	appendTo(t, list, "")
	args := watches("job.db", "urls.txt")
	args = append(args[:len(args)-4], "-q")
	a, _ := child(t, dir, args...)
	b, _ := child(t, dir, args...)
	total := 0
	more := func(n int) {
		for range n {
			total++
			appendTo(t, list, fmt.Sprintf("%s/i/%d/p.jpg\n", s.URL, total))
		}
	}
	for range 5 {
		more(20)
		eventually(t, "all lines are fetched", func() bool { return s.Total() >= total })
	}
	more(20)
	a.Process.Kill()
	a.Wait()
	more(20)
	last := fmt.Sprintf("/i/%d/p.jpg", total)
	eventually(t, "all lines are fetched", func() bool { return s.Hits(last) > 0 })
	b.Process.Signal(syscall.SIGTERM)
	b.Wait()
	mustHere(t, quietRun(list, "--db", filepath.Join(dir, "job.db"))...)
	out := mustHere(t, "export", filepath.Join(dir, "job.db"), "--columns", "id,status")
	if want := total + 1; strings.Count(out, "\n") != want || strings.Count(out, ",ok") != total {
		t.Errorf("%d lines, want %d:\n%s", strings.Count(out, "\n"), want, out)
	}
	mustHere(t, "verify", filepath.Join(dir, "job.db"), "-q")
}
