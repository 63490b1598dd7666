package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
)

// suspicion is a queue in which one row of each of so many hosts has just failed, which starts the probes.
type suspicion struct {
	*Queue[int]
	start time.Time

	mu     sync.Mutex
	failed []int // rows whose failure counts
	notes  []Outage
}

// told is what was announced of outages, and how many rows' failures count.
func (s *suspicion) told() (notes []Outage, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes), len(s.failed)
}

func (s *suspicion) fail(sure bool, rows []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sure {
		s.failed = append(s.failed, rows...)
	}
}

// suspect fails the rows for the given reason.
func suspect(t *testing.T, o Options, hosts int, why error) *suspicion {
	t.Helper()
	s := &suspicion{start: time.Now()}
	o.Notify = func(x Outage) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.notes = append(s.notes, x)
	}
	s.Queue = New[int](o)
	for i := range hosts {
		fill(t, s.Queue, fmt.Sprint("h", i), 1)
	}
	for _, k := range take(t, s.Queue, hosts) {
		k.Fail(VerdictOf(why), s.fail)
	}
	return s
}

// at is a moment of the test, with nothing left to do.
func (s *suspicion) at(d time.Duration) {
	time.Sleep(time.Until(s.start.Add(d)))
	synctest.Wait()
}

// TestProbeTimes: probes are repeated after half a second, then after twice as long each time, up to five
// seconds. The outage is announced once, and so is its end, when the rows go out again with all attempts.
func TestProbeTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration
		var up atomic.Bool
		begin := time.Now()
		s := suspect(t, Options{Probe: func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if d := time.Since(begin); len(at) == 0 || at[len(at)-1] != d {
				at = append(at, d)
			}
			if up.Load() {
				return nil
			}
			return silent
		}, Slots: 1, PerHost: 1}, 0, nil)
		for i := range 8 {
			fill(t, s.Queue, fmt.Sprint("h", i), 1)
		}
		for range 8 {
			take(t, s.Queue, 1)[0].Fail(VerdictOf(silent), func(bool, []int) { t.Error("a row is given up") })
		}
		s.at(20 * time.Second)
		want := "[0s 500ms 1.5s 3.5s 7.5s 12.5s 17.5s]"
		mu.Lock()
		if fmt.Sprint(at) != want {
			t.Errorf("probes at %v, want %s", at, want)
		}
		mu.Unlock()
		const cause = "8 hosts in a row did not answer; the last: timeout"
		if o := s.Outage(); !o.On || o.Cause != cause || !o.Since.Equal(begin) || o.Alone {
			t.Errorf("%+v", o)
		}
		if n := takeAll(t, s.Queue); n != 0 || s.Waiting() != 8 {
			t.Errorf("%d rows went out, %d wait", n, s.Waiting())
		}
		up.Store(true)
		s.at(23 * time.Second)
		if o := s.Outage(); o != (Outage{}) {
			t.Errorf("after it: %+v", o)
		}
		notes, _ := s.told()
		if !slices.Equal(notes, []Outage{{true, begin, cause, false}, {false, begin, cause, false}}) {
			t.Errorf("notes %+v", notes)
		}
		for i := range 8 {
			k := take(t, s.Queue, 1)[0]
			if k.Attempt() != 1 {
				t.Errorf("%s: attempt %d", k.URL, k.Attempt())
			}
			if i > 0 {
				k.Done(answered)
				continue
			}
			time.Sleep(timeout) // silence is as unsure as before
			sure := false
			k.Fail(VerdictOf(silent), func(bool, []int) { sure = true })
			if sure {
				t.Error("the outage excused it")
			}
		}
		s.Stop()
	})
}

// TestLongProbe: a probe that gets no answer ends after ten seconds.
func TestLongProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := suspect(t, Options{Probe: func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return silent
		}}, 8, silent)
		if s.at(10*time.Second - 1); s.Outage().On {
			t.Errorf("too early: %+v", s.Outage())
		}
		if s.at(10 * time.Second); !s.Outage().On {
			t.Error("no outage")
		}
		s.Stop()
	})
}

// TestPromptAnswer: an answer within a second shows that the link was up all the time, so the failures count.
// A later one excuses each row, once.
func TestPromptAnswer(t *testing.T) {
	for took, counts := range map[time.Duration]bool{0: true, time.Second: true, time.Second + 1: false} {
		bubble(t, func(t *testing.T) {
			s := suspect(t, Options{Probe: func(context.Context, string) error {
				time.Sleep(took)
				return nil
			}}, 8, silent)
			s.at(5 * time.Second)
			notes, failed := s.told()
			if len(notes) != 0 || s.Outage().On {
				t.Errorf("after %v: notes %+v", took, notes)
			}
			if counts != (failed == 8) || !counts && failed != 0 {
				t.Errorf("answered after %v: %d rows failed", took, failed)
			}
			if !counts {
				for _, k := range take(t, s.Queue, 8) {
					if k.Attempt() != 1 {
						t.Errorf("attempt %d", k.Attempt())
					}
					k.Fail(VerdictOf(silent), s.fail)
				}
				synctest.Wait()
				if _, failed := s.told(); failed != 8 {
					t.Errorf("%d rows failed for the second time", failed)
				}
			}
			if n := takeAll(t, s.Queue); n != 0 || s.Waiting() != 0 {
				t.Errorf("%d rows are left", n)
			}
			s.Stop()
		})
	}
}

