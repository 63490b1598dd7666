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
		{"too few", Refused, 3, 0, time.Second, 0, false},
		{"refusals", Refused, 4, 0, -time.Second, 0, true},
		{"silence while others answer", Silent, 4, 0, time.Second, 0, true},
		{"silence of all", Silent, 4, 0, -time.Second, 0, false},
		{"long silence of all", Silent, 9, 0, -time.Second, 0, true},
		{"of a host that answered", Refused, 10, 98, 0, 10 * time.Minute, false},
		{"of a host that answered lately", Refused, 10, 99, 0, 10*time.Minute - 1, false},
		{"of a host that answered long ago", Refused, 10, 99, 0, 10 * time.Minute, true},
	} {
		h := newState[int]("a", 8)
		h.fails, h.tries, h.failing = c.fails, c.tries, start
		now := start.Add(time.Hour)
		if c.quiet > 0 {
			h.proven, h.answered = true, now.Add(-c.quiet)
		}
		why := &fetch.Error{Reason: fetch.Connect}
		h.lifeless(Verdict{Kind: c.kind, Err: why}, start, now, start.Add(c.others))
		if (h.dead == why) != c.dead || c.dead && !h.nextProbe.Equal(now.Add(30*time.Second)) {
			t.Errorf("%s: dead %v, want %t; next probe %v", c.what, h.dead, c.dead, h.nextProbe.Sub(now))
		}
	}
}

// TestPauseOfSilentHost: a host that never answered gets pauses that double from the third failure on, up to
// 32 seconds.
func TestPauseOfSilentHost(t *testing.T) {
	t.Parallel()
	for fails, want := range map[int]time.Duration{2: 0, 3: time.Second, 4: 2 * time.Second,
		8: 32 * time.Second,
		9: 32 * time.Second} {
		h, now := newState[int]("a", 8), time.Now()
		h.fails = fails - 1
		if h.lifeless(Verdict{Kind: Silent}, now, now,
			now.Add(-time.Hour)); want == 0 != h.pace.until.IsZero() ||
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
		for silent, cause := range map[int]string{1: "one host did not answer",
			3: "3 hosts in a row did not answer"} {
			s := newSim(Options{Probe: probe}, 16, func(host, url string) error {
				if host[0] == 'g' {
					time.Sleep(timeout + time.Duration(host[4]-'0')*time.Second)
					return &fetch.Error{Reason: fetch.DNSNotFound}
				}
				return l.serve(host, url)
			})
			begin := time.Now()
			for i := range 9 - silent {
				s.add(t, fmt.Sprint("gone", i+1), 1)
			}
			for i := range silent {
				s.add(t, fmt.Sprint("silent", i), 2)
			}
			time.Sleep(time.Minute)
			if n := s.count(fetch.DNSNotFound); n != 9-silent || s.completed() != n {
				t.Errorf("%d of %d, %d outcomes", n, 9-silent, s.completed())
			}
			// Of nine hosts seven are left when the second one is gone.
			if o := s.Outage(); !o.On || o.Cause != cause || o.Since.Sub(begin) != timeout+2*time.Second {
				t.Errorf("%+v after %v", o, o.Since.Sub(begin))
			}
			s.Stop()
			s.workers.Wait()
		}
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
		{0, 0, 2}, {0, 20, 22}, {250 * time.Millisecond, 20, 22}, {-250 * time.Millisecond, 20, 22},
		{250*time.Millisecond + 1, 20, 8}, {-250*time.Millisecond - 1, 20, 8},
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
	for hosts, ours := range map[int]bool{7: false, 8: true} {
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

// TestGrow: each answer raises the limit by one up to the value after a halving, then by one per round, as
// long as it is not far above what is in use.
func TestGrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit      float64
		fast, slow int
		half, most float64
		want       float64
	}{
		{8, 0, 0, 99, 99, 9}, {9, 0, 0, 99, 99, 9}, {8.5, 0, 0, 99, 99, 8.5}, {14, 1, 2, 99, 99, 15},
		{14.5, 1, 2, 99, 99, 14.5}, {3, 1, 0, 4, 99, 4}, {4, 1, 0, 4, 99, 4.25}, {8, 4, 0, 4, 99, 8.125},
		{16, 9, 0, 99, 16, 16}, {15.5, 9, 0, 99, 16, 16},
	} {
		h := newState[int]("a", 0)
		h.limit, h.fast, h.slow, h.half, h.most = c.limit, c.fast, c.slow, c.half, c.most
		if h.grow(); h.limit != c.want {
			t.Errorf("%+v: %v", c, h.limit)
		}
	}
}

// TestHalve: the limit is halved once for all requests that were out, and never below one.
func TestHalve(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit float64
		seq   uint64
		want  float64
	}{{8, 5, 8}, {8, 6, 4}, {3, 6, 1.5}, {1.5, 6, 1}, {1, 6, 1}} {
		h := newState[int]("a", 0)
		h.limit, h.cut = c.limit, 5
		h.halve(c.seq, 20)
		halved := c.seq > 5
		if h.limit != c.want || halved != (h.cut == 20) || halved != (h.half == c.want) {
			t.Errorf("%+v: limit %v, up to %d, half %v", c, h.limit, h.cut, h.half)
		}
	}
}

