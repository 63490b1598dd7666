package host

import (
	"container/list"
	"math"
	"time"

	"facescan/pipeline/fetch"
)

const (
	firstLimit = 8 // after the first answer
	badStreak  = 8 // errors in a row are the host's and not their URLs'

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

	minPause  = time.Second             // after a 429 that does not say how long
	maxPause  = 5 * time.Minute         // the longest Retry-After that is honoured
	ceilFor   = 10 * time.Minute        // a ceiling holds
	span      = 1050 * time.Millisecond // no more than the ceiling go out in this, since what leaves evenly does not arrive so
	missMax   = 3                       // requests above the ceiling that were refused, one after the other: then it is sure
	recent    = 10 * time.Second
	ownStreak = 8 // 429s in a row are never URLs' own
	fewTimes  = 3 // as many 429s among answers are their URLs' own
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
	most     float64   // --per-host
	limit    float64   // grows by one an answer up to slowStart, then by one a round
	slow1st  float64   // where the latest halving left it
	errors   int       // rows in a row whose first attempt went wrong, and none sent later did better
	goodSent time.Time // when the latest request that was answered went out
	cut      uint64    // tickets up to this one were out before the latest halving
	proven   bool      // it has answered
	answered time.Time

	// How often.
	notBefore time.Time
	log       fifo[time.Time] // requests of the last second,
	vain      fifo[time.Time] // and those of them that were refused
	paused    bool
	pauses    int       // in a row
	refused   int       // 429s lately that nothing excuses,
	excuseAt  int       // the pace at which an answer excuses them,
	refusal   time.Time // and when the latest was
	served    int       // the highest pace that was answered
	servedAt  time.Time
	second    int64 // in which the latest answered request went out
	now, last int   // how many went out, and were answered, in that second and in the one before
	ceiling   int   // requests a second, until ceilUntil
	ceilUntil time.Time
	missed    int       // requests above the ceiling that were refused, one after the other
	against   int       // 429s under the ceiling, which speak against it,
	in        int       // among so many requests
	streak    int       // 429s in a row
	lastVain  time.Time // when the latest refused request went out
	ownUntil  time.Time // 429s are their URLs' own

	// Whether it lives.
	fails     int       // without a sign of life; those that were out together count as one
	tries     int       // the same, each counted
	failed    time.Time // the latest failure that counted
	failing   time.Time // since
	dead      *fetch.Error
	probes    int
	nextProbe time.Time
}

