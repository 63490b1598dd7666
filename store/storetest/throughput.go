package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"facescan/store"
)

// Throughput has so many processes share a job, each with a detector that takes no time: rows done a second,
// of all together, from when all of them are ready.
func Throughput(b *testing.B, target Target, processes, batch int) {
	const n = 500_000
	done, took := 0, time.Duration(0)
	for b.Loop() {
		name := target.Create(b)
		if err := list(target, name, n); err != nil {
			b.Fatal(err)
		}
		var all []*child
		for range processes {
			c := spawn(b, work{Name: name, Do: "race", TTL: time.Minute, Batch: batch})
			all = append(all, c)
		}
		for _, c := range all {
			c.await("ready")
		}
		begin := time.Now()
		for _, c := range all {
			if err := c.in.Close(); err != nil {
				b.Fatal(err)
			}
		}
		for _, c := range all {
			c.await("through")
		}
		took += time.Since(begin)
		done += n
		for _, c := range all {
			if err := c.cmd.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(done)/took.Seconds(), "rows/s")
}

// list makes a source of n rows of a job that has none.
func list(target Target, name string, n int) error {
	ctx := context.Background()
	j, err := target.Open(ctx, name)
	if err != nil {
		return err
	}
	defer j.Close()
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		return err
	}
	s, err := j.Join(ctx, store.Owner{Host: "here", PID: os.Getpid()}, time.Hour)
	if err != nil {
		return err
	}
	l, err := s.LeaseSource(ctx, 0)
	for at := 0; at < n && err == nil; at += 50_000 {
		err = s.Append(ctx, l, rows(0, at+1, 50_000), store.Position{Line: int64(at + 50_000)},
			at+50_000 == n, 10_000)
	}
	return errors.Join(err, s.Leave(ctx))
}

// race waits for the end of stdin and then processes what is free: no image has a face.
func (w work) race(ctx context.Context, s store.Session) error {
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for {
		l, err := s.Claim(ctx, 10_000)
		if errors.Is(err, store.ErrNoShard) {
			fmt.Println("through")
			return s.Leave(ctx)
		}
		if err != nil {
			return err
		}
		for after := l.Lo - 1; ; {
			rows, err := s.Pending(ctx, l, after, w.Batch)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				break
			}
			batch := make([]store.Result, len(rows))
			for i, r := range rows {
				batch[i], after = ok(r.ID), r.ID
				batch[i].Faces = nil
			}
			if err := s.Commit(ctx, l, batch); err != nil {
				return err
			}
		}
		if err := s.Release(ctx, []store.Lease{l}); err != nil {
			return err
		}
	}
}