// TestLearnAnswer: an answer opens a new host, forgets its failures, and notes when it was requested.
func TestLearnAnswer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		proven  bool
		perHost int
		limit   float64
	}{{false, 0, 9}, {false, 4, 4}, {true, 0, 2}} {
		for _, later := range []bool{false, true} {
			h := newState[int]("a", c.perHost)
			h.proven, h.errors, h.fails, h.tries, h.probes, h.dead = c.proven, 3, 3, 3, 3, silent
			h.goodSent = now
			r := request{at: now.Add(-time.Second)}
			want := now
			if later {
				r.at = now.Add(time.Second)
				want = r.at
			}
			h.learn(answered, r, now, now, 9)
			if h.limit != c.limit || !h.proven || h.errors+h.fails+h.tries+h.probes != 0 || h.dead != nil ||
				!h.answered.Equal(now) || !h.goodSent.Equal(want) {
				t.Errorf("%+v, later %t: %+v", c, later, h)
			}
		}
	}
}

// TestLearnBusy: when 429s turn out to be about the host the limit is halved; when they never were, it is
// what it was before.
func TestLearnBusy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := newState[int]("a", 0)
	h.proven, h.limit, h.fails, h.tries = true, 12, 2, 2
	busy := VerdictOf(tooMany)
	for i := range 3 {
		h.learn(busy, request{seq: uint64(i + 1), first: true, at: now}, now, now, 3)
	}
	if h.limit != 6 || h.before != 12 || !h.pace.paused || h.fails+h.tries != 0 || !h.answered.Equal(now) {
		t.Errorf("after three: %+v", h)
	}
	h.pace.paused, h.pace.below, h.pace.answers = false, 1, 4
	h.learn(busy, request{seq: 9, first: true, at: now}, now, now, 9)
	if h.limit != 12 || h.half != unlimited || h.pace.paused {
		t.Errorf("when it was never about the host: %+v", h)
	}
}

// TestFailuresInARow: those that were out together count once, since the first of them the host is failing;
// tries are counted each.
func TestFailuresInARow(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	h := newState[int]("a", 0)
	h.failed = at(5) // before it last answered
	for _, x := range []struct{ start, end, fails, failing int }{
		{1, 11, 1, 1}, {2, 12, 1, 1}, {11, 20, 2, 1}, {19, 21, 2, 1}, {20, 22, 3, 1},
	} {
		tries := h.tries
		h.lifeless(VerdictOf(silent), at(x.start), at(x.end), at(0))
		if h.fails != x.fails || !h.failing.Equal(at(x.failing)) || h.tries != tries+1 {
			t.Errorf("%+v: %d failures since %v, %d tries", x, h.fails, h.failing.Sub(now), h.tries)
		}
	}
}

