package host

import "time"

// Load is how busy a Queue is at one moment.
type Load struct {
	Waiting int  // rows in the queue, those that wait for a further attempt included
	Full    bool // every place of the fast lane is taken while rows may go
	Starved bool // a place is free, rows wait, and none of them may go: see Blocked
}

// Load is the present one.
func (q *Queue[T]) Load() Load {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := Load{Waiting: q.waiting}
	if q.full() {
		l.Full = q.ready.len()+q.unproven.len() > 0
	} else {
		l.Starved = q.waiting > 0 && q.ready.len() == 0 && (q.unproven.len() == 0 || !q.trusting())
	}
	return l
}

// Waiting is that of Load.
func (q *Queue[T]) Waiting() int { return q.Load().Waiting }

// Starved is that of Load.
func (q *Queue[T]) Starved() bool { return q.Load().Starved }

// Cause is why a row waits although a request could be made.
type Cause int

const (
	NotBlocked  Cause = iota
	ByPerHost         // as many requests as --per-host allows are under way to its host
	ByLimit           // as many as its host is trusted to take at once
	ByCeiling         // its host takes so many requests per second
	ByPause           // its host wants no requests for a while
	ByRobots          // its robots.txt cannot be had now
	ByDelay           // its host wants so much time between two requests
	ByTrouble         // its host does not answer, or just did not
	ByRetry           // its next attempt is not due
	ByNewcomers       // hosts that have never answered keep all the places that such hosts may have
)

// Blocked says why most of the rows wait that may not go now.
type Blocked struct {
	Cause Cause
	Rows  int     // that wait for this cause
	Hosts int     // of them
	Host  string  // with most of them; empty for ByRetry
	Limit float64 // of the host: requests at once, or a second for ByCeiling, or seconds for ByDelay
	Until time.Time
}

// Blocked checks every host that has rows.
func (q *Queue[T]) Blocked() Blocked {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var causes [ByNewcomers + 1]struct {
		Blocked
		most int // rows of Host
	}
	for _, h := range q.hosts {
		n := h.waiting()
		if n == 0 {
			continue
		}
		c := q.blocked(h, now)
		of := &causes[c]
		of.Cause = c
		of.Rows += n
		of.Hosts++
		if n > of.most {
			of.most, of.Host, of.Until, of.Limit = n, h.name, h.pace.until, h.limit
			switch c {
			case ByCeiling:
				of.Limit = float64(h.pace.most())
			case ByDelay:
				of.Limit = q.delay(h).Seconds()
			case ByPerHost:
				of.Limit = h.most
			}
		}
	}
	for _, a := range q.alarms {
		if a.item != nil {
			causes[ByRetry].Cause = ByRetry
			causes[ByRetry].Rows += a.item.taken
		}
	}
	worst := Blocked{}
	for _, of := range causes[NotBlocked+1:] {
		if of.Rows > worst.Rows {
			worst = of.Blocked
		}
	}
	return worst
}

// blocked is why a host with rows gets no request.
func (q *Queue[T]) blocked(h *state[T], now time.Time) Cause {
	switch {
	case h.ready == &q.unproven && !q.trusting():
		return ByNewcomers
	case h.ready != nil:
		return NotBlocked
	case h.dead != nil:
		return ByTrouble
	case float64(h.fast+h.slow) >= h.most:
		return ByPerHost
	case now.Before(h.pace.until) && h.pace.paused:
		return ByPause
	case now.Before(h.noRobotsUntil):
		return ByRobots
	case now.Before(h.pace.until) && h.fails == 0 && q.delay(h) > 0:
		return ByDelay
	case now.Before(h.pace.until) && (h.fails > 0 || !h.pace.capped(now)): // under a ceiling each waits
		return ByTrouble
	case h.load() >= h.limit && h.proven:
		return ByLimit
	case h.load() >= h.limit:
		return ByNewcomers
	}
	return ByCeiling
}
