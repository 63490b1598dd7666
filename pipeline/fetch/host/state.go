package host

import (
	"container/list"
	"math"
	"time"

	"facescan/pipeline/fetch"
)

const (
	// deadAfter failures one after the other, without a sign of life, a host that has never answered is dead. One
	// that has must be given more chances: it may only have many URLs that hang. Waiting is slow, but failing rows of
	// a host that lives is wrong.
	deadAfter   = 5
	deadSurely  = 10  // even if no other host answered meanwhile
	deadURLs    = 100 // of a host that has answered
	deadSilence = 10 * time.Minute
	firstProbe  = 30 * time.Second // a dead host is asked again after this long, then twice as long,
	lastProbe   = 5 * time.Minute  // up to this
	weakAfter   = 3                // failures, and it gets few requests at once: one if it has never answered,
	weakLimit   = 4                // else this many

	minPause = time.Second      // after a 429 that does not say how long
	maxPause = 5 * time.Minute  // the longest Retry-After that is honoured
	ceilFor  = 10 * time.Minute // a ceiling holds

	// headroom under the ceiling, since what leaves here evenly does not arrive so.
	headroom = 0.95
)

// state is what is known about a host. The queue's mutex guards it.
type state[T any] struct {
	name         string
	again, fresh fifo[*item[T]] // rows that may go; those that have been tried come first
	items        int            // rows of different URLs, wherever they are
	fast, slow   int            // attempts under way, by lane

	ready *fifo[*state[T]] // which of the queue's lists it stands in
	alarm time.Time        // it is looked at again then
	idle  *list.Element    // in the queue's list of hosts without rows

	// How many at once.
	most     float64 // --per-host
	limit    float64 // grows by one an answer up to slowStart, then by one a round
	slow1st  float64 // where the latest halving left it
	trouble  float64 // share of late attempts that went wrong
	cut      uint64  // tickets up to this one were out before the latest halving
	proven   bool    // it has answered
	answered time.Time

	// How often.
	notBefore time.Time
	pause     *pause
	ceiling   float64 // requests a second, 0 for none
	ceilUntil time.Time
	busy      int   // pauses in a row
	second    int64 // in which the latest answered request went out
	now, last int   // how many went out, and were answered, in that second and in the one before

	// Whether it lives.
	fails     int       // without a sign of life; those that were out together count as one
	tries     int       // the same, each counted
	failed    time.Time // the latest failure that counted
	failing   time.Time // since
	dead      *fetch.Error
	probes    int
	nextProbe time.Time
}

// pause is the time after a host said that it is asked too often.
type pause struct {
	ticket       uint64 // which it said that to
	answers, no  int    // to requests that went out later: were they answered, or refused for the same reason
	limit, share float64
}

func newState[T any](name string, perHost int) *state[T] {
	most := float64(perHost)
	if perHost <= 0 || name == "" {
		most = math.Inf(1)
	}
	h := &state[T]{name: name, most: most, limit: 1, slow1st: math.Inf(1)}
	if name == "" {
		h.limit = most
	}
	return h
}

func (h *state[T]) waiting() int { return h.again.len() + h.fresh.len() }

// pop takes out the row that goes next. Of a host that fails, any: it must not count as dead for a few bad URLs that
// stand together.
func (h *state[T]) pop() *item[T] {
	switch {
	case h.fails >= weakAfter && h.dead == nil && h.fresh.len() > 0:
		h.fresh.shuffle()
	case h.again.len() > 0:
		return h.again.pop()
	}
	return h.fresh.pop()
}

// may tells whether the host's next row may go now: free if it needs no request because the host is dead. If not,
// at is when to look again; zero means after one of its requests has ended.
func (h *state[T]) may(now time.Time) (ok, free bool, at time.Time) {
	switch {
	case h.waiting() == 0:
		return false, false, time.Time{}
	case h.dead != nil:
		return h.fast+h.slow == 0, now.Before(h.nextProbe), time.Time{}
	case h.load() >= h.limit:
		return false, false, time.Time{}
	case now.Before(h.notBefore):
		return false, false, h.notBefore
	}
	return true, false, time.Time{}
}

// load is what counts towards the limit. Slow requests count half, or a few of them would stop the whole host; but
// they count, since a host that is slow must not get ever more requests for it.
func (h *state[T]) load() float64 {
	if !h.proven {
		return float64(h.fast + h.slow)
	}
	return float64(h.fast) + float64(h.slow)/2
}

// sent notes that a request goes out.
func (h *state[T]) sent(now time.Time) {
	if h.ceiling == 0 {
		return
	}
	if !now.Before(h.ceilUntil) {
		h.ceiling = 0
		return
	}
	h.notBefore = now.Add(time.Duration(float64(time.Second) / (h.ceiling * headroom)))
}

// learn takes in how an attempt ended. others is when any host answered last; newest is the latest ticket given out.
func (h *state[T]) learn(v Verdict, seq uint64, start, now, others time.Time, newest uint64) {
	if h.name == "" {
		return
	}
	switch v.Kind {
	case Answered:
		h.alive(now)
		h.trouble *= 7. / 8
		h.count(start)
		h.grow()
		if h.pause == nil {
			h.busy = 0
		}
	case Busy:
		h.alive(now)
		h.tooOften(v, seq, start, now, newest)
	case Trouble, Refused, Silent:
		h.trouble += (1 - h.trouble) / 8
		if h.trouble > 0.5 {
			// A failure among answers is its URL's. When most fail, it is the host.
			h.halve(seq, newest)
		}
		switch {
		case v.lifeless():
			h.lifeless(v, start, now, others)
		case v.Kind == Trouble:
			h.alive(now)
		}
	}
	if h.pause != nil && seq > h.pause.ticket {
		h.reconsider(v)
	}
}

