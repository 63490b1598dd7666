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

// clock cuts an attempt when its time is over. It is stopped while the attempt waits for our own limits.
type clock struct {
	timer      *time.Timer
	due        time.Time
	stoppedFor atomic.Int64 // nanoseconds
	stopped    atomic.Bool
	// waited is 1 more than the bytes received when the body last waited long for memory; 0 for never
	waited int64
}

// longWait is the wait for memory after which a server may close the connection.
const longWait = 10 * time.Millisecond

// grow reserves n more bytes, with the clock stopped.
func (a *attempt) grow(n int64) error {
	from := time.Now()
	err := a.outside(func() error { return a.mem.Grow(a.parent, n) })
	if time.Since(from) > longWait {
		a.waited = 1 + a.received.Load()
	}
	return err
}

// lostWaiting reports whether an attempt failed because the connection was lost while it waited for memory,
// as far as can be known: bytes that arrived before are still read after it.
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
	a.stopped.Store(true)
	err := wait()
	now := time.Now()
	a.stoppedFor.Add(int64(now.Sub(from)))
	a.stopped.Store(false)
	a.due = now.Add(left)
	a.timer.Reset(left)
	return err
}

// quickly gives the attempt a moment to finish a read that only makes the connection reusable.
func (a *attempt) quickly() { a.atMost(250 * time.Millisecond) }

// atMost shortens the attempt's remaining time to d.
func (a *attempt) atMost(d time.Duration) {
	if time.Until(a.due) > d && a.timer.Stop() {
		a.timer.Reset(d)
	}
}

// throttled reads once, then waits according to the bandwidth limit.
func (a *attempt) throttled(r io.Reader, p []byte) (int, error) {
	l := a.f.bandwidth
	if l == nil {
		return r.Read(p)
	}
	n, err := r.Read(p[:min(len(p), l.Burst())])
	if n > 0 {
		res := l.ReserveN(time.Now(), n)
		if d := res.Delay(); d > time.Millisecond {
			if e := a.delay(d, &a.f.waitingBandwidth); e != nil && (err == nil || err == io.EOF) {
				err = e
			}
		}
	}
	return n, err
}

// delay waits for one of our own limits, with the clock stopped; waiting counts the attempts that do so.
func (a *attempt) delay(d time.Duration, waiting *atomic.Int64) error {
	waiting.Add(1)
	defer waiting.Add(-1)
	return a.outside(func() error { return sleep(a.parent, d) })
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch ends the attempt if its body is slower than the minimum rate, on average since the header, after a
// grace period. A body of which nothing arrives is left to the timeout. The returned function stops watching.
func (a *attempt) watch() (stop func()) {
	least := a.f.o.MinRate
	if least <= 0 {
		return func() {}
	}
	from, stoppedFor := time.Now(), a.stoppedFor.Load()
	grace := min(10*time.Second, a.f.o.Timeout/2)
	var timer *time.Timer
	begun := make(chan struct{}) // the timer is set before it is used
	timer = time.AfterFunc(grace, func() {
		defer crash.Exit()
		<-begun
		took := time.Since(from) - time.Duration(a.stoppedFor.Load()-stoppedFor)
		got := a.received.Load()
		slow := got > 0 && float64(got) < float64(least)*took.Seconds()
		if slow && !a.stopped.Load() && took >= grace {
			a.cancel(fmt.Errorf("%w: %d bytes in %v", errTooSlow, got, took.Round(time.Millisecond)))
			return
		}
		timer.Reset(min(time.Second, grace))
	})
	close(begun)
	return func() { timer.Stop() }
}
