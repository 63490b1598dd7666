package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/storetest"
)

// listRows are URLs of about 90 bytes, as image lists have them.
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

// result is of an image of 500x375 pixels with some faces.
func result(id int64, faces int) store.Result {
	r := store.Result{ID: id, Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 61234, Attempts: 1, Detector: "cascade/facefinder,20,0.1,1.1", Took: 231 * time.Millisecond,
		Time: time.UnixMilli(1_760_000_000_000 + id)}
	for n := range faces {
		r.Faces = append(r.Faces, store.Face{X: 10 + n, Y: 20, Width: 50, Height: 50, Score: 17.25,
			Confidence: 0.5})
	}
	return r
}

// openJob opens a new job, and joins it.
func openJob(t testing.TB) (*job, store.Session) {
	t.Helper()
	return joinJob(t, target.Create(t))
}

// joinJob opens a job that is there, as another process would, and joins it.
func joinJob(t testing.TB, url string) (*job, store.Session) {
	t.Helper()
	ctx := context.Background()
	j, err := Open(ctx, url)
	ok(t, err)
	t.Cleanup(func() { ok(t, j.Close()) })
	s, err := j.Join(ctx, store.Owner{Host: "here", PID: 1}, time.Hour)
	ok(t, err)
	return j.(*job), s
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill adds a complete source of n rows.
func fill(t testing.TB, j store.Job, s store.Session, n int) {
	t.Helper()
	ctx := context.Background()
	_, err := j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	const batch = 50000
	for at := 0; at < n; at += batch {
		ok(t, s.Append(ctx, l, listRows(at+1, min(batch, n-at)), store.Position{}, at+batch >= n, 10000))
	}
	ok(t, s.ReleaseSource(ctx, l))
}

// BenchmarkAppend imports, and copies the same rows into a bare table by turns.
func BenchmarkAppend(b *testing.B) {
	ctx := context.Background()
	const batch = 50000
	j, s := openJob(b)
	_, err := j.AddSource(ctx, store.Source{Name: "list"})
	ok(b, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(b, err)
	_, err = j.pool.Exec(ctx, "CREATE TABLE bare (id bigint PRIMARY KEY, url text NOT NULL)")
	ok(b, err)
	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		rows := listRows(n+1, batch)
		n += batch
		at := time.Now()
		ok(b, s.Append(ctx, l, rows, store.Position{Line: int64(n)}, false, 10000))
		ours += time.Since(at)
		at = time.Now()
		_, err := j.pool.CopyFrom(ctx, pgx.Identifier{"bare"}, []string{"id", "url"},
			pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
				return []any{rows[i].ID, rows[i].URL}, nil
			}))
		ok(b, err)
		bare += time.Since(at)
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "rows/s")
	b.ReportMetric(float64(n)/bare.Seconds(), "bare-rows/s")
}

// BenchmarkDone processes rows with a detector that takes no time: claim, read, commit in batches, release.
// Each session has a connection pool of its own, as processes have.
func BenchmarkDone(b *testing.B) {
	for _, c := range []struct{ sessions, batch, faces int }{{1, 500, 0}, {1, 5000, 0}, {4, 500, 0},
		{4, 5000, 0}, {4, 5000, 2}} {
		b.Run(fmt.Sprintf("sessions=%d/batch=%d/faces=%d", c.sessions, c.batch, c.faces), func(b *testing.B) {
			url := target.Create(b)
			j, s := joinJob(b, url)
			fill(b, j, s, 1_000_000)
			ok(b, s.Leave(context.Background()))
			var sessions []store.Session
			for range c.sessions {
				_, s := joinJob(b, url)
				sessions = append(sessions, s)
			}
			var done atomic.Int64
			b.ResetTimer()
			for b.Loop() { // 100,000 rows
				end := done.Load() + 100_000
				errs := make(chan error)
				for _, s := range sessions {
					go func() { errs <- work(s, c.batch, c.faces, &done, end) }()
				}
				for range sessions {
					ok(b, <-errs)
				}
			}
			b.ReportMetric(float64(done.Load())/b.Elapsed().Seconds(), "rows/s")
			for _, s := range sessions {
				ok(b, s.Leave(context.Background()))
			}
		})
	}
}

// work processes shards until so many rows are done.
func work(s store.Session, batch, faces int, done *atomic.Int64, end int64) error {
	ctx := context.Background()
	for done.Load() < end {
		l, err := s.Claim(ctx, 10000)
		if errors.Is(err, store.ErrNoShard) {
			return errors.New("the job is too small for this -benchtime")
		}
		if err != nil {
			return err
		}
		for after := l.Lo - 1; ; {
			rows, err := s.Pending(ctx, l, after, batch)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				break
			}
			results := make([]store.Result, len(rows))
			for i, r := range rows {
				results[i] = result(r.ID, faces)
				after = r.ID
			}
			if err := s.Commit(ctx, l, results); err != nil {
				return err
			}
			done.Add(int64(len(rows)))
		}
		if err := s.Release(ctx, []store.Lease{l}); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkClaim claims and gives back; with old, while a transaction elsewhere keeps every old version of a
// row.
func BenchmarkClaim(b *testing.B) {
	for _, old := range []bool{false, true} {
		b.Run(fmt.Sprintf("old=%v", old), func(b *testing.B) {
			ctx := context.Background()
			j, s := openJob(b)
			fill(b, j, s, 1_000_000)
			if old {
				t, err := j.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginView +
					"; SET LOCAL idle_in_transaction_session_timeout = 0"})
				ok(b, err)
				defer t.Rollback(ctx)
				_, err = t.Exec(ctx, "SELECT count(*) FROM shards")
				ok(b, err)
			}
			n := 0
			for b.Loop() {
				l, err := s.Claim(ctx, 100)
				ok(b, err)
				var results []store.Result
				for id := l.Lo; id <= l.Hi; id++ {
					results = append(results, result(id, 0))
				}
				b.StopTimer()
				ok(b, s.Commit(ctx, l, results))
				b.StartTimer()
				ok(b, s.Release(ctx, []store.Lease{l}))
				n++
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "claims/s")
		})
	}
}

// BenchmarkClaimOverLists measures a claim in jobs of few and of many lists, without the server's time.
func BenchmarkClaimOverLists(b *testing.B) { storetest.ClaimOverLists(b, target) }

// BenchmarkResults reads results as an export does.
func BenchmarkResults(b *testing.B) {
	ctx := context.Background()
	j, s := openJob(b)
	fill(b, j, s, 100_000)
	var done atomic.Int64
	ok(b, work(s, 5000, 1, &done, 100_000))
	read := 0
	for b.Loop() {
		for _, err := range j.Results(ctx, 0, 1<<62) {
			ok(b, err)
			read++
		}
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkProcesses has processes share a job, with a detector that takes no time: rows done a second.
func BenchmarkProcesses(b *testing.B) {
	for _, processes := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(processes), func(b *testing.B) { storetest.Throughput(b, target, processes, 5000) })
	}
}
