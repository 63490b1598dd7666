package pipeline

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"facescan/detect"
	"facescan/pipeline/fetch"
	"facescan/pipeline/live"
	"facescan/pipeline/source"
	"facescan/store"
)

const (
	sampleEvery   = 100 * time.Millisecond // of the run
	diagnoseEvery = 10                     // samples
	lately        = 5                      // diagnoses that a load is made of
	reportEvery   = 5 * time.Second        // for other processes, if nothing changed
	reportWithin  = 5 * time.Second
)

// activity is what the stages say about themselves, for its samples.
type activity struct {
	writing, keeping  atomic.Bool
	claiming, idle    atomic.Bool
	reading, elsewise atomic.Int64 // readers of kept files; workers that neither decode nor detect
}

// holdups keeps the diagnoses of a run.
type holdups struct {
	mu    sync.Mutex
	now   live.Holdup
	spent map[string]time.Duration
	last  map[string]live.Holdup
	total time.Duration
	at    time.Time // of the latest diagnosis, or of the start
}

// note takes in what held the run back for a while.
func (hs *holdups) note(h live.Holdup, d time.Duration) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.spent == nil {
		hs.spent, hs.last = map[string]time.Duration{}, map[string]live.Holdup{}
	}
	hs.now, hs.at = h, time.Now()
	hs.total += d
	if h.Kind != "" {
		hs.spent[h.Kind] += d
		hs.last[h.Kind] = h
	}
}

func (hs *holdups) latest() live.Holdup {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.now
}

// diagnosed is when the latest diagnosis was made.
func (hs *holdups) diagnosed() time.Time {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.at
}

// most is what held the run back for longest.
func (hs *holdups) most() (most live.HeldBack) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, kind := range live.Holdups {
		if share := hs.spent[kind].Seconds() / max(hs.total.Seconds(), 1e-9); share > most.Share {
			most = live.HeldBack{Holdup: hs.last[kind], Share: share}
		}
	}
	return most
}

// Wait notes that a run which is over waits for something, until the function it returns is called. Busy is
// how long that has been at work so far: no more than this of the waiting is due to it.
func (s *Stats) Wait(h live.Holdup, busy func() time.Duration) (done func()) {
	began, before := time.Now(), busy()
	s.holdups.note(live.Holdup{}, began.Sub(s.holdups.diagnosed())) // too short to be diagnosed
	s.holdups.note(h, 0)
	return func() {
		waited := time.Since(began)
		held := min(waited, busy()-before)
		s.holdups.note(live.Holdup{}, waited-held)
		s.holdups.note(h, held)
	}
}

// condition is what a detector elsewhere may say about itself.
type condition interface {
	// Condition reports whether every server asked not to be asked for now, and whether a stand-in answers.
	Condition() (busy, standIn bool)
}

// look is one moment of the run.
func (r *run) sample() (m observation) {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	m.samples = 1
	rate, bandwidth := r.Fetcher.Waiting()
	m.rate, m.bandwidth = flag(rate > 0), flag(bandwidth > 0)
	m.bodies, m.pixels = flag(r.budget.bodies.waiters() > 0), flag(r.budget.pixels.waiters() > 0)
	q := r.queue.Load()
	m.full, m.starved, m.empty, m.waiting = flag(q.Full), flag(q.Starved), flag(q.Waiting == 0), q.Waiting
	m.inFlight = len(r.inflight)
	m.flightFull = flag(m.inFlight == cap(r.inflight))
	m.queued = flag(len(r.fetched) > 0)
	a := &r.activity
	m.writing, m.keeping, m.claiming = flag(a.writing.Load()), flag(a.keeping.Load()), flag(a.claiming.Load())
	m.output = flag(r.Hold != nil && r.Hold())
	m.idle, m.reading = flag(a.idle.Load()), flag(a.reading.Load() >= readers)
	m.fetching, m.decoding = r.stats.Fetching.inside(), r.stats.Decoding.inside()
	m.detecting, m.workersElse = r.stats.Detecting.inside(), int(a.elsewise.Load())
	if c, ok := r.Detector.(condition); ok {
		busy, standIn := c.Condition()
		m.sidecarBusy, m.standIn = flag(busy), flag(standIn)
	}
	return m
}

