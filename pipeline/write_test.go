package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"facescan/store"
)

// ledger is a store that results are committed to, in memory.
type ledger struct {
	shards
	mu      sync.Mutex
	batches [][]store.Batch // by transaction
	lost    []int64         // shards whose leases are lost
	fails   error
	hold    chan struct{} // a commit waits for it, if not nil

	activity *activity
	unseen   int // commits while the writer did not say that it writes
}

func (l *ledger) CommitAll(_ context.Context, batches []store.Batch) (lost []int, err error) {
	if l.hold != nil {
		<-l.hold
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.activity.writing.Load() {
		l.unseen++
	}
	if l.fails != nil {
		return nil, l.fails
	}
	l.batches = append(l.batches, slices.Clone(batches))
	for i, b := range batches {
		if slices.Contains(l.lost, b.Lease.Shard) {
			lost = append(lost, i)
		}
	}
	return lost, nil
}

// writerBench is a writer alone.
type writerBench struct {
	*writer
	ledger *ledger
	tasks  completed
	done   []int64 // ids, in order
	checks int
	failed error // what it aborted with
	lost   []int64
	ended  chan error
}

func newWriterBench(t *testing.T, inFlight int) *writerBench {
	t.Helper()
	now := &activity{}
	b := &writerBench{ledger: &ledger{activity: now}, tasks: make(completed, 100), ended: make(chan error, 1)}
	places := make(places, inFlight)
	b.writer = &writer{store: b.ledger, in: b.tasks, inFlight: places, leave: places.leave, stats: &Stats{},
		activity: now, log: slog.New(slog.DiscardHandler), check: func() { b.checks++ },
		abort:  func(err error) { b.failed = err },
		leases: newLeases(b.ledger, func(l store.Lease) { b.lost = append(b.lost, l.Shard) }),
		done: func(results []store.Result) {
			for _, r := range results {
				b.done = append(b.done, r.ID)
			}
		}}
	return b
}

// run writes until all that was completed is written.
func (b *writerBench) run(t *testing.T) error {
	close(b.tasks)
	err := b.writer.run(t.Context())
	if b.ledger.unseen > 0 || b.activity.writing.Load() || b.activity.keeping.Load() {
		t.Errorf("%d commits were not seen as such; at the end it writes: %t, keeps: %t", b.ledger.unseen,
			b.activity.writing.Load(), b.activity.keeping.Load())
	}
	return err
}

// shard holds a shard of n rows, all of which are handed out.
func (b *writerBench) shard(t *testing.T, id int64, n int) (h *leaseHandle, rows []*task) {
	h = b.leases.hold(t.Context(), store.Lease{Shard: id, Lo: 100 * id, Hi: 100*id + 99, Generation: 1,
		Expires: time.Now().Add(time.Hour)})
	for i := range n {
		h.handOut()
		rows = append(rows, &task{lease: h, row: store.Row{ID: 100*id + int64(i),
			URL: fmt.Sprint("http://a.invalid/", i)}})
	}
	if err := b.leases.finish(t.Context(), []*leaseHandle{h}); err != nil {
		t.Fatal(err)
	}
	return h, rows
}

func ok() *store.Result { return &store.Result{Status: store.OK, Attempts: 1} }

// TestWriterCommits what arrives together in one transaction, by shard, with the duplicates; a shard whose
// last rows are in it goes back with it, and one of which no row has a result goes back without.
func TestWriterCommits(t *testing.T) {
	b := newWriterBench(t, 20)
	_, a := b.shard(t, 1, 3)
	_, c := b.shard(t, 2, 2)
	_, d := b.shard(t, 3, 1)
	a[0].duplicates, a[0].started = []*task{a[1]}, time.Now().Add(-time.Second)
	for range 5 {
		b.inFlight.enter()
	}
	b.tasks.complete(a[0], ok(), true)
	b.tasks.complete(a[2], ok(), true)
	b.tasks.complete(c[0], ok(), true)
	b.tasks.giveUp(c[1], true)
	b.tasks.giveUp(d[0], true)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	if len(b.ledger.batches) != 1 || len(b.ledger.batches[0]) != 2 || len(b.inFlight) != 0 || b.checks != 1 {
		t.Fatalf("%d transactions, %d places are held, %d checks", len(b.ledger.batches), len(b.inFlight),
			b.checks)
	}
	for _, batch := range b.ledger.batches[0] {
		var ids []int64
		for _, r := range batch.Results {
			ids = append(ids, r.ID)
			if r.URL == "" || r.Time.IsZero() || (r.ID < 102) != (r.Took >= time.Second) {
				t.Errorf("%+v", r)
			}
		}
		slices.Sort(ids)
		want := []int64{100, 101, 102}
		if batch.Lease.Shard == 2 {
			want = []int64{200}
		}
		if !slices.Equal(ids, want) || !batch.Release {
			t.Errorf("shard %d: %v, released %v", batch.Lease.Shard, ids, batch.Release)
		}
	}
	slices.Sort(b.done)
	if !slices.Equal(b.done, []int64{100, 101, 102, 200}) || !slices.Equal(b.ledger.back, []int64{3}) {
		t.Errorf("done %v, given back %v", b.done, b.ledger.back)
	}
	if n, _ := b.leases.count(); n != 0 {
		t.Errorf("%d shards are held", n)
	}
}

// TestWriterFenceLost: results under a lease that is lost are refused, and what was kept of them is dropped;
// the others are written.
func TestWriterFenceLost(t *testing.T) {
	b := newWriterBench(t, 10)
	s := newShelf()
	b.keeper = s
	lost, a := b.shard(t, 1, 2)
	partly, d := b.shard(t, 3, 2)
	_, c := b.shard(t, 2, 1)
	b.ledger.lost = []int64{1, 3}
	for _, row := range []*task{a[0], a[1], c[0], d[0]} {
		s.bodies[row.row.ID] = Original{Body: []byte("kept")}
		b.tasks.complete(row, ok(), false)
	}
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	slices.Sort(b.lost)
	if !slices.Equal(b.done, []int64{200}) || !slices.Equal(b.lost, []int64{1, 3}) ||
		b.stats.Refused.Load() != 3 {
		t.Errorf("done %v, lost %v, %d refused", b.done, b.lost, b.stats.Refused.Load())
	}
	for _, h := range []*leaseHandle{lost, partly} {
		if !errors.Is(context.Cause(h.ctx), store.ErrLeaseLost) {
			t.Errorf("work goes on: %v", context.Cause(h.ctx))
		}
	}
	if len(s.bodies) != 1 || s.dropped != 3 || !slices.Equal(s.done, []int64{200}) {
		t.Errorf("%d bodies are kept, %d were dropped, done %v", len(s.bodies), s.dropped, s.done)
	}
	if len(b.ledger.back) != 0 {
		t.Errorf("%v were given back", b.ledger.back)
	}
}

// TestWriterGoesOnAfterAFailure taking what arrives, so that nobody waits for it, and writes nothing more.
func TestWriterGoesOnAfterAFailure(t *testing.T) {
	b := newWriterBench(t, 200)
	_, rows := b.shard(t, 1, 100)
	b.ledger.fails = fmt.Errorf("write: %w", store.ErrFull)
	for _, row := range rows {
		b.inFlight.enter()
		b.tasks.complete(row, ok(), true)
	}
	if err := b.run(t); !errors.Is(err, store.ErrFull) || !errors.Is(b.failed, store.ErrFull) {
		t.Errorf("returned %v, aborted with %v", err, b.failed)
	}
	if len(b.inFlight) != 0 || len(b.done) != 0 {
		t.Errorf("%d places are held, done %v", len(b.inFlight), b.done)
	}
}

// TestWriterOfAFailingKeeper: what cannot be kept is not marked done.
func TestWriterOfAFailingKeeper(t *testing.T) {
	for _, k := range []*failingKeeper{{shelf: newShelf(), stage: store.ErrFull},
		{shelf: newShelf(), done: store.ErrFull},
		{shelf: newShelf(), drop: store.ErrFull}} {
		b := newWriterBench(t, 10)
		b.keeper = k
		_, rows := b.shard(t, 1, 2)
		for range 4 {
			b.inFlight.enter()
		}
		b.tasks.complete(rows[0], ok(), true)
		b.tasks.giveUp(rows[1], true)
		if err := b.run(t); !errors.Is(err, store.ErrFull) || !errors.Is(b.failed, store.ErrFull) {
			t.Errorf("%v", err)
		}
		if committed := len(b.ledger.batches) > 0; committed != (k.done != nil) {
			t.Errorf("committed: %v", committed)
		}
	}
}

type failingKeeper struct {
	*shelf
	stage, done, drop error
}

func (k *failingKeeper) Stage(store.Lease, []store.Result) error                 { return k.stage }
func (k *failingKeeper) Done(context.Context, store.Lease, []store.Result) error { return k.done }
func (k *failingKeeper) Drop([]int64) error                                      { return k.drop }

// TestWriterBatches: a batch is what arrives within writeLinger, or while the one before is written; when
// everything in flight has arrived, or half of what may be, there is nothing to wait for.
func TestWriterBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWriterBench(t, 8)
		_, rows := b.shard(t, 1, 20)
		b.ledger.hold = make(chan struct{}, 100)
		go func() { b.ended <- b.writer.run(t.Context()) }()
		send := func(n int) {
			for range n {
				b.tasks.complete(rows[0], ok(), true)
				rows = rows[1:]
			}
			synctest.Wait()
		}
		sizes := func() (out []int) {
			b.ledger.mu.Lock()
			defer b.ledger.mu.Unlock()
			for _, tx := range b.ledger.batches {
				out = append(out, len(tx[0].Results))
			}
			return out
		}
		for range 3 {
			b.inFlight.enter()
		}
		b.ledger.hold <- struct{}{}
		send(1) // others may follow
		time.Sleep(writeLinger - time.Millisecond)
		synctest.Wait()
		if got := sizes(); len(got) != 0 {
			t.Errorf("written before others could arrive: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := sizes(); !slices.Equal(got, []int{1}) {
			t.Errorf("after the linger: %v", got)
		}
		b.ledger.hold <- struct{}{}
		send(2) // all that are in flight
		if got := sizes(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("all have arrived: %v", got)
		}
		for range 8 {
			b.inFlight.enter()
		}
		send(4) // half of what may be, whose commit is held
		send(3) // gather meanwhile
		for range 2 {
			b.ledger.hold <- struct{}{}
		}
		time.Sleep(writeLinger)
		synctest.Wait()
		if got := sizes(); !slices.Equal(got, []int{1, 2, 4, 3}) {
			t.Errorf("behind one another: %v", got)
		}
		close(b.tasks)
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
		if got := len(b.inFlight); got != 1 {
			t.Errorf("%d places are held", got)
		}
	})
}

// TestRowsAreLogged one by one when that is wanted, without passwords.
func TestRowsAreLogged(t *testing.T) {
	b := newWriterBench(t, 10)
	var said bytes.Buffer
	b.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: LevelRow}))
	_, rows := b.shard(t, 1, 2)
	rows[0].row.URL = "http://user:secret@a.invalid/"
	b.tasks.complete(rows[0], ok(), false)
	b.tasks.complete(rows[1], &store.Result{Status: store.Failed, Reason: store.HTTP4xx, HTTPStatus: 404},
		false)
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	text := said.String()
	for _, want := range []string{"id=100 url=http://user:***@a.invalid/ status=ok faces=0",
		"id=101", "reason=http_4xx http_status=404", "lease released"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Errorf("a password:\n%s", text)
	}
}
