package host

import (
	"testing"
	"time"
)

// TestWait: Retry-After is obeyed up to a limit, and pauses in a row double from a second to 64 times that. A
// pause is never shortened.
func TestWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		pauses           int
		retryAfter, want time.Duration
	}{
		{1, 0, time.Second}, {2, 0, 2 * time.Second}, {3, 0, 4 * time.Second}, {7, 0, 64 * time.Second},
		{8, 0, 64 * time.Second}, {1, 30 * time.Second, 30 * time.Second}, {7, 30 * time.Second,
			64 * time.Second},
		{1, time.Hour, 5 * time.Minute},
	} {
		p := pace{pauses: c.pauses}
		p.wait(now, c.retryAfter)
		if got := p.until.Sub(now); got != c.want {
			t.Errorf("pause %d after Retry-After %v: %v, want %v", c.pauses, c.retryAfter, got, c.want)
		}
		p.wait(now.Add(-time.Minute), c.retryAfter)
		if got := p.until.Sub(now); got != c.want {
			t.Errorf("pause %d was changed to %v by an older one", c.pauses, got)
		}
	}
}

// TestSureCeiling: a ceiling is confirmed by its height, or by refusals above it; without one there is
// nothing to confirm.
func TestSureCeiling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ceiling, missed int
		sure            bool
	}{
		{0, 0, false}, {0, 3, false}, {1, 0, false}, {1, 2, false}, {1, 3, true},
		{9, 0, false}, {10, 0, true},
	} {
		p := pace{ceiling: c.ceiling, missed: c.missed}
		most := c.ceiling
		if !c.sure {
			most++
		}
		if p.sure() != c.sure || p.most() != most {
			t.Errorf("ceiling %d, %d refused: sure %t, at most %d", c.ceiling, c.missed, p.sure(), p.most())
		}
	}
}

// TestMeaningOf429: whether a 429 is about its URL, the host, or shows that it never was about the host.
func TestMeaningOf429(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	first := request{first: true, rate: 10, at: ago(time.Second)}
	third := func(after time.Duration) pace { return pace{unexcused: 2, first429: request{at: ago(after)}} }
	with := func(change func(*request)) request { r := first; change(&r); return r }
	capped := func(p pace) pace { p.holds, p.ceiling = now.Add(time.Minute), 5; return p }
	fast := request{rate: 30, at: ago(time.Minute)} // answered, at a rate that excuses every 429 here
	for _, c := range []struct {
		what  string
		p     pace
		r     request
		isNew bool
		want  refusal
	}{
		{"the first of a new host", pace{}, first, true, ofHost},
		{"the second", pace{unexcused: 1, first429: first}, first, false, ofURL},
		{"the third", pace{unexcused: 2, first429: first}, first, false, ofHost},
		{"the third, not long after", third(10 * time.Second), first, false, ofHost},
		{"the third, long after", third(10*time.Second + 1), first, false, ofURL},
		{"again after a pause", pace{pauses: 1}, first, false, ofHost},
		{"second refusal of a URL", pace{}, request{}, true, ofURL},
		{"second refusal of a URL under a ceiling", capped(pace{}), request{}, true, ofHost},
		{"in a pause", pace{paused: true, pauses: 1}, first, true, ofURL},
		{"excused", pace{served: request{rate: 30, at: ago(10 * time.Second)}}, first, true, ofURL},
		{"excused long ago", pace{served: request{rate: 30, at: ago(10*time.Second + 1)}}, first, true,
			ofHost},
		{"a lower rate", pace{served: request{rate: 17, at: ago(10 * time.Second)}}, first, true, ofHost},
		{"about URLs for a while", pace{ownUntil: now.Add(1), streak: 6}, first, true, ofURL},
		{"no longer", pace{ownUntil: now}, first, true, ofHost},
		{"too many in a row", pace{ownUntil: now.Add(1), streak: 7}, first, true, ofHost},
		{"above the ceiling", capped(pace{}), with(func(r *request) { r.above = true }), true, ofURL},
		{"the first below", capped(pace{answers: 9}), first, true, ofHost},
		{"the second below, with answers", capped(pace{below: 1, answers: 4}), first, true, neverOfHost},
		{"the second below, with few", capped(pace{below: 1, answers: 3}), first, true, ofHost},
		{"the third below, with few", capped(pace{below: 2, answers: 5}), first, true, ofHost},
	} {
		p := c.p
		if p.served.rate == 0 {
			p.served = fast
		}
		missed, unexcused := p.missed, p.unexcused
		if got := p.refused(c.r, 0, now, 0, c.isNew); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
		if above := c.r.above; above != (p.missed > missed) || p.lastRefusal != c.r.at && !c.r.at.IsZero() {
			t.Errorf("%s: missed %d, was %d; the last at %v", c.what, p.missed, missed, p.lastRefusal)
		}
		switch c.want {
		case ofHost:
			if !p.paused || p.pauses != c.p.pauses+1 || !p.until.After(now) ||
				p.unexcused+p.below+p.answers > 0 || !p.holds.Equal(now.Add(10*time.Minute)) ||
				(p.ceiling == 5) != (c.p.ceiling == 5) {
				t.Errorf("%s: %+v", c.what, p)
			}
		case neverOfHost:
			if p.paused || p.capped(now) || !p.ownUntil.Equal(now.Add(10*time.Minute)) || p.unexcused != 0 {
				t.Errorf("%s: %+v", c.what, p)
			}
		case ofURL:
			if p.unexcused != unexcused && (p.first429 != c.r && unexcused == 0 ||
				p.unexcused > unexcused+1) {
				t.Errorf("%s: %+v", c.what, p)
			}
		}
	}
}

