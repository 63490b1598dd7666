package host

import (
	"time"

	"facescan/pipeline/fetch"
)

const (
	minPause = time.Second      // after a 429 that does not say how long
	ceilFor  = 10 * time.Minute // a ceiling holds

	// span is the length of a second for a ceiling. It is slightly longer, since requests sent evenly do not
	// arrive evenly.
	span = 1050 * time.Millisecond

	fewTimes  = 3                // this many 429s count against the host, if nothing excuses them,
	ownStreak = 8                // and this many in a row always do
	recent    = 10 * time.Second // older answers excuse nothing
	burst     = 250 * time.Millisecond
	missMax   = 3  // this many refused requests in a row above a ceiling confirm it,
	surely    = 10 // and so does this height
)

// pace is a host's rate of requests. It learns from 429s, of which some are about the host's rate, some only
// about the URL.
//
// A few 429s are about their URLs if requests at a higher rate are answered. Otherwise they are about the
// host: it gets no request until Retry-After, and then a ceiling for ten minutes, which is the number of
// requests it answered in its last second without a 429. A low ceiling may only show that few requests were
// sent, so it is tested with one request more per second, until those are refused three times in a row. If
// 429s continue below the ceiling as above, the rate was never the cause: then they count as the URLs', until
// many come in a row.
type pace struct {
	until time.Time // no request before this

	log      fifo[time.Time] // requests of the last span,
	refusals fifo[time.Time] // and those of them that were refused

	// Whether 429s are about the host.
	streak    int       // 429s in a row
	unexcused int       // 429s without an excuse,
	first429  request   // the first of them,
	margin    int       // and how many were under way when it came
	served    request   // answered lately at the highest pace
	ownUntil  time.Time // 429s are about their URLs until then

	// The ceiling.
	paused         bool
	pauses         int   // in a row
	second         int64 // the clock's, in which the latest answered request went out
	within, before int   // requests that went out in that second and in the one before, and were answered

	ceiling     int // requests per second, until
	holds       time.Time
	missed      int       // requests above it that were refused in a row
	lastRefusal time.Time // when the latest refused request went out
	below       int       // 429s below it,
	answers     int       // and answers
}

// capped reports whether a ceiling holds.
func (p *pace) capped(now time.Time) bool { return now.Before(p.holds) }

// sure reports whether the ceiling is confirmed.
func (p *pace) sure() bool { return p.ceiling >= surely || p.ceiling > 0 && p.missed >= missMax }

// most is how many requests may be sent per second: one more than an unconfirmed ceiling.
func (p *pace) most() int {
	if p.sure() {
		return p.ceiling
	}
	return p.ceiling + 1
}

// perSecond is how many requests may be sent per second now; 0 for no ceiling.
func (p *pace) perSecond(now time.Time) int {
	if p.paused || !p.capped(now) {
		return 0
	}
	return p.most()
}

// next is when the next request may go out; zero for now.
func (p *pace) next(now time.Time) time.Time {
	switch {
	case now.Before(p.until):
		return p.until
	case p.capped(now) && p.inSpan(now) >= p.most():
		return p.log.first().Add(span)
	}
	return time.Time{}
}

// inSpan counts the requests of the last span, and drops older ones.
func (p *pace) inSpan(now time.Time) int {
	for _, l := range []*fifo[time.Time]{&p.log, &p.refusals} {
		for l.len() > 0 && now.Sub(l.first()) >= span {
			l.pop()
		}
	}
	return p.log.len()
}

// inSecond counts the times of the last second in a log that begins with the last span.
func inSecond(log *fifo[time.Time], now time.Time) int {
	n := log.len()
	for _, t := range log.s[log.head:] {
		if now.Sub(t) < time.Second {
			break
		}
		n--
	}
	return n
}

// sent records that a request is sent; under a ceiling the next one is delayed, so that they go evenly. It
// returns the rate, in requests per second without those that were refused, and whether that is above the
// ceiling.
func (p *pace) sent(now time.Time) (rate int, above bool) {
	p.log.push(now)
	p.inSpan(now)
	all := inSecond(&p.log, now)
	if p.capped(now) {
		above = all > p.ceiling
		p.until = now.Add(time.Second / time.Duration(p.most()))
	}
	return all - inSecond(&p.refusals, now), above
}

