// Package pipeline runs a job: it moves rows from their lists through fetch, decode and detection into the
// store.
//
//	importer ─▶ store ─claim─▶ dispatcher ─▶ queue ─▶ fetcher ×N ─▶ processStage ×W ─▶ writer ─▶ store
//	                               │  ▲                   ▲                             │
//	                               │  └── leases ◀────────┼──────── completed ◀─────────┘
//	                               └───────▶ reader ×4 ───┘  (rows whose bytes are kept)
//
// # Stages
//
// Each stage is a type with what it needs as its fields, and can be run alone: importStage (importer.go),
// dispatcher (dispatch.go), fetcher (fetch.go), reader (keeper.go), processStage (process.go), writer
// (write.go). Run makes them, connects them by channels, and waits (run.go). What they share are types, too:
//
//   - lifecycle (lifecycle.go): the contexts by which a run ends, its limits, and outages of our own.
//   - leases (leases.go): the shards that this process holds.
//   - budget (memory.go): the memory for bodies and for pixels.
//   - task (task.go): a row on its way.
//
// # One way, bounded
//
// Rows flow in one direction through bounded stages; a stage that is slow holds back the one before it, down
// to the claim. A row is in flight from the start of its fetch to its commit; a place taken before the fetch
// and given back after the commit keeps that to 2 × Fetchers rows. Bodies and pixels come out of one byte
// budget. Nothing grows with the list.
//
// # Who owns a row
//
// A row belongs to the lease that it was claimed under. It is completed once: its result is committed, or it
// is given up and thus still pending in the store. A lease goes back when all its rows are complete. A lost
// lease cancels the work on its rows, and the store refuses what was under way.
//
// # Two kinds of failure
//
// What happens to a row (a 404, a broken image) is its outcome and is stored. What happens to us (a full
// disk, a lost database) is an error: the first one ends the run, the rows in flight stay pending, and Run
// returns it. When this machine is cut off, or the detector unavailable, rows wait, for Options.OutageWait at
// most.
//
// # Stopping
//
// Closing Options.Drain stops dispatch; running fetches get DrainGrace, the rest goes back to pending, what
// was fetched is decoded and committed. Ending the context stops at once. Both leave the job consistent; so
// does SIGKILL, since a row's result and its Done flag are one transaction.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"facescan/detect"
	"facescan/pipeline/crash"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/pipeline/source"
	"facescan/store"
)

// Options say how a run works. All fields but the marked ones are required.
type Options struct {
	Sources  []source.Spec                 // lists to import; none when the job itself was named
	Lists    func() ([]source.Spec, error) // names those that there are by now, which are watched; optional
	Node     store.Node                    // which of their rows; optional
	Priority *int                          // of these sources within the job; optional
	Adopt    bool                          // take what is new in the user's table that the job is; optional
	Fetcher  *fetch.Fetcher
	Decode   decode.Options
	Detector detect.Detector // optional: without one no faces are looked for
	Encoded  bool            // the detector wants the bytes as downloaded; optional
	SHA256   bool            // results have it; optional
	Keeper   Keeper          // optional

	WantedFetchers int // those asked for, where the system allows only Fetchers; optional

	Joined func(store.Source) // is called with each source before any row of it is imported; optional
	Hold   func() bool        // true while no row is to be begun; optional

	Fetchers   int // fetches at once, half as many more that take long, and half the rows in flight
	Workers    int // decoders, each with its detection unless the detector is a detect.Remote
	ShardSize  int // rows
	Retries    int // further attempts after a transient failure
	PerHost    int // fetches from one host at once; 0 = no limit
	LeaseTTL   time.Duration
	Memory     int64 // bytes for bodies and pixels
	DrainGrace time.Duration
	OutageWait time.Duration // how long an outage of our own may last before it is an error

	TailGrace time.Duration // how long rows in flight may take when nothing else is left to do; 0 = no limit

	MaxRows     int64         // rows dispatched; 0 = no limit
	MaxDuration time.Duration // 0 = no limit
	MaxFail     Limit         // optional
	AbortIf     []AbortRule   // optional

	Publisher    Publisher // optional
	PublishEvery time.Duration

	Drain <-chan struct{} // closed to stop gently
	// TryDecode decodes a body where a crash does no harm, and reports whether it survived; optional. Rows
	// that were in a decoder when their process died go through it first.
	TryDecode func(ctx context.Context, body []byte) error
	Log       *slog.Logger
}

// LevelRow is the level of messages about single rows.
const LevelRow = slog.LevelDebug - 4

// queueRows is how many rows may always wait for their hosts, about 300 bytes each.
const queueRows = 1 << 14

// window is how many rows wait for their hosts at most.
func (o *Options) window() int { return max(queueRows, 4*o.Fetchers) }

// Slow is how many fetches that take long there are besides Fetchers.
func (o *Options) Slow() int { return (o.Fetchers + 1) / 2 }

// run is one call of Run: what its stages share.
type run struct {
	Options
	*lifecycle
	job     store.Job
	session store.Session
	stats   *Stats
	budget  *budget
	leases  *leases
	queue   *host.Queue[*task]

	inflight places
	fetched  chan *task // fetcher, reader → processStage
	results  completed  // anything → writer
	activity activity
}

