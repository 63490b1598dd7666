package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

// lists are URLs of about 90 bytes, as image lists have them.
func listRows(from, n int) []store.NewRow {
	out := make([]store.NewRow, n)
	for i := range out {
		id := int64(from + i)
		out[i] = store.NewRow{ID: id,
			URL: fmt.Sprintf("https://images%03d.example.com/photos/%08x/%08x/large/%012d.jpg?w=500&q=80&v=2",
				id%997, id*2654435761%(1<<32), id, id)}
	}
	return out
}

func benchJob(b *testing.B) (store.Job, store.Session) {
	b.Helper()
	ctx := context.Background()
	j, err := target.Open(ctx, target.Create(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	return j, s
}

func fillJob(b *testing.B, j store.Job, s store.Session, n int) {
	b.Helper()
	ctx := context.Background()
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		b.Fatal(err)
	}
	l, err := s.LeaseSource(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 20000
	for at := 0; at < n; at += batch {
		if err := s.Append(ctx, l, listRows(at+1, min(batch, n-at)), store.Position{}, at+batch >= n,
			10000); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend imports against a bare loop of inserts of 100 rows, by turns: rows/s of each, and the ratio
// by CPU time.
func BenchmarkAppend(b *testing.B) {
	ctx := context.Background()
	const batch = 20000
	j, s := benchJob(b)
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		b.Fatal(err)
	}
	l, err := s.LeaseSource(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	bare, err := sql.Open("sqlite3", filepath.Join(b.TempDir(),
		"bare.db")+"?_journal_mode=WAL&_synchronous=FULL&_cache_size=-65536")
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	bare.SetMaxOpenConns(1)
	if _, err := bare.Exec("CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT NOT NULL, done INTEGER NOT " +
		"NULL DEFAULT 0)"); err != nil {
		b.Fatal(err)
	}
	var ours, loop, oursCPU, loopCPU time.Duration
	n := 0
	for b.Loop() {
		rows := listRows(n+1, batch)
		n += batch
		c, at := storetest.CPU(), time.Now()
		if err := s.Append(ctx, l, rows, store.Position{Line: int64(n)}, false, 10000); err != nil {
			b.Fatal(err)
		}
		ours, oursCPU = ours+time.Since(at), oursCPU+storetest.CPU()-c
		c, at = storetest.CPU(), time.Now()
		insertLoop(b, bare, rows)
		loop, loopCPU = loop+time.Since(at), loopCPU+storetest.CPU()-c
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "rows/s")
	b.ReportMetric(float64(n)/loop.Seconds(), "bare-rows/s")
	b.ReportMetric(float64(loopCPU)/float64(oursCPU), "of-bare")
}

func insertLoop(b *testing.B, db *sql.DB, rows []store.NewRow) {
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	stmt, err := tx.Prepare("INSERT INTO urls (id, url) VALUES (?,?)" + strings.Repeat(",(?,?)", 99))
	if err != nil {
		b.Fatal(err)
	}
	args := make([]any, 0, 200)
	for ; len(rows) > 0; rows = rows[100:] {
		args = args[:0]
		for _, r := range rows[:100] {
			args = append(args, r.ID, r.URL)
		}
		if _, err := stmt.Exec(args...); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommit commits batches of 500: rows/s, and bytes per row before and after.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct {
		name  string
		faces int
	}{{"no faces", 0}, {"two faces", 2}} {
		b.Run(c.name, func(b *testing.B) {
			ctx := context.Background()
			j, s := benchJob(b)
			const n = 400_000
			fillJob(b, j, s, n)
			text := int64(0)
			for _, r := range listRows(1, n) {
				text += int64(len(r.URL))
			}
			pendingSize := fileSize(b, j)
			done := 0
			var took, used time.Duration
			for b.Loop() { // a shard of 10,000 rows
				l, err := s.Claim(ctx, 10000)
				if errors.Is(err, store.ErrNoShard) {
					b.Fatal("the job is too small for this -benchtime")
				}
				if err != nil {
					b.Fatal(err)
				}
				for id := l.Lo; id <= l.Hi; id += 500 {
					var batch []store.Result
					for i := id; i <= min(id+499, l.Hi); i++ {
						batch = append(batch, benchResult(i, c.faces))
					}
					at, c := time.Now(), storetest.CPU()
					if err := s.Commit(ctx, l, batch); err != nil {
						b.Fatal(err)
					}
					took, used = took+time.Since(at), used+storetest.CPU()-c
					done += len(batch)
				}
			}
			b.ReportMetric(float64(done)/took.Seconds(), "rows/s")
			b.ReportMetric(float64(done)/used.Seconds(), "rows/CPU-s")
			b.ReportMetric(float64(pendingSize-text)/n, "B/pending-row")
			b.ReportMetric(float64(fileSize(b, j)-pendingSize)/float64(done), "B/done-more")
		})
	}
}

func benchResult(id int64, faces int) store.Result {
	r := store.Result{ID: id, Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 61234, Attempts: 1, Detector: "cascade/facefinder,20,0.1,1.1", Took: 231 * time.Millisecond,
		Time: time.UnixMilli(1_760_000_000_000 + id)}
	for n := range faces {
		r.Faces = append(r.Faces, store.Face{X: 10 + n, Y: 20, Width: 50, Height: 50, Score: 17.25,
			Confidence: 0.5})
	}
	return r
}

// fileSize is that of the job once its WAL is in it.
func fileSize(b *testing.B, j store.Job) int64 {
	b.Helper()
	if _, err := j.(*job).writer.conn.ExecContext(context.Background(),
		"PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(j.Path())
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

// BenchmarkClaim claims and gives back, with 1 % of the rows open and all else done, and with many shards.
func BenchmarkClaim(b *testing.B) {
	ctx := context.Background()
	j, s := benchJob(b)
	fillJob(b, j, s, 1_000_000)
	for b.Loop() {
		l, err := s.Claim(ctx, 1000)
		if errors.Is(err, store.ErrNoShard) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Release(ctx, []store.Lease{l}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCounts sums up a job of a million rows.
func BenchmarkCounts(b *testing.B) {
	ctx := context.Background()
	j, s := benchJob(b)
	fillJob(b, j, s, 1_000_000)
	for b.Loop() {
		if _, err := j.Counts(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResults reads results as an export does.
// benchDone is a job with n done rows.
func benchDone(b *testing.B, n int) store.Job {
	ctx := context.Background()
	j, s := benchJob(b)
	fillJob(b, j, s, n)
	for {
		l, err := s.Claim(ctx, 10000)
		if errors.Is(err, store.ErrNoShard) {
			return j
		}
		if err != nil {
			b.Fatal(err)
		}
		var batch []store.Result
		for id := l.Lo; id <= l.Hi; id++ {
			batch = append(batch, benchResult(id, 1))
		}
		if err := s.Commit(ctx, l, batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResults(b *testing.B) {
	j := benchDone(b, 50_000)
	read, before := 0, storetest.CPU()
	for b.Loop() {
		for _, err := range j.Results(context.Background(), 0, 1<<62) {
			if err != nil {
				b.Fatal(err)
			}
			read++
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(read)/(storetest.CPU()-before).Seconds(), "rows/CPU-s")
}

func BenchmarkTally(b *testing.B) {
	const n = 200_000
	j := benchDone(b, n)
	for _, by := range store.Keys {
		b.Run(string(by), func(b *testing.B) {
			for b.Loop() {
				for _, err := range j.Tally(context.Background(), by) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkProcesses has processes share a job, with a detector that takes no time: rows done a second.
func BenchmarkProcesses(b *testing.B) {
	for _, processes := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(processes), func(b *testing.B) { storetest.Throughput(b, target, processes, 5000) })
	}
}

// BenchmarkClaimOverLists measures a claim in jobs of few and of many lists.
func BenchmarkClaimOverLists(b *testing.B) { storetest.ClaimOverLists(b, target) }
