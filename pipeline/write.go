package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"facescan/store"
)

const (
	writeLinger  = 20 * time.Millisecond // how long a result waits for others to share its transaction
	writeBatch   = 5_000                 // results in a transaction at most
	writeTimeout = 30 * time.Second      // for one commit; an uncancelled one must end too
)

// writer is the checkpoint writer: the one place where results become durable. It gathers what arrives within
// writeLinger and commits it in one transaction; while it commits, the next batch gathers behind it, so
// batches grow with the load by themselves. When everything in flight has arrived there is nothing to wait
// for; and when half of what may be in flight has, waiting would stop the fetchers, which need the other half
// while this commits.
type writer struct {
	store interface {
		CommitAll(ctx context.Context, batches []store.Batch) (lost []int, err error)
	}
	leases   *leases
	keeper   Keeper // optional
	in       <-chan *task
	inFlight places
	leave    func(n int)          // gives places in flight back
	done     func([]store.Result) // is told of results that are durable
	check    func()               // is called after each commit
	abort    func(error)
	stats    *Stats
	activity *activity
	log      *slog.Logger
}

// run writes what arrives until there is no more. After a failure it goes on taking what arrives, so that
// nobody waits for it, and writes nothing. A commit is not cancelled with the context: work that is done is
// kept.
func (w *writer) run(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var failed error
	for t := range w.in {
		b := w.gather(t)
		if failed == nil {
			if failed = w.commit(ctx, b); failed != nil {
				w.abort(failed)
			}
		}
		w.leave(b.places)
	}
	return failed
}

// gather makes a batch of a task and of those that arrive soon.
func (w *writer) gather(first *task) *batch {
	b := &batch{rows: map[*leaseHandle][]*task{}, results: map[*leaseHandle][]store.Result{}}
	b.add(first)
	linger := time.NewTimer(writeLinger)
	defer linger.Stop()
	for b.n < writeBatch && b.places < min(len(w.inFlight), cap(w.inFlight)/2) {
		select {
		case t, ok := <-w.in:
			if !ok {
				return b
			}
			b.add(t)
		case <-linger.C:
			return b
		}
	}
	return b
}

// batch is what is committed together, by shard.
type batch struct {
	rows    map[*leaseHandle][]*task
	results map[*leaseHandle][]store.Result
	givenUp []int64
	n       int
	places  int // in flight, that it holds
}

func (b *batch) add(lead *task) {
	if lead.inFlight {
		b.places++
	}
	now := time.Now()
	for _, t := range lead.all() {
		b.n++
		b.rows[t.lease] = append(b.rows[t.lease], t)
		if lead.result == nil {
			b.givenUp = append(b.givenUp, t.row.ID)
			continue
		}
		res := *lead.result
		res.ID, res.URL = t.row.ID, t.row.URL // the store has the URL; those who watch have not
		if res.Time.IsZero() {
			res.Time = now.Truncate(time.Millisecond)
		}
		res.Outputs = t.outputs
		if !lead.started.IsZero() {
			res.Took = now.Sub(lead.started)
		}
		b.results[t.lease] = append(b.results[t.lease], res)
	}
}

// commit makes the results durable and completes their rows.
func (w *writer) commit(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	w.activity.writing.Store(true)
	defer w.activity.writing.Store(false)
	if err := w.drop(b.givenUp); err != nil {
		return err
	}
	var all []*leaseHandle
	var batches []store.Batch
	for h, results := range b.results {
		lease := h.now()
		release := h.isLast(len(b.rows[h])) && w.leases.drop(h)
		if err := w.keep(func(k Keeper) error { return k.Stage(lease, results) }); err != nil {
			return fmt.Errorf("sync what is kept: %w", err)
		}
		all = append(all, h)
		batches = append(batches, store.Batch{Lease: lease, Results: results, Release: release})
	}
	if len(batches) > 0 {
		if err := w.commitAll(ctx, all, batches); err != nil {
			return err
		}
	}
	var back []*leaseHandle
	for h, rows := range b.rows {
		if h.complete(len(rows)) {
			back = append(back, h)
		}
	}
	if err := w.leases.release(ctx, back); err != nil {
		return fmt.Errorf("release a shard: %w", err)
	}
	return nil
}

// commitAll commits a batch of results for each of some shards.
func (w *writer) commitAll(ctx context.Context, all []*leaseHandle, batches []store.Batch) error {
	var lost []int
	var err error
	w.stats.Committing.measure(func() int {
		lost, err = w.store.CommitAll(ctx, batches)
		return 0
	})
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	for _, i := range lost {
		results := batches[i].Results
		w.stats.Refused.Add(int64(len(results)))
		if batches[i].Release { // it is not held any more
			w.leases.lost(batches[i].Lease)
		}
		w.leases.lose(all[i])
		ids := make([]int64, len(results))
		for k := range results {
			ids[k] = results[k].ID
		}
		if err := w.drop(ids); err != nil {
			return err
		}
		batches[i].Results = nil
	}
	for _, b := range batches {
		if len(b.Results) == 0 {
			continue
		}
		w.done(b.Results)
		w.logRows(b.Results)
		if b.Release {
			w.log.Debug("lease released", "shard", b.Lease.Shard, "generation", b.Lease.Generation)
		}
		if err := w.keep(func(k Keeper) error { return k.Done(ctx, b.Lease, b.Results) }); err != nil {
			return fmt.Errorf("move what is kept into place: %w", err)
		}
	}
	w.check()
	return nil
}

// logRows logs each result.
func (w *writer) logRows(results []store.Result) {
	if !w.log.Enabled(context.Background(), LevelRow) {
		return
	}
	for i := range results {
		r := &results[i]
		attrs := []any{"id", r.ID, "url", store.Redact(r.URL), "status", r.Status}
		if r.Status == store.Failed {
			attrs = append(attrs, "reason", r.Reason, "http_status", r.HTTPStatus)
		} else {
			attrs = append(attrs, "faces", len(r.Faces))
		}
		attrs = append(attrs, "attempts", r.Attempts, "took", r.Took)
		w.log.Log(context.Background(), LevelRow, "row done", attrs...)
	}
}

// keep has the keeper do something, if there is one.
func (w *writer) keep(do func(Keeper) error) error {
	if w.keeper == nil {
		return nil
	}
	w.activity.keeping.Store(true)
	defer w.activity.keeping.Store(false)
	return do(w.keeper)
}

// drop removes what was kept of rows that this process did not get done.
func (w *writer) drop(ids []int64) error {
	if w.keeper == nil || len(ids) == 0 {
		return nil
	}
	if err := w.keeper.Drop(ids); err != nil {
		return fmt.Errorf("remove what was kept of rows that are not done: %w", err)
	}
	return nil
}