func (h *state[T]) alive(now time.Time) {
	h.proven, h.answered = true, now
	h.fails, h.tries, h.probes, h.dead = 0, 0, 0, nil
}

func (h *state[T]) grow() {
	switch {
	case h.trouble > 0.5 || h.limit > 2*float64(h.fast+h.slow)+8: // in trouble, or far above what is made use of
		return
	case h.limit < h.slow1st:
		h.limit++
	default:
		h.limit += 1 / h.limit
	}
	h.limit = min(h.limit, h.most)
}

// halve makes room, once for all requests that were out when it became clear.
func (h *state[T]) halve(seq, newest uint64) {
	if seq <= h.cut {
		return
	}
	h.cut = newest
	h.limit = max(1, h.limit/2)
	h.slow1st = h.limit
}

// count adds an answered request to the second it went out in.
func (h *state[T]) count(start time.Time) {
	switch s := start.Unix(); {
	case s == h.second:
		h.now++
	case s == h.second-1:
		h.last++
	case s == h.second+1 && h.pause == nil:
		h.second, h.last, h.now = s, h.now, 1
	case s > h.second && h.pause == nil:
		h.second, h.last, h.now = s, 0, 1
	}
}

// tooOften halves the limit, stops asking for as long as the host wants, and keeps a ceiling of what it took in its
// last clean second.
func (h *state[T]) tooOften(v Verdict, seq uint64, start, now time.Time, newest uint64) {
	if p := h.pause; p != nil {
		if seq > p.ticket {
			p.no++
		}
		h.until(now, v.RetryAfter)
		return
	}
	if s := start.Unix(); s > h.second { // so that later answers are counted up to this second
		if s == h.second+1 {
			h.last = h.now
		} else {
			h.last = 0
		}
		h.second, h.now = s, 0
	}
	h.pause = &pause{ticket: seq, limit: h.limit, share: h.slow1st}
	h.halve(seq, newest)
	h.busy++
	h.until(now, v.RetryAfter)
}

func (h *state[T]) until(now time.Time, wait time.Duration) {
	wait = max(wait, minPause<<min(h.busy-1, 6))
	if t := now.Add(min(wait, maxPause)); t.After(h.notBefore) {
		h.notBefore = t
	}
}

// reconsider lifts a pause when requests that went out after the refused one were answered: then it was that URL
// that was refused, not the host's rate.
func (h *state[T]) reconsider(v Verdict) {
	p := h.pause
	if v.Kind != Answered && v.Kind != Trouble {
		return
	}
	if p.answers++; p.answers >= 3+3*p.no {
		h.limit, h.slow1st = p.limit, p.share
		h.pause, h.busy, h.notBefore = nil, h.busy-1, time.Time{}
	}
}

// resume ends a pause that has run out, with its lesson.
func (h *state[T]) resume(now time.Time) {
	if h.pause == nil || now.Before(h.notBefore) {
		return
	}
	h.pause = nil
	c := float64(max(h.now, h.last))
	if h.ceiling > 0 {
		if c >= h.ceiling*0.85 { // it took what we allow ourselves, and so the refusal had another cause
			c = h.ceiling
		} else {
			c = max(1, min(max(c, h.ceiling*3/4), h.ceiling))
		}
	}
	if c > 0 { // else it has taken nothing yet, and one at a time with growing pauses has to do
		h.ceiling, h.ceilUntil = c, now.Add(ceilFor)
	}
}

// lifeless counts a failure without any sign of life.
func (h *state[T]) lifeless(v Verdict, start, now, others time.Time) {
	h.tries++
	if start.Before(h.failed) && h.fails > 0 {
		return
	}
	if h.fails == 0 {
		h.failing = start
	}
	h.fails++
	h.failed = now
	switch {
	case h.dead != nil:
		h.nextProbe = now.Add(min(firstProbe<<h.probes, lastProbe))
		h.probes = min(h.probes+1, 6)
		return
	case h.fails < weakAfter:
		return
	}
	limit, wait := 1., time.Second<<min(h.fails-weakAfter, 5)
	if h.proven {
		limit = weakLimit
		if v.Kind == Silent {
			wait = 0 // the silence was a pause
		}
	}
	h.limit, h.slow1st = min(h.limit, limit), math.Inf(1)
	if t := now.Add(wait); t.After(h.notBefore) {
		h.notBefore = t
	}
	sure := h.fails >= deadSurely || h.fails >= deadAfter && (v.Kind == Refused || others.After(h.failing))
	if h.proven {
		sure = sure && h.tries >= deadURLs && now.Sub(h.answered) >= deadSilence
	}
	if sure {
		h.dead = v.Err
		h.nextProbe = now.Add(firstProbe)
	}
}

// forgive forgets failures that an outage of our own explains.
func (h *state[T]) forgive() {
	if h.fails > 0 {
		h.fails, h.tries, h.probes, h.dead, h.trouble = 0, 0, 0, nil, 0
		if h.pause == nil {
			h.notBefore = time.Time{}
		}
	}
}
