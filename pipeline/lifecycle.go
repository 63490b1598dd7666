package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"facescan/detect"
	"facescan/pipeline/crash"
	"facescan/pipeline/fetch/host"
)

// End is why a run that did not fail came to its end.
type End int

const (
	Finished    End = iota // every row of the job is done
	Interrupted            // drained on request
	Limited                // by MaxRows or MaxDuration, or only paused rows are left
	TooManyFail            // by MaxFail or AbortIf
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

// outageOf is what an outage of our own is of.
type outageOf int

const (
	ofDetector outageOf = iota
	ofLink              // this machine's, or its resolver
	outageKinds
)

// outages are those of our own. No row is spent on them: rows wait, or go back to pending. Each begins and
// ends by itself, is shown meanwhile, and ends the run when it lasts for too long.
type outages struct {
	wait  time.Duration // how long one may last
	abort func(error)
	show  func(o host.Outage, detector bool) // is told which outage to show, if any
	log   *slog.Logger

	mu  sync.Mutex
	now [outageKinds]*outage
}

// outage is one that lasts.
type outage struct {
	since    time.Time
	cause    error
	patience *time.Timer
	over     chan struct{} // closed at its end
}

// begin begins an outage, unless there is one of its kind, and reports whether it did.
func (os *outages) begin(of outageOf, since time.Time, cause error) bool {
	os.mu.Lock()
	defer os.mu.Unlock()
	if os.now[of] != nil {
		return false
	}
	what := "this machine seems cut off: waiting, no row is marked failed"
	if of == ofDetector {
		what = "detector unavailable: waiting, no row is marked failed"
	}
	os.log.Warn(what, "cause", cause, "at most", os.wait)
	o := &outage{since: since, cause: cause, over: make(chan struct{})}
	o.patience = time.AfterFunc(os.wait, func() {
		defer crash.Exit()
		os.abort(os.tooLong(of, o))
	})
	os.now[of] = o
	os.display()
	return true
}

// tooLong is the error of an outage that lasts for too long.
func (os *outages) tooLong(of outageOf, o *outage) error {
	os.mu.Lock()
	defer os.mu.Unlock()
	what := "this machine has been cut off"
	if of == ofDetector {
		what = "the detector has been unavailable"
	}
	return fmt.Errorf("%s for %v (%w); nothing is lost: fix the cause, then run the same command again, or allow more "+
		"with --outage-wait", what, os.wait, o.cause)
}

// lasts notes the latest cause of an outage.
func (os *outages) lasts(of outageOf, cause error) {
	os.mu.Lock()
	defer os.mu.Unlock()
	if o := os.now[of]; o != nil {
		o.cause = cause
	}
}

// end ends an outage, if there is one, and returns how long it lasted.
func (os *outages) end(of outageOf) time.Duration {
	os.mu.Lock()
	defer os.mu.Unlock()
	o := os.now[of]
	if o == nil {
		return 0
	}
	o.patience.Stop()
	close(o.over)
	os.now[of] = nil
	os.display()
	return time.Since(o.since)
}

// close ends the patience with outages that last when the run is over.
func (os *outages) close() {
	os.mu.Lock()
	defer os.mu.Unlock()
	for _, o := range os.now {
		if o != nil {
			o.patience.Stop()
		}
	}
}

// display shows the detector's outage rather than the link's. It is called with the lock held.
func (os *outages) display() {
	for of, o := range os.now {
		if o != nil {
			os.show(host.Outage{On: true, Since: o.since, Cause: o.cause.Error()}, outageOf(of) == ofDetector)
			return
		}
	}
	os.show(host.Outage{}, false)
}

// on reports whether an outage lasts.
func (os *outages) on(of outageOf) bool {
	os.mu.Lock()
	defer os.mu.Unlock()
	return os.now[of] != nil
}

// waitOut waits until an outage is over, or the context.
func (os *outages) waitOut(ctx context.Context, of outageOf) {
	os.mu.Lock()
	o := os.now[of]
	os.mu.Unlock()
	if o == nil {
		return
	}
	select {
	case <-o.over:
	case <-ctx.Done():
	}
}

// link is told by the queue when our own link, or resolver, is gone and when it is back. The queue hands out
// no row meanwhile.
func (os *outages) link(o host.Outage) {
	if o.On {
		os.begin(ofLink, o.Since, errors.New(o.Cause))
		return
	}
	if o.Alone {
		os.log.Warn("no host of the job answers, but the resolver does: time-outs count as the rows' own")
	}
	os.end(ofLink)
	os.log.Info("the outage is over: going on", "lasted", time.Since(o.Since).Round(time.Second))
}

const (
	firstProbe = 50 * time.Millisecond // between questions to a detector that is gone; doubled each time
	lastProbe  = time.Second
)

// detectorProbe waits for a detector that is unavailable. No row is fetched meanwhile, those that were go
// back to pending, and the detector is asked now and then whether it is back.
type detectorProbe struct {
	*outages
	remote  detect.Remote // nil for a detector that cannot be asked, only tried
	life    *lifecycle
	probing sync.WaitGroup
}

// unavailable begins the outage, unless there is one.
func (p *detectorProbe) unavailable(cause error) {
	if !p.begin(ofDetector, time.Now(), cause) {
		return
	}
	p.probing.Go(func() {
		defer crash.Exit()
		back := p.await()
		lasted := p.end(ofDetector)
		if back {
			p.log.Info("detector available again: going on", "lasted", lasted.Round(time.Millisecond))
		}
	})
}

// await asks the detector until it is back, and reports whether it is; or until the run ends.
func (p *detectorProbe) await() (back bool) {
	first := firstProbe
	if p.remote == nil {
		first = lastProbe
	}
	for wait := first; ; wait = min(2*wait, lastProbe) {
		select {
		case <-time.After(wait):
		case <-p.life.draining.Done():
			return false
		}
		if p.remote == nil {
			return true
		}
		err := p.remote.Probe(p.life.draining)
		switch {
		case err == nil:
			return true
		case p.life.draining.Err() != nil:
			return false
		case !errors.Is(err, detect.ErrUnavailable):
			p.life.abort(fmt.Errorf("detector: %w", err))
			return false
		}
		p.lasts(ofDetector, err)
	}
}
