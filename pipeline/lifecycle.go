package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// End is why a run that did not fail came to its end.
type End int

const (
	Finished    End = iota // every row of the job is done
	Interrupted            // drained on request
	Limited                // by MaxRows, MaxDuration or TailGrace
	TooManyFail            // by MaxFail or AbortIf
	Paused                 // only rows of paused sources are left
)

// drainCause is the cause of the drain context.
type drainCause struct{ end End }

func (d drainCause) Error() string { return fmt.Sprintf("draining (%d)", d.end) }

// ownFailure is the cause of the hard context when we failed, not the rows.
type ownFailure struct{ error }

// lifecycle is how a run ends: its contexts from the last that ends to the first.
type lifecycle struct {
	hard     context.Context // ends when everything has to stop
	fetching context.Context // ends DrainGrace after draining does
	draining context.Context // ends when nothing new may start

	endHard      context.CancelCauseFunc
	stopFetching context.CancelFunc
	startDrain   context.CancelCauseFunc
}

func newLifecycle(ctx context.Context) *lifecycle {
	l := &lifecycle{}
	l.hard, l.endHard = context.WithCancelCause(ctx)
	l.fetching, l.stopFetching = context.WithCancel(l.hard)
	l.draining, l.startDrain = context.WithCancelCause(l.hard)
	return l
}

// close frees the contexts.
func (l *lifecycle) close() {
	l.startDrain(nil)
	l.stopFetching()
	l.endHard(nil)
}

// abort stops everything because of a failure of our own.
func (l *lifecycle) abort(err error) { l.endHard(ownFailure{err}) }

// drain stops gently; the first reason counts.
func (l *lifecycle) drain(why End) { l.startDrain(drainCause{why}) }

// watch drains on request or after so long, if that is set, and stops the fetches that are left after the
// grace. It returns when over ends.
func (l *lifecycle) watch(over context.Context, request <-chan struct{}, most, grace time.Duration) {
	var deadline <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		deadline = t.C
	}
	select {
	case <-over.Done():
		return
	case <-request:
		l.drain(Interrupted)
	case <-deadline:
		l.drain(Limited)
	case <-l.draining.Done():
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-over.Done():
	case <-t.C:
		l.stopFetching()
	}
}

// end is how a run ended whose stages are over, the one under ctx; err is what they returned.
func (l *lifecycle) end(ctx context.Context, err error) (End, error) {
	var own ownFailure
	var d drainCause
	switch {
	case err != nil:
		return Finished, err
	case errors.As(context.Cause(l.hard), &own):
		return Finished, own.error
	case ctx.Err() != nil:
		return Interrupted, nil
	case errors.As(context.Cause(l.draining), &d):
		return d.end, nil
	}
	return Finished, nil
}

// Limit is how many failures are too many: a count, or a share of the rows done once a hundred are. The zero
// value allows any.
type Limit struct {
	Count   int64
	Percent float64
	Set     bool
}

// exceeded reports whether failed out of done rows are too many.
func (l Limit) exceeded(failed, done int64) bool {
	switch {
	case !l.Set:
		return false
	case l.Percent > 0:
		return done >= 100 && float64(failed) > l.Percent/100*float64(done)
	}
	return failed > l.Count
}

// Finally is exceeded for a job that is finished, when a share needs no minimum of rows.
func (l Limit) Finally(failed, done int64) bool {
	if l.Set && l.Percent > 0 {
		return float64(failed) > l.Percent/100*float64(done)
	}
	return l.exceeded(failed, done)
}

// limits drain a run in which too many rows fail.
type limits struct {
	maxFail Limit
	abortIf []AbortRule
	totals  func() (failed, done int64) // of the job
	breaks  func(AbortRule) *Aborted    // what a rule says of the rows since the run began
	drain   func(End)
}

// check is called after each commit.
func (l *limits) check() {
	if l.maxFail.exceeded(l.totals()) {
		l.drain(TooManyFail)
	}
	l.checkRules()
}

// checkRules is also called after a look at what other processes did.
func (l *limits) checkRules() {
	for _, rule := range l.abortIf {
		if l.breaks(rule) != nil {
			l.drain(TooManyFail)
			return
		}
	}
}
