package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/detect"
	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// TestLifecycle: what ends a run, in order, and what its end is then called.
func TestLifecycle(t *testing.T) {
	own := errors.New("the disk is full")
	for _, c := range []struct {
		what string
		does func(l *lifecycle, stop func())
		left [3]bool // hard, fetching and draining go on
		end  End
		err  error
	}{
		{"nothing", func(*lifecycle, func()) {}, [3]bool{true, true, true}, Finished, nil},
		{"a drain", func(l *lifecycle, _ func()) { l.drain(Limited); l.drain(TooManyFail) },
			[3]bool{true, true, false}, Limited, nil},
		{"a failure of our own", func(l *lifecycle, _ func()) { l.drain(Interrupted); l.abort(own) },
			[3]bool{}, Finished, own},
		{"an interruption", func(_ *lifecycle, stop func()) { stop() }, [3]bool{}, Interrupted, nil},
	} {
		ctx, stop := context.WithCancel(t.Context())
		l := newLifecycle(ctx)
		c.does(l, stop)
		if got := [3]bool{l.hard.Err() == nil, l.fetching.Err() == nil,
			l.draining.Err() == nil}; got != c.left {
			t.Errorf("%s: %v goes on, want %v", c.what, got, c.left)
		}
		if end, err := l.end(ctx, nil); end != c.end || !errors.Is(err, c.err) ||
			(err == nil) != (c.err == nil) {
			t.Errorf("%s: ended as %v, %v", c.what, end, err)
		}
		stage := errors.New("a stage failed")
		if _, err := l.end(ctx, stage); !errors.Is(err, stage) {
			t.Errorf("%s: %v hides the stage's error", c.what, err)
		}
		l.close()
		stop()
	}
}

// TestWatch drains on request, or when the time is over, and gives fetches their grace.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		what    string
		begin   func(l *lifecycle, request chan struct{})
		after   time.Duration // the drain begins
		end     End
		most    time.Duration
		drained bool
	}{
		{"a request", func(_ *lifecycle, request chan struct{}) { close(request) }, 0, Interrupted, time.Hour,
			true},
		{"a deadline", func(*lifecycle, chan struct{}) {}, 5 * time.Second, Limited, 5 * time.Second, true},
		{"a drain of a stage's", func(l *lifecycle, _ chan struct{}) { l.drain(TooManyFail) }, 0, TooManyFail,
			0, true},
		{"no limit", func(*lifecycle, chan struct{}) {}, time.Hour, Finished, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLifecycle(t.Context())
			defer l.close()
			over, finish := context.WithCancel(t.Context())
			request := make(chan struct{})
			var watching sync.WaitGroup
			watching.Go(func() { l.watch(over, request, c.most, 3*time.Second) })
			c.begin(l, request)
			time.Sleep(c.after)
			synctest.Wait()
			if (l.draining.Err() != nil) != c.drained || l.fetching.Err() != nil {
				t.Errorf("%s: draining %v, fetching %v", c.what, l.draining.Err(), l.fetching.Err())
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if (l.fetching.Err() != nil) != c.drained || l.hard.Err() != nil {
				t.Errorf("%s: after the grace fetching %v, hard %v", c.what, l.fetching.Err(), l.hard.Err())
			}
			if end, err := l.end(t.Context(), nil); end != c.end || err != nil {
				t.Errorf("%s: ended as %v, %v", c.what, end, err)
			}
			finish()
			watching.Wait()
		})
	}
}

// TestLimits: too many failed rows of the job, or what a rule says, drain the run.
func TestLimits(t *testing.T) {
	rule := AbortRule{Reason: store.Timeout, Count: 3, Percent: -1}
	for _, c := range []struct {
		failed   int64
		breaks   bool
		all      bool // check, not only checkRules
		drains   int
		finished string
	}{
		{4, false, true, 0, "neither"}, {6, false, true, 1, "failures"},
		{6, false, false, 0, "failures, rules alone"},
		{0, true, true, 1, "a rule"}, {0, true, false, 1, "a rule, rules alone"},
	} {
		drains := 0
		l := &limits{maxFail: Limit{Set: true, Count: 5}, abortIf: []AbortRule{{Percent: 50}, rule},
			totals: func() (int64, int64) { return c.failed, 100 },
			breaks: func(r AbortRule) *Aborted {
				if c.breaks && r == rule {
					return &Aborted{Rule: r}
				}
				return nil
			},
			drain: func(why End) {
				if why != TooManyFail {
					t.Errorf("drained as %v", why)
				}
				drains++
			}}
		if c.all {
			l.check()
		} else {
			l.checkRules()
		}
		if drains != c.drains {
			t.Errorf("%s: %d drains, want %d", c.finished, drains, c.drains)
		}
	}
}

// display is what a run shows of its outages.
type display struct {
	mu       sync.Mutex
	outage   host.Outage
	detector bool
}

func (d *display) show(o host.Outage, detector bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outage, d.detector = o, detector
}

func (d *display) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.outage.On:
		return ""
	case d.detector:
		return "detector: " + d.outage.Cause
	}
	return "link: " + d.outage.Cause
}

