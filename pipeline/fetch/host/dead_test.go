package host

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// TestDeadHost: after a few tries its rows fail without one; when it comes back it is noticed.
func TestDeadHost(t *testing.T) {
	for name, how := range map[string]error{fetch.Timeout: silent, fetch.Connect: refused} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var back atomic.Bool
				s := newSim(Options{PerHost: 8, Slots: 16, Slow: 16}, 32, func(host, url string) error {
					if host == "dead" && !back.Load() {
						if how == silent {
							time.Sleep(timeout)
						}
						return how
					}
					time.Sleep(10 * time.Millisecond)
					return nil
				})
				s.retries = 1
				s.add(t, "dead", 1000)
				s.add(t, "well", 20_000)
				time.Sleep(time.Minute)
				tries := 0
				s.mu.Lock()
				for _, x := range s.sent {
					if x.host == "dead" {
						tries++
					}
				}
				s.mu.Unlock()
				if tries < deadAfter || tries > 12 {
					t.Errorf("%d tries", tries)
				}
				if n := s.count(name); n < 990 {
					t.Errorf("%d of 1000 rows failed as %s", n, name)
				}
				back.Store(true)
				time.Sleep(6 * time.Minute)
				s.add(t, "dead", 100)
				time.Sleep(time.Second)
				s.add(t, "dead", 100)
				s.finish()
				if n := s.count("ok"); n != 20_200 {
					t.Errorf("%d ok, want 20200: the host has come back", n)
				}
				total := 0
				for row, n := range s.attempts {
					if strings.Contains(row, "dead") && s.outcomes[row] == name {
						total += n
					}
				}
				if total > tries {
					t.Errorf("the rows count %d attempts, %d were made", total, tries)
				}
			})
		})
	}
}

// TestDeadURLsOfALivingHost: URLs that never answer do not make their host dead.
func TestDeadURLsOfALivingHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(Options{PerHost: 16, Slots: 32, Slow: 32}, 64, func(_, url string) error {
			var n int
			fmt.Sscanf(url, "http://a/%d", &n)
			if n%100 >= 50 {
				time.Sleep(timeout)
				return silent
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		s.retries = 1
		s.add(t, "a", 400)
		s.finish()
		if s.count("ok") != 200 || s.count(fetch.Timeout) != 200 {
			t.Errorf("%d ok, %d timeout, want 200 each", s.count("ok"), s.count(fetch.Timeout))
		}
	})
}

// TestDeadHostsDoNotSlowTheOthers: 20 of 200 hosts are silent.
func TestDeadHostsDoNotSlowTheOthers(t *testing.T) {
	run := func(dead int) (took time.Duration) {
		bubble(t, func(t *testing.T) {
			s := newSim(Options{PerHost: 8, Slots: 32, Slow: 32}, 64, func(host, url string) error {
				if strings.HasPrefix(host, "silent") {
					time.Sleep(30 * time.Second)
					return silent
				}
				time.Sleep(20 * time.Millisecond)
				return nil
			})
			s.retries = 2
			start := time.Now()
			for i := range dead {
				s.add(t, fmt.Sprint("silent", i), 100)
			}
			for i := range 180 {
				s.add(t, fmt.Sprint("well", i), 100)
			}
			s.finish()
			for _, x := range s.sent {
				if strings.HasPrefix(x.host, "well") {
					took = max(took, x.at.Sub(start))
				}
			}
			if s.count("ok") != 18_000 || s.count(fetch.Timeout) != dead*100 {
				t.Errorf("%d ok, %d timeout", s.count("ok"), s.count(fetch.Timeout))
			}
		})
		return took
	}
	alone, among := run(0), run(20)
	if float64(among) > float64(alone)/0.9 {
		t.Errorf("%v among dead hosts, %v alone", among, alone)
	}
}

// TestSlowLane: hanging requests leave the fast lane to others, and the list of what is in flight tells.
func TestSlowLane(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(Options{Slots: 4, Slow: 2}, 6, func(host, url string) error {
			if strings.HasPrefix(host, "hangs") {
				time.Sleep(time.Minute)
				return nil
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		})
		s.add(t, "well", 1)
		time.Sleep(time.Second)
		for i := range 3 {
			s.add(t, fmt.Sprint("hangs", i), 1)
		}
		time.Sleep(slowAfter + time.Second)
		s.add(t, "well", 1000)
		time.Sleep(10 * time.Second)
		fs := s.InFlight()
		if len(fs) != 3 || !fs[0].Slow || !fs[1].Slow || fs[2].Slow ||
			time.Since(fs[0].Since) < 10*time.Second || fs[0].Attempt != 1 {
			t.Errorf("in flight: %+v", fs)
		}
		if is := s.Hosts(10); len(is) != 3 || is[0].InFlight != 1 || is[0].Waiting != 0 {
			t.Errorf("hosts: %+v", is)
		}
		if n := s.count("ok"); n != 1001 {
			t.Errorf("%d rows done while others hang, want 1001", n)
		}
		s.finish()
	})
}
