package cmd

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// Benchmarks of jobs at scale, with the program as people run it. FACESCAN_BENCH_ROWS says how many rows a
// list has, a million without it; see "Long lists" in testdata/bench/README.md.

func scale(b *testing.B) int {
	b.Helper()
	n := 1_000_000
	if text := os.Getenv("FACESCAN_BENCH_ROWS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// hugeList writes a list of n URLs of a server, about 95 bytes each, and returns the length of their text.
func hugeList(b *testing.B, path, server string, n int) (text int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	line := []byte(server + "/i/1/photos/2026/large/")
	start := len(line)
	for i := 1; i <= n; i++ {
		line = append(line[:start], "000000000000"[len(strconv.Itoa(i)):]...)
		line = strconv.AppendInt(line, int64(i), 10)
		line = append(line, ".jpg?width=500&quality=80&version=2\n"...)
		text += int64(len(line) - 1)
		if _, err := w.Write(line); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return text
}

// insertLoop is the floor of an import: lines of a file into one table, 100 rows an INSERT, 100,000 a
// transaction.
func insertLoop(b *testing.B, list, path string) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite3", path+"?_journal_mode=WAL&_synchronous=FULL&_cache_size=-65536")
	check(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.Exec("CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT NOT NULL, done INTEGER NOT NULL " +
		"DEFAULT 0)")
	check(err)
	f, err := os.Open(list)
	check(err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	const rows, inserts = 100, 1000
	args := make([]any, 0, 2*rows)
	for id, more := 0, true; more; {
		tx, err := db.Begin()
		check(err)
		stmt, err := tx.Prepare("INSERT INTO urls (id, url) VALUES (?,?)" + strings.Repeat(",(?,?)", rows-1))
		check(err)
		for i := 0; i < inserts && more; i++ {
			for args = args[:0]; len(args) < 2*rows; {
				if more = lines.Scan(); !more {
					break
				}
				id++
				args = append(args, id, lines.Text())
			}
			if len(args) == 2*rows {
				_, err = stmt.Exec(args...)
			} else if len(args) > 0 {
				_, err = tx.Exec("INSERT INTO urls (id, url) VALUES (?,?)"+
					strings.Repeat(",(?,?)", len(args)/2-1), args...)
			}
			check(err)
		}
		check(tx.Commit())
	}
	check(lines.Err())
}

// finish waits for a child to end well and returns the most memory it had, in MB.
func finish(b *testing.B, c *exec.Cmd, stderr *transcript) float64 {
	b.Helper()
	if err := c.Wait(); err != nil {
		b.Fatalf("%v: %v\n%s", c.Args, err, stderr)
	}
	return float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1000
}

// BenchmarkImport imports a list through the command line and through a bare loop of inserts, by turns: rows
// a second of both, what the import makes of the loop's, its memory, and the job's bytes per row over the
// URLs' text.
func BenchmarkImport(b *testing.B) {
	dir := b.TempDir()
	n := scale(b)
	list := filepath.Join(dir, "urls.txt")
	text := hugeList(b, list, "http://127.0.0.1:9", n)
	var ours, loop time.Duration
	var rss float64
	var size int64
	rounds := 0
	for b.Loop() {
		rounds++
		begin := time.Now()
		insertLoop(b, list, filepath.Join(dir, "loop.db"))
		loop += time.Since(begin)
		begin = time.Now()
		c, stderr := child(b, dir, "import", list, "-q")
		rss = max(rss, finish(b, c, stderr))
		ours += time.Since(begin)
		info, err := os.Stat(filepath.Join(dir, "urls.facescan.db"))
		if err != nil {
			b.Fatal(err)
		}
		size = info.Size()
		for _, name := range []string{"loop.db", "urls.facescan.db"} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				b.Fatal(err)
			}
		}
	}
	all := float64(n * rounds)
	b.ReportMetric(all/ours.Seconds(), "rows/s")
	b.ReportMetric(all/loop.Seconds(), "loop-rows/s")
	b.ReportMetric(loop.Seconds()/ours.Seconds(), "of-loop")
	b.ReportMetric(rss, "MB-RSS")
	b.ReportMetric(float64(size-text)/float64(n), "B/row")
}

// almostDone marks every row done but one in so many, by SQL, where so many fetches would show nothing.
func almostDone(b testing.TB, job string, n, every int) {
	b.Helper()
	db, err := sql.Open("sqlite3", job+"?_journal_mode=WAL&_synchronous=OFF&_cache_size=-65536")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	run := func(text string, args ...any) {
		b.Helper()
		if _, err := db.Exec(text, args...); err != nil {
			b.Fatal(err)
		}
	}
	run("INSERT INTO detectors VALUES (1, 'test')")
	for from := 1; from <= n; from += 500_000 {
		to := min(from+499_999, n)
		run(`INSERT INTO results (id, http_status, format, width, height, bytes, faces, attempts, partial, detector, took, time)
			SELECT id, 200, 'jpeg', 500, 375, 60000 + id % 9999, 0, 1, 0, 1, 231, 1760000000000 + id FROM urls WHERE id BETWEEN ? AND ? AND id % ? <> 0`, from, to, every)
		run("UPDATE urls SET done = 1 WHERE id BETWEEN ? AND ? AND id % ? <> 0", from, to, every)
	}
	run("UPDATE shards SET pending = hi / ? - (lo - 1) / ?", every, every)
	run("INSERT INTO tallies (source, reason, rows, faces, images_with_faces) VALUES (0, '', ?, 0, 0)",
		n-n/every)
}

// BenchmarkHugeJob imports a list and takes the job once 1 row in 100 is pending, or 5,000 rows are: how long
// until a run's first fetch, how long status takes beside it, how long until the first row of a small list is
// fetched that is added to it meanwhile, and the memory of that run after a thousand rows, or a few if it has
// not as many.
func BenchmarkHugeJob(b *testing.B) {
	s := fetchtest.New(pictures(b), 0)
	defer s.Close()
	dir := b.TempDir()
	n := scale(b)
	list, small := filepath.Join(dir, "urls.txt"), filepath.Join(dir, "small.txt")
	text := hugeList(b, list, s.URL, n)
	job := filepath.Join(dir, "urls.facescan.db")
	size := func() float64 {
		info, err := os.Stat(job)
		if err != nil {
			b.Fatal(err)
		}
		return float64(info.Size()-text) / float64(n)
	}
	began := time.Now()
	c, stderr := child(b, dir, "import", list, "-q")
	importRSS := finish(b, c, stderr)
	imported, pending := time.Since(began), size()
	// a small job is half done: the rows that are left shall last for a while
	almostDone(b, job, n, min(100, n/5000))
	done := size()
	var first, status, added time.Duration
	rss, some := 0.0, min(500, n/500)
	for round := 0; b.Loop(); round++ {
		before := s.Total()
		begin := time.Now()
		c, stderr := child(b, dir, quietRun(list)...)
		eventually(b, "the first fetch", func() bool { return s.Total() > before })
		first = max(first, time.Since(begin))
		eventually(b, "work", func() bool { return s.Total() > before+some })
		begin = time.Now()
		st, sterr := child(b, dir, "status", list)
		finish(b, st, sterr)
		status = max(status, time.Since(begin))
		path := fmt.Sprintf("/i/1/small%d.jpg", round)
		if err := os.WriteFile(small, fmt.Appendf(nil, "%s%s\n", s.URL, path), 0o644); err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		im, imerr := child(b, dir, "import", small, "--db", job, "-q")
		eventually(b, "the small list", func() bool { return s.Hits(path) > 0 })
		added = max(added, time.Since(begin))
		finish(b, im, imerr)
		eventually(b, "more work", func() bool { return s.Total() > before+2*some })
		rss = max(rss, peakOf(b, c.Process.Pid))
		c.Process.Signal(os.Interrupt)
		if err := c.Wait(); err == nil {
			b.Fatalf("the job is too small for this -benchtime\n%s", stderr)
		}
		small = filepath.Join(dir, fmt.Sprintf("small%d.txt", round))
	}
	begin := time.Now()
	mustHere(b, "verify", job, "-q")
	b.ReportMetric(time.Since(begin).Seconds(), "s-verify")
	b.ReportMetric(first.Seconds(), "s-to-first-fetch")
	b.ReportMetric(status.Seconds(), "s-status")
	b.ReportMetric(added.Seconds(), "s-to-small-list")
	b.ReportMetric(rss, "MB-RSS")
	b.ReportMetric(float64(n)/imported.Seconds(), "import-rows/s")
	b.ReportMetric(importRSS, "MB-RSS-import")
	b.ReportMetric(pending, "B/pending-row")
	b.ReportMetric(done, "B/row")
}

// peakOf is the most memory a process has had, in MB.
func peakOf(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kB := 0
	if _, err := fmt.Sscan(after, &kB); err != nil {
		b.Fatal(err)
	}
	return float64(kB) / 1000
}

// BenchmarkProcesses has 1, 2 and 4 processes share a list of a server that takes 100 ms, as much of it for
// each: rows per second, and what that is of so many times those of one.
func BenchmarkProcesses(b *testing.B) {
	const each, fetchers = 1600, 8
	alone := 0.0
	for _, processes := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(processes), func(b *testing.B) {
			rows, took := 0, time.Duration(0)
			for b.Loop() {
				s := fetchtest.New(pictures(b), 100*time.Millisecond)
				dir := b.TempDir()
				list := filepath.Join(dir, "urls.txt")
				n := each * processes
				hugeList(b, list, s.URL, n)
				begin := time.Now()
				var all []*exec.Cmd
				var errs []*transcript
				for range processes {
					c, stderr := child(b, dir,
						quietRun(list, "--fetchers", strconv.Itoa(fetchers), "--per-host", "0")...)
					all, errs = append(all, c), append(errs, stderr)
				}
				for i, c := range all {
					finish(b, c, errs[i])
				}
				took += time.Since(begin)
				rows += n
				if s.Total() != n {
					b.Errorf("%d fetches of %d rows", s.Total(), n)
				}
				s.Close()
			}
			rate := float64(rows) / took.Seconds()
			if processes == 1 {
				alone = rate
			}
			b.ReportMetric(rate, "rows/s")
			if alone > 0 {
				b.ReportMetric(rate/alone/float64(processes), "of-linear")
			}
		})
	}
}

