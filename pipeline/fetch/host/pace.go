package host

import "time"

const (
	minPause = time.Second      // after a 429 that does not say how long
	maxPause = 5 * time.Minute  // the longest Retry-After that is honoured
	ceilFor  = 10 * time.Minute // a ceiling holds

	// span is what counts as a second towards a ceiling: what leaves here evenly does not arrive so.
	span = 1050 * time.Millisecond

	fewTimes  = 3                // as many 429s are not their URLs' own, if nothing excuses them,
	ownStreak = 8                // and as many in a row are never
	recent    = 10 * time.Second // what was served so long ago excuses nothing
	burst     = 250 * time.Millisecond
	missMax   = 3  // requests above a ceiling that were refused, one after the other, make it sure,
	surely    = 10 // and so does its height
)

// pace is how often a host may be asked. It learns from 429s, of which there are two kinds: some mean the
// host's rate, some only the URL.
//
// A few 429s are their URLs' own if requests at a higher pace are answered. Else the host is meant: it is not
// asked for as long as it wants, and what it took in its last clean second is its ceiling from then on, for
// ten minutes. A low ceiling may only show that little was asked, so it is tried with one request more a
// second, until such are refused three times in a row. And when the 429s go on below the ceiling as they did
// above, the pace was never the cause: then they are taken for the URLs' own, until many come in a row.
type pace struct {
	until time.Time // it is not asked before

	log  fifo[time.Time] // requests of the last span,
	vain fifo[time.Time] // and those of them that were refused

	// Whose 429s are.
	streak   int       // 429s in a row
	open     int       // 429s that nothing has excused,
	first429 request   // the first of them,
	margin   int       // and how many were under way when it came
	served   request   // answered lately at the highest pace
	ownUntil time.Time // they are their URLs' own

	// What it takes.
	paused         bool
	pauses         int   // in a row
	second         int64 // the clock's, in which the latest answered request went out
	within, before int   // requests that went out in that second and in the one before, and were answered

	ceiling  int // requests a second, until
	holds    time.Time
	missed   int       // requests above it that were refused, one after the other
	lastVain time.Time // when the latest refused request went out
	below    int       // 429s below it,
	answers  int       // and answers
}

// capped tells whether a ceiling holds.
func (p *pace) capped(now time.Time) bool { return now.Before(p.holds) }

// sure tells whether the ceiling is not too low.
func (p *pace) sure() bool { return p.ceiling >= surely || p.ceiling > 0 && p.missed >= missMax }

// most is how many requests may go out in a second: one more than the ceiling while it is not sure.
func (p *pace) most() int {
	if p.sure() {
		return p.ceiling
	}
	return p.ceiling + 1
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

// inSpan counts the requests of the last span, and forgets older ones.
func (p *pace) inSpan(now time.Time) int {
	for _, l := range []*fifo[time.Time]{&p.log, &p.vain} {
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

// sent notes that a request goes out. Under a ceiling they go evenly. It returns at which pace, requests a
// second without those that were refused, and whether that is above the ceiling.
func (p *pace) sent(now time.Time) (rate int, above bool) {
	p.log.push(now)
	p.inSpan(now)
	all := inSecond(&p.log, now)
	if p.capped(now) {
		above = all > p.ceiling
		p.until = now.Add(time.Second / time.Duration(p.most()))
	}
	return all - inSecond(&p.vain, now), above
}

// answered takes in that a request was answered, and so that its pace was served.
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
	if p.open > 0 && excuses(r, p.first429, p.margin) {
		p.open = 0
	}
	p.answers++
	if r.above && !p.sure() && r.at.Sub(p.lastVain) > time.Second {
		p.ceiling, p.missed = p.ceiling+1, 0
	}
}

// turn goes on to a later second.
func (p *pace) turn(second int64) {
	p.before = 0
	if second == p.second+1 {
		p.before = p.within
	}
	p.second, p.within = second, 0
}

// refused takes in a 429, while so many requests are under way. A host that is new has not answered yet.
func (p *pace) refused(r request, retryAfter time.Duration, now time.Time, underWay int, isNew bool) refusal {
	p.vain.push(r.at)
	if r.at.After(p.lastVain) {
		p.lastVain = r.at
	}
	if p.paused {
		p.wait(now, retryAfter)
		return ofURL
	}
	if p.streak++; p.streak < ownStreak && now.Before(p.ownUntil) || !r.first && !p.capped(now) {
		return ofURL // that a URL is refused once more tells nothing new about its host
	}
	if p.capped(now) {
		if r.above {
			p.missed++
			return ofURL
		}
		if p.below++; p.below >= 2 && p.answers >= 2*p.below {
			p.holds, p.ownUntil, p.open = now, now.Add(ceilFor), 0
			return neverOfHost
		}
	}
	switch {
	case now.Sub(p.served.at) <= recent && excuses(p.served, r, underWay):
		return ofURL
	case p.open == 0 || now.Sub(p.first429.at) > recent:
		p.open, p.first429, p.margin = 0, r, underWay
	}
	p.open++
	if !isNew && p.pauses == 0 && p.open < fewTimes {
		return ofURL
	}
	p.paused = true
	if s := r.at.Unix(); s > p.second { // so that answers on their way are counted up to this second
		p.turn(s)
	}
	if !p.capped(now) {
		p.ceiling = 1 << 30 // until the pause is over
	}
	p.holds, p.ownUntil = now.Add(ceilFor), time.Time{}
	p.missed, p.open, p.below, p.answers = 0, 0, 0, 0
	p.pauses++
	p.wait(now, retryAfter)
	return ofHost
}

// excuses tells whether an answer shows that a 429 was not for the pace. Requests that go out together do not
// arrive in their order, so that among them only a difference of all that were under way counts.
func excuses(answer, refused request, underWay int) bool {
	margin := underWay + 2
	if d := answer.at.Sub(refused.at); d > burst || d < -burst {
		margin = 8
	}
	return answer.rate >= refused.rate+margin
}

// refusal is what a 429 turned out to mean.
type refusal int

const (
	ofURL       refusal = iota // the URL, or nothing new
	ofHost                     // the host: the pace falls
	neverOfHost                // the URL, and so did those for which the pace fell
)

// wait lets the host alone for as long as it asked for, and longer each time in a row.
func (p *pace) wait(now time.Time, retryAfter time.Duration) {
	p.postpone(now.Add(min(max(retryAfter, minPause<<min(p.pauses-1, 6)), maxPause)))
}

func (p *pace) postpone(t time.Time) {
	if t.After(p.until) {
		p.until = t
	}
}

// resume ends a pause that has run out. Seconds are the clock's, as they are to many servers; to one that
// counts otherwise this is less than it would take, never more.
func (p *pace) resume(now time.Time) {
	if p.paused && !now.Before(p.until) {
		p.paused = false
		p.ceiling = min(p.ceiling, max(p.within, p.before))
	}
}
