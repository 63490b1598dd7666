package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"facescan/pipeline/crash"
)

// clock cuts an attempt when its time is over. It stands still while the attempt waits for our own limits.
type clock struct {
	timer  *time.Timer
	due    time.Time
	stood  atomic.Int64 // nanoseconds
	stands atomic.Bool
	// 1 more than the bytes of the body that had come when it last waited long for memory, 0 for never
	waited int64
}

// longWait is how long a wait has to be for a server to lose its patience.
const longWait = 10 * time.Millisecond

// waitFor takes n bytes more, with the clock stopped.
func (a *attempt) waitFor(m Memory, n int64) error {
	from := time.Now()
	err := a.outside(func() error { return m.Grow(a.parent, n) })
	if time.Since(from) > longWait {
		a.waited = 1 + a.received.Load()
	}
	return err
}

// lostWaiting reports whether an attempt failed because the connection was lost while it waited for memory,
// as far as can be known: what had come before the loss is still read after it.
func (a *attempt) lostWaiting(err error) bool {
	if a.waited == 0 {
		return false
	}
	var e *Error
	if !errors.As(err, &e) {
		e = classify(err)
	}
	switch e.Reason {
	case Reset, Truncated:
		return true
	case Timeout:
		return a.received.Load() < a.waited
	}
	return false
}

// outside runs wait with the clock stopped.
func (a *attempt) outside(wait func() error) error {
	if !a.timer.Stop() {
		return errTimeout
	}
	from := time.Now()
	left := a.due.Sub(from)
	a.stands.Store(true)
	err := wait()
	now := time.Now()
	a.stood.Add(int64(now.Sub(from)))
	a.stands.Store(false)
	a.due = now.Add(left)
	a.timer.Reset(left)
	return err
}

// quickly leaves the attempt a moment to read what only makes its connection reusable.
func (a *attempt) quickly() { a.atMost(250 * time.Millisecond) }

// atMost leaves the attempt no more than d.
func (a *attempt) atMost(d time.Duration) {
	if time.Until(a.due) > d && a.timer.Stop() {
		a.timer.Reset(d)
	}
}

// throttled reads once, and then waits for as long as the bandwidth limit wants for that.
func (a *attempt) throttled(r io.Reader, p []byte) (int, error) {
	l := a.f.bandwidth
	if l == nil {
		return r.Read(p)
	}
	n, err := r.Read(p[:min(len(p), l.Burst())])
	if n > 0 {
		res := l.ReserveN(time.Now(), n)
		if d := res.Delay(); d > time.Millisecond {
			a.f.waitingBandwidth.Add(1)
			e := a.outside(func() error { return sleep(a.parent, d) })
			a.f.waitingBandwidth.Add(-1)
			if e != nil && (err == nil || err == io.EOF) {
				err = e
			}
		}
	}
	return n, err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch ends the attempt when its body comes more slowly than the minimum rate, on average since its header,
// once it has had time to get going. A body of which nothing comes at all is left to the timeout. The result
// stops watching.
func (a *attempt) watch() (stop func()) {
	least := a.f.o.MinRate
	if least <= 0 {
		return func() {}
	}
	from, stood := time.Now(), a.stood.Load()
	grace := min(10*time.Second, a.f.o.Timeout/2)
	var timer *time.Timer
	begun := make(chan struct{}) // the timer is set before it is used
	timer = time.AfterFunc(grace, func() {
		defer crash.Exit()
		<-begun
		took := time.Since(from) - time.Duration(a.stood.Load()-stood)
		got := a.received.Load()
		if !a.stands.Load() && got > 0 && float64(got) < float64(least)*took.Seconds() {
			a.cancel(fmt.Errorf("%w: %d bytes in %v", errTooSlow, got, took.Round(time.Millisecond)))
			return
		}
		timer.Reset(min(time.Second, grace))
	})
	close(begun)
	return func() { timer.Stop() }
}
