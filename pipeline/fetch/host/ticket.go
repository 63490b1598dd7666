package host

import (
	"container/list"
	"errors"
	"time"

	"facescan/pipeline/fetch"
)

// ErrStopped means that the queue accepts no more rows.
var ErrStopped = errors.New("the queue is stopped")

// Ticket is the right to make one attempt for a row. It ends with one call of Done, Retry, Back or Fail.
type Ticket[T any] struct {
	Host, URL string
	Value     T
	// Dead is set when the host is dead: the row has failed for this reason, without an attempt. End it with
	// Done.
	Dead *fetch.Error

	q        *Queue[T]
	item     *item[T]
	start    time.Time
	request  request
	turn     time.Time     // of its host's next row, by Options.Delay; zero without one
	place    *list.Element // in a lane
	slow     bool
	unproven bool // its host had never answered
}

// Attempt is the number of this attempt, from 1. Void attempts do not count, so the number is final only at
// the attempt's end. For a row of a dead host it is how many attempts were made.
func (t *Ticket[T]) Attempt() int {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	if t.Dead != nil {
		return t.item.spent
	}
	return t.item.spent + 1
}

// Done ends the row with an outcome and returns all rows that share it, its own first.
func (t *Ticket[T]) Done(v Verdict) []T {
	q := t.q
	q.mu.Lock()
	completed := q.end(t, v, time.Now())
	rows := q.finish(t.item)
	q.outage.fewer(q)
	q.mu.Unlock()
	completed.run()
	return rows
}

// Retry requeues the row for another attempt. False means that the queue is stopped: then end the ticket with
// Done.
func (t *Ticket[T]) Retry(v Verdict, wait time.Duration) bool { return t.requeue(v, wait, true) }

// Postpone is Retry for an attempt that does not count, since the row was not requested.
func (t *Ticket[T]) Postpone(v Verdict, wait time.Duration) bool {
	if v.Pause > 0 {
		wait = 0 // its host waits for it
	}
	return t.requeue(v, wait, false)
}

func (t *Ticket[T]) requeue(v Verdict, wait time.Duration, counts bool) bool {
	q := t.q
	q.mu.Lock()
	if q.stopped {
		q.mu.Unlock()
		return false
	}
	now := time.Now()
	completed := q.end(t, v, now)
	spent := 0
	if counts {
		spent = 1
	}
	t.item.spent += spent
	switch q.outage.assess(q, t, v, now) {
	case void:
		t.item.spent -= spent
		wait = max(wait, voidWait)
	case unsure:
		q.outage.hold(q, held[T]{item: t.item, spent: spent, host: t.Host, at: now}, v)
	}
	q.out--
	q.requeue(t.item, now, wait)
	q.mu.Unlock()
	completed.run()
	return true
}

// Back requeues the row for a reason unrelated to its host; the attempt does not count. False means the same
// as for Retry.
func (t *Ticket[T]) Back(wait time.Duration) bool { return t.requeue(Verdict{}, wait, false) }

// Fail ends the row with a failure, unless that turns out to be an outage. commit(true, rows) is called with
// the rows that share the outcome, the row's own first: at once, or from another goroutine within about ten
// seconds. In an outage the row is requeued and commit is not called. If the queue is stopped before this is
// decided, commit(false, rows) is called: the rows stay pending.
func (t *Ticket[T]) Fail(v Verdict, commit func(sure bool, rows []T)) {
	q := t.q
	q.mu.Lock()
	now := time.Now()
	completed := q.end(t, v, now)
	t.item.spent++
	switch assessment := q.outage.assess(q, t, v, now); {
	case assessment == sure:
		rows := q.finish(t.item)
		completed = append(completed, func() { commit(true, rows) })
		q.outage.fewer(q)
	case q.stopped:
		rows := q.finish(t.item)
		completed = append(completed, func() { commit(false, rows) })
	case assessment == void:
		t.item.spent--
		q.out--
		q.requeue(t.item, now, voidWait)
	default:
		q.outage.hold(q, held[T]{item: t.item, spent: 1, host: t.Host, at: now, commit: commit}, v)
	}
	q.mu.Unlock()
	completed.run()
}

// end frees the ticket's places and learns from the attempt.
func (q *Queue[T]) end(t *Ticket[T], v Verdict, now time.Time) calls {
	h := t.item.host
	switch {
	case t.Dead != nil:
		return nil
	case t.slow:
		q.slow.Remove(t.place)
		h.slow--
		q.demote(now)
	default:
		q.fast.Remove(t.place)
		h.fast--
		q.more.Signal()
	}
	if t.unproven {
		q.unprovenOut--
	}
	var completed calls
	if v.Kind != Silent && v.Kind != Ours && v.spoke() {
		completed = q.outage.answered(q, t, now)
	}
	if !q.outage.certain {
		q.heard(h, v, t.request, now)
	}
	switch d := q.delay(h); {
	case d > 0 && !v.NotRequested:
		h.pace.postpone(t.start.Add(d)) // it may not have been known then
	case v.NotRequested && h.pace.until.Equal(t.turn):
		h.pace.until = time.Time{} // the next row may take this one's turn
	}
	q.schedule(h, now)
	return completed
}

// finish removes the item from the queue.
func (q *Queue[T]) finish(it *item[T]) []T {
	q.out--
	delete(q.byURL, it.url)
	it.host.items--
	q.schedule(it.host, time.Now())
	if !q.stopped {
		q.waiting -= len(it.rows) - it.taken
		q.room.Broadcast()
	}
	if q.through() {
		q.more.Broadcast()
	}
	return it.rows
}

// calls are functions to run once the queue is unlocked.
type calls []func()

func (c calls) run() {
	for _, f := range c {
		f()
	}
}
