package host

import (
	"context"
	"fmt"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// TestErrorsThatCount: an error of a host that has answered counts against it unless it is a URL's second, or
// was sent before a request that was answered. Errors of requests that were out together count once.
func TestErrorsThatCount(t *testing.T) {
	t.Parallel()
	good := time.Now()
	before, after := good.Add(-time.Second), good.Add(time.Second)
	for _, c := range []struct {
		what   string
		proven bool
		first  bool
		at     time.Time
		seq    uint64
		errors int
	}{
		{"first, sent later", true, true, after, 11, 1},
		{"first, sent at the same time", true, true, good, 11, 1},
		{"first, sent before", true, true, before, 11, 0},
		{"second, sent later", true, false, after, 11, 0},
		{"second, sent before", true, false, before, 11, 0},
		{"second of a new host", false, false, before, 11, 1},
		{"of a round that counted", true, true, after, 10, 0},
	} {
		h := newState[int]("a", 8)
		h.proven, h.goodSent, h.round = c.proven, good, 10
		h.failure(Verdict{Kind: Silent}, request{seq: c.seq, first: c.first, at: c.at}, after, good, 20)
		if h.errors != c.errors || c.errors > 0 && h.round != 20 {
			t.Errorf("%s: %d errors, want %d; round %d", c.what, h.errors, c.errors, h.round)
		}
	}
}

// TestDeadline: how many failures without a sign of life make a host dead.
func TestDeadline(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for _, c := range []struct {
		what   string
		kind   Kind
		fails  int // before
		tries  int // before
		others time.Duration
		quiet  time.Duration // since it answered; 0: it never did
		dead   bool
	}{
		{"too few", Refused, deadAfter - 2, 0, time.Second, 0, false},
		{"refusals", Refused, deadAfter - 1, 0, -time.Second, 0, true},
		{"silence while others answer", Silent, deadAfter - 1, 0, time.Second, 0, true},
		{"silence of all", Silent, deadAfter - 1, 0, -time.Second, 0, false},
		{"long silence of all", Silent, deadSurely - 1, 0, -time.Second, 0, true},
		{"of a host that answered", Refused, deadSurely, deadTries - 2, 0, deadSilence, false},
		{"of a host that answered lately", Refused, deadSurely, deadTries - 1, 0, deadSilence - 1, false},
		{"of a host that answered long ago", Refused, deadSurely, deadTries - 1, 0, deadSilence, true},
	} {
		h := newState[int]("a", 8)
		h.fails, h.tries, h.failing = c.fails, c.tries, start
		now := start.Add(time.Hour)
		if c.quiet > 0 {
			h.proven, h.answered = true, now.Add(-c.quiet)
		}
		why := &fetch.Error{Reason: fetch.Connect}
		h.lifeless(Verdict{Kind: c.kind, Err: why}, start, now, start.Add(c.others))
		if (h.dead == why) != c.dead || c.dead && !h.nextProbe.Equal(now.Add(firstProbe)) {
			t.Errorf("%s: dead %v, want %t; next probe %v", c.what, h.dead, c.dead, h.nextProbe.Sub(now))
		}
	}
}

// TestPauseOfSilentHost: a host that never answered gets pauses that double from the third failure on, up to
// 32 seconds.
func TestPauseOfSilentHost(t *testing.T) {
	t.Parallel()
	for fails, want := range map[int]time.Duration{2: 0, 3: time.Second, 4: 2 * time.Second, 8: 32 * time.Second,
		9: 32 * time.Second} {
		h, now := newState[int]("a", 8), time.Now()
		h.fails = fails - 1
		if h.lifeless(Verdict{Kind: Silent}, now, now, now.Add(-time.Hour)); want == 0 != h.pace.until.IsZero() ||
			want > 0 && h.pace.until.Sub(now) != want {
			t.Errorf("after failure %d: until %v", fails, h.pace.until.Sub(now))
		}
	}
}

// TestFewLeft: the silence of a few hosts is looked into at once when the others have no rows left.
func TestFewLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		probe := func(ctx context.Context, _ string) error { return l.probe(ctx, "http://silent/") }
		s := newSim(Options{Probe: probe}, 16, func(host, url string) error {
			if host[0] == 'g' {
				time.Sleep(timeout + time.Second)
				return &fetch.Error{Reason: fetch.DNSNotFound}
			}
			return l.serve(host, url)
		})
		for i := range 6 {
			s.add(t, fmt.Sprint("gone", i), 1)
			s.add(t, fmt.Sprint("silent", i/2), 1)
		}
		time.Sleep(time.Minute)
		if n := s.count(fetch.DNSNotFound); n != 6 || s.completed() != 6 || !s.Outage().On {
			t.Errorf("%d of 6, %d outcomes, %+v", n, s.completed(), s.Outage())
		}
		s.Stop()
		s.workers.Wait()
	})
}