// request is what is known about one that went out.
type request struct {
	seq   uint64
	first bool // attempt of its row
	at    time.Time
	pace  int  // how many went out within a second, with it, and were not refused
	above bool // above the ceiling, to see whether that is too low
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

// pop takes out the row that goes next: one that was tried before. But of a host that fails, any other: it must not
// count as bad, or dead, for a few bad URLs that stand together.
func (h *state[T]) pop() *item[T] {
	switch failing := h.errors > 0 && h.dead == nil; {
	case h.again.len() > 0 && !(failing && h.fresh.len() > 0):
		return h.again.pop()
	case failing:
		h.fresh.shuffle()
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
	case h.capped(now) && h.inSpan(now) >= h.most1s():
		return false, false, h.log.first().Add(span)
	}
	return true, false, time.Time{}
}

// load is what counts towards the limit. Slow requests count a quarter, or a few of them would stop the whole host; but
// they count, since a host that is slow must not get ever more requests for it.
func (h *state[T]) load() float64 {
	if !h.proven {
		return float64(h.fast + h.slow)
	}
	return float64(h.fast) + float64(h.slow)/4
}

// capped tells whether a ceiling holds.
func (h *state[T]) capped(now time.Time) bool { return now.Before(h.ceilUntil) }

// most1s is how many requests may go out in a second under the ceiling: one more than it while it is not sure.
func (h *state[T]) most1s() int {
	if h.missed >= missMax {
		return max(h.ceiling, 1)
	}
	return h.ceiling + 1
}

// inSpan counts the requests of the last span, and forgets older ones.
func (h *state[T]) inSpan(now time.Time) int {
	for h.log.len() > 0 && now.Sub(h.log.first()) >= span {
		h.log.pop()
	}
	for h.vain.len() > 0 && now.Sub(h.vain.first()) >= span {
		h.vain.pop()
	}
	return h.log.len()
}

// within counts the times of the last second; at most those of the last span are there.
func within(log *fifo[time.Time], now time.Time) int {
	n := log.len()
	for _, t := range log.s[log.head:] {
		if now.Sub(t) < time.Second {
			break
		}
		n--
	}
	return n
}

// sent notes that a request goes out. Under a ceiling they go evenly.
func (h *state[T]) sent(now time.Time) request {
	h.log.push(now)
	h.inSpan(now)
	all := within(&h.log, now)
	r := request{at: now, pace: all - within(&h.vain, now)}
	if h.capped(now) {
		r.above = all > h.ceiling
		h.notBefore = now.Add(time.Second / time.Duration(h.most1s()))
	}
	return r
}

// learn takes in how a request ended. others is when any host answered last; newest is the latest ticket given out.
func (h *state[T]) learn(v Verdict, r request, now, others time.Time, newest uint64) {
	if h.name == "" {
		return
	}
	switch v.Kind {
	case Answered:
		if !h.proven {
			h.limit = min(firstLimit, h.most)
		}
		h.alive(now)
		h.errors, h.streak = 0, 0
		if r.at.After(h.goodSent) {
			h.goodSent = r.at
		}
		h.count(r, now)
		h.grow()
	case Busy:
		proven := h.proven
		h.alive(now)
		h.tooOften(v, r, now, newest, proven)
	case Trouble, Refused, Silent:
		if v.Kind == Trouble {
			h.alive(now)
		}
		if h.proven && (!r.first || r.at.Before(h.goodSent)) {
			return // it is its URL's: that it fails again tells nothing new, nor when others sent later were answered
		}
		if v.lifeless() {
			h.lifeless(v, r.at, now, others)
		}
		if h.errors++; h.errors >= badStreak {
			h.halve(r.seq, newest)
		}
	}
}

func (h *state[T]) alive(now time.Time) {
	h.proven, h.answered = true, now
	h.fails, h.tries, h.probes, h.dead = 0, 0, 0, nil
}

func (h *state[T]) grow() {
	switch {
	case h.errors >= badStreak || h.limit > 2*float64(h.fast+h.slow)+8: // in trouble, or far above what is made use of
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

// count takes in that a request was answered, and so that its pace was served.
func (h *state[T]) count(r request, now time.Time) {
	switch s := r.at.Unix(); {
	case s == h.second:
		h.now++
	case s == h.second-1:
		h.last++
	case s > h.second && !h.paused:
		if s > h.second+1 {
			h.now = 0
		}
		h.second, h.last, h.now = s, h.now, 1
	}
	if h.paused {
		return
	}
	h.pauses = 0
	if r.pace >= h.served || now.Sub(h.servedAt) > recent {
		h.served, h.servedAt = r.pace, now
	}
	if r.pace >= h.excuseAt {
		h.refused = 0
	}
	h.in++
	if r.above && h.missed < missMax && r.at.Sub(h.lastVain) > time.Second {
		h.ceiling, h.missed = h.ceiling+1, 0
	}
}

// tooOften takes in a 429. A few are their URLs' own if the host answers others at a higher pace, and then only those
// rows wait. Else the host is meant: it is not asked for as long as it wants, its limit is halved, and what it took in
// its last clean second is its ceiling from then on. The ceiling is tried with one request more; when such are
// refused some times in a row it is sure, and holds.
func (h *state[T]) tooOften(v Verdict, r request, now time.Time, newest uint64, proven bool) {
	h.vain.push(r.at)
	if r.at.After(h.lastVain) {
		h.lastVain = r.at
	}
	if h.paused {
		h.until(now, v.RetryAfter)
		return
	}
	if h.streak++; h.streak < ownStreak && now.Before(h.ownUntil) || !r.first && !h.capped(now) {
		return // that a URL is refused once more tells nothing new about its host
	}
	if h.capped(now) {
		if r.above {
			h.missed++
			return
		}
		// A host that refuses as many at a pace it served is not to be had by a lower one.
		if h.against++; h.against >= 2 && h.in >= 2*h.against {
			h.ceilUntil, h.ownUntil, h.refused = now, now.Add(ceilFor), 0
			return
		}
	}
	margin := max(h.fast+h.slow+1, 2) // what is under way may be refused yet
	switch {
	case h.served >= r.pace+margin && now.Sub(h.servedAt) <= recent:
		return
	case h.refused == 0 || now.Sub(h.refusal) > recent:
		h.refused, h.excuseAt = 0, r.pace+margin
	}
	h.refused++
	h.refusal = now
	if proven && h.pauses == 0 && h.refused < fewTimes {
		return
	}
	h.paused = true
	if s := r.at.Unix(); s > h.second { // so that answers on their way are counted up to this second
		if s > h.second+1 {
			h.now = 0
		}
		h.second, h.last, h.now = s, h.now, 0
	}
	if !h.capped(now) {
		h.ceiling = 1 << 30 // until the pause is over
	}
	h.missed = 0
	h.ceilUntil, h.ownUntil = now.Add(ceilFor), time.Time{}
	h.refused, h.against, h.in = 0, 0, 0
	h.halve(r.seq, newest)
	h.pauses++
	h.until(now, v.RetryAfter)
}

func (h *state[T]) until(now time.Time, wait time.Duration) {
	wait = max(wait, minPause<<min(h.pauses-1, 6))
	if t := now.Add(min(wait, maxPause)); t.After(h.notBefore) {
		h.notBefore = t
	}
}

// resume ends a pause that has run out. Seconds are the clock's, as they are to many servers; for one that counts
// otherwise this is less than it would take, never more.
func (h *state[T]) resume(now time.Time) {
	if !h.paused || now.Before(h.notBefore) {
		return
	}
	h.paused = false
	h.ceiling = min(h.ceiling, max(h.now, h.last))
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
		h.fails, h.tries, h.probes, h.dead, h.errors = 0, 0, 0, nil, 0
		if !h.paused {
			h.notBefore = time.Time{}
		}
	}
}
