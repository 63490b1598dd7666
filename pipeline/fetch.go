package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// fetcher is the stage that downloads rows. Many loops of it run at once.
type fetcher struct {
	client interface {
		Fetch(ctx context.Context, url string, memory fetch.Memory) (*fetch.Body, error)
		MostMemory() int64
	}
	queue    *host.Queue[*task]
	out      chan<- *task
	complete completed
	files    *fileReader
	leave    func(n int) // gives places in flight back
	life     *lifecycle
	outages  *outages
	retries  int // further attempts after a transient failure
	stats    *Stats
	log      *slog.Logger
}

// loop makes one attempt at a time, and never sleeps between two. The queue takes a place in flight for the
// row that it hands out, so that when the stages behind are busy no row's fetch begins.
func (f *fetcher) loop() {
	for {
		f.outages.waitOut(f.life.draining, ofDetector)
		ticket, ok := f.queue.Next(f.life.draining)
		if !ok {
			return
		}
		if !f.attempt(ticket) {
			f.leave(1)
		}
	}
}

// attempt makes one attempt for a row. It reports whether the row took the place in flight along.
func (f *fetcher) attempt(k *host.Ticket[*task]) (took bool) {
	t := k.Value
	if k.Dead != nil {
		t.attempts = k.Attempt()
		res := failure(t.attempts, k.Dead)
		f.complete.complete(join(k.Done(host.Verdict{})), &res, true)
		return true
	}
	if f.files.waits(t) && k.Back(fileWait) {
		return false
	}
	body, err := f.fetch(k)
	t.attempts = k.Attempt()
	verdict := host.VerdictOf(err)
	if k.Host == "" {
		verdict = host.Verdict{} // a file, or no URL: that shows nothing about any host
	}
	if err != nil {
		return f.failed(k, verdict, err)
	}
	if t.lease.ctx.Err() == nil {
		f.files.note(nil, t)
	}
	t.body = body
	t = join(k.Done(verdict))
	select {
	case f.out <- t:
	case <-f.life.hard.Done():
		f.complete.giveUp(t, true)
	}
	return true
}

// fetch gets the bytes of a row.
func (f *fetcher) fetch(k *host.Ticket[*task]) (body *fetch.Body, err error) {
	t := k.Value
	ctx := t.lease.ctx
	t.started = time.Now()
	if f.log.Enabled(ctx, LevelRow) {
		f.log.Log(ctx, LevelRow, "fetching", "id", t.row.ID, "host", k.Host, "attempt", k.Attempt())
	}
	f.stats.Fetching.measure(func() int {
		if t.file != nil {
			body, err = f.files.read(ctx, t)
		} else {
			body, err = f.client.Fetch(ctx, t.row.URL, &t.memory)
		}
		if err != nil {
			t.memory.clear()
			return 0
		}
		t.memory.finish()
		return len(body.Bytes)
	})
	return body, err
}

// failed has a row tried again later, or completes it: with its outcome, or without one when the failure is
// not its own. It reports whether the row took the place in flight along.
func (f *fetcher) failed(k *host.Ticket[*task], verdict host.Verdict, err error) (took bool) {
	t := k.Value
	ended, draining := t.lease.ctx.Err() != nil, f.life.draining.Err() != nil
	var gone *fetch.GoneError
	isGone := errors.As(err, &gone)
	if !ended {
		f.files.note(gone, t)
	}
	var fe *fetch.Error
	hasReason := errors.As(err, &fe)
	retried := hasReason && store.Reason(fe.Reason).Retried(fe.Status) && !draining
	switch {
	case ended:
		verdict = host.Verdict{} // we cut it short
	case isGone:
		if k.Back(fileWait) {
			return false
		}
	case errors.Is(err, fetch.ErrLostWaiting):
		// The next attempt begins when there is room for all of it: it will not have to wait again.
		t.memory.first = f.client.MostMemory()
		if k.Back(0) {
			return false
		}
	case t.file != nil && !hasReason:
		f.life.abort(fmt.Errorf("note what the file of row %d looks like: %w", t.row.ID, err))
	case !hasReason:
		f.log.Error("the fetcher gave no reason", "url", store.Redact(t.row.URL), "error", err)
	case retried && fe.Wait > 0:
		f.log.Debug("row postponed", "url", store.Redact(t.row.URL), "cause", fe.Err,
			"for", fe.Wait.Round(time.Millisecond))
		if k.Postpone(verdict, fe.Wait) {
			return false
		}
	case retried && fe.Robots == fetch.NoRobots && t.attempts <= f.retries:
		f.stats.Retries.Add(1)
		wait := fetch.Backoff(t.attempts, fe.RetryAfter)
		f.log.Debug("retrying", "id", t.row.ID, "host", k.Host, "reason", fe.Reason, "http_status", fe.Status,
			"attempt", t.attempts, "in", wait.Round(time.Millisecond))
		if k.Retry(verdict, wait) {
			return false
		}
	default:
		// The queue takes a failure as the row's own when it is sure that it was not our own outage; that may
		// take a while.
		res := failure(t.attempts, fe)
		k.Fail(verdict, func(sure bool, rows []*task) {
			if sure {
				f.complete.complete(join(rows), &res, false)
			} else {
				f.complete.giveUp(join(rows), false)
			}
		})
		return false
	}
	f.complete.giveUp(join(k.Done(verdict)), true)
	return true
}