// BenchmarkTakeover kills a process that holds all rows of a job while another one waits: how long until that
// one fetches them, at worst, over the time to live of leases where it has to wait for that.
func BenchmarkTakeover(b *testing.B) {
	const ttl = 3 * time.Second
	for _, kind := range []string{"sqlite", "postgres"} {
		b.Run(kind, func(b *testing.B) {
			worst := time.Duration(0)
			for b.Loop() {
				s := fetchtest.New(pictures(b), 0)
				dir := b.TempDir()
				list := filepath.Join(dir, "urls.txt")
				var lines []string
				for i := range 16 { // of as many hosts: of one that never answered only one row is asked for
					lines = append(lines,
						fmt.Sprintf("%s/dead/%d", s.Listen(fmt.Sprintf("127.0.1.%d:0", i+1)), i))
				}
				writeList(b, dir, lines)
				job := filepath.Join(dir, "urls.facescan.db")
				wait := time.Duration(0)
				if kind == "postgres" {
					job, wait = database(b), ttl
				}
				mustHere(b, "import", list, "--db", job, "-q")
				args := quietRun(job, "--fetchers", "32", "--lease-ttl", ttl.String())
				holder, _ := child(b, dir, args...)
				eventually(b, "work", func() bool { return s.Total() == len(lines) })
				other, _ := child(b, dir, args...)
				eventually(b, "the other process", func() bool { return owners(b, job) == 2 })
				begin := time.Now()
				holder.Process.Kill()
				eventually(b, "its rows", func() bool { return s.Hits("/dead/0") == 2 })
				worst = max(worst, time.Since(begin)-wait)
				other.Process.Kill()
				other.Wait()
				s.Close()
			}
			b.ReportMetric(worst.Seconds(), "s-at-worst")
		})
	}
}

// owners counts the processes at work on a job.
func owners(t testing.TB, name string) int {
	t.Helper()
	job, err := existingJob(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	c, err := job.Counts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return len(c.Owners)
}