// TestCeiling: it is what was answered in the last second without a 429, requests under it go evenly, and
// answers above one that is not confirmed raise it.
func TestCeiling(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	var p pace
	for _, x := range []struct {
		second int64 // in which the request went out
		within int
		before int
	}{
		{1000, 1, 0}, {1000, 2, 0}, {1001, 1, 2}, {1000, 1, 3}, {1001, 2, 3}, {999, 2, 3}, {1003, 1, 0},
		{1004, 1, 1},
	} {
		p.answered(request{at: time.Unix(x.second, 5)}, start)
		if p.within != x.within || p.before != x.before {
			t.Fatalf("after an answer of second %d: %d within, %d before", x.second, p.within, p.before)
		}
	}
	p = pace{within: 3, before: 4, paused: true, ceiling: 1 << 30, until: start}
	if p.resume(start.Add(-1)); !p.paused {
		t.Error("the pause is over too early")
	}
	if p.resume(start); p.paused || p.ceiling != 4 || p.most() != 5 {
		t.Errorf("after the pause: %+v", p)
	}
	p.holds = start.Add(time.Minute)
	for i := range 6 { // within a second; the sixth is above what may be sent
		if _, above := p.sent(start.Add(time.Duration(i))); above != (i >= 4) {
			t.Errorf("request %d: above the ceiling %t", i, above)
		}
	}
	if at := p.next(start.Add(time.Second / 4)); !at.Equal(start.Add(1050 * time.Millisecond)) {
		t.Errorf("the next after %v, want %v", at.Sub(start), 1050*time.Millisecond)
	}
	if d := p.until.Sub(start.Add(5)); d != time.Second/5 {
		t.Errorf("%v between two requests, want a fifth of a second", d)
	}
	p.lastRefusal = start
	for _, x := range []struct {
		after   time.Duration
		above   bool
		ceiling int
	}{{time.Second, true, 4}, {time.Second + 1, false, 4}, {time.Second + 1, true, 5}} {
		if p.answered(request{at: start.Add(x.after), above: x.above}, start); p.ceiling != x.ceiling {
			t.Errorf("%+v: ceiling %d", x, p.ceiling)
		}
	}
	p.missed = 3 // confirmed
	if p.answered(request{at: start.Add(time.Minute), above: true}, start); p.ceiling != 5 {
		t.Errorf("a confirmed ceiling was raised to %d", p.ceiling)
	}
}

