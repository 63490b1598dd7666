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
	"facescan/store/storetest/must"
)

// Throughput has so many processes share a job, each with a detector that takes no time: rows done a second,
// of all together, from when all of them are ready.
func Throughput(b *testing.B, target Target, processes, batch int) {
	const n = 500_000
	done, took := 0, time.Duration(0)
	for b.Loop() {
		name := target.Create(b)
		list(b, target, name, n)
		var all []*child
		for range processes {
			all = append(all, spawn(b, work{Name: name, Do: "race", TTL: time.Minute, Batch: batch}))
		}
		for _, c := range all {
			c.await("ready")
		}
		begin := time.Now()
		for _, c := range all {
			must.OK(b, c.in.Close())
		}
		for _, c := range all {
			c.await("through")
		}
		took += time.Since(begin)
		done += n
		for _, c := range all {
			must.OK(b, c.cmd.Wait())
		}
	}
	b.ReportMetric(float64(done)/took.Seconds(), "rows/s")
}

// list makes a source of n rows of a job that has none.
func list(t testing.TB, target Target, name string, n int) {
	t.Helper()
	ctx := context.Background()
	j := must.Get(target.Open(ctx, name))(t)
	defer j.Close()
	must.Get(j.AddSource(ctx, store.Source{Name: "list"}))(t)
	s := must.Get(j.Join(ctx, store.Owner{Host: "here", PID: os.Getpid()}, time.Hour))(t)
	l := must.Get(s.LeaseSource(ctx, 0))(t)
	for at := 0; at < n; at += 50_000 {
		must.OK(t, s.Append(ctx, l, rows(0, at+1, 50_000), store.Position{Line: int64(at + 50_000)},
			at+50_000 == n, 10_000))
	}
	must.OK(t, s.Leave(ctx))
}

func faceless(id int64) store.Result {
	r := ok(id)
	r.Faces = nil
	return r
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
		if err := process(ctx, s, l, w.Batch, faceless, false); err != nil {
			return err
		}
	}
}
