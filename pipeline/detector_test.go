package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"facescan/detect"
)

// elsewhere is a detector that answers while it is there.
type elsewhere struct {
	answering
	gone   atomic.Pointer[error] // what asking gives instead of an answer
	asked  atomic.Int64
	probes atomic.Int64
	most   atomic.Int64
	now    atomic.Int64
	// hold is waited for before an answer, if not nil.
	hold func(asked int64)
}

func (e *elsewhere) Ask(ctx context.Context, img detect.Image) (func() (detect.Answer, error), error) {
	n := e.asked.Add(1)
	a, err := e.answering(img)
	e.most.Store(max(e.most.Load(), e.now.Add(1)))
	return func() (detect.Answer, error) {
		defer e.now.Add(-1)
		if e.hold != nil {
			e.hold(n)
		}
		if gone := e.gone.Load(); gone != nil {
			return detect.Answer{}, *gone
		}
		return a, err
	}, nil
}

func (e *elsewhere) Probe(context.Context) error {
	e.probes.Add(1)
	if gone := e.gone.Load(); gone != nil {
		return *gone
	}
	return nil
}

func (e *elsewhere) leave(err error) { e.gone.Store(&err) }

func rows(n int) (paths, outcomes []string) {
	for i := range n {
		paths, outcomes = append(paths, fmt.Sprintf("/i/%d/x.png", i)), append(outcomes, "ok")
	}
	return paths, outcomes
}

// TestDetectorGone: rows wait for the detector, and none is done without it.
func TestDetectorGone(t *testing.T) {
	paths, outcomes := rows(60)
	b := newBench(t, two, paths...)
	e := &elsewhere{answering: oneFace}
	e.hold = func(asked int64) {
		if asked == 20 {
			e.leave(fmt.Errorf("%w: gone fishing", detect.ErrUnavailable))
		}
	}
	b.opts.Detector = e
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e.probes.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		c, err := b.job.Counts(t.Context())
		if err != nil || c.Done >= 40 {
			t.Errorf("%d rows are done without a detector, %v", c.Done, err)
		}
		if s := b.stats.Snapshot(); !s.Outage || !strings.Contains(s.Cause, "gone fishing") {
			t.Errorf("outage %v: %q", s.Outage, s.Cause)
		}
		e.gone.Store(nil)
	}()
	b.want(Finished, outcomes...)
	<-done
	if s := b.stats.Snapshot(); s.Outage {
		t.Errorf("still an outage: %q", s.Cause)
	}
}

// TestDetectorGoneTooLong ends the run with the cause, and so does an error that no waiting will mend.
func TestDetectorGoneTooLong(t *testing.T) {
	for _, c := range []struct {
		err  error
		wait time.Duration
		says string
	}{
		{fmt.Errorf("%w: gone fishing", detect.ErrUnavailable), time.Millisecond, "--outage-wait"},
		{errors.New("it lies"), time.Hour, "it lies"},
	} {
		paths, _ := rows(20)
		b := newBench(t, two, paths...)
		e := &elsewhere{answering: oneFace}
		e.leave(c.err)
		b.opts.Detector, b.opts.OutageWait = e, c.wait
		if _, err := b.run(); err == nil || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ended with %v", err)
		}
		if out := b.outcomes(); len(out) > 0 {
			t.Errorf("done without a detector: %v", out)
		}
	}
}

// TestDrainWhilePaused: a run that waits for its detector can be stopped.
func TestDrainWhilePaused(t *testing.T) {
	paths, _ := rows(20)
	b := newBench(t, two, paths...)
	e := &elsewhere{answering: oneFace}
	e.leave(detect.ErrUnavailable)
	drain := make(chan struct{})
	b.opts.Detector, b.opts.Drain = e, drain
	go func() {
		for e.probes.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		close(drain)
	}()
	b.want(Interrupted)
}

// TestManyAreAsked: a detector elsewhere is asked by more than there are decoders, as many as rows are in
// flight.
func TestManyAreAsked(t *testing.T) {
	paths, outcomes := rows(40)
	b := newBench(t, two, paths...)
	b.opts.Fetchers, b.opts.Workers = 4, 1
	e := &elsewhere{answering: oneFace}
	all := make(chan struct{})
	e.hold = func(asked int64) {
		if asked == int64(2*b.opts.Fetchers) {
			close(all)
		}
		<-all
	}
	b.opts.Detector = e
	b.want(Finished, outcomes...)
	if n := e.most.Load(); n != int64(2*b.opts.Fetchers) {
		t.Errorf("%d were asked at once", n)
	}
}

// TestStandIn: the row says what detector it was, and an image that no detector can take is bad.
func TestStandIn(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png")
	b.opts.Detector = answering(func(img detect.Image) (detect.Answer, error) {
		if img.Luma.Rect.Dx() == 77 {
			return detect.Answer{Err: errors.New("what is this?")}, nil
		}
		return detect.Answer{Detector: "stand-in/1"}, nil
	})
	b.want(Finished, "ok", "failed bad_image")
	for r, err := range b.job.Results(t.Context(), 0, 2) {
		if err != nil || r.Detector != "stand-in/1" {
			t.Errorf("%+v %v", r, err)
		}
	}
}
