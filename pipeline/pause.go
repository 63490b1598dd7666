package pipeline

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"facescan/detect"
	"facescan/pipeline/crash"
	"facescan/pipeline/fetch/host"
)

const (
	firstProbe = 50 * time.Millisecond // between questions to a detector that is gone; doubled each time
	lastProbe  = time.Second
)

// pause holds the run while the detector is unavailable. No row is fetched meanwhile, those that were go back to pending, and the
// detector is asked now and then whether it is back.
type pause struct {
	mu      sync.Mutex
	over    chan struct{} // closed when the pause ends; nil while there is none
	probing sync.WaitGroup
}

// paused tells whether the run is.
func (r *run) paused() bool {
	r.pause.mu.Lock()
	defer r.pause.mu.Unlock()
	return r.pause.over != nil
}

// waitOut waits until the pause is over, or the run drains.
func (r *run) waitOut() {
	r.pause.mu.Lock()
	over := r.pause.over
	r.pause.mu.Unlock()
	if over == nil {
		return
	}
	select {
	case <-over:
	case <-r.draining.Done():
	}
}

// pauseFor begins a pause, unless there is one.
func (r *run) pauseFor(cause error) {
	p := &r.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over != nil {
		return
	}
	p.over = make(chan struct{})
	p.probing.Go(func() {
		defer crash.Exit()
		r.probe(cause)
	})
}

// probe asks the detector until it is back, and ends the run when that takes too long.
func (r *run) probe(cause error) {
	r.Log.Warn("faces cannot be found now: waiting, no row is spent on it", "cause", cause, "at most", r.OutageWait)
	since := time.Now()
	r.stats.setOutage(host.Outage{On: true, Since: since, Cause: cause.Error()}, true)
	defer func() {
		r.stats.setOutage(host.Outage{}, false)
		r.pause.mu.Lock()
		defer r.pause.mu.Unlock()
		close(r.pause.over)
		r.pause.over = nil
	}()
	remote, ok := r.Detector.(detect.Remote)
	first := firstProbe
	if !ok {
		first = lastProbe // it cannot be asked, only tried
	}
	for wait := first; ; wait = min(2*wait, lastProbe) {
		select {
		case <-time.After(wait):
		case <-r.draining.Done():
			return
		}
		var err error
		if remote != nil {
			err = remote.Probe(r.draining)
		}
		switch {
		case err == nil:
			r.Log.Info("faces can be found again: going on", "lasted", time.Since(since).Round(time.Millisecond))
			return
		case r.draining.Err() != nil:
			return
		case !errors.Is(err, detect.ErrUnavailable):
			r.abort(fmt.Errorf("detector: %w", err))
			return
		case time.Since(since) > r.OutageWait:
			r.abort(fmt.Errorf("no face could be found for %v (%w); nothing is lost: mend it, then run the same command again, "+
				"or allow more with --outage-wait", r.OutageWait, err))
			return
		}
	}
}
