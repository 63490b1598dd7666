package pipeline

import (
	"context"
	"errors"
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
// writeLinger and commits it, a transaction a shard; while it commits, the next batch gathers behind it, so
// batches grow with the load by themselves. When everything in flight has arrived there is nothing to wait for.
func (r *run) write() error {
	batch := map[*held][]settlement{}
	for {
		s, ok := <-r.results
		if !ok {
			return nil
		}
		batch[s.task.held] = append(batch[s.task.held], s)
		n := 1
		linger := time.NewTimer(writeLinger)
	gather:
		for n < writeBatch && n < len(r.inflight) {
			select {
			case s, ok := <-r.results:
				if !ok {
					break gather
				}
				batch[s.task.held] = append(batch[s.task.held], s)
				n++
			case <-linger.C:
				break gather
			}
		}
		linger.Stop()
		for h, settled := range batch {
			if err := r.commit(h, settled); err != nil {
				return err
			}
			delete(batch, h)
		}
	}
}

// commit makes the results of one shard durable and settles its rows. The write is not cancelled with the run:
// work that is done is kept.
func (r *run) commit(h *held, settled []settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.hard), writeTimeout)
	defer cancel()
	results := make([]store.Result, 0, len(settled))
	now := time.Now()
	for _, s := range settled {
		if s.result != nil {
			s.result.Time = now
			s.result.Took = now.Sub(s.task.started)
			results = append(results, *s.result)
		}
	}
	if len(results) > 0 {
		begin := time.Now()
		err := r.session.Commit(ctx, h.now(), results)
		r.stats.Committing.add(time.Since(begin))
		switch {
		case errors.Is(err, store.ErrLeaseLost):
			r.stats.Refused.Add(int64(len(results)))
			r.leases.lose(h)
		case err != nil:
			return fmt.Errorf("write results: %w", err)
		default:
			r.stats.commit(results)
			if failed, done := r.stats.jobTotals(); r.MaxFail.exceeded(failed, done) {
				r.drain(drainCause{TooManyFail})
			}
		}
	}
	for range settled {
		<-r.inflight
	}
	if err := r.leases.settle(ctx, h, len(settled)); err != nil {
		return fmt.Errorf("release a shard: %w", err)
	}
	return nil
}
