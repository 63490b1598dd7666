package pipeline

import (
	"errors"
	"time"

	"facescan/pipeline/fetch"
	"facescan/store"
)

// retryNoMemory is how long a row waits that gave its memory back because its body could not grow.
const retryNoMemory = 50 * time.Millisecond

// body is what was fetched, or read from elsewhere.
type body struct {
	bytes    []byte
	status   int
	finalURL string // empty when it is the row's own
	release  func() // nil once the bytes are given back
}

// drop gives the bytes back; more than once does no harm.
func (b *body) drop() {
	if b.release != nil {
		b.release()
	}
	b.bytes, b.release = nil, nil
}

// settlement is a row on its way to the writer: with its result, or given up.
type settlement struct {
	task   *task
	result *store.Result
}

// giveUp hands a row to the writer without a result: it stays pending.
func (r *run) giveUp(t *task) { r.settle(t, nil) }

// settle ends a row's way. The channel has room for every row in flight, so this never waits.
func (r *run) settle(t *task, res *store.Result) {
	t.body.drop()
	r.results <- settlement{t, res}
}

// fetchLoop is one fetcher: it makes one attempt at a time, and never sleeps between two.
func (r *run) fetchLoop() {
	for t := r.queue.next(r.draining); t != nil; t = r.queue.next(r.draining) {
		r.attempt(t)
	}
}

func (r *run) attempt(t *task) {
	if t.suspect >= 2 {
		// Two processes ended uncleanly with it in their decoder: a third will not.
		r.settle(t, &store.Result{ID: t.row.ID, Status: store.Failed, Reason: store.BadImage})
		return
	}
	t.attempts++
	t.started = time.Now()
	r.stats.Fetching.enter()
	b, err := r.Fetcher.Fetch(t.held.ctx, t.row.URL, &t.account)
	r.stats.Fetching.leave(time.Since(t.started))
	if err == nil {
		t.body = body{b.Bytes, b.Status, b.FinalURL, b.Release}
		r.stats.Bytes.Add(int64(len(b.Bytes)))
		select {
		case r.fetched <- t:
		case <-r.hard.Done():
			r.giveUp(t)
		}
		return
	}
	var fe *fetch.Error
	switch {
	case t.held.ctx.Err() != nil:
		r.giveUp(t)
	case errors.Is(err, fetch.ErrNoMemory):
		t.attempts--
		r.later(t, retryNoMemory)
	case !errors.As(err, &fe):
		r.Log.Error("the fetcher gave no reason", "url", t.row.URL, "error", err)
		r.giveUp(t)
	case fe.Temporary() && t.attempts <= r.Retries:
		r.stats.Retries.Add(1)
		r.later(t, fetch.Backoff(t.attempts, fe.RetryAfter))
	default:
		res := failure(t.row.ID, t.attempts, fe)
		r.settle(t, &res)
	}
}

// later puts a row back into the queue, or gives it up when nobody will take it out any more.
func (r *run) later(t *task, wait time.Duration) {
	if r.draining.Err() != nil {
		r.giveUp(t)
		return
	}
	r.queue.again(t, time.Now().Add(wait))
}