// TestSilenceOfTheResolver: when hosts are silent and no name can be looked up, the resolver is to blame.
// Then the outage ends when it works, and what hosts say does not matter.
func TestSilenceOfTheResolver(t *testing.T) {
	for named, blamed := range map[int]bool{0: false, 1: true, 8: true} {
		bubble(t, func(t *testing.T) { silenceOfTheResolver(t, named, blamed) })
	}
}

// silenceOfTheResolver is that with so many hosts that have to be looked up.
func silenceOfTheResolver(t *testing.T, named int, blamed bool) {
	var works, up atomic.Bool
	var asked atomic.Int32
	s := suspect(t, Options{
		Probe: func(context.Context, string) error {
			if up.Load() {
				return nil
			}
			return silent
		},
		Named: func(host string) bool { return host[1] < byte('0'+named) },
		Resolver: func(_ context.Context, hosts []string) error {
			if asked.Add(1); len(hosts) != named {
				t.Errorf("%d names", len(hosts))
			}
			if works.Load() {
				return nil
			}
			return errors.New("no name server answers")
		}}, 8, silent)
	s.at(time.Second)
	if o := s.Outage(); !o.On || (o.Cause == "no name server answers") != blamed ||
		asked.Load() != map[bool]int32{true: 2}[blamed] {
		t.Errorf("%d names: %+v, asked %d times", named, o, asked.Load())
	}
	up.Store(true)
	s.at(time.Minute)
	if s.Outage().On != blamed {
		t.Errorf("%d names: %+v when a host answers", named, s.Outage())
	}
	works.Store(true)
	s.at(2 * time.Minute)
	if _, failed := s.told(); s.Outage().On || failed != 0 || s.Waiting() != 8 {
		t.Errorf("%+v, %d rows failed, %d wait", s.Outage(), failed, s.Waiting())
	}
	s.Stop()
}

// TestWitnesses: hosts of the whole job are drawn from the second round on. If all are silent but the
// resolver works, the silence is theirs: at once when no host ever answered, else after a minute.
func TestWitnesses(t *testing.T) {
	for _, everAnswered := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			var mu sync.Mutex
			var drawn []time.Time
			o := Options{Probe: func(context.Context, string) error { return silent },
				Resolver: func(context.Context, []string) error { return nil },
				Witnesses: func(ctx context.Context, n int, wanted func(string) bool) []string {
					mu.Lock()
					defer mu.Unlock()
					drawn = append(drawn, time.Now())
					return drawing(map[string]int{"x": 20})(ctx, n, wanted)
				}}
			s := suspect(t, o, 0, nil)
			if everAnswered {
				fill(t, s.Queue, "well", 1)
				take(t, s.Queue, 1)[0].Done(answered)
				time.Sleep(time.Second)
			}
			s.start = time.Now()
			for i := range 8 {
				fill(t, s.Queue, fmt.Sprint("h", i), 1)
			}
			for _, k := range take(t, s.Queue, 8) {
				k.Fail(VerdictOf(silent), func(bool, []int) { t.Error("given up before it was certain") })
			}
			over := 500 * time.Millisecond
			if everAnswered {
				over = 62500 * time.Millisecond // the first probe after a minute
			}
			s.at(over - 1)
			if notes, _ := s.told(); !s.Outage().On || len(notes) != 1 || notes[0].Alone {
				t.Errorf("answered %t: %+v, notes %+v", everAnswered, s.Outage(), notes)
			}
			s.at(over)
			notes, _ := s.told()
			if s.Outage().On || len(notes) != 2 || !notes[1].Alone || notes[1].On {
				t.Errorf("answered %t: %+v, notes %+v", everAnswered, s.Outage(), notes)
			}
			mu.Lock()
			if len(drawn) == 0 || drawn[0].Sub(s.start) != 500*time.Millisecond {
				t.Errorf("hosts were drawn at %v", drawn)
			}
			mu.Unlock()
			// Their silence counts from now on.
			failed := 0
			for _, k := range take(t, s.Queue, 8) {
				k.Fail(VerdictOf(silent), func(bool, []int) { failed++ })
			}
			if failed != 8 {
				t.Errorf("%d rows failed", failed)
			}
			s.Stop()
		})
	}
}

