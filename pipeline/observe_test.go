package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
)

// TestObserve looks at the run at an interval, judges after some looks by the latest ones, and notes how long
// what held the run back.
func TestObserve(t *testing.T) {
	b := newBench(t, two)
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		var holds atomic.Bool
		holds.Store(true)
		b.opts.Hold = func() bool {
			looks.Add(1)
			return holds.Load()
		}
		life := newLifecycle(t.Context())
		defer life.close()
		queue := host.New[*task](host.Options{})
		defer queue.Stop()
		r := &run{Options: b.opts, lifecycle: life, job: b.job, stats: &Stats{}, queue: queue,
			budget: newBudget(1<<20, 1<<10), inflight: make(places, 2)}
		r.stats.holdups.note(live.Holdup{}, 0)
		over, finish := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.observe(over)
		}()
		kind := func(when, want string, n int64) {
			t.Helper()
			synctest.Wait()
			if got := r.stats.holdups.latest().Kind; got != want || looks.Load() != n {
				t.Errorf("%s: held back by %q after %d looks, want %q after %d", when, got, looks.Load(),
					want, n)
			}
		}
		time.Sleep(judgeEvery*lookEvery - 1)
		kind("before the first judgement", "", judgeEvery-1)
		time.Sleep(time.Nanosecond)
		kind("at the first judgement", live.ByOutput, judgeEvery)
		time.Sleep((lately - 1) * judgeEvery * lookEvery)
		kind("later", live.ByOutput, lately*judgeEvery)
		holds.Store(false)
		time.Sleep(2 * judgeEvery * lookEvery) // 3 of 5 still were so
		kind("a little after it ended", live.ByOutput, (lately+2)*judgeEvery)
		time.Sleep(judgeEvery * lookEvery)
		kind("after it ended", "", (lately+3)*judgeEvery)
		if most := r.stats.holdups.most(); most.Kind != live.ByOutput || most.Share != 7.0/8 {
			t.Errorf("held back for most of the time by %+v", most)
		}
		life.drain(Interrupted)
		holds.Store(true)
		time.Sleep(10 * judgeEvery * lookEvery)
		kind("draining", "", (lately+13)*judgeEvery)
		if most := r.stats.holdups.most(); most.Share != 7.0/8 {
			t.Errorf("the drain counts: %+v", most)
		}
		finish()
		<-ended
	})
}

// reported is a session that takes reports.
type reported struct {
	store.Session
	mu    sync.Mutex
	took  []store.Progress
	fails error
}

func (r *reported) Report(_ context.Context, p store.Progress) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails == nil {
		r.took = append(r.took, p)
	}
	return r.fails
}

// TestReport tells what holds the run back soon after it changed, and how fast the run is now and then.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &reported{}
		r := &run{session: s, stats: &Stats{}}
		over, finish := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.report(over)
		}()
		after := func(d time.Duration, when string, want int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.took) != want {
				t.Errorf("%s: %d reports, want %d: %+v", when, len(s.took), want, s.took)
			}
		}
		after(time.Minute+time.Millisecond, "nothing to say", 0)
		r.stats.holdups.note(live.Holdup{Kind: live.ByRate, What: "--rate"}, 0)
		fail := func(err error) { s.mu.Lock(); defer s.mu.Unlock(); s.fails = err }
		fail(errors.New("away"))
		after(2*time.Second, "the store is away", 0)
		fail(nil)
		after(time.Second, "held back", 1)
		after(time.Minute, "nothing new", 1)
		done := func(rows int64) {
			r.stats.mu.Lock()
			defer r.stats.mu.Unlock()
			if r.stats.ownMeter.start.IsZero() {
				r.stats.ownMeter.begin(time.Now())
			}
			r.stats.ownMeter.add(time.Now(), rows)
		}
		done(1000)
		after(time.Second, "faster", 2)
		done(1000)
		after(reportEvery-time.Second, "soon again", 2)
		after(time.Second, "later", 3)
		finish()
		<-ended
		if p := s.took[0]; p.HeldBackBy != live.ByRate || p.Why == "" || s.took[2].Rate <= 0 {
			t.Errorf("%+v", s.took)
		}
	})
}
