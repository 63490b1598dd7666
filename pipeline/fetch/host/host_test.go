package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func wait(d time.Duration) func(string, string) error {
	return func(string, string) error { time.Sleep(d); return nil }
}

// inFlight wraps a server and records the most requests at once, a host.
func inFlight(most map[string]int, serve func(host, url string) error) func(host, url string) error {
	var mu sync.Mutex
	now := map[string]int{}
	return func(host, url string) error {
		mu.Lock()
		now[host]++
		most[host] = max(most[host], now[host])
		mu.Unlock()
		defer func() { mu.Lock(); now[host]--; mu.Unlock() }()
		return serve(host, url)
	}
}

func TestPerHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		most := map[string]int{}
		s := newSim(Options{PerHost: 4}, 32, inFlight(most, wait(20*time.Millisecond)))
		start := time.Now()
		s.add(t, "a", 400)
		s.add(t, "b", 400)
		s.finish()
		if most["a"] != 4 || most["b"] != 4 {
			t.Errorf("most at once: %v, want 4 each", most)
		}
		if s.count("ok") != 800 {
			t.Errorf("%d rows done of 800", s.count("ok"))
		}
		if took := time.Since(start); took > 2200*time.Millisecond {
			t.Errorf("took %v; 4 at once and 20 ms each make 2 s", took)
		}
	})
}

// TestSlowest: what waits for a host that takes few requests at once is foreseen.
func TestSlowest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(Options{PerHost: 2}, 32, wait(100*time.Millisecond))
		if d := s.Slowest(time.Second); d != 0 {
			t.Errorf("with nothing to do: %v", d)
		}
		s.add(t, "many", 400)
		for i := range 20 {
			s.add(t, fmt.Sprint("few", i), 5)
		}
		time.Sleep(5 * time.Second)
		now, foreseen := time.Now(), s.Slowest(100*time.Millisecond)
		s.finish()
		if took := time.Since(now); foreseen < took*9/10 || foreseen > took*11/10 {
			t.Errorf("the rest took %v, foreseen were %v", took, foreseen)
		}
	})
}

// TestPlaces: no more rows go out than there are places, and each that is offered is taken at once.
func TestPlaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		places, end := make(chan struct{}, 3), make(chan struct{})
		s := New[int](Options{Slots: 32, Take: func() bool {
			select {
			case places <- struct{}{}:
				return true
			default:
				return false
			}
		}})
		for i := range 9 {
			must(t, s.Add(t.Context(), fmt.Sprint("h", i), fmt.Sprint("u", i), i))
		}
		var out atomic.Int32
		var fetchers sync.WaitGroup
		for range 9 {
			fetchers.Go(func() {
				for {
					k, ok := s.Next(t.Context())
					if !ok {
						return
					}
					out.Add(1)
					<-end
					k.Done(Verdict{Kind: Answered})
				}
			})
		}
		for want := int32(3); want <= 9; want += 3 { // a row leaves the queue long before it leaves its place
			synctest.Wait()
			if n := out.Load(); n != want {
				t.Fatalf("%d rows went out, want %d", n, want)
			}
			for range 3 {
				<-places
			}
			s.Offer()
		}
		close(end)
		s.Close()
		fetchers.Wait()
		s.Stop()
	})
}

// TestPerHostIsStrict: slow requests have a lane of their own, but the host's limit counts them all.
func TestPerHostIsStrict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		most := map[string]int{}
		s := newSim(Options{PerHost: 4, Slots: 16, Slow: 16}, 32, inFlight(most, wait(5*time.Second)))
		s.add(t, "a", 40)
		s.finish()
		if most["a"] != 4 {
			t.Errorf("most at once: %d, want 4", most["a"])
		}
	})
}

func TestNoLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		most := map[string]int{}
		s := newSim(Options{}, 64, inFlight(most, wait(20*time.Millisecond)))
		s.add(t, "a", 2000)
		s.finish()
		if most["a"] != 64 {
			t.Errorf("most at once: %d, want all 64 fetchers", most["a"])
		}
	})
}