// answered records an answer, which shows that the host accepts the request's rate.
func (p *pace) answered(r request, now time.Time) {
	p.streak = 0
	switch s := r.at.Unix(); {
	case s == p.second:
		p.within++
	case s == p.second-1:
		p.before++
	case s > p.second && !p.paused:
		p.turn(s)
		p.within = 1
	}
	if p.paused {
		return
	}
	p.pauses = 0
	if r.rate >= p.served.rate || now.Sub(p.served.at) > recent {
		p.served = r
	}
	if excuses(r, p.first429, p.margin) {
		p.unexcused = 0
	}
	p.answers++
	if r.above && !p.sure() && r.at.Sub(p.lastRefusal) > time.Second {
		p.ceiling, p.missed = p.ceiling+1, 0
	}
}

// turn moves to a later second.
func (p *pace) turn(second int64) {
	p.before = 0
	if second == p.second+1 {
		p.before = p.within
	}
	p.second, p.within = second, 0
}

// refused records a 429, with the number of requests under way. isNew means that the host has not answered
// yet.
func (p *pace) refused(r request, retryAfter time.Duration, now time.Time, underWay int, isNew bool) refusal {
	p.refusals.push(r.at)
	if r.at.After(p.lastRefusal) {
		p.lastRefusal = r.at
	}
	if p.paused {
		p.wait(now, retryAfter)
		return ofURL
	}
	if p.streak++; p.streak < ownStreak && now.Before(p.ownUntil) || !r.first && !p.capped(now) {
		return ofURL // a second refusal of a URL says nothing new about its host
	}
	if p.capped(now) {
		if r.above {
			p.missed++
			return ofURL
		}
		if p.below++; p.below >= 2 && p.answers >= 2*p.below {
			p.holds, p.ownUntil, p.unexcused = now, now.Add(ceilFor), 0
			return neverOfHost
		}
	}
	switch {
	case now.Sub(p.served.at) <= recent && excuses(p.served, r, underWay):
		return ofURL
	case p.unexcused == 0 || now.Sub(p.first429.at) > recent:
		p.unexcused, p.first429, p.margin = 0, r, underWay
	}
	p.unexcused++
	if !isNew && p.pauses == 0 && p.unexcused < fewTimes {
		return ofURL
	}
	p.paused = true
	if s := r.at.Unix(); s > p.second { // so that pending answers count up to this second
		p.turn(s)
	}
	if !p.capped(now) {
		p.ceiling = 1 << 30 // until the pause is over
	}
	p.holds, p.ownUntil = now.Add(ceilFor), time.Time{}
	p.missed, p.unexcused, p.below, p.answers = 0, 0, 0, 0
	p.pauses++
	p.wait(now, retryAfter)
	return ofHost
}

// excuses reports whether an answer shows that a 429 was not about the rate. Requests sent together may
// arrive in any order, so their rates must differ by more than the number under way.
func excuses(answer, refused request, underWay int) bool {
	margin := underWay + 2
	if d := answer.at.Sub(refused.at); d > burst || d < -burst {
		margin = 8
	}
	return answer.rate >= refused.rate+margin
}

// refusal is the meaning of a 429.
type refusal int

const (
	ofURL       refusal = iota // the URL, or nothing new
	ofHost                     // the host: the rate falls
	neverOfHost                // the URL, and so were those for which the rate fell
)

// wait pauses requests to the host for Retry-After, and longer each time in a row.
func (p *pace) wait(now time.Time, retryAfter time.Duration) {
	p.postpone(now.Add(min(max(retryAfter, minPause<<min(p.pauses-1, 6)), fetch.MaxRetryAfter)))
}

func (p *pace) postpone(t time.Time) {
	if t.After(p.until) {
		p.until = t
	}
}

// resume ends a pause that is over. The ceiling counts by seconds of the clock, as many servers do; for
// others it is too low, never too high.
func (p *pace) resume(now time.Time) {
	if p.paused && !now.Before(p.until) {
		p.paused = false
		p.ceiling = min(p.ceiling, max(p.within, p.before))
	}
}