// TestExcuses: an answer at a clearly higher rate shows that a 429 was not about the rate. Of requests that
// went out together the rates differ by more than the number under way, of others by eight.
func TestExcuses(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		apart    time.Duration
		underWay int
		least    int // difference of rates that excuses
	}{
		{0, 0, 2}, {0, 20, 22}, {burst, 20, 22}, {-burst, 20, 22}, {burst + 1, 20, 8}, {-burst - 1, 20, 8},
		{time.Minute, 0, 8},
	} {
		for _, d := range []int{0, c.least - 1, c.least, c.least + 1} {
			answer, refused := request{at: now.Add(c.apart), rate: 10 + d}, request{at: now, rate: 10}
			if got := excuses(answer, refused, c.underWay); got != (d >= c.least) {
				t.Errorf("%+v, a difference of %d: %t", c, d, got)
			}
		}
	}
}

// TestOneSlot: with a single place one request is under way at a time, and the place is taken then.
func TestOneSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Slots: 1})
		defer q.Stop()
		for i := range 2 {
			must(t, q.Add(t.Context(), fmt.Sprint("h", i), fmt.Sprint("u", i), i))
		}
		k, _ := q.Next(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok := q.Next(ctx); ok || !q.Load().Full {
			t.Errorf("a second request for one place: %t; %+v", ok, q.Load())
		}
		k.Done(Verdict{Kind: Answered})
		if _, ok := q.Next(t.Context()); !ok || q.Load().Full {
			t.Errorf("the last row, for a place that is free: %t; %+v", ok, q.Load())
		}
	})
}

// TestJobOfFewHosts: silence of all hosts of a job is theirs when they are fewer than eight. Of eight it may
// be our own, as long as no resolver is there to say otherwise.
func TestJobOfFewHosts(t *testing.T) {
	for hosts, ours := range map[int]bool{outageHosts - 1: false, outageHosts: true} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := linkSim(&link{}, func(o *Options) {
					o.Witnesses = drawing(map[string]int{"silent": hosts})
				})
				for i := range hosts {
					s.add(t, fmt.Sprint("silent", i), 1)
				}
				time.Sleep(time.Hour)
				if n := s.count(fetch.Timeout); ours && n != 0 || !ours && n != hosts {
					t.Errorf("%d of %d rows failed", n, hosts)
				}
				if s.Outage().On != ours {
					t.Errorf("%+v", s.Outage())
				}
				s.Stop()
				s.workers.Wait()
			})
		})
	}
}

// TestForgive: after an outage failures without a sign of life are forgotten, and the pause for them; other
// errors, and pauses that a host asked for, are not.
func TestForgive(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(time.Minute)
	for _, c := range []struct {
		fails        int
		paused       bool
		errors       int // left
		waits, alive bool
	}{{0, false, 3, true, false}, {1, false, 0, false, true}, {1, true, 0, true, true}} {
		h := newState[int]("a", 8)
		h.fails, h.tries, h.probes, h.errors, h.dead = c.fails, 9, 9, 3, silent
		h.pace.until, h.pace.paused = until, c.paused
		h.forgive()
		if h.errors != c.errors || h.pace.until.IsZero() == c.waits || (h.dead == nil) != c.alive ||
			h.fails != 0 || c.alive && h.tries+h.probes > 0 {
			t.Errorf("%+v: %d errors, until %v, dead %v", c, h.errors, h.pace.until, h.dead)
		}
	}
}

// TestHostsByRows: hosts are listed by what waits and is under way together, and no more than requested.
func TestHostsByRows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{PerHost: 8})
		defer q.Stop()
		add := func(host string, n int) {
			for i := range n {
				must(t, q.Add(t.Context(), host, fmt.Sprint(host, i), i))
			}
		}
		add("busy", 7)
		k, _ := q.Next(t.Context())
		k.Done(Verdict{Kind: Answered}) // which opens the host for more
		for range 4 {
			q.Next(t.Context())
		}
		add("b", 4)
		add("a", 4)
		add("few", 3)
		var got []string
		for _, i := range q.Hosts(9) {
			got = append(got, fmt.Sprint(i.Host, " ", i.Waiting, "+", i.InFlight))
		}
		if want := "[busy 2+4 a 4+0 b 4+0 few 3+0]"; fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
		if is := q.Hosts(2); len(is) != 2 || is[0].Limit != 8 || is[1].Limit != 1 {
			t.Errorf("%+v", is)
		}
	})
}

// TestIdleHosts: only so many hosts without rows are remembered, the latest.
func TestIdleHosts(t *testing.T) {
	t.Parallel()
	q := New[int](Options{})
	defer q.Stop()
	for i := range maxIdle + 10 {
		must(t, q.Add(t.Context(), fmt.Sprint("h", i), fmt.Sprint("u", i), i))
		k, _ := q.Next(t.Context())
		k.Done(Verdict{Kind: Answered})
	}
	if len(q.hosts) != 1<<16 || q.hosts["h9"] != nil || q.hosts["h10"] == nil || q.active() != 0 {
		t.Errorf("%d hosts are remembered, %d of them active", len(q.hosts), q.active())
	}
}
