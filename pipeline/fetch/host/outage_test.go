package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
)

// link is a network that can be cut, with hosts of different health behind it.
type link struct {
	down   atomic.Bool
	during error // what requests get while it is down, after a timeout if that is silence
}

const timeout = 3 * time.Second

func (l *link) serve(host, url string) error {
	if l.down.Load() {
		if l.during == silent {
			time.Sleep(timeout)
		}
		return l.during
	}
	switch {
	case strings.HasPrefix(host, "silent"):
		time.Sleep(timeout)
		return silent
	case strings.HasPrefix(host, "refuses"):
		return refused
	}
	time.Sleep(20 * time.Millisecond)
	if l.down.Load() && l.during == silent { // the answer was lost
		time.Sleep(timeout - 20*time.Millisecond)
		return silent
	}
	return nil
}

func (l *link) probe(ctx context.Context, url string) error {
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	done := make(chan error, 1)
	go func() { done <- l.serve(host, url) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		<-done
		return silent
	}
}

func linkSim(l *link, change ...func(*Options)) *sim {
	o := Options{PerHost: 4, Slots: 32, Slow: 32, Probe: l.probe}
	for _, c := range change {
		c(&o)
	}
	s := newSim(o, 64, l.serve)
	s.retries = 2
	return s
}

// TestLinkCut: the link is down for 30 s in mid-run, and no row is the worse for it.
func TestLinkCut(t *testing.T) {
	for name, during := range map[string]error{"silence": silent, "no network": ours} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := &link{during: during}
				s := linkSim(l)
				for i := range 40 {
					s.add(t, fmt.Sprint("well", i), 500)
				}
				s.add(t, "refuses", 1)
				time.Sleep(200 * time.Millisecond)
				l.down.Store(true)
				time.Sleep(15 * time.Second)
				if o := s.Outage(); !o.On || o.Cause == "" || time.Since(o.Since) > 15*time.Second {
					t.Errorf("in the middle of it: %+v", o)
				}
				sent := s.requests()
				time.Sleep(15 * time.Second)
				if n := s.requests(); n != sent {
					t.Errorf("%d rows were fetched during the outage", n-sent)
				}
				l.down.Store(false)
				back := time.Now()
				s.finish()
				if s.count("ok") != 20_000 || s.count(fetch.Connect) != 1 {
					t.Errorf("%d ok of 20000, %d connect of 1", s.count("ok"), s.count(fetch.Connect))
				}
				for row, n := range s.attempts {
					if n > 1 && s.outcomes[row] == "ok" {
						t.Fatalf("%s: an attempt in the outage counted (%d)", row, n)
					}
				}
				if len(s.notes) != 2 || !s.notes[0].On || s.notes[1].On {
					t.Errorf("notes %+v", s.notes)
				}
				for _, x := range s.sent[sent:] {
					if d := x.at.Sub(back); d > 15*time.Second {
						t.Fatalf("a row went out %v after the link was back", d)
					}
				}
			})
		})
	}
}

// TestShortLinkCut: the link is back while it is still being found out whether it is gone, and what was asked
// meanwhile is then answered late. Rows are not the worse for that either.
func TestShortLinkCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{during: silent}
		o := Options{PerHost: 4, Slots: 32, Slow: 32, Probe: func(context.Context, string) error {
			for l.down.Load() {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		}}
		s := newSim(o, 64, l.serve) // without retries
		for i := range 20 {
			s.add(t, fmt.Sprint("well", i), 300)
		}
		time.Sleep(200 * time.Millisecond)
		l.down.Store(true)
		time.Sleep(timeout + 1500*time.Millisecond)
		l.down.Store(false)
		s.finish()
		if s.count("ok") != 6000 {
			t.Errorf("%d ok of 6000", s.count("ok"))
		}
	})
}

// TestSilentHostsAreNoOutage: silence of some while others answer is their own.
func TestSilentHostsAreNoOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		s := linkSim(l)
		for i := range 30 {
			s.add(t, fmt.Sprint("well", i), 2000)
		}
		for i := range 30 {
			s.add(t, fmt.Sprint("silent", i), 3)
		}
		s.finish()
		if s.count("ok") != 60_000 || s.count(fetch.Timeout) != 90 || len(s.notes) != 0 {
			t.Errorf("%d ok, %d timeout, notes %+v", s.count("ok"), s.count(fetch.Timeout), s.notes)
		}
	})
}

// TestSilentTail: when only silent hosts are left, those that were well before show that it is not us.
func TestSilentTail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		s := linkSim(l)
		s.add(t, "well", 3)
		time.Sleep(time.Second)
		for i := range 60 {
			s.add(t, fmt.Sprint("silent", i), 1)
		}
		start := time.Now()
		s.finish()
		if s.count(fetch.Timeout) != 60 || len(s.notes) != 0 {
			t.Errorf("%d timeout of 60, notes %+v", s.count(fetch.Timeout), s.notes)
		}
		if d := time.Since(start); d > time.Minute {
			t.Errorf("the tail took %v", d)
		}
	})
}

