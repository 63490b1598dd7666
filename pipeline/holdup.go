package pipeline

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"facescan/detect"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
)

// What holds a run back is found out here, once for all who show it.
//
//	run ──look, 10 times a second──▶ moments ──lately──▶ load ──holdup──▶ live page, metrics, progress, status, summary
//
// A limit holds the run back when somebody waits for it at most moments: then all that it grants is used up. That
// a stage is busy does not say so, since it may be busy because of a limit within it.

const (
	lookEvery    = 100 * time.Millisecond // at the run
	judgeEvery   = 10                     // looks
	lately       = 5                      // judgements that a load is made of
	fewLooks     = 5                      // are not enough to judge by
	mostMoments  = 0.6                    // the share of moments above which somebody waits nearly always
	busyWorkers  = 0.85                   // the share of the workers' time
	busyMachine  = 0.85                   // the share of the processors' time that this process takes
	busyWriter   = 0.7                    // the share of the writer's time
	silentFor    = 2 * time.Second        // a sidecar that does not answer for so long is more than busy
	oldFlight    = 5 * time.Second        // a request this old is named
	reportEvery  = 5 * time.Second        // for other processes, if nothing changed
	reportWithin = 5 * time.Second
)

// moment counts looks at which something was so, and sums numbers over looks.
type moment struct {
	looks int

	rate, bandwidth   int // somebody waited for the limit
	bodies, pixels    int // somebody waited for memory
	full              int // every fetcher was busy, and rows could go
	starved           int // fetchers were free, and no row that waited could go
	empty             int // no row waited
	flightFull        int // as many rows were in flight as may be
	queued            int // rows waited for a worker
	writing, keeping  int // the writer wrote results; synced what is kept
	claiming, idle    int // the dispatcher waited for the store; had no shard to claim
	output            int // nobody took what comes out
	reading           int // all readers of kept files were busy
	standIn           int // a sidecar's stand-in answered
	sidecarBusy       int // no sidecar took requests for now
	inFlight, waiting int // rows, summed up
	fetching          int
	decoding          int
	detecting         int
	workersElse       int // rows that workers were busy with besides: memory, kept files
}

func (m *moment) add(o moment) {
	for _, p := range []struct{ to, n *int }{
		{&m.looks, &o.looks}, {&m.rate, &o.rate}, {&m.bandwidth, &o.bandwidth}, {&m.bodies, &o.bodies}, {&m.pixels, &o.pixels},
		{&m.full, &o.full}, {&m.starved, &o.starved}, {&m.empty, &o.empty}, {&m.flightFull, &o.flightFull},
		{&m.queued, &o.queued}, {&m.writing, &o.writing}, {&m.keeping, &o.keeping}, {&m.claiming, &o.claiming},
		{&m.idle, &o.idle}, {&m.output, &o.output}, {&m.reading, &o.reading}, {&m.standIn, &o.standIn},
		{&m.sidecarBusy, &o.sidecarBusy}, {&m.inFlight, &o.inFlight}, {&m.waiting, &o.waiting}, {&m.fetching, &o.fetching},
		{&m.decoding, &o.decoding}, {&m.detecting, &o.detecting}, {&m.workersElse, &o.workersElse},
	} {
		*p.to += *p.n
	}
}

// load is what a run did lately, and its settings: all that the judgement depends on.
type load struct {
	moment
	processors float64       // share of their time that this process took
	commit     time.Duration // of one, lately
	silence    time.Duration // since the sidecar answered last, while rows wait for it

	// Settings.
	perSecond   float64
	bandwidthIs int64
	memory      int64
	fetchers    int
	wanted      int // fetchers, if the system allows fewer
	workers     int
	cores       int
	remote      bool // the detector is a sidecar
	database    string

	outage   host.Outage
	away     bool // the outage is the detector's
	draining bool
	blocked  host.Blocked
	oldest   *host.Flight
	counts   store.Counts
	others   int  // living processes besides that hold shards
	pipe     bool // the list is stdin
	now      time.Time
}

// often reports whether something was so at most moments.
func (l *load) often(n int) bool { return float64(n) >= mostMoments*float64(l.looks) }

// mean is over the moments.
func (l *load) mean(n int) float64 { return float64(n) / float64(max(1, l.looks)) }

