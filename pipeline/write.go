package pipeline

import (
	"context"
	"fmt"
	"time"

	"facescan/store"
)

const (
	writeLinger  = 20 * time.Millisecond // a result waits this long at most for others to share its transaction
	writeBatch   = 5_000                 // results in a transaction at most
	writeTimeout = 30 * time.Second      // for one commit; an uncancelled one must end too
)

// write is the checkpoint writer: the one place where results become durable. It gathers what arrives within
// writeLinger and commits it in one transaction; while it commits, the next batch gathers behind it, so
// batches grow with the load by themselves. When everything in flight has arrived there is nothing to wait for; and
// when half of what may be in flight has, waiting would stop the fetchers, which need the other half while this commits.
//
// After a failure it goes on taking what arrives, so that nobody waits for it, and writes nothing.
func (r *run) write() error {
	var failed error
	for {
		s, ok := <-r.results
		if !ok {
			return failed
		}
		w := batch{rows: map[*leaseHandle][]*task{}, results: map[*leaseHandle][]store.Result{}}
		w.add(s)
		linger := time.NewTimer(writeLinger)
	gather:
		for w.n < writeBatch && w.tokens < min(len(r.inflight), cap(r.inflight)/2) {
			select {
			case s, ok := <-r.results:
				if !ok {
					break gather
				}
				w.add(s)
			case <-linger.C:
				break gather
			}
		}
		linger.Stop()
		if failed == nil {
			if failed = r.commit(&w); failed != nil {
				r.abort(failed)
			}
		}
		r.leave(w.tokens)
	}
}

// batch is what is committed together, by shard.
type batch struct {
	rows    map[*leaseHandle][]*task
	results map[*leaseHandle][]store.Result
	given   []int64 // rows that were given up
	n       int
	tokens  int
}

func (w *batch) add(s settlement) {
	if s.token {
		w.tokens++
	}
	now := time.Now()
	for _, t := range append(s.task.riders, s.task) {
		w.n++
		w.rows[t.lease] = append(w.rows[t.lease], t)
		if s.result != nil {
			res := *s.result
			res.ID, res.URL = t.row.ID, t.row.URL // the store has the URL; those who watch have not
			if res.Time.IsZero() {
				res.Time = now.Truncate(time.Millisecond)
			}
			res.Outputs = t.outputs
			if !s.task.started.IsZero() {
				res.Took = now.Sub(s.task.started)
			}
			w.results[t.lease] = append(w.results[t.lease], res)
		} else {
			w.given = append(w.given, t.row.ID)
		}
	}
}

// commit makes the results durable and settles their rows. The write is not cancelled with the run: work that is
// done is kept.
func (r *run) commit(w *batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.hard), writeTimeout)
	defer cancel()
	r.activity.writing.Store(true)
	defer r.activity.writing.Store(false)
	if err := r.drop(w.given); err != nil {
		return err
	}
	var all []*leaseHandle
	var batches []store.Batch
	for h, results := range w.results {
		lease := h.now()
		release := h.isLast(len(w.rows[h])) && r.leases.drop(h)
		if r.Keeper != nil {
			r.activity.keeping.Store(true)
			err := r.Keeper.Stage(lease, results)
			r.activity.keeping.Store(false)
			if err != nil {
				return fmt.Errorf("sync what is kept: %w", err)
			}
		}
		all, batches = append(all, h), append(batches, store.Batch{Lease: lease, Results: results, Release: release})
	}
	if len(batches) > 0 {
		if err := r.commitAll(ctx, all, batches); err != nil {
			return err
		}
	}
	var back []*leaseHandle
	for h, rows := range w.rows {
		if h.complete(len(rows)) {
			back = append(back, h)
		}
	}
	if err := r.leases.release(ctx, back); err != nil {
		return fmt.Errorf("release a shard: %w", err)
	}
	return nil
}

// commitAll commits a batch of results for each of some shards.
func (r *run) commitAll(ctx context.Context, all []*leaseHandle, batches []store.Batch) error {
	var lost []int
	var err error
	r.stats.Committing.measure(func() int {
		lost, err = r.session.CommitAll(ctx, batches)
		return 0
	})
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	for _, i := range lost {
		results := batches[i].Results
		r.stats.Refused.Add(int64(len(results)))
		if batches[i].Release { // it is not held any more
			r.leases.lost(batches[i].Lease)
		}
		r.leases.lose(all[i])
		ids := make([]int64, len(results))
		for k := range results {
			ids[k] = results[k].ID
		}
		if err := r.drop(ids); err != nil {
			return err
		}
		batches[i].Results = nil
	}
	for _, b := range batches {
		if len(b.Results) == 0 {
			continue
		}
		r.repeats.note(b.Results)
		r.warnOf(r.stats.commit(b.Results))
		if r.Keeper != nil {
			r.activity.keeping.Store(true)
			err := r.Keeper.Done(ctx, b.Lease, b.Results)
			r.activity.keeping.Store(false)
			if err != nil {
				return fmt.Errorf("give what is kept its place: %w", err)
			}
		}
	}
	if failed, done := r.stats.jobTotals(); r.MaxFail.exceeded(failed, done) {
		r.drain(drainCause{TooManyFail})
	}
	r.checkAbort()
	return nil
}

// drop removes what was kept of rows that this process did not get done.
func (r *run) drop(ids []int64) error {
	if r.Keeper == nil || len(ids) == 0 {
		return nil
	}
	if err := r.Keeper.Drop(ids); err != nil {
		return fmt.Errorf("remove what was kept of rows that are not done: %w", err)
	}
	return nil
}