// TestFewSilentHosts: with fewer than eight hosts silence is an outcome at once.
func TestFewSilentHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		s := linkSim(l)
		for i := range 7 {
			s.add(t, fmt.Sprint("silent", i), 1)
		}
		start := time.Now()
		s.finish()
		if s.count(fetch.Timeout) != 7 || len(s.notes) != 0 {
			t.Errorf("%d timeout of 7, notes %+v", s.count(fetch.Timeout), s.notes)
		}
		if d := time.Since(start); d > 3*timeout+time.Second {
			t.Errorf("took %v", d)
		}
		for row, n := range s.attempts {
			if n != 3 {
				t.Errorf("%s: %d attempts", row, n)
			}
		}
	})
}

// TestLinkCutWithFewRows: the link is down while the queue has rows of few hosts only, of the many that were
// well before.
func TestLinkCutWithFewRows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{during: silent}
		s := linkSim(l, func(o *Options) { o.Window = 4 })
		go func() {
			time.Sleep(time.Second)
			l.down.Store(true)
			time.Sleep(30 * time.Second)
			l.down.Store(false)
		}()
		for i := range 60 {
			s.add(t, fmt.Sprint("well", i), 10)
			time.Sleep(50 * time.Millisecond)
		}
		s.finish()
		if s.count("ok") != 600 {
			t.Errorf("%d ok of 600", s.count("ok"))
		}
		for row, n := range s.attempts {
			if n != 1 {
				t.Errorf("%s: %d attempts", row, n)
			}
		}
	})
}

// TestOutageFromTheStart: no host was ever well. The queue pauses until one is, or is stopped with all rows.
func TestOutageFromTheStart(t *testing.T) {
	for name, during := range map[string]error{"silence": silent, "no network": ours} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := &link{during: during}
				l.down.Store(true)
				s := linkSim(l)
				for i := range 20 {
					s.add(t, fmt.Sprint("well", i), 10)
				}
				time.Sleep(time.Hour)
				if !s.Outage().On || len(s.outcomes) != 0 {
					t.Errorf("outage %+v, %d outcomes", s.Outage(), len(s.outcomes))
				}
				rows := s.Stop()
				s.workers.Wait()
				if len(rows) != 200 {
					t.Errorf("%d rows came back of 200", len(rows))
				}
			})
		})
	}
}

// drawing draws hosts of these names, any number of each, in an order by chance.
func drawing(hosts map[string]int) func(context.Context, int, func(string) bool) []string {
	return func(_ context.Context, n int, wanted func(string) bool) (urls []string) {
		for name, many := range hosts {
			for i := range many {
				if h := fmt.Sprint(name, i); wanted(h) && len(urls) < n {
					urls = append(urls, "http://"+h+"/0")
				}
			}
		}
		return urls
	}
}

// TestDeadHostsFirst: rows of hosts that are all dead do not hide that others, which were not asked yet, are
// well.
func TestDeadHostsFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		s := linkSim(l, func(o *Options) {
			o.Window, o.Witnesses = 100, drawing(map[string]int{"silent": 900, "well": 30})
		})
		for i := range 900 {
			s.add(t, fmt.Sprint("silent", i), 1)
		}
		for i := range 30 {
			s.add(t, fmt.Sprint("well", i), 10)
		}
		start := time.Now()
		s.finish()
		if s.count("ok") != 300 || s.count(fetch.Timeout) != 900 {
			t.Errorf("%d ok of 300, %d timeout of 900", s.count("ok"), s.count(fetch.Timeout))
		}
		if d := time.Since(start); d > 10*time.Minute {
			t.Errorf("took %v", d)
		}
		if len(s.notes) > 2 {
			t.Errorf("notes %+v", s.notes)
		}
	})
}

// TestAllHostsDead: when every host is silent, the resolver decides whose fault it is.
func TestAllHostsDead(t *testing.T) {
	for name, works := range map[string]bool{"resolver works": true, "resolver is silent": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := &link{}
				s := linkSim(l, func(o *Options) {
					o.Witnesses = drawing(map[string]int{"silent": 300})
					o.Resolver = func(context.Context, []string) error {
						if works {
							return nil
						}
						return errors.New("no answer")
					}
				})
				for i := range 300 {
					s.add(t, fmt.Sprint("silent", i), 1)
				}
				time.Sleep(15 * time.Minute)
				if n := s.count(fetch.Timeout); works && n != 300 || !works && n != 0 {
					t.Errorf("%d rows of 300 failed", n)
				}
				if works != !s.Outage().On {
					t.Errorf("%+v", s.Outage())
				}
				if works && !s.notes[len(s.notes)-1].Alone {
					t.Errorf("notes %+v", s.notes)
				}
				s.Stop()
				s.workers.Wait()
			})
		})
	}
}

