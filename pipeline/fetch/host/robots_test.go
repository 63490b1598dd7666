package host

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
)

// TestDelay: a host's rows go out one at a time with the delay between them, also before an answer has come;
// those that are not requested, because of robots.txt, take no time. Other hosts are not held up.
func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var known atomic.Bool // the first request learns it
		delay := func(host string) time.Duration {
			if host == "slow" && known.Load() {
				return 2 * time.Second
			}
			return 0
		}
		s := newSim(Options{Slots: 8, Slow: 8, Delay: delay}, 16, func(host, url string) error {
			if host == "slow" {
				known.Store(true)
			}
			var n int
			if _, err := fmt.Sscanf(url, "http://slow/%d", &n); err == nil && n%2 == 1 {
				return &fetch.Error{Reason: fetch.OptOut, Robots: fetch.RobotsKnown}
			}
			time.Sleep(3 * time.Second)
			return nil
		})
		start := time.Now()
		s.add(t, "slow", 10)
		s.add(t, "fast", 10)
		synctest.Wait()
		time.Sleep(time.Second)
		if b := s.Blocked(); b.Cause != ByNewcomers {
			t.Errorf("before the first answer: %+v", b)
		}
		time.Sleep(9500 * time.Millisecond)
		if b := s.Blocked(); b.Cause != ByDelay || b.Host != "slow" || b.Limit != 2 {
			t.Errorf("%+v", b)
		}
		s.finish()
		if s.count("ok") != 15 || s.count(fetch.OptOut) != 5 {
			t.Errorf("%v", s.outcomes)
		}
		var last time.Time
		for _, x := range s.sent {
			var n int
			if x.host != "slow" || s.outcomes[x.url] != "ok" {
				continue
			}
			if fmt.Sscanf(x.url, "http://slow/%d", &n); x.at.Sub(last) < 2*time.Second {
				t.Errorf("row %d went out %v after the one before", n, x.at.Sub(last))
			}
			last = x.at
		}
		if took := last.Sub(start); took > 10*time.Second {
			t.Errorf("the last row went out after %v; four delays and a first answer make at most 9 s", took)
		}
	})
}

// TestPostpone: while a host's robots.txt cannot be had, its rows wait together; the attempts do not count,
// and neither other hosts nor the rows' own retries suffer.
func TestPostpone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		start := time.Now()
		s := newSim(Options{Slots: 8, Slow: 8}, 16, func(host, url string) error {
			time.Sleep(10 * time.Millisecond)
			if since := time.Since(start); host == "a" && since < 20*time.Second {
				return &fetch.Error{Reason: fetch.HTTP5xx, Status: 503, Robots: fetch.RobotsRequested,
					Wait: 5 * time.Second}
			}
			return nil
		})
		s.retries = 2
		s.add(t, "a", 50)
		s.add(t, "b", 50)
		time.Sleep(time.Second)
		if n := s.count("ok"); n != 50 {
			t.Errorf("%d rows of the other host are done", n)
		}
		if b := s.Blocked(); b.Cause != ByRobots || b.Rows != 50 || b.Host != "a" {
			t.Errorf("%+v", b)
		}
		s.finish()
		if s.count("ok") != 100 {
			t.Errorf("%v", s.outcomes)
		}
		for row, n := range s.attempts {
			if n != 1 {
				t.Errorf("%s: %d attempts", row, n)
			}
		}
		if n := s.requests(); n > 100+4*8 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestPostponeInOutage: attempts that do not count are not counted less when an outage makes them void.
func TestPostponeInOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		start := time.Now()
		out := func() bool { return time.Since(start) < 30*time.Second }
		o := Options{Slots: 32, Slow: 32}
		o.Probe = proberOf(out)
		s := newSim(o, 64, func(host, url string) error {
			time.Sleep(time.Second)
			if out() {
				return &fetch.Error{Reason: fetch.Timeout, Robots: fetch.RobotsRequested, Wait: time.Second}
			}
			return nil
		})
		for i := range 20 {
			s.add(t, fmt.Sprint("h", i), 3)
		}
		s.finish()
		if s.count("ok") != 60 || len(s.notes) == 0 {
			t.Errorf("%v, %v", s.outcomes, s.notes)
		}
		for row, n := range s.attempts {
			if n != 1 {
				t.Errorf("%s: %d attempts", row, n)
			}
		}
	})
}

// proberOf answers when the link is not out.
func proberOf(out func() bool) func(context.Context, string) error {
	return func(context.Context, string) error {
		time.Sleep(10 * time.Millisecond)
		if out() {
			return silent
		}
		return nil
	}
}