// TestWeakHost: from the third failure on a host gets few requests at once, and pauses, unless a time-out was
// one already.
func TestWeakHost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		fails  int // before
		proven bool
		kind   Kind
		limit  float64
		wait   time.Duration
	}{
		{1, false, Refused, 8, 0}, {2, false, Refused, 1, time.Second}, {2, false, Silent, 1, time.Second},
		{1, true, Refused, 8, 0}, {2, true, Refused, 4, time.Second}, {3, true, Refused, 4, 2 * time.Second},
		{2, true, Silent, 4, 0},
	} {
		h := newState[int]("a", 0)
		h.limit, h.proven, h.fails, h.half, h.pace.until = 8, c.proven, c.fails, 2, now
		h.lifeless(Verdict{Kind: c.kind}, now, now, now)
		if h.limit != c.limit || h.pace.until.Sub(now) != c.wait || (h.half == 2) != (c.limit == 8) {
			t.Errorf("%+v: limit %v, half %v, for %v", c, h.limit, h.half, h.pace.until.Sub(now))
		}
	}
}

// TestProbesOfDeadHost: its tries come ever less often, up to every five minutes, and one at a time.
func TestProbesOfDeadHost(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := newState[int]("a", 0)
	h.dead, h.fails = silent, 5
	for i, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute,
		5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		h.lifeless(VerdictOf(silent), now, now, now)
		if got := h.nextProbe.Sub(now); got != want {
			t.Errorf("try %d: the next after %v, want %v", i, got, want)
		}
	}
	if ok, _, _ := h.may(now); ok {
		t.Error("a request without a row")
	}
	h.fresh.push(&item[int]{})
	for _, c := range []struct {
		fast, slow int
		after      time.Duration
		ok, free   bool
	}{
		{0, 0, 0, true, true}, {0, 0, 5*time.Minute - 1, true, true}, {0, 0, 5 * time.Minute, true, false},
		{1, 0, 0, false, true}, {0, 1, 0, false, true}, {1, 1, 0, false, true},
	} {
		h.fast, h.slow = c.fast, c.slow
		if ok, free, at := h.may(now.Add(c.after)); ok != c.ok || ok && free != c.free || !at.IsZero() {
			t.Errorf("%+v: may %t, free %t, at %v", c, ok, free, at)
		}
	}
}

// TestPop: rows that were tried before and fresh ones go in turn, each in their order. A failing host gives
// fresh ones first, by chance.
func TestPop(t *testing.T) {
	t.Parallel()
	pops := func(errors int, dead *fetch.Error, retries, fresh int) (order []string) {
		h := newState[int]("a", 0)
		h.errors, h.dead = errors, dead
		for i := range retries {
			h.retries.push(&item[int]{url: fmt.Sprint("r", i)})
		}
		for i := range fresh {
			h.fresh.push(&item[int]{url: fmt.Sprint("f", i)})
		}
		for h.waiting() > 0 {
			order = append(order, h.pop().url)
		}
		return order
	}
	for _, c := range []struct {
		errors         int
		dead           *fetch.Error
		retries, fresh int
		want           string
	}{
		{0, nil, 2, 3, "[r0 f0 r1 f1 f2]"}, {0, nil, 3, 1, "[r0 f0 r1 r2]"}, {1, nil, 2, 1, "[f0 r0 r1]"},
		{1, silent, 2, 3, "[r0 f0 r1 f1 f2]"}, {0, nil, 0, 2, "[f0 f1]"}, {0, nil, 1, 0, "[r0]"},
		{1, nil, 1, 0, "[r0]"},
	} {
		if got := fmt.Sprint(pops(c.errors, c.dead, c.retries, c.fresh)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	inOrder := fmt.Sprint(pops(0, nil, 0, 100))
	if byChance := fmt.Sprint(pops(1, nil, 0, 100)); inOrder == byChance {
		t.Errorf("fresh rows of a failing host go in order: %s", byChance)
	}
}

// TestFifo: a queue gives what came first, and memory back.
func TestFifo(t *testing.T) {
	t.Parallel()
	var f fifo[int]
	for i := range 20 {
		f.push(i)
	}
	for i := range 10_000 {
		f.push(20 + i)
		if got := f.pop(); got != i || f.len() != 20 || f.first() != i+1 {
			t.Fatalf("%d came as number %d, %d are left", got, i, f.len())
		}
	}
	if cap(f.s) > 256 {
		t.Errorf("room for %d to hold 20", cap(f.s))
	}
	for range 2000 {
		f.push(0)
	}
	for f.len() > 0 {
		f.pop()
	}
	if cap(f.s) > 0 {
		t.Errorf("room for %d to hold none", cap(f.s))
	}
}