// holdup is the judgement. Limits come first that are proof by themselves: everything they grant is used up. Then the
// stages from the last to the first, since one that is slow makes the ones before it wait. At the end come reasons for
// too few rows.
func (l *load) holdup() live.Holdup {
	switch {
	case l.draining:
		return live.Holdup{}
	case l.away:
		return l.unavailable()
	case l.outage.On:
		return live.Holdup{Kind: live.ByOutage, What: "an outage of this machine: " + l.outage.Cause,
			Advice: "rows wait, and none is marked failed"}
	case l.looks < fewLooks:
		return live.Holdup{}
	case l.often(l.rate):
		return live.Holdup{Kind: live.ByRate, What: fmt.Sprintf("--rate (%v requests per second)", l.perSecond)}
	case l.often(l.output):
		return SlowOutput
	case l.often(l.bandwidth):
		return live.Holdup{Kind: live.ByBandwidth, What: fmt.Sprintf("--bwlimit (%s per second)", bytesText(l.bandwidthIs))}
	}
	for _, judge := range []func() live.Holdup{l.behind, l.work, l.slots, l.supply} {
		if h := judge(); h.Kind != "" {
			return h
		}
	}
	return live.Holdup{}
}

// SlowOutput is an output that holds a run back, or its end.
var SlowOutput = live.Holdup{Kind: live.ByOutput, What: "the output, which is taken more slowly than rows are done"}

// unavailable is a detector that cannot be asked.
func (l *load) unavailable() live.Holdup {
	h := live.Holdup{Kind: live.BySidecar, What: "the sidecar, which cannot be used: " + l.outage.Cause,
		Advice: "rows wait, and none is marked failed"}
	if !l.remote {
		h.Kind, h.What = live.ByWorkers, "the detector, which cannot be used: "+l.outage.Cause
	}
	return h
}

// behind judges what comes after the workers.
func (l *load) behind() live.Holdup {
	store := "the disk of the job"
	if l.database != "" {
		store = "the database at " + l.database
	}
	took := ""
	if l.commit > 0 {
		took = fmt.Sprintf(" (%v for a commit)", l.commit.Round(100*time.Microsecond))
	}
	writing := l.mean(l.writing)
	switch {
	case writing >= busyWriter && l.often(l.flightFull) && l.keeping > l.writing/2:
		return live.Holdup{Kind: live.ByKeep, What: "the disk that images are kept on", Advice: "use a faster one"}
	case writing >= busyWriter && (l.often(l.flightFull) || l.often(l.empty) && l.often(l.idle)):
		return live.Holdup{Kind: live.ByStore, What: store + took,
			Advice: "put the job on a faster disk, or nearer to its database"}
	case l.often(l.claiming) && l.often(l.empty):
		return live.Holdup{Kind: live.ByStore, What: store + ", which is slow to give rows"}
	}
	return live.Holdup{}
}

// work judges decoders and detectors.
func (l *load) work() live.Holdup {
	if l.remote {
		// Rows in flight are few at the end of a job; so their share counts, not their number.
		mostThere := l.detecting > 0 && 2*l.detecting > l.inFlight
		switch {
		case l.standIn > 0 && l.often(l.standIn) && mostThere:
			return live.Holdup{Kind: live.BySidecar, What: "the stand-in for the sidecar, which does not answer",
				Advice: "start the sidecar again"}
		case mostThere && l.silence >= silentFor:
			return live.Holdup{Kind: live.BySidecar,
				What:   fmt.Sprintf("the sidecar, which has not answered for %v", l.silence.Round(time.Second)),
				Advice: "check that it runs"}
		case l.sidecarBusy > 0 && l.often(l.sidecarBusy) && l.detecting > 0:
			return live.Holdup{Kind: live.BySidecar, What: "the sidecar, which is busy and asks to wait",
				Advice: "start another one, and name both with --sidecar"}
		case mostThere && (l.often(l.flightFull) || l.often(l.queued)):
			return live.Holdup{Kind: live.BySidecar, What: "the sidecar, which most rows in flight wait for",
				Advice: "start another one, and name both with --sidecar"}
		}
	}
	local := l.decoding + l.workersElse
	if !l.remote {
		local += l.detecting
	}
	busy := min(1, l.mean(local)/float64(max(1, l.workers)))
	waited := l.often(l.queued)
	switch {
	case waited && l.often(l.pixels):
		return l.short()
	case busy >= busyWorkers || waited && busy >= 0.5:
		h := live.Holdup{Kind: live.ByWorkers}
		decode := 100 * float64(l.decoding) / float64(max(1, local))
		h.What = fmt.Sprintf("the workers (%.0f%% busy, %.0f%% of that decoding)", 100*busy, decode)
		if l.workers < l.cores && l.processors < busyMachine {
			h.Advice = fmt.Sprintf("%d of %d processors are used: more --workers may help", l.workers, l.cores)
		}
		return h
	case l.processors >= busyMachine:
		return live.Holdup{Kind: live.ByProcessors,
			What: fmt.Sprintf("the processors (%.0f%% busy with this run)", 100*min(1, l.processors))}
	}
	return live.Holdup{}
}

