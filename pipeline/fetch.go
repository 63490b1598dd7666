package pipeline

import (
	"errors"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// body is what was fetched, or read from elsewhere.
type body struct {
	bytes    []byte
	status   int
	finalURL string // empty when it is the row's own
	release  func() // nil once the bytes are given back
	kept     bool   // read from where an earlier run kept it
}

// drop gives the bytes back; more than once does no harm.
func (b *body) drop() {
	if b.release != nil {
		b.release()
	}
	b.bytes, b.release = nil, nil
}

// settlement is a row on its way to the writer: with its result, or given up. The rows that rode with it come along.
type settlement struct {
	task   *task
	result *store.Result // of the task; its riders' are the same but for the id
	token  bool          // it holds a place in flight
}

// giveUp hands a row to the writer without a result: it stays pending.
func (r *run) giveUp(t *task, token bool) { r.settle(t, nil, token) }

// settle ends a row's way.
func (r *run) settle(t *task, res *store.Result, token bool) {
	t.body.drop()
	r.results <- settlement{t, res, token}
}

// gather makes one task of the rows that share an outcome.
func gather(rows []*task) *task {
	t := rows[0]
	t.riders = append(t.riders, rows[1:]...)
	return t
}

// fetchLoop is one fetcher: it makes one attempt at a time, and never sleeps between two. The queue takes a place in
// flight for the row that it hands out, so that when the stages behind are busy no row's fetch begins.
func (r *run) fetchLoop() {
	for {
		r.waitOut()
		ticket, ok := r.queue.Next(r.draining)
		if !ok {
			return
		}
		if !r.attempt(ticket) {
			r.leave(1)
		}
	}
}

// enter takes a place in flight, if there is one.
func (r *run) enter() bool {
	select {
	case r.inflight <- struct{}{}:
		return true
	default:
		return false
	}
}

// leave gives places in flight back.
func (r *run) leave(n int) {
	for range n {
		<-r.inflight
	}
	r.queue.Offer()
}

// attempt makes one attempt for a row. It tells whether the row took the place in flight along.
func (r *run) attempt(k *host.Ticket[*task]) (took bool) {
	t := k.Value
	ctx := t.lease.ctx
	if k.Dead != nil {
		t.attempts = k.Attempt()
		res := failure(t.attempts, k.Dead)
		r.settle(gather(k.Done(host.Verdict{})), &res, true)
		return true
	}
	var b *fetch.Body
	var err error
	t.started = time.Now()
	r.stats.Fetching.measure(func() (bytes int) {
		if b, err = r.Fetcher.Fetch(ctx, t.row.URL, &t.memory); err == nil {
			bytes = len(b.Bytes)
			t.memory.finish()
		} else {
			t.memory.clear()
		}
		return bytes
	})
	t.attempts = k.Attempt()

	var fe *fetch.Error
	verdict := host.VerdictOf(err)
	switch {
	case err == nil:
		t.body = body{bytes: b.Bytes, status: b.Status, finalURL: b.FinalURL, release: b.Release}
		t = gather(k.Done(verdict))
		select {
		case r.fetched <- t:
		case <-r.hard.Done():
			r.giveUp(t, true)
		}
		return true
	case ctx.Err() != nil:
		verdict = host.Verdict{} // we cut it short
	case errors.Is(err, fetch.ErrLostWaiting):
		// The next attempt begins when there is room for all of it: it will not have to wait again.
		t.memory.first = r.Fetcher.MostMemory()
		if k.Back(0) {
			return false
		}
	case !errors.As(err, &fe):
		r.Log.Error("the fetcher gave no reason", "url", fetch.Redact(t.row.URL), "error", err)
	case store.Reason(fe.Reason).Retried(fe.Status) && t.attempts <= r.Retries && r.draining.Err() == nil:
		r.stats.Retries.Add(1)
		if k.Retry(verdict, fetch.Backoff(t.attempts, fe.RetryAfter)) {
			return false
		}
	default:
		// The queue believes a failure when it is sure that it was not our own outage; that may take a while.
		res := failure(t.attempts, fe)
		k.Fail(verdict, func(sure bool, rows []*task) {
			if sure {
				r.settle(gather(rows), &res, false)
			} else {
				r.giveUp(gather(rows), false)
			}
		})
		return false
	}
	r.giveUp(gather(k.Done(verdict)), true)
	return true
}
