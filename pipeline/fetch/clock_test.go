package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowMemory gives what is asked for after a while.
type slowMemory time.Duration

func (m slowMemory) Reserve(context.Context, int64) error { return nil }
func (m slowMemory) Grow(context.Context, int64) error    { time.Sleep(time.Duration(m)); return nil }
func (m slowMemory) Release(int64)                        {}

// attemptOf begins an attempt, in the fake time of synctest.
func attemptOf(t *testing.T, o Options) *attempt {
	a := (&Fetcher{o: o}).begin(t.Context(), nil)
	t.Cleanup(a.end)
	return a
}

// TestOutside: the clock stands still while an attempt waits for our own limits, and goes on after that. When
// its time is over it does not begin to wait.
func TestOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attemptOf(t, Options{Timeout: 3 * time.Second})
		begin := time.Now()
		time.Sleep(time.Second)
		failed := errors.New("failed")
		if err := a.outside(func() error {
			if !a.stopped.Load() {
				t.Error("it is not known that the clock stands still")
			}
			time.Sleep(time.Hour)
			return failed
		}); err != failed {
			t.Errorf("%v, want the error of what was waited for", err)
		}
		if a.stopped.Load() || time.Duration(a.stoppedFor.Load()) != time.Hour {
			t.Errorf("stopped for %v, still %t", time.Duration(a.stoppedFor.Load()), a.stopped.Load())
		}
		<-a.ctx.Done()
		if d := time.Since(begin); d != time.Hour+3*time.Second || context.Cause(a.ctx) != errTimeout {
			t.Errorf("it ended after %v: %v", d, context.Cause(a.ctx))
		}
		if err := a.outside(func() error { t.Error("it waits"); return nil }); err != errTimeout {
			t.Errorf("after its time: %v", err)
		}
	})
}

// TestAtMost: what is left of an attempt's time is shortened, never made longer.
func TestAtMost(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{time.Second: time.Second,
		3 * time.Second: 3 * time.Second, 4 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a := attemptOf(t, Options{Timeout: 3 * time.Second})
			begin := time.Now()
			a.atMost(d)
			if <-a.ctx.Done(); time.Since(begin) != want {
				t.Errorf("at most %v: it ended after %v", d, time.Since(begin))
			}
		})
	}
}

// TestLostWaiting: a connection that is lost is not the row's fault when the body waited for memory for
// longer than a moment: a time-out only if nothing came after the wait.
func TestLostWaiting(t *testing.T) {
	for _, c := range []struct {
		waited time.Duration
		after  int64 // bytes that came after the wait
		err    error
		want   bool
	}{
		{11 * time.Millisecond, 5, &Error{Reason: Reset}, true},
		{11 * time.Millisecond, 5, fmt.Errorf("a: %w", &fault{Reset, false, io.EOF}), true},
		{11 * time.Millisecond, 5, io.ErrUnexpectedEOF, true},
		{11 * time.Millisecond, 0, errTimeout, true},
		{11 * time.Millisecond, 1, errTimeout, false},
		{11 * time.Millisecond, 0, &Error{Reason: HTTPError}, false},
		{11 * time.Millisecond, 0, &Error{Reason: TooLarge}, false},
		{10 * time.Millisecond, 0, &Error{Reason: Reset}, false},
		{0, 0, &Error{Reason: Reset}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := attemptOf(t, Options{Timeout: time.Second})
			a.mem = slowMemory(c.waited)
			a.received.Store(100)
			if err := a.grow(1); err != nil {
				t.Fatal(err)
			}
			a.received.Add(c.after)
			if got := a.lostWaiting(c.err); got != c.want {
				t.Errorf("%+v: %t", c, got)
			}
			err := a.verdict(c.err, 7)
			if errors.Is(err, ErrLostWaiting) != c.want || !c.want && err.(*Error).Bytes != 7 {
				t.Errorf("%+v: verdict %v", c, err)
			}
		})
	}
}