// TestUnprovenHost: until a host has answered, it gets one request.
func TestUnprovenHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		most := map[string]int{}
		var once sync.Once
		first := make(chan struct{})
		s := newSim(Options{PerHost: 8}, 16, inFlight(most, func(string, string) error {
			once.Do(func() { <-first })
			time.Sleep(time.Millisecond)
			return nil
		}))
		s.add(t, "a", 100)
		synctest.Wait()
		if most["a"] != 1 {
			t.Errorf("%d requests to a host that has not answered", most["a"])
		}
		close(first)
		s.finish()
		if most["a"] != 8 {
			t.Errorf("most at once: %d, want 8", most["a"])
		}
	})
}

// TestFairness: a host with many rows does not keep one with few waiting.
func TestFairness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(Options{PerHost: 16}, 16, wait(10*time.Millisecond))
		start := time.Now()
		s.add(t, "big", 5000)
		s.add(t, "small", 50)
		s.finish()
		var last time.Time
		for _, x := range s.sent {
			if x.host == "small" {
				last = x.at
			}
		}
		if d := last.Sub(start); d > 300*time.Millisecond {
			t.Errorf("the small host's last row went out after %v", d)
		}
	})
}

func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Window: 2, PerHost: 1})
		defer q.Stop()
		for i := range 2 {
			must(t, q.Add(t.Context(), "a", fmt.Sprint(i), i))
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("full"))
		defer cancel()
		if err := q.Add(ctx, "a", "2", 2); err == nil || err.Error() != "full" {
			t.Fatalf("Add to a full window: %v", err)
		}
		go func() {
			tk, _ := q.Next(t.Context())
			tk.Done(Verdict{Kind: Answered})
		}()
		must(t, q.Add(t.Context(), "a", "2", 2))
		if n := q.Waiting(); n != 2 {
			t.Errorf("%d rows wait, want 2", n)
		}
	})
}

// TestAddAll queues many rows at once: none goes out before the last is in, although somebody waits for one.
// Those that find no room before the context is over or the queue is stopped are not in.
func TestAddAll(t *testing.T) {
	many := make([]Row[int], 20_000) // of one URL; it takes long enough for somebody to come in between
	for i := range many {
		many[i] = Row[int]{Host: "a", URL: "u", Value: i}
	}
	q := New[int](Options{Window: len(many), PerHost: 1})
	defer q.Stop()
	got := make(chan []int, len(many))
	go func() {
		defer close(got)
		for tk, ok := q.Next(t.Context()); ok; tk, ok = q.Next(t.Context()) {
			got <- tk.Done(Verdict{Kind: Answered})
		}
	}()
	if n, err := q.AddAll(t.Context(), many); n != len(many) || err != nil {
		t.Fatal(n, err)
	}
	q.Close()
	if rows := <-got; len(rows) != len(many) {
		t.Errorf("%d rows of %d took the first's outcome", len(rows), len(many))
	}
	if rows, ok := <-got; ok {
		t.Errorf("and %d went out later", len(rows))
	}
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Window: 3})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("full"))
		defer cancel()
		if n, err := q.AddAll(ctx, many[:5]); n != 3 || err == nil || err.Error() != "full" {
			t.Errorf("of 5 rows %d are in a window of 3: %v", n, err)
		}
		time.AfterFunc(time.Second, func() { q.Stop() })
		if n, err := q.AddAll(t.Context(), many[5:7]); n != 0 || err != ErrStopped {
			t.Errorf("%d rows are in a queue that was stopped: %v", n, err)
		}
		if n, err := q.AddAll(t.Context(), nil); n != 0 || err != nil {
			t.Errorf("of no rows %d: %v", n, err)
		}
	})
}

func TestEqualURLsShareARequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(Options{PerHost: 2}, 4, wait(10*time.Millisecond))
		for i := range 50 {
			must(t, s.Add(t.Context(), "a", "http://a/same", fmt.Sprint("row ", i)))
			time.Sleep(time.Millisecond)
		}
		s.finish()
		if s.count("ok") != 50 {
			t.Errorf("%d rows done of 50", s.count("ok"))
		}
		// Rows that come after an answer are asked for again: 50 ms of them, 10 ms each.
		if n := len(s.sent); n > 6 {
			t.Errorf("%d requests", n)
		}
		if s.Waiting() != 0 {
			t.Errorf("%d rows still wait", s.Waiting())
		}
	})
}

func TestStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{PerHost: 1})
		for i := range 10 {
			must(t, q.Add(t.Context(), "a", fmt.Sprint(i), i))
		}
		t1, _ := q.Next(t.Context())
		t1.Retry(Verdict{Kind: Trouble}, time.Hour)
		t2, _ := q.Next(t.Context())
		if rows := q.Stop(); len(rows) != 9 {
			t.Errorf("Stop returned %v", rows)
		}
		if t2.Retry(Verdict{}, 0) || t2.Back(0) {
			t.Error("a row waits in a stopped queue")
		}
		if rows := t2.Done(Verdict{}); len(rows) != 1 {
			t.Errorf("Done returned %v", rows)
		}
		if _, ok := q.Next(t.Context()); ok {
			t.Error("Next gave a row out of a stopped queue")
		}
		if err := q.Add(t.Context(), "a", "x", 1); err != ErrStopped {
			t.Errorf("Add: %v", err)
		}
		if rows := q.Stop(); rows != nil {
			t.Errorf("the second Stop returned %v", rows)
		}
	})
}

func TestNextEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{})
		defer q.Stop()
		must(t, q.Add(t.Context(), "a", "u", 1))
		q.Close()
		tk, ok := q.Next(t.Context())
		if !ok {
			t.Fatal("no row")
		}
		got := make(chan bool)
		go func() {
			again, ok := q.Next(t.Context())
			if ok {
				again.Done(Verdict{})
			}
			got <- ok
			_, ok = q.Next(t.Context())
			got <- ok
		}()
		synctest.Wait() // it waits: the row may come back
		tk.Back(time.Second)
		if !<-got {
			t.Error("the row did not come back")
		}
		if <-got {
			t.Error("Next gave a row that does not exist")
		}
		for _, rows := range []int{0, 1} { // of which none is taken out
			q := New[int](Options{})
			defer q.Stop()
			for i := range rows {
				must(t, q.Add(t.Context(), "a", "u", i))
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, ok := q.Next(ctx); ok || q.Waiting() != rows {
				t.Errorf("Next for a context that is over: %t, and %d rows wait of %d", ok, q.Waiting(), rows)
			}
		}
	})
}

// throttle is a server that takes rate requests in any second and refuses the rest.
func throttle(rate int, delay time.Duration) func(string, string) error {
	var mu sync.Mutex
	taken := map[string][]time.Time{}
	return func(host, _ string) error {
		mu.Lock()
		now, ts := time.Now(), taken[host]
		for len(ts) > 0 && now.Sub(ts[0]) >= time.Second {
			ts = ts[1:]
		}
		ok := len(ts) < rate
		if ok {
			ts = append(ts, now)
		}
		taken[host] = ts
		mu.Unlock()
		time.Sleep(delay)
		if !ok {
			return tooMany
		}
		return nil
	}
}

