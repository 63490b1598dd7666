package pipeline

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/pipeline/source"
	"facescan/store"
)

// TestObserve samples the run at an interval, diagnoses after some samples by the latest ones, and notes how
// long what held the run back.
func TestObserve(t *testing.T) {
	b := newBench(t, two)
	synctest.Test(t, func(t *testing.T) {
		var samples atomic.Int64
		var holds atomic.Bool
		holds.Store(true)
		b.opts.Hold = func() bool {
			samples.Add(1)
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
			if got := r.stats.holdups.latest().Kind; got != want || samples.Load() != n {
				t.Errorf("%s: held back by %q after %d samples, want %q after %d", when, got, samples.Load(),
					want, n)
			}
		}
		time.Sleep(diagnoseEvery*sampleEvery - 1)
		kind("before the first diagnosis", "", diagnoseEvery-1)
		time.Sleep(time.Nanosecond)
		kind("at the first diagnosis", live.ByOutput, diagnoseEvery)
		time.Sleep((lately - 1) * diagnoseEvery * sampleEvery)
		kind("later", live.ByOutput, lately*diagnoseEvery)
		holds.Store(false)
		time.Sleep(2 * diagnoseEvery * sampleEvery) // 3 of 5 still were so
		kind("a little after it ended", live.ByOutput, (lately+2)*diagnoseEvery)
		time.Sleep(diagnoseEvery * sampleEvery)
		kind("after it ended", "", (lately+3)*diagnoseEvery)
		if most := r.stats.holdups.most(); most.Kind != live.ByOutput || most.Share != 7.0/8 {
			t.Errorf("held back for most of the time by %+v", most)
		}
		life.drain(Interrupted)
		holds.Store(true)
		time.Sleep(10 * diagnoseEvery * sampleEvery)
		kind("draining", "", (lately+13)*diagnoseEvery)
		if most := r.stats.holdups.most(); most.Share != 7.0/8 {
			t.Errorf("the drain counts: %+v", most)
		}
		finish()
		<-ended
	})
}

// aside is a detector elsewhere that is busy, while a stand-in answers.
type aside struct{ answering }

func (aside) Condition() (busy, standIn bool) { return true, true }

// inDatabase is a job whose path is that of a database.
type inDatabase struct{ store.Job }

func (inDatabase) Path() string { return "postgres://me@db.invalid:5432/faces" }

// TestLook: what the stages say of themselves is seen.
func TestLook(t *testing.T) {
	b := newBench(t, two)
	queue := host.New[*task](host.Options{})
	defer queue.Stop()
	r := &run{Options: b.opts, job: b.job, stats: &Stats{}, queue: queue, budget: newBudget(1<<20, 1<<10),
		inflight: make(places, 2), fetched: make(chan *task, 1)}
	r.inflight <- struct{}{}
	r.activity.reading.Store(readers - 1)
	if got, want := r.sample(), (observation{samples: 1, empty: 1, inFlight: 1}); got != want {
		t.Errorf("at rest: %+v, want %+v", got, want)
	}
	r.inflight <- struct{}{}
	r.fetched <- nil
	r.Hold, r.Detector = func() bool { return true }, aside{}
	r.budget.bodies.arriving = []*reservation{{}}
	r.budget.pixels.waiting.Store(1)
	for _, on := range []*atomic.Bool{&r.activity.writing, &r.activity.keeping, &r.activity.claiming,
		&r.activity.idle} {
		on.Store(true)
	}
	r.activity.reading.Store(readers)
	r.activity.elsewise.Store(3)
	want := observation{samples: 1, empty: 1, inFlight: 2, flightFull: 1, queued: 1, bodies: 1, pixels: 1,
		writing: 1, keeping: 1, claiming: 1, idle: 1, output: 1, reading: 1, standIn: 1, sidecarBusy: 1,
		workersElse: 3, fetching: 1, decoding: 1, detecting: 1}
	r.stats.Fetching.measure(func() int {
		r.stats.Decoding.measure(func() int {
			r.stats.Detecting.measure(func() int {
				if got := r.sample(); got != want {
					t.Errorf("at work: %+v, want %+v", got, want)
				}
				return 0
			})
			return 0
		})
		return 0
	})
}

// TestLoad: a diagnosis rests on what was done since the one before, and on what the run was told to do.
func TestLoad(t *testing.T) {
	b := newBench(t, two)
	synctest.Test(t, func(t *testing.T) {
		life := newLifecycle(t.Context())
		defer life.close()
		queue := host.New[*task](host.Options{})
		defer queue.Stop()
		r := &run{Options: b.opts, lifecycle: life, job: b.job, stats: &Stats{}, queue: queue}
		o := observer{run: r, at: time.Now(), answered: time.Now()}
		commit := func(d time.Duration) {
			r.stats.Committing.measure(func() int { time.Sleep(d); return 0 })
		}
		commit(20 * time.Millisecond)
		commit(40 * time.Millisecond)
		time.Sleep(10*time.Second - 60*time.Millisecond)
		o.cpu = processTime() - time.Duration(runtime.NumCPU())*5*time.Second
		self := Self()
		r.stats.job.Owners = []store.OwnerCounts{
			{Owner: self, Alive: true, Shards: 1},
			{Owner: store.Owner{Host: self.Host, PID: self.PID + 1}, Alive: true, Shards: 1},
			{Owner: store.Owner{Host: "another", PID: self.PID}, Alive: true, Shards: 2},
			{Owner: store.Owner{Host: "another", PID: 7}, Alive: true},
			{Owner: store.Owner{Host: "another", PID: 8}, Shards: 1},
		}
		l, span := o.load(observation{samples: 10})
		if span != 10*time.Second || l.commit != 30*time.Millisecond || l.silence != 10*time.Second ||
			l.others != 2 || l.database != "" || l.draining || l.remote || l.pipe || l.watching ||
			l.processors < 0.5 || l.processors > 0.6 {
			t.Errorf("after %v: %+v", span, l)
		}
		commit(10 * time.Millisecond)
		r.stats.Detecting.measure(func() int { return 0 })
		o.listen()
		time.Sleep(time.Second)
		r.job, r.Lists = inDatabase{b.job}, func() ([]source.Spec, error) { return nil, nil }
		r.Sources = []source.Spec{{Path: "-"}}
		life.drain(Interrupted)
		l, span = o.load(observation{})
		if span != 1010*time.Millisecond || l.commit != 10*time.Millisecond || l.silence != time.Second ||
			l.database != "db.invalid:5432" || !l.draining || !l.pipe ||
			!l.watching {
			t.Errorf("after %v: %+v", span, l)
		}
		if l, _ = o.load(observation{}); l.commit != 0 {
			t.Errorf("without a commit: %v", l.commit)
		}
		for _, c := range []struct {
			paths string
			pipe  bool
		}{{"", false}, {"-", true}, {"- a.txt", false}, {"a.txt", false}} {
			r.Sources = nil
			for path := range strings.FieldsSeq(c.paths) {
				r.Sources = append(r.Sources, source.Spec{Path: path})
			}
			if r.pipe() != c.pipe {
				t.Errorf("%q are stdin: %t", c.paths, !c.pipe)
			}
		}
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