// TestWatch: a body has to keep the minimum rate on average, from ten seconds or half of the attempt's time
// on. What was waited for our own limits does not count, and a body of which nothing came is left to the
// timeout.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		timeout  time.Duration
		received []int64 // by second, from 0
		stopped  time.Duration
		want     time.Duration // when it is too slow; 0 for never
	}{
		{time.Minute, []int64{999}, 0, 10 * time.Second},
		{time.Minute, []int64{1000}, 0, 11 * time.Second},
		{time.Minute, []int64{100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 99}, 0,
			12 * time.Second},
		{time.Minute, []int64{0}, 0, 0},
		{time.Minute, []int64{1}, 0, 10 * time.Second},
		{time.Minute, []int64{10_000_000}, 0, 0},
		{time.Minute, []int64{999}, 5 * time.Second, 15 * time.Second},
		{time.Minute, []int64{100}, 30 * time.Second, 40 * time.Second},
		{6 * time.Second, []int64{299}, 0, 3 * time.Second},
		{time.Second, []int64{49}, 0, time.Second / 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := attemptOf(t, Options{Timeout: c.timeout, MinRate: 100})
			a.stoppedFor.Store(int64(time.Hour)) // before the body
			begin := time.Now()
			stop := a.watch()
			defer stop()
			a.received.Store(c.received[0])
			if c.stopped > 0 {
				a.timer.Stop()
				a.stopped.Store(true)
				time.Sleep(c.stopped + time.Second/10)
				a.stopped.Store(false)
				a.stoppedFor.Add(int64(c.stopped))
				a.timer.Reset(c.timeout)
			}
			for _, n := range c.received[1:] {
				time.Sleep(time.Second)
				a.received.Add(n)
			}
			<-a.ctx.Done()
			err := context.Cause(a.ctx)
			if c.want == 0 {
				if err != errTimeout {
					t.Errorf("%+v: %v", c, err)
				}
				return
			}
			if d := time.Since(begin); d != c.want || !errors.Is(err, errTooSlow) ||
				!strings.Contains(err.Error(), fmt.Sprint(a.received.Load(), " bytes in ",
					c.want-c.stopped)) {
				t.Errorf("%+v: after %v: %v", c, d, err)
			}
		})
	}
	for rate, want := range map[int64]error{0: errTimeout, 1: errTooSlow} {
		synctest.Test(t, func(t *testing.T) {
			a := attemptOf(t, Options{Timeout: time.Minute, MinRate: rate})
			a.received.Store(9)
			defer a.watch()()
			if <-a.ctx.Done(); !errors.Is(context.Cause(a.ctx), want) {
				t.Errorf("at least %d bytes per second: %v", rate, context.Cause(a.ctx))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		a := attemptOf(t, Options{Timeout: time.Minute, MinRate: 100})
		a.received.Store(1)
		a.watch()()
		if <-a.ctx.Done(); context.Cause(a.ctx) != errTimeout {
			t.Errorf("no longer watched: %v", context.Cause(a.ctx))
		}
	})
}

// TestWaiting counts the attempts that wait for the rate and for the bandwidth. When their context ends, so
// do they, with its cause.
func TestWaiting(t *testing.T) {
	enough := errors.New("enough")
	for _, o := range []Options{{Rate: 1e-6}, {Bandwidth: 1}} {
		synctest.Test(t, func(t *testing.T) {
			f, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if rate, bandwidth := f.Limits(); rate != o.Rate || bandwidth != o.Bandwidth {
				t.Errorf("limits %v and %v", rate, bandwidth)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := make(chan error)
			for range 3 {
				go func() {
					a := f.begin(ctx, nil)
					defer a.end()
					if o.Rate > 0 {
						_, err := a.request(&chain{urls: []*url.URL{{Scheme: "http", Host: "name.invalid"}}})
						ended <- err
						return
					}
					_, err := io.Copy(io.Discard, throttledReader{a,
						strings.NewReader(strings.Repeat("x", 4000))})
					ended <- err
				}()
			}
			if o.Rate > 0 { // the first one does not wait
				if e := classify(<-ended); e.Reason != DNSNotFound {
					t.Error(e)
				}
			}
			synctest.Wait()
			rate, bandwidth := f.Waiting()
			if want := int64(3); o.Rate > 0 && (rate != want-1 || bandwidth != 0) ||
				o.Rate == 0 && (rate != 0 || bandwidth != want) {
				t.Errorf("%d wait for the rate, %d for the bandwidth", rate, bandwidth)
			}
			cancel(enough)
			for range rate + bandwidth {
				if err := <-ended; err != enough {
					t.Errorf("%v, want the cause", err)
				}
			}
			if rate, bandwidth := f.Waiting(); rate+bandwidth != 0 {
				t.Errorf("%d and %d wait at the end", rate, bandwidth)
			}
		})
	}
}

type throttledReader struct {
	a *attempt
	r io.Reader
}

func (r throttledReader) Read(p []byte) (int, error) { return r.a.throttled(r.r, p) }
