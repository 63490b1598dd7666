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

// outageOf is what an outage of our own is of.
type outageOf int

const (
	ofDetector outageOf = iota
	ofLink              // this machine's, or its resolver
	ofFiles             // a folder of images is away
	outageKinds
)

// outageWords say that an outage begins, and that it has lasted.
var outageWords = [outageKinds]struct{ begins, lasts string }{
	ofDetector: {"detector unavailable: waiting, no row is marked failed",
		"the detector has been unavailable"},
	ofLink: {"this machine seems cut off: waiting, no row is marked failed",
		"this machine has been cut off"},
	ofFiles: {"images are away: their rows wait, no row is marked failed", "images have been away"},
}

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
	os.log.Warn(outageWords[of].begins, "cause", cause, "at most", os.wait)
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
	return fmt.Errorf("%s for %v (%w); nothing is lost: fix the cause, then run the same command again, or "+
		"allow more with --outage-wait", outageWords[of].lasts, os.wait, o.cause)
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
	firstProbe = 50 * time.Millisecond // between probes of a detector that is gone; doubled each time
	lastProbe  = time.Second
)

// detectorProbe waits for a detector that is unavailable. No row is fetched meanwhile, those that were go
// back to pending, and the detector is probed now and then.
type detectorProbe struct {
	*outages
	remote  detect.Remote // nil for a detector that cannot be probed, only tried
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

// await probes the detector until it is back, or the run ends, and reports whether it is back.
func (p *detectorProbe) await() (back bool) {
	first := firstProbe
	if p.remote == nil {
		first = lastProbe
	}
	for wait := first; ; wait = min(2*wait, lastProbe) {
		if sleep(p.life.draining, wait) != nil {
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
