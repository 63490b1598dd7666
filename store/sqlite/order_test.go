package sqlite

import (
	"context"
	"fmt"
	"testing"

	"facescan/store"
	"facescan/store/storetest"
)

// BenchmarkFrontier asks how far 50 million rows are done in order when all are, counters alone being there.
func BenchmarkFrontier(b *testing.B) {
	ctx := context.Background()
	opened, _ := benchJob(b)
	j := opened.(*job)
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		b.Fatal(err)
	}
	const shards, size = 5000, 10_000
	if err := j.writer.update(ctx, "benchmark", func(t tx) error {
		for i := range shards {
			if _, err := t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending) VALUES (?, ?, 0, ?, 0)",
				i*size+1, (i+1)*size, size); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE {sources} SET last_id = ?, rows = ?", shards*size, shards*size)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := j.Frontier(ctx, 0, 1)
		if err != nil || f.Next != shards*size+1 {
			b.Fatal(f, err)
		}
	}
}

// BenchmarkCommitGroups commits batches of 500 rows that are in groups of ten, beside the same rows without.
func BenchmarkCommitGroups(b *testing.B) {
	for _, grouped := range []bool{false, true} {
		b.Run(fmt.Sprintf("grouped=%t", grouped), func(b *testing.B) {
			ctx := context.Background()
			j, s := benchJob(b)
			if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
				b.Fatal(err)
			}
			l, err := s.LeaseSource(ctx, 0)
			if err != nil {
				b.Fatal(err)
			}
			const batch = 500
			at, used, rows := 1, storetest.CPU()*0, 0
			for b.Loop() {
				fresh := listRows(at, batch)
				for i := range fresh {
					if grouped {
						fresh[i].Group = fmt.Sprint("album ", fresh[i].ID/10)
					}
				}
				if err := s.Append(ctx, l, fresh, store.Position{}, false, batch); err != nil {
					b.Fatal(err)
				}
				var results []store.Result
				for i := range fresh {
					results = append(results, benchResult(fresh[i].ID, 1))
				}
				for len(results) > 0 {
					shard, err := s.Claim(ctx, batch)
					if err != nil {
						b.Fatal(err)
					}
					n := int(min(shard.Hi-shard.Lo+1, int64(len(results))))
					began := storetest.CPU()
					if err := s.Commit(ctx, shard, results[:n]); err != nil {
						b.Fatal(err)
					}
					used += storetest.CPU() - began
					results, rows = results[n:], rows+n
				}
				at += batch
			}
			b.ReportMetric(float64(rows)/used.Seconds(), "rows/CPU-s")
			if err := j.Verify(ctx, store.VerifyOptions{},
				func(p store.Problem) { b.Errorf("%+v", p) }); err != nil {
				b.Fatal(err)
			}
		})
	}
}