// Run works on the job until all its rows are done, by this process or others, or until something ends it
// earlier. Stats are filled in while it runs.
func Run(ctx context.Context, job store.Job, o Options, stats *Stats) (End, error) {
	leaveProcessors(o.Workers)
	session, err := job.Join(ctx, Self(), o.LeaseTTL)
	if err != nil {
		return Finished, fmt.Errorf("join the job: %w", err)
	}
	r := &run{Options: o, job: job, session: session, stats: stats,
		budget:   newBudget(o.Memory, o.Fetcher.MostMemory()),
		inflight: make(places, 2*o.Fetchers), fetched: make(chan *task, o.Workers),
		results: make(completed, 2*o.Fetchers),
		leases: newLeases(session, func(l store.Lease) {
			stats.LeasesLost.Add(1)
			o.Log.Warn("lease lost: its rows go to its new owner", "shard", l.Shard, "lo", l.Lo, "hi", l.Hi)
		})}
	r.leases.log = o.Log
	o.Log.Debug("run begins", "job", job.Path(), "detector", r.detectorName(), "fetchers", o.Fetchers,
		"workers", r.workers(), "per_host", o.PerHost, "memory", o.Memory, "lease_ttl", o.LeaseTTL)
	var end End
	if err = checkForgetting(ctx, job, o.Log); err == nil {
		end, err = r.run(ctx)
	}

	// Leave in order however the run ended: the shards are free at once, and nobody has to wait for the TTL.
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if e := session.Leave(bye); e != nil && err == nil {
		err = fmt.Errorf("leave the job: %w", e)
	}
	if e := o.publishLast(ctx, job); e != nil {
		err = errors.Join(err, e)
	}
	return end, err
}

// run makes the stages, starts them, and waits for their end.
func (r *run) run(ctx context.Context) (End, error) {
	g, gctx := errgroup.WithContext(ctx)
	r.lifecycle = newLifecycle(gctx)
	detector := &detectorProbe{life: r.lifecycle,
		outages: &outages{wait: r.OutageWait, abort: r.abort, show: r.stats.setOutage, log: r.Log}}
	detector.remote, _ = r.Detector.(detect.Remote)
	defer detector.probing.Wait()
	defer detector.close()
	defer r.lifecycle.close()
	r.queue = host.New[*task](host.Options{
		PerHost: r.PerHost, Window: r.window(), Slots: r.Fetchers, Slow: r.Slow(), Take: r.inflight.enter,
		Probe: r.Fetcher.Probe, Resolver: r.Fetcher.ProbeResolver, Named: r.Fetcher.NeedsResolver,
		Witnesses: (&witnesses{job: r.job}).pick, Notify: detector.link, Log: r.Log,
		Delay: r.Fetcher.CrawlDelay,
	})
	var done repeats
	limits := &limits{maxFail: r.MaxFail, abortIf: r.AbortIf, totals: r.stats.jobTotals,
		breaks: r.stats.breaks, drain: r.drain}
	kept := make(chan *task)
	importing := r.importer()
	importing.begin(r.draining)
	defer importing.stop()
	dispatching := r.dispatcher(importing, limits, &done, kept)
	fetching, reading := r.fetcher(detector.outages), r.reader(detector.outages, kept)
	processing, writing := r.processor(detector), r.writer(limits, &done)
	defer processing.close()
	if err := r.stats.begin(r); err != nil {
		return Finished, err
	}

	// The watchers end with the stages: over is cancelled when the writer is through.
	over, finish := context.WithCancel(r.hard)
	defer finish()
	stage := func(do func() error) {
		g.Go(func() error {
			defer crash.Exit()
			return do()
		})
	}
	watch := func(do func(over context.Context)) { stage(func() error { do(over); return nil }) }
	watch(func(over context.Context) { r.watch(over, r.Drain, r.MaxDuration, r.DrainGrace) })
	watch(func(over context.Context) {
		r.leases.keepRenewing(over, r.LeaseTTL/3, func(err error) {
			r.Log.Warn("cannot renew leases, trying again", "error", err)
		})
	})
	if r.Publisher != nil {
		watch(r.publish)
	}
	watch(r.observe)
	watch(r.report)
	watch(func(context.Context) { importing.run() })
	stage(dispatching.run)
	stage(func() error {
		defer close(r.fetched)
		loops(r.Fetchers+r.Slow(), fetching.loop, readers, reading.loop)
		for _, t := range r.queue.Stop() {
			r.results.giveUp(t, false)
		}
		return nil
	})
	stage(func() error {
		defer close(r.results)
		loops(r.workers(), processing.loop, 0, nil)
		return nil
	})
	stage(func() error {
		defer finish()
		return writing.run(r.hard)
	})
	err := g.Wait()
	return r.end(ctx, errors.Join(err, importing.err))
}