// TestManyHostsDead: of a job with more hosts not every one is asked.
func TestManyHostsDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		s := linkSim(l, func(o *Options) {
			o.Witnesses = drawing(map[string]int{"silent": 100_000})
			o.Resolver = func(context.Context, []string) error { return nil }
		})
		for i := range 20 {
			s.add(t, fmt.Sprint("silent", i), 1)
		}
		s.finish()
		if n := s.count(fetch.Timeout); n != 20 {
			t.Errorf("%d rows of 20 failed", n)
		}
	})
}

// TestResolverGone: a broken resolver costs no attempt, even if other hosts answer, and even if it breaks
// often.
func TestResolverGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var gone atomic.Bool
		lookup := &fetch.Error{Reason: fetch.DNSTimeout, Outage: true, Err: errors.New("it refuses")}
		serve := func(host, url string) error {
			time.Sleep(20 * time.Millisecond)
			if gone.Load() && !strings.HasPrefix(host, "address") {
				return lookup
			}
			return nil
		}
		o := Options{PerHost: 4, Slots: 32, Slow: 32,
			Probe: func(context.Context, string) error { return nil },
			Named: func(host string) bool { return !strings.HasPrefix(host, "address") },
			Resolver: func(context.Context, []string) error {
				if gone.Load() {
					return lookup
				}
				return nil
			}}
		s := newSim(o, 64, serve)
		for i := range 20 {
			s.add(t, fmt.Sprint("name", i), 1000)
			s.add(t, fmt.Sprint("address", i), 1000)
		}
		for range 3 {
			time.Sleep(100 * time.Millisecond)
			gone.Store(true)
			time.Sleep(5 * time.Second)
			if o := s.Outage(); !o.On || !strings.Contains(o.Cause, "refuses") {
				t.Errorf("in the middle of it: %+v", o)
			}
			gone.Store(false)
			time.Sleep(5 * time.Second)
		}
		s.finish()
		if s.count("ok") != 40_000 {
			t.Errorf("%d ok of 40000", s.count("ok"))
		}
		for row, n := range s.attempts {
			if n != 1 {
				t.Fatalf("%s: %d attempts", row, n)
			}
		}
	})
}

// TestOneUnreachableHost: a way that does not exist to one host only is that host's outcome.
func TestOneUnreachableHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := &link{}
		serve := func(host, url string) error {
			if host == "astray" {
				return ours
			}
			return l.serve(host, url)
		}
		s := newSim(Options{PerHost: 4, Probe: func(ctx context.Context, url string) error {
			host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
			return serve(host, url)
		}}, 16, serve)
		s.retries = 1
		for i := range 10 {
			s.add(t, fmt.Sprint("well", i), 1000)
		}
		time.Sleep(100 * time.Millisecond)
		s.add(t, "astray", 5)
		start := time.Now()
		s.finish()
		if s.count(fetch.Connect) != 5 || s.count("ok") != 10_000 || len(s.notes) != 0 {
			t.Errorf("%d connect, %d ok, notes %+v", s.count(fetch.Connect), s.count("ok"), s.notes)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// TestFewSilent: silence of a few hosts while others are under way counts after ten seconds, and not before.
func TestFewSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := fewSilent(t)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := s.completed(); n != 0 {
			t.Errorf("%d outcomes", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.count(fetch.Timeout) != 3 || len(s.notes) != 0 {
			t.Errorf("%d timeout of 3, notes %v", s.count(fetch.Timeout), s.notes)
		}
		s.finish()
	})
}

// TestStopWhileUnsure: rows whose failure is not certain yet come back as not done.
func TestStopWhileUnsure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := fewSilent(t)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := s.completed(); n != 0 {
			t.Fatalf("%d outcomes", n)
		}
		rows := s.Stop()
		if len(rows) != 0 || s.count("left") != 3 {
			t.Errorf("%d rows waited, %d came back undecided of 3", len(rows), s.count("left"))
		}
		s.workers.Wait()
	})
}

// fewSilent is a queue in which three hosts have just been silent, and six are slow.
func fewSilent(t *testing.T) *sim {
	l := &link{}
	serve := func(host, url string) error {
		if strings.HasPrefix(host, "slow") {
			time.Sleep(time.Hour)
			return nil
		}
		return l.serve(host, url)
	}
	s := newSim(Options{Probe: l.probe}, 16, serve)
	for i := range 6 {
		s.add(t, fmt.Sprint("slow", i), 1)
	}
	for i := range 3 {
		s.add(t, fmt.Sprint("silent", i), 1)
	}
	time.Sleep(timeout)
	return s
}