func TestThrottledHost(t *testing.T) {
	for _, perHost := range []int{4, 16} {
		for _, delay := range []time.Duration{time.Millisecond, 20 * time.Millisecond,
			150 * time.Millisecond} {
			t.Run(fmt.Sprint(perHost, delay), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					first := time.Time{}
					var mu sync.Mutex
					limited, free := throttle(20, delay), wait(delay)
					s := newSim(Options{PerHost: perHost}, 64, func(host, url string) error {
						if host == "free" {
							return free(host, url)
						}
						err := limited(host, url)
						mu.Lock()
						defer mu.Unlock()
						if err != nil && first.IsZero() {
							first = time.Now()
						}
						return err
					})
					s.retries = 5
					start := time.Now()
					s.add(t, "limited", 400)
					s.add(t, "free", 1000)
					s.finish()
					if n := s.busiest("limited", first); n > 21 {
						t.Errorf("%d requests in a second after the first 429", n)
					}
					if s.count("ok") != 1400 {
						t.Errorf("outcomes: %d ok of 1400", s.count("ok"))
					}
					if took := time.Since(start); took > time.Minute {
						t.Errorf("400 rows at 20 a second took %v", took)
					}
					var last time.Time
					for _, x := range s.sent {
						if x.host == "free" {
							last = x.at
						}
					}
					if d, want := last.Sub(start),
						delay*1000/time.Duration(perHost); d > want*5/4+time.Second/4 {
						t.Errorf("the other host took %v, alone it takes %v", d, want)
					}
				})
			})
		}
	}
}

// TestOneThrottledURL: a 429 that is one URL's own slows its host for a moment only.
func TestOneThrottledURL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[string]bool{}
		s := newSim(Options{PerHost: 16}, 32, func(_, url string) error {
			time.Sleep(15*time.Millisecond + rand.N(10*time.Millisecond))
			mu.Lock()
			defer mu.Unlock()
			var n int
			fmt.Sscanf(url, "http://a/%d", &n)
			if n%25 == 24 && !seen[url] {
				seen[url] = true
				return tooMany
			}
			return nil
		})
		s.retries = 2
		start := time.Now()
		s.add(t, "a", 500)
		s.finish()
		if s.count("ok") != 500 {
			t.Errorf("%d ok of 500", s.count("ok"))
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("20 URLs with their own Retry-After made 500 rows take %v", took)
		}
	})
}

// TestRetryAfter: nothing goes to a host before the time it asked for.
func TestRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var once sync.Once
		var until time.Time
		s := newSim(Options{PerHost: 1}, 4, func(string, string) (err error) {
			once.Do(func() {
				e := *tooMany
				e.RetryAfter = time.Minute
				until, err = time.Now().Add(time.Minute), &e
			})
			return err
		})
		s.retries = 1
		s.add(t, "a", 10)
		s.finish()
		for _, x := range s.sent[1:] {
			if x.at.Before(until) {
				t.Errorf("asked %v before Retry-After had passed", until.Sub(x.at))
			}
		}
		if s.count("ok") != 10 {
			t.Errorf("%d ok of 10", s.count("ok"))
		}
	})
}

// TestErrorsHalveTheLimit, but only when they are most of what a host says.
func TestErrorsHalveTheLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		bad := 0 // of ten
		s := newSim(Options{PerHost: 16}, 32, func(_, url string) error {
			time.Sleep(10 * time.Millisecond)
			if int(url[len(url)-1]-'0') < bad {
				return broken
			}
			return nil
		})
		limit := func() float64 {
			s.Queue.mu.Lock()
			defer s.Queue.mu.Unlock()
			return s.hosts["a"].limit
		}
		s.add(t, "a", 500)
		time.Sleep(5 * time.Second)
		if limit() != 16 {
			t.Errorf("limit %v of a host that is well", limit())
		}
		bad = 3
		s.add(t, "a", 500)
		time.Sleep(5 * time.Second)
		if limit() < 8 {
			t.Errorf("limit %v of a host with three errors in ten", limit())
		}
		bad = 10
		s.add(t, "a", 500)
		time.Sleep(5 * time.Second)
		if limit() > 2 {
			t.Errorf("limit %v of a host with errors only", limit())
		}
		s.finish()
	})
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
