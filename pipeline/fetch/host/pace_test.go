package host

import (
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// TestWait: Retry-After is obeyed up to a limit, and pauses in a row double from minPause to 64 times that. A
// pause is never shortened.
func TestWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		pauses           int
		retryAfter, want time.Duration
	}{
		{1, 0, minPause}, {2, 0, 2 * minPause}, {3, 0, 4 * minPause}, {7, 0, 64 * minPause},
		{8, 0, 64 * minPause}, {1, 30 * time.Second, 30 * time.Second}, {7, 30 * time.Second, 64 * minPause},
		{1, time.Hour, fetch.MaxRetryAfter},
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
		{0, 0, false}, {0, missMax, false}, {1, 0, false}, {1, missMax - 1, false}, {1, missMax, true},
		{surely - 1, 0, false}, {surely, 0, true},
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
		{"the third, not long after", third(recent), first, false, ofHost},
		{"the third, long after", third(recent + 1), first, false, ofURL},
		{"again after a pause", pace{pauses: 1}, first, false, ofHost},
		{"second refusal of a URL", pace{}, request{}, true, ofURL},
		{"second refusal of a URL under a ceiling", capped(pace{}), request{}, true, ofHost},
		{"in a pause", pace{paused: true, pauses: 1}, first, true, ofURL},
		{"excused", pace{served: request{rate: 30, at: ago(recent)}}, first, true, ofURL},
		{"excused long ago", pace{served: request{rate: 30, at: ago(recent + 1)}}, first, true, ofHost},
		{"a lower rate", pace{served: request{rate: 17, at: ago(recent)}}, first, true, ofHost},
		{"about URLs for a while", pace{ownUntil: now.Add(1), streak: ownStreak - 2}, first, true, ofURL},
		{"no longer", pace{ownUntil: now}, first, true, ofHost},
		{"too many in a row", pace{ownUntil: now.Add(1), streak: ownStreak - 1}, first, true, ofHost},
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
		missed := p.missed
		if got := p.refused(c.r, 0, now, 0, c.isNew); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
		if above := c.r.above; above != (p.missed > missed) || p.lastRefusal != c.r.at && !c.r.at.IsZero() {
			t.Errorf("%s: missed %d, was %d; the last at %v", c.what, p.missed, missed, p.lastRefusal)
		}
		switch c.want {
		case ofHost:
			if !p.paused || p.pauses != c.p.pauses+1 || !p.until.After(now) ||
				p.unexcused+p.below+p.answers > 0 || !p.holds.Equal(now.Add(ceilFor)) ||
				(p.ceiling == 5) != (c.p.ceiling == 5) {
				t.Errorf("%s: %+v", c.what, p)
			}
		case neverOfHost:
			if p.paused || p.capped(now) || !p.ownUntil.Equal(now.Add(ceilFor)) {
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
	if at := p.next(start.Add(time.Second / 4)); !at.Equal(start.Add(span)) {
		t.Errorf("the next after %v, want %v", at.Sub(start), span)
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
	p.missed = missMax // confirmed
	if p.answered(request{at: start.Add(time.Minute), above: true}, start); p.ceiling != 5 {
		t.Errorf("a confirmed ceiling was raised to %d", p.ceiling)
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
