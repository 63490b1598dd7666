package host

import (
	"container/list"
	"math"
	"time"

	"facescan/pipeline/fetch"
)

const (
	firstLimit = 8 // after the first answer
	badStreak  = 6 // rounds of errors in a row that count against the host, not its URLs

	// A host that has never answered is dead after deadAfter failures in a row without a sign of life. One
	// that has answered gets more tries, since it may only have many URLs that hang. Waiting is slow, but
	// failing rows of a live host is wrong.
	deadAfter   = 5
	deadSurely  = 10  // even if no other host answered meanwhile
	deadTries   = 100 // of a host that has answered,
	deadSilence = 10 * time.Minute
	firstProbe  = 30 * time.Second // a dead host is tried again after this long, again, then twice as long
	lastProbe   = 5 * time.Minute  // each time, up to this
	// failures from which on a host gets few requests at once: one if it has never answered,
	weakAfter = 3
	weakLimit = 4 // else this many
)

// unlimited is a limit that is none.
var unlimited = math.Inf(1)

// state is the state of a host. The queue's mutex guards it.
type state[T any] struct {
	name           string
	retries, fresh fifo[*item[T]] // waiting rows: those that have been tried, and others
	turn           bool           // of retries
	items          int            // rows of different URLs, wherever they are
	fast, slow     int            // requests under way, by lane

	ready *fifo[*state[T]] // the queue's list that it is in
	alarm time.Time        // when it is scheduled again
	idle  *list.Element    // in the queue's list of hosts without rows

	noRobotsUntil time.Time // its robots.txt cannot be had until then

	pace pace // how many requests per second it may get

	// How many at once.
	most     float64   // --per-host
	limit    float64   // grows by one per answer up to the value after a halving, then by one per round
	half     float64   // value after the latest halving
	before   float64   // and before a pause
	cut      uint64    // requests up to this one were out before the latest halving
	errors   int       // rounds of failed requests without a later success
	round    uint64    // requests up to this one belong to the latest of them
	goodSent time.Time // when the latest request that was answered went out

	// Whether it lives.
	proven    bool // it has answered
	answered  time.Time
	fails     int       // without a sign of life; those that were out together count as one
	tries     int       // the same, each counted
	failed    time.Time // the latest failure that counted
	failing   time.Time // since
	dead      *fetch.Error
	probes    int
	nextProbe time.Time
}

// request describes a request that was sent.
type request struct {
	seq   uint64
	first bool // attempt of its row
	at    time.Time
	rate  int  // see pace.sent
	above bool // the ceiling
}

func newState[T any](name string, perHost int) *state[T] {
	h := &state[T]{name: name, most: float64(perHost), limit: 1, half: unlimited}
	if perHost <= 0 {
		h.most = unlimited
	}
	if name == "" {
		h.most, h.limit = unlimited, unlimited
	}
	return h
}

func (h *state[T]) waiting() int { return h.retries.len() + h.fresh.len() }

// pop takes out the next row: alternately one that was tried before and a fresh one. Of a failing host it
// takes a random fresh one, so that the host does not count as bad, or dead, for a few bad URLs in a row.
func (h *state[T]) pop() *item[T] {
	h.turn = !h.turn
	failing := h.errors > 0 && h.dead == nil
	if h.fresh.len() == 0 || h.retries.len() > 0 && h.turn && !failing {
		return h.retries.pop()
	}
	if failing {
		h.fresh.shuffle()
	}
	return h.fresh.pop()
}

// may reports whether the host's next row may go now; free means without a request, since the host is dead.
// If not, at is when to check again; zero means after one of its requests has ended.
func (h *state[T]) may(now time.Time) (ok, free bool, at time.Time) {
	switch {
	case h.waiting() == 0:
		return false, false, time.Time{}
	case h.dead != nil:
		return h.fast+h.slow == 0, now.Before(h.nextProbe), time.Time{}
	case float64(h.fast+h.slow) >= h.most || h.load() >= h.limit:
		return false, false, time.Time{}
	}
	at = h.pace.next(now)
	return at.IsZero(), false, at
}

// load is the number of requests that counts towards the adaptive limit. Slow requests count a quarter: fully
// counted, a few would stop the host; not counted, a slow host would get ever more requests.
func (h *state[T]) load() float64 {
	if !h.proven {
		return float64(h.fast + h.slow)
	}
	return float64(h.fast) + float64(h.slow)/4
}

// learn updates the state with the result of a request. others is when any host answered last; newest is the
// number of the latest request.
func (h *state[T]) learn(v Verdict, r request, now, others time.Time, newest uint64) {
	if h.name == "" {
		return
	}
	if v.Pause > 0 {
		h.noRobotsUntil = now.Add(v.Pause)
		h.pace.postpone(h.noRobotsUntil)
	}
	switch v.Kind {
	case Answered:
		if !h.proven {
			h.limit = min(firstLimit, h.most)
		}
		h.alive(now)
		h.errors = 0
		if r.at.After(h.goodSent) {
			h.goodSent = r.at
		}
		h.pace.answered(r, now)
		h.grow()
	case Busy:
		before := h.limit
		switch h.pace.refused(r, v.RetryAfter, now, h.fast, !h.proven) {
		case ofHost:
			h.halve(r.seq, newest)
			h.before = before
		case neverOfHost:
			h.limit, h.half = max(h.limit, h.before), unlimited
		}
		h.alive(now)
	case Trouble, Refused, Silent:
		h.failure(v, r, now, others, newest)
	}
}

func (h *state[T]) alive(now time.Time) {
	h.proven, h.answered = true, now
	h.fails, h.tries, h.probes, h.dead = 0, 0, 0, nil
}

func (h *state[T]) grow() {
	switch {
	case h.limit > 2*float64(h.fast+h.slow)+8: // far above the present use
		return
	case h.limit < h.half:
		h.limit++
	default:
		h.limit += 1 / h.limit
	}
	h.limit = min(h.limit, h.most)
}

// halve halves the limit, once for all requests that were out at that time.
func (h *state[T]) halve(seq, newest uint64) {
	if seq > h.cut {
		h.cut = newest
		h.limit = max(1, h.limit/2)
		h.half = h.limit
	}
}

// failure updates the state with an error. A repeated error, or one before a later success, counts against
// its URL; several rounds of errors in a row count against the host.
func (h *state[T]) failure(v Verdict, r request, now, others time.Time, newest uint64) {
	if v.Kind == Trouble {
		h.alive(now)
	}
	if h.proven && (!r.first || r.at.Before(h.goodSent)) {
		return
	}
	if r.seq > h.round {
		h.errors++
		h.round = newest
	}
	if h.errors >= badStreak {
		h.halve(r.seq, newest)
	}
	if v.lifeless() {
		h.lifeless(v, r.at, now, others)
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
			wait = 0 // the timeout was a pause already
		}
	}
	h.limit, h.half = min(h.limit, limit), unlimited
	h.pace.postpone(now.Add(wait))
	sure := h.fails >= deadSurely || h.fails >= deadAfter && (v.Kind == Refused || others.After(h.failing))
	if h.proven {
		sure = sure && h.tries >= deadTries && now.Sub(h.answered) >= deadSilence
	}
	if sure {
		h.dead = v.Err
		h.nextProbe = now.Add(firstProbe)
	}
}

// forgive clears failures that are explained by an outage.
func (h *state[T]) forgive() {
	if h.fails > 0 {
		h.fails, h.tries, h.probes, h.dead, h.errors = 0, 0, 0, nil, 0
		if !h.pace.paused {
			h.pace.until = time.Time{}
		}
	}
}
