package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/sqlite"
)

// doneJob makes a job of n rows that are done as those of a real list are: one of ten failed, one of three
// with faces.
func doneJob(b *testing.B, n int) (path string) {
	b.Helper()
	ctx := context.Background()
	path = filepath.Join(b.TempDir(), "bench.facescan.db")
	job, err := sqlite.Create(ctx, path)
	if err != nil {
		b.Fatal(err)
	}
	s, err := job.Join(ctx, store.Owner{}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := job.AddSource(ctx, store.Source{Name: "list", Format: "txt", Options: "{}"}); err != nil {
		b.Fatal(err)
	}
	source, err := s.LeaseSource(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 10_000
	for from := 1; from <= n; from += batch {
		rows := make([]store.NewRow, min(batch, n+1-from))
		for i := range rows {
			id := int64(from + i)
			rows[i] = store.NewRow{ID: id,
				URL: fmt.Sprintf("https://images%03d.example.com/photos/%08x/large/%012d.jpg?w=500&q=80",
					id%997, id*2654435761%(1<<32), id)}
		}
		if err := s.Append(ctx, source, rows, store.Position{}, from+batch > n, batch); err != nil {
			b.Fatal(err)
		}
		l, err := s.Claim(ctx, batch)
		if err != nil {
			b.Fatal(err)
		}
		results := make([]store.Result, 0, batch)
		for id := l.Lo; id <= l.Hi; id++ {
			r := store.Result{ID: id, Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500,
				Height: 375, Bytes: 60_000 + id%9999, Attempts: 1, Detector: "bench",
				Took: 230 * time.Millisecond, Time: time.UnixMilli(1_760_000_000_000 + id)}
			if id%10 == 0 {
				r = store.Result{ID: id, Status: store.Failed, Reason: store.HTTP4xx, HTTPStatus: 404,
					Attempts: 1, Time: r.Time}
			} else if id%3 == 0 {
				for k := range id%2 + 1 {
					r.Faces = append(r.Faces, store.Face{X: int(id % 400), Y: int(id % 300), Width: 60,
						Height: 60, Score: 30.5 / float64(k+1)})
				}
			}
			results = append(results, r)
		}
		if err := s.Commit(ctx, l, results); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(s.Leave(ctx), job.Close()); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkExportJob exports a job at scale by a process of its own: rows of the job a second, from its start
// to its end, and how much memory it had at most.
func BenchmarkExportJob(b *testing.B) {
	n := scale(b)
	path := doneJob(b, n)
	for _, run := range []struct {
		name string
		args []string
	}{
		{"csv-no-disk", []string{"-o", "/dev/null"}}, {"csv", []string{"-o", "out.csv"}},
		{"jsonl", []string{"-o", "out.jsonl"}}, {"parquet", []string{"-o", "out.parquet"}},
		{"coco", []string{"--format", "coco", "-o", "out.json"}}, {"csv.zst", []string{"-o", "out.csv.zst"}},
		{"faces.csv", []string{"--rows", "faces", "-o", "out.csv"}},
		{"where.csv", []string{"--where", "faces > 1 AND url LIKE '%images007%'", "-o", "out.csv"}},
	} {
		b.Run(run.name, func(b *testing.B) {
			took, most := time.Duration(0), int64(0)
			for b.Loop() {
				c := exec.Command(os.Args[0], append([]string{"export", path}, run.args...)...)
				c.Dir, c.Env = b.TempDir(), append(os.Environ(), beMain+"=1")
				began := time.Now()
				if text, err := c.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, text)
				}
				took += time.Since(began)
				most = max(most, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			b.ReportMetric(float64(n)*float64(b.N)/took.Seconds(), "rows/s")
			b.ReportMetric(float64(most)/1024, "MB-RSS")
		})
	}
}