// observe diagnoses what holds the run back until the context ends.
func (r *run) observe(ctx context.Context) {
	var window []observation
	var now observation
	o := observer{run: r, at: time.Now(), cpu: processTime(), answered: time.Now()}
	for range ticks(ctx, sampleEvery) {
		now.add(r.sample())
		o.listen()
		if now.samples < diagnoseEvery {
			continue
		}
		if window = append(window, now); len(window) > lately {
			window = window[1:]
		}
		now = observation{}
		var sum observation
		for _, m := range window {
			sum.add(m)
		}
		o.diagnose(sum)
	}
}

// observer diagnoses a run again and again.
type observer struct {
	*run
	at       time.Time // of the latest diagnosis
	cpu      time.Duration
	commits  int64
	took     time.Duration
	answers  int64     // of the detector
	answered time.Time // the latest, or when nothing was asked
}

// listen notes whether the detector answers.
func (o *observer) listen() {
	s := &o.stats.Detecting
	s.mu.Lock()
	n, asked := s.count, s.now > 0
	s.mu.Unlock()
	if n != o.answers || !asked {
		o.answers, o.answered = n, time.Now()
	}
}

// diagnose takes in what the run did lately.
func (o *observer) diagnose(sum observation) {
	l, span := o.load(sum)
	if l.draining {
		span = 0 // the end of a run says nothing about it
	}
	h := l.holdup()
	if was := o.stats.holdups.latest(); h.Kind != was.Kind {
		o.Log.Debug("held back by", "kind", h.Kind, "what", h.String(), "was", was.Kind)
	}
	o.stats.holdups.note(h, span)
}

// load is what the run did since the latest diagnosis, and how long ago that was.
func (o *observer) load(sum observation) (l load, span time.Duration) {
	now, cpu := time.Now(), processTime()
	span = now.Sub(o.at)
	l = load{observation: sum, path: o.job.Path(), now: now,
		processors: (cpu - o.cpu).Seconds() / span.Seconds() / float64(runtime.NumCPU()),
		silence:    now.Sub(o.answered), memory: o.Memory, fetchers: o.Fetchers, wanted: o.WantedFetchers,
		workers: o.Workers,
		cores:   runtime.NumCPU(), draining: o.draining.Err() != nil, pipe: o.pipe(),
		watching: o.Lists != nil}
	l.perSecond, l.bandwidthIs = o.Fetcher.Limits()
	_, l.remote = o.Detector.(detect.Remote)
	if at := o.job.Path(); strings.Contains(at, "://") {
		l.database = fetch.Host(strings.Replace(at, "postgres", "http", 1))
	}
	c := &o.stats.Committing
	c.mu.Lock()
	if n := c.count - o.commits; n > 0 {
		l.commit = (c.took - o.took) / time.Duration(n)
	}
	o.commits, o.took = c.count, c.took
	c.mu.Unlock()
	o.at, o.cpu = now, cpu

	o.stats.mu.Lock()
	l.outage, l.away, l.counts = o.stats.outage, o.stats.away, o.stats.job
	o.stats.mu.Unlock()
	self := Self()
	for _, owner := range l.counts.Owners {
		if owner.Alive && owner.Shards > 0 && (owner.Host != self.Host || owner.PID != self.PID) {
			l.others++
		}
	}
	if l.often(l.starved) {
		l.blocked = o.queue.Blocked()
	}
	if l.often(l.idle) {
		if flights := o.queue.InFlight(); len(flights) > 0 {
			l.oldest = &flights[0]
		}
	}
	return l, span
}

// pipe reports whether all lists are stdin.
func (r *run) pipe() bool {
	isFile := func(s source.Spec) bool { return !s.IsPipe() }
	return len(r.Sources) > 0 && !slices.ContainsFunc(r.Sources, isFile)
}

// processTime is how long processors were busy with this process.
func processTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report tells other processes how this one gets on, until the context ends.
func (r *run) report(ctx context.Context) {
	var told store.Progress
	at := time.Now()
	for range ticks(ctx, sampleEvery*diagnoseEvery) {
		h := r.stats.holdups.latest()
		p := store.Progress{Rate: r.stats.Rate(), HeldBackBy: h.Kind, Why: h.String()}
		if p.HeldBackBy == told.HeldBackBy && (time.Since(at) < reportEvery || p == told) {
			continue
		}
		c, cancel := context.WithTimeout(ctx, reportWithin)
		if err := r.session.Report(c, p); err == nil { // what fails here fails the commits, too
			told, at = p, time.Now()
		}
		cancel()
	}
}