// importer makes the stage that imports.
func (r *run) importer() *importStage {
	s := &importStage{sources: r.Sources, lists: r.Lists, adopt: r.Adopt, drain: r.drain}
	s.im = Importer{Node: r.Node, Priority: r.Priority, Job: r.job, Session: r.session,
		ShardSize: r.ShardSize, LeaseTTL: r.LeaseTTL, Log: r.Log, Hold: r.Hold, Joined: r.Joined,
		Imported: func(_ string, rows int64, _ float64) {
			r.stats.Imported.Add(rows)
			s.poke()
		}}
	if slices.ContainsFunc(r.Sources, func(l source.Spec) bool { return source.HasImages(l.Format) }) {
		s.im.Patience = r.OutageWait
	}
	if r.Hold != nil { // as what comes out is taken slowly, so is what comes in
		s.im.Ahead = func() int64 { return pipeAhead + int64(r.stats.Rate()*pipeSpan.Seconds()) }
	}
	return s
}

// dispatcher makes the stage that hands out rows.
func (r *run) dispatcher(importing *importStage, limits *limits, done *repeats,
	kept chan<- *task) *dispatcher {
	return &dispatcher{store: r.session, job: r.job, queue: r.queue, kept: kept, complete: r.results,
		leases: r.leases, bodies: r.budget.bodies, keeper: r.Keeper, files: &fileRows{job: r.job},
		repeats: done, life: r.lifecycle, limits: limits, importing: importing,
		stats: r.stats, activity: &r.activity, log: r.Log, hold: r.Hold,
		resume:   func(ctx context.Context) (string, error) { return RunCommand(ctx, r.job, r.job.Path()) },
		inFlight: func() int { return len(r.inflight) }, fetched: r.fetchedRows,
		fetchers: r.Fetchers, workers: r.workers(), shardSize: r.ShardSize, maxRows: r.MaxRows,
		tailGrace: r.TailGrace}
}

// fetchedRows is how many rows are fetched and not committed yet.
func (r *run) fetchedRows() int { return len(r.inflight) - r.stats.Fetching.inside() }

// leave gives places in flight back.
func (r *run) leave(n int) {
	r.inflight.leave(n)
	r.queue.Offer()
}

// fetcher makes the stage that downloads.
func (r *run) fetcher(outages *outages) *fetcher {
	return &fetcher{client: r.Fetcher, queue: r.queue, out: r.fetched, complete: r.results, leave: r.leave,
		files: &fileReader{client: r.Fetcher, job: r.job, outages: outages, log: r.Log},
		life:  r.lifecycle, outages: outages, retries: r.Retries, stats: r.stats, log: r.Log}
}

// reader makes the stage that reads what is kept.
func (r *run) reader(outages *outages, kept <-chan *task) *reader {
	return &reader{keeper: r.Keeper, in: kept, out: r.fetched, complete: r.results, inFlight: r.inflight,
		leave: r.leave, life: r.lifecycle, outages: outages, activity: &r.activity, log: r.Log,
		download: func(t *task) error { return r.queue.Add(r.draining, fetch.Host(t.row.URL), t.row.URL, t) }}
}

// processor makes the stage that decodes and finds the faces. Close it.
func (r *run) processor(d *detectorProbe) *processStage {
	p := &processor{decode: r.Decode, detector: r.Detector, encoded: r.Encoded, sha256: r.SHA256,
		keeps: r.Keeper != nil, pixels: r.budget.pixels, stats: r.stats, log: r.Log,
		decoding: r.session.Decoding, trial: r.TryDecode}
	p.open(r.Workers)
	return &processStage{processor: p, in: r.fetched, complete: r.results, keeper: r.Keeper, abort: r.abort,
		paused: func() bool { return d.on(ofDetector) }, unavailable: d.unavailable, activity: &r.activity}
}

// writer makes the stage that commits.
func (r *run) writer(limits *limits, done *repeats) *writer {
	return &writer{store: r.session, leases: r.leases, keeper: r.Keeper, in: r.results, inFlight: r.inflight,
		leave: r.leave, check: limits.check, abort: r.abort, stats: r.stats, activity: &r.activity,
		log: r.Log,
		done: func(results []store.Result) {
			done.note(results)
			r.warnOf(r.stats.commit(results))
		}}
}

// loops runs loops of two kinds, so many of each, and waits for all of them.
func loops(n int, loop func(), more int, other func()) {
	var all sync.WaitGroup
	for i := range n + more {
		all.Go(func() {
			defer crash.Exit()
			if i < more {
				other()
			} else {
				loop()
			}
		})
	}
	all.Wait()
}

// detectorName is the detector's fingerprint, or says that there is none.
func (r *run) detectorName() string {
	if r.Detector == nil {
		return store.NoDetector
	}
	return r.Detector.Fingerprint()
}

// workers is how many rows are decoded, or wait for the detector, at once. A detector elsewhere takes no
// processor here, and wants many to make batches of: then every row in flight may be one.
func (r *run) workers() int {
	if _, ok := r.Detector.(detect.Remote); ok {
		return max(r.Workers, 2*r.Fetchers)
	}
	return r.Workers
}

// Self is this process, as the owner of shards.
func Self() store.Owner {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return store.Owner{Host: host, PID: os.Getpid()}
}