// short is too little memory.
func (l *load) short() live.Holdup {
	return live.Holdup{Kind: live.ByMemory, What: fmt.Sprintf("--memory (%s)", bytesText(l.memory)), Advice: "raise it"}
}

// slots judges the fetchers, and the hosts that they may ask.
func (l *load) slots() live.Holdup {
	switch {
	case l.often(l.bodies):
		return l.short()
	case l.often(l.reading) && l.often(l.empty):
		return live.Holdup{Kind: live.ByKeep, What: "the disk that kept images are read from"}
	case l.often(l.full), l.often(l.flightFull), l.often(l.starved) && l.blocked.Cause == host.ByNewcomers:
		what := fmt.Sprintf("slow servers (all %d fetchers are busy)", l.fetchers)
		if l.often(l.starved) {
			what = fmt.Sprintf("slow servers (%d rows wait for hosts that have not answered yet)", l.blocked.Rows)
		}
		if l.wanted > l.fetchers {
			return live.Holdup{Kind: live.ByFiles, What: fmt.Sprintf("the limit of open files (%d fetchers instead of %d)",
				l.fetchers, l.wanted), Advice: fmt.Sprintf("raise it first: ulimit -n %d", 4*l.wanted)}
		}
		return live.Holdup{Kind: live.BySlowHosts, What: what, Advice: "more --fetchers may help"}
	case l.often(l.starved):
		return l.hosts()
	}
	return live.Holdup{}
}

// hosts judges why rows wait while fetchers are free.
func (l *load) hosts() live.Holdup {
	b := l.blocked
	name, rows := b.Host, fmt.Sprintf("%d rows wait", b.Rows)
	switch {
	case b.Hosts == 2:
		name += " and another host"
	case b.Hosts > 2:
		name += fmt.Sprintf(" and %d other hosts", b.Hosts-1)
	}
	if b.Rows == 1 {
		rows = "one row waits"
	}
	pace := func(what string) live.Holdup { return live.Holdup{Kind: live.ByHostPace, What: what, Detail: rows} }
	switch b.Cause {
	case host.ByPerHost:
		return live.Holdup{Kind: live.ByPerHost, What: fmt.Sprintf("--per-host (%.0f) at %s", b.Limit, name), Detail: rows,
			Advice: "raise it only if the host may be asked more"}
	case host.ByCeiling:
		return pace(fmt.Sprintf("the pace of %s (%.0f requests per second)", name, b.Limit))
	case host.ByPause:
		h := pace(fmt.Sprintf("a pause that %s asked for (429)", name))
		h.Detail = fmt.Sprintf("%s, %v more", rows, max(0, b.Until.Sub(l.now)).Round(time.Second))
		return h
	case host.ByLimit:
		return pace(fmt.Sprintf("the pace of %s (%.0f requests at once, by how it answered)", name, max(1, b.Limit)))
	case host.ByTrouble:
		return live.Holdup{Kind: live.ByRetries, What: "the silence of " + name, Detail: rows}
	case host.ByRetry:
		return live.Holdup{Kind: live.ByRetries, What: "pauses before further attempts", Detail: rows,
			Advice: "fewer --retries make them shorter"}
	}
	return live.Holdup{}
}