// TestOutagesOverlap: the link and the detector are away at the same time. Each outage is shown until it
// ends, whichever ends first, and their patience is apart.
func TestOutagesOverlap(t *testing.T) {
	gone := errors.New("connection refused")
	link := func(on bool) host.Outage { return host.Outage{On: on, Since: time.Now(), Cause: "no route"} }
	for _, linkFirst := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var d display
			os := &outages{wait: 10 * time.Second, show: d.show, log: slog.New(slog.DiscardHandler),
				abort: func(err error) { t.Errorf("aborted: %v", err) }}
			expect := func(when, want string) {
				t.Helper()
				if got := d.text(); got != want {
					t.Errorf("%s: shown %q, want %q", when, got, want)
				}
			}
			os.link(link(true))
			expect("the link is away", "link: no route")
			time.Sleep(6 * time.Second)
			if !os.begin(ofDetector, time.Now(), gone) || os.begin(ofDetector, time.Now(), gone) {
				t.Error("an outage begins once")
			}
			expect("both are", "detector: connection refused")
			os.lasts(ofDetector, errors.New("no answer"))
			waited := make(chan struct{})
			go func() {
				os.waitOut(t.Context(), ofDetector)
				close(waited)
			}()
			synctest.Wait()
			if linkFirst {
				os.link(link(false))
				expect("the link is back", "detector: no answer")
			} else {
				if os.end(ofDetector) != 0 {
					t.Error("it lasted for no time")
				}
				expect("the detector is back", "link: no route")
			}
			if os.on(ofLink) == linkFirst || os.on(ofDetector) != linkFirst {
				t.Errorf("on: link %v, detector %v", os.on(ofLink), os.on(ofDetector))
			}
			time.Sleep(3 * time.Second) // the second outage is 3 s old now, and the first would be 9 s
			os.end(ofDetector)
			os.link(link(false))
			expect("both are back", "")
			<-waited
			if os.end(ofLink) != 0 {
				t.Error("an outage that is over ends again")
			}
			time.Sleep(time.Hour) // nobody's patience ends
		})
	}
}

// TestOutageTooLong: the run ends with the latest cause, and the way out.
func TestOutageTooLong(t *testing.T) {
	for _, of := range []outageOf{ofDetector, ofLink} {
		synctest.Test(t, func(t *testing.T) {
			last := errors.New("the latest cause")
			aborted := make(chan error, 1)
			os := &outages{wait: time.Minute, show: (&display{}).show, log: slog.New(slog.DiscardHandler),
				abort: func(err error) { aborted <- err }}
			os.begin(of, time.Now(), errors.New("the first cause"))
			time.Sleep(59 * time.Second)
			os.lasts(of, last)
			synctest.Wait()
			if len(aborted) != 0 {
				t.Errorf("too early: %v", <-aborted)
			}
			time.Sleep(2 * time.Second)
			if got := <-aborted; !errors.Is(got, last) || !strings.Contains(got.Error(), "--outage-wait") ||
				strings.Contains(got.Error(), "cut off") != (of == ofLink) {
				t.Errorf("%v", got)
			}
			os.close()
		})
	}
	synctest.Test(t, func(t *testing.T) { // nor does it go on when the run is over
		os := &outages{wait: time.Minute, show: (&display{}).show, log: slog.New(slog.DiscardHandler),
			abort: func(err error) { t.Error(err) }}
		os.begin(ofLink, time.Now(), errors.New("no route"))
		os.close()
		time.Sleep(time.Hour)
	})
}

// TestWaitOutEnds when the run drains, and does not begin without an outage.
func TestWaitOutEnds(t *testing.T) {
	os := &outages{wait: time.Hour, show: (&display{}).show, log: slog.New(slog.DiscardHandler)}
	os.waitOut(t.Context(), ofDetector)
	os.begin(ofDetector, time.Now(), errors.New("gone"))
	defer os.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	os.waitOut(ctx, ofDetector)
}

// probed is a remote detector that answers probes in turn.
type probed struct {
	elsewhere
	answers []error
	n       atomic.Int64
}

func (p *probed) Probe(context.Context) error {
	n := int(p.n.Add(1)) - 1
	return p.answers[min(n, len(p.answers)-1)]
}

// TestDetectorProbe: the outage lasts until the detector answers; what is not an outage ends the run.
func TestDetectorProbe(t *testing.T) {
	broken := errors.New("it lies")
	for _, c := range []struct {
		what    string
		answers []error // nil for a detector that cannot be asked
		drain   bool
		aborted error
		probes  int64
		lasts   time.Duration // at most
	}{
		{"back at once", []error{nil}, false, nil, 1, 60 * time.Millisecond},
		{"back later", []error{detect.ErrUnavailable, detect.ErrUnavailable, nil}, false, nil, 3,
			400 * time.Millisecond},
		{"broken", []error{detect.ErrUnavailable, broken}, false, broken, 2, time.Second},
		{"draining", []error{detect.ErrUnavailable}, true, nil, 0, 0},
		{"one that cannot be asked", nil, false, nil, 0, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			life := newLifecycle(t.Context())
			defer life.close()
			var d display
			os := &outages{wait: time.Hour, abort: life.abort, show: d.show,
				log: slog.New(slog.DiscardHandler)}
			remote := &probed{answers: c.answers}
			p := &detectorProbe{outages: os, life: life}
			if c.answers != nil {
				p.remote = remote
			}
			begin := time.Now()
			p.unavailable(detect.ErrUnavailable)
			p.unavailable(detect.ErrUnavailable) // is known
			if d.text() != "detector: "+detect.ErrUnavailable.Error() {
				t.Errorf("%s: shown %q", c.what, d.text())
			}
			if c.drain {
				life.drain(Interrupted)
			}
			p.probing.Wait()
			if os.on(ofDetector) || d.text() != "" || remote.n.Load() != c.probes ||
				time.Since(begin) > c.lasts {
				t.Errorf("%s: %q is shown after %d probes in %v", c.what, d.text(), remote.n.Load(),
					time.Since(begin))
			}
			if _, err := life.end(t.Context(), nil); !errors.Is(err, c.aborted) ||
				(err == nil) != (c.aborted == nil) {
				t.Errorf("%s: ended with %v", c.what, err)
			}
		})
	}
}