// TestJobTooSmall: when one of few hosts has no route, the silence of all others does not decide. Without a
// network at all they do not get the chance to answer.
func TestJobTooSmall(t *testing.T) {
	for errno, ends := range map[syscall.Errno]bool{syscall.EHOSTUNREACH: true, syscall.ENETUNREACH: false} {
		bubble(t, func(t *testing.T) {
			cut := &fetch.Error{Reason: fetch.Connect, Outage: true, Err: errno}
			s := suspect(t, Options{Probe: func(_ context.Context, url string) error {
				if url == "http://h0/0" {
					return cut
				}
				return silent
			}, Witnesses: drawing(map[string]int{"h": 3})}, 1, cut)
			s.at(400 * time.Millisecond)
			if o := s.Outage(); !o.On || o.Cause != cut.Error() {
				t.Errorf("%v: %+v", errno, o)
			}
			s.at(time.Hour)
			if _, failed := s.told(); s.Outage().On == ends || failed != 0 {
				t.Errorf("%v: %+v, %d rows failed", errno, s.Outage(), failed)
			}
			if ends {
				k := take(t, s.Queue, 1)[0]
				k.Fail(VerdictOf(cut), func(bool, []int) {})
			}
			s.Stop()
		})
	}
}

// TestFailOfAStoppedQueue: a failure that is certain counts, another one leaves the row as it was.
func TestFailOfAStoppedQueue(t *testing.T) {
	t.Parallel()
	q := New[int](Options{Probe: func(context.Context, string) error { return silent }})
	for i := range 8 {
		fill(t, q, fmt.Sprint("h", i), 1)
	}
	ks := take(t, q, 8)
	q.Stop()
	for i, c := range []struct {
		why  error
		sure bool
	}{{silent, false}, {&fetch.Error{Reason: fetch.HTTP4xx, Status: 404}, true}} {
		called := false
		ks[i].Fail(VerdictOf(c.why), func(sure bool, rows []int) {
			if called = true; sure != c.sure || len(rows) != 1 {
				t.Errorf("%v: sure %t, rows %v", c.why, sure, rows)
			}
		})
		if !called {
			t.Errorf("%v: nobody was told", c.why)
		}
	}
}

// TestVoidsOfTheResolver: a row is not tried for ever while the resolver fails it and works otherwise.
func TestVoidsOfTheResolver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lookup := &fetch.Error{Reason: fetch.DNSTimeout, Outage: true, Err: errors.New("it refuses")}
		q := New[int](Options{Probe: func(context.Context, string) error { return nil },
			Resolver: func(context.Context, []string) error { return nil }})
		defer q.Stop()
		fill(t, q, "a", 1)
		tries, start := 0, time.Now()
		for failed := false; !failed && tries < 99; tries++ {
			k := take(t, q, 1)[0]
			if k.Attempt() != 1 {
				t.Errorf("try %d is attempt %d", tries, k.Attempt())
			}
			k.Fail(VerdictOf(lookup), func(sure bool, _ []int) { failed = sure })
		}
		if tries != 21 || time.Since(start) != 20*time.Second {
			t.Errorf("given up after %d tries in %v", tries, time.Since(start))
		}
		q.Close()
		if k, ok := q.Next(t.Context()); ok {
			t.Errorf("%+v", k)
		}
	})
}

// TestLastRowEnds: those who wait for a row return when the last one has ended.
func TestLastRowEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{})
		defer q.Stop()
		fill(t, q, "a", 1)
		k := take(t, q, 1)[0]
		q.Close()
		ended := make(chan bool)
		for range 2 {
			go func() {
				_, ok := q.Next(t.Context())
				ended <- ok
			}()
		}
		synctest.Wait()
		k.Done(answered)
		for range 2 {
			if <-ended {
				t.Error("a row that is not there")
			}
		}
	})
}

// TestPostponed: a row whose site's robots.txt cannot be had waits for it with its host; any other one for as
// long as it was told. The turn that it had by a delay is the next row's.
func TestPostponed(t *testing.T) {
	delay := func(string) time.Duration { return 2 * time.Second }
	for _, c := range []struct {
		o    Options
		v    Verdict
		want time.Duration // until the next row
	}{
		{Options{}, Verdict{NotRequested: true}, 0},
		{Options{}, Verdict{NotRequested: true, Pause: 5 * time.Second}, 5 * time.Second},
		{Options{Delay: delay}, Verdict{NotRequested: true}, 0},
		{Options{Delay: delay}, Verdict{NotRequested: true, Pause: 5 * time.Second}, 5 * time.Second},
		{Options{Delay: delay}, Verdict{}, 2 * time.Second},
	} {
		bubble(t, func(t *testing.T) {
			q := New[int](c.o)
			defer q.Stop()
			fill(t, q, "a", 2)
			start := time.Now()
			if !take(t, q, 1)[0].Postpone(c.v, time.Hour) {
				t.Error("the queue is stopped")
			}
			k := take(t, q, 1)[0]
			if d := time.Since(start); d != c.want || k.Attempt() != 1 {
				t.Errorf("%+v: the next after %v, want %v; attempt %d", c.v, d, c.want, k.Attempt())
			}
			k.Done(answered)
			want := time.Hour
			if c.v.Pause > 0 { // it was the one that came back
				want = max(c.v.Pause, time.Since(start))
				if c.o.Delay != nil {
					want = c.v.Pause + 2*time.Second
				}
			}
			if take(t, q, 1); time.Since(start) != want {
				t.Errorf("%+v: the last after %v, want %v", c.v, time.Since(start), want)
			}
		})
	}
}