// TestRate: a request's rate counts those of the last second, itself included, without those that were
// refused. Under a ceiling the next one waits until fewer are in the span.
func TestRate(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var p pace
	for _, x := range []struct{ ms, rate int }{{0, 1}, {1, 2}, {500, 3}, {1000, 3}, {1001, 3}, {1499, 4},
		{3000, 1}} {
		if rate, above := p.sent(at(x.ms)); rate != x.rate || above {
			t.Errorf("at %d ms: a rate of %d, want %d; above %t", x.ms, rate, x.rate, above)
		}
	}
	p.refused(request{at: at(3000), first: true}, 0, at(3001), 0, false)
	if rate, _ := p.sent(at(3999)); rate != 1 {
		t.Errorf("a rate of %d, of which one was refused", rate)
	}
	if rate, _ := p.sent(at(4000)); rate != 2 {
		t.Errorf("a rate of %d; what was refused is a second old", rate)
	}
	p = pace{holds: at(60_000), ceiling: 2} // not confirmed: three may go
	for i := range 3 {
		if next := p.next(at(i)); !next.IsZero() {
			t.Errorf("request %d has to wait until %v", i, next.Sub(start))
		}
		p.log.push(at(i))
	}
	for ms, want := range map[int]time.Time{1049: at(1050), 3: at(1050)} {
		if next := p.next(at(ms)); !next.Equal(want) {
			t.Errorf("at %d ms the next is at %v, want %v", ms, next.Sub(start), want.Sub(start))
		}
	}
	if next := p.next(at(1050)); !next.IsZero() || p.log.len() != 2 {
		t.Errorf("after the span: %v, %d in it", next, p.log.len())
	}
}

// TestAnswersOfAPace: what an answer changes.
func TestAnswersOfAPace(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := pace{streak: 7, pauses: 3, unexcused: 1, first429: request{rate: 1, at: now}, answers: 4,
		ceiling: 5, missed: 2}
	if p.answered(request{rate: 9, at: now, above: true}, now); p.streak != 0 || p.pauses != 0 ||
		p.unexcused != 0 || p.answers != 5 || p.ceiling != 6 || p.missed != 0 {
		t.Errorf("%+v", p)
	}
	p = pace{paused: true, pauses: 3, streak: 7, second: now.Unix() - 1, within: 2}
	if p.answered(request{rate: 9, at: now}, now); p.streak != 0 || p.pauses != 3 || p.within != 2 ||
		p.served.rate != 0 {
		t.Errorf("in a pause: %+v", p)
	}
	for _, c := range []struct {
		rate  int
		since time.Duration // the answer at the highest rate
		taken bool
	}{{9, 0, false}, {10, 0, true}, {11, 0, true}, {9, 10 * time.Second, false}, {9, 10*time.Second + 1,
		true}} {
		p := pace{served: request{rate: 10, at: now.Add(-c.since), seq: 1}}
		if p.answered(request{rate: c.rate, at: now, seq: 2}, now); (p.served.seq == 2) != c.taken {
			t.Errorf("%+v: %+v", c, p.served)
		}
	}
	// A 429 of a later second begins that: answers still count up to it.
	for second, want := range map[int64][2]int{1000: {3, 1}, 1001: {0, 3}, 1002: {0, 0}} {
		p := pace{second: 1000, within: 3, before: 1}
		p.refused(request{at: time.Unix(second, 0), first: true}, 0, now, 0, true)
		if p.within != want[0] || p.before != want[1] || !p.paused {
			t.Errorf("a 429 of second %d: %d within, %d before, want %v", second, p.within, p.before, want)
		}
	}
}

// TestExcused: an answer at a higher rate shows that earlier 429s were not about the rate; one at a lower
// rate shows nothing.
func TestExcused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for rate, want := range map[int]int{30: 0, 1: 2} {
		p := pace{unexcused: 2, first429: request{rate: 10, at: now}}
		p.answered(request{rate: rate, at: now}, now)
		if p.unexcused != want {
			t.Errorf("after an answer at %d a second, %d count, want %d", rate, p.unexcused, want)
		}
	}
}