// supply judges why there are too few rows.
func (l *load) supply() live.Holdup {
	c := l.counts
	switch {
	case !l.often(l.empty) || !l.often(l.idle):
		return live.Holdup{}
	case len(c.ImportIncomplete) > 0 && l.pipe:
		return live.Holdup{Kind: live.ByImport, What: "stdin, which brings rows more slowly than they are processed"}
	case len(c.ImportIncomplete) > 0:
		return live.Holdup{Kind: live.ByImport, What: "the list, which is read more slowly than its rows are processed"}
	case l.inFlight > 0:
		h := live.Holdup{Kind: live.ByTail, What: "the last rows", Detail: fmt.Sprintf("%.0f in flight", max(1, l.mean(l.inFlight)))}
		if l.oldest != nil && l.now.Sub(l.oldest.Since) >= oldFlight {
			h.Detail = fmt.Sprintf("waiting %v for %s", l.now.Sub(l.oldest.Since).Round(time.Second),
				fetch.Redact(l.oldest.URL))
			h.Advice = "--tail-grace leaves the slowest pending"
		}
		return h
	case c.Pending > 0 && c.Pending == c.PausedPending:
		return live.Holdup{Kind: live.ByPause, What: fmt.Sprintf("paused lists (%d rows)", c.PausedPending),
			Advice: "facescan resume JOB lets them go on"}
	case c.Pending > 0 && l.others > 0:
		return live.Holdup{Kind: live.ByOthers, What: "other processes, which have the last rows", Detail: fmt.Sprint(c.Pending)}
	}
	return live.Holdup{}
}

// bytesText writes a number of bytes as flags take it.
func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + u.name
		}
	}
	return fmt.Sprint(n, "B")
}

// activity is what the stages say about themselves, for looks.
type activity struct {
	writing, keeping  atomic.Bool
	claiming, idle    atomic.Bool
	reading, elsewise atomic.Int64 // readers of kept files; workers that neither decode nor detect
}

// HeldBack is how much of a run something held it back.
type HeldBack struct {
	live.Holdup         // the latest of its kind
	Share       float64 // of the time
}

// holdups keeps the judgements of a run.
type holdups struct {
	mu    sync.Mutex
	now   live.Holdup
	spent map[string]time.Duration
	last  map[string]live.Holdup
	total time.Duration
}

// note takes in what held the run back for a while.
func (hs *holdups) note(h live.Holdup, d time.Duration) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.spent == nil {
		hs.spent, hs.last = map[string]time.Duration{}, map[string]live.Holdup{}
	}
	hs.now = h
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

// most is what held the run back for longest.
func (hs *holdups) most() (most HeldBack) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, kind := range live.Holdups {
		if share := hs.spent[kind].Seconds() / max(hs.total.Seconds(), 1e-9); share > most.Share {
			most = HeldBack{hs.last[kind], share}
		}
	}
	return most
}

// Wait says that a run which is over waits for something, until the function it returns is called.
func (s *Stats) Wait(h live.Holdup) (done func()) {
	since := time.Now()
	s.holdups.note(h, 0)
	return func() { s.holdups.note(h, time.Since(since)) }
}

// condition is what a detector elsewhere may say about itself.
type condition interface {
	// Condition reports whether every server asked not to be asked for now, and whether a stand-in answers.
	Condition() (busy, standIn bool)
}

// look is one moment of the run.
func (r *run) look() (m moment) {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	m.looks = 1
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

// observe judges what holds the run back until the context ends.
func (r *run) observe(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	var window []moment
	var now moment
	o := observer{run: r, at: time.Now(), cpu: processTime(), answered: time.Now()}
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		now.add(r.look())
		o.listen()
		if now.looks < judgeEvery {
			continue
		}
		if window = append(window, now); len(window) > lately {
			window = window[1:]
		}
		now = moment{}
		var sum moment
		for _, m := range window {
			sum.add(m)
		}
		o.judge(sum)
	}
}

// observer judges a run again and again.
type observer struct {
	*run
	at       time.Time // of the latest judgement
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

// judge takes in what the run did lately.
func (o *observer) judge(sum moment) {
	now, cpu := time.Now(), processTime()
	span := now.Sub(o.at)
	l := load{moment: sum, now: now, processors: (cpu - o.cpu).Seconds() / span.Seconds() / float64(runtime.NumCPU()),
		silence: now.Sub(o.answered), memory: o.Memory, fetchers: o.Fetchers, wanted: o.WantedFetchers, workers: o.Workers,
		cores: runtime.NumCPU(), draining: o.draining.Err() != nil, pipe: o.pipe()}
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
	o.stats.holdups.note(l.holdup(), span)
}

// pipe reports whether all lists are stdin.
func (r *run) pipe() bool {
	for _, s := range r.Sources {
		if !s.IsPipe() {
			return false
		}
	}
	return len(r.Sources) > 0
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
	t := time.NewTicker(lookEvery * judgeEvery)
	defer t.Stop()
	var told store.Progress
	at := time.Now()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
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
