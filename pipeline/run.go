// Package pipeline runs a job: it moves rows from their lists through fetch, decode and detection into the store.
//
//	sources ─import─▶ store ─claim─▶ dispatch ─▶ queue ─▶ fetch ×N ─▶ decode+detect ×W ─▶ writer ─commit─▶ store
//	                                    ▲          ▲ again │              │                  │
//	                                    └──── leases ──────┴──────────────┴────── settle ────┘
//
// # One way, bounded
//
// Rows flow in one direction through bounded stages; a stage that is slow holds back the one before it, down to
// the claim. A row is in flight from the start of its fetch to its commit; a token taken before the fetch and
// given back after the commit keeps that to 2 × Fetchers rows. Bodies and pixels come out of one byte budget
// (memory.go). Nothing grows with the list.
//
// # Who owns a row
//
// A row belongs to the lease it was claimed under (lease.go). Whatever happens to it, it is settled once: its
// result committed, or the row given up and thus still pending in the store. A lease goes back when all its rows
// are settled. A lost lease cancels the work on its rows, and the store refuses whatever was under way.
//
// # Two kinds of failure
//
// What happens to a row (a 404, a broken image) is its outcome and is stored. What happens to us (a full disk, a
// lost database) is an error: the first one ends the run, the rows in flight stay pending, and Run returns it.
//
// # Stopping
//
// Closing Options.Drain stops dispatch; running fetches get DrainGrace, the rest goes back to pending, what was
// fetched is decoded and committed. Ending the context stops at once. Both leave the job consistent; so does
// SIGKILL, since a row's result and its Done flag are one transaction.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
	Lists    func() ([]source.Spec, error) // names those that there are by now, to be watched until the run is ended; optional
	Node     store.Node                    // which of their rows; optional
	Priority *int                          // of these sources within the job; optional
	Adopt    bool                          // the job's rows lie in a user's table: take what is new there; optional
	Fetcher  *fetch.Fetcher
	Decode   decode.Options
	Detector detect.Detector // optional: without one no faces are looked for
	Encoded  bool            // the detector wants the bytes as downloaded; optional
	Keeper   Keeper          // optional

	WantedFetchers int // those asked for, where the system allows only Fetchers; optional

	Joined func(store.Source) // is called with each source that is imported, before any row of it is; optional
	Hold   func() bool        // true while no row is to be begun; optional

	Fetchers   int // fetches at once, and half as many more that take long; twice as many rows are in flight at most
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
	// TryDecode decodes a body where a crash does no harm, and tells whether it survived; optional. Rows that
	// were in a decoder when their process died go through it first.
	TryDecode func(ctx context.Context, body []byte) error
	Log       *slog.Logger
}

// Limit is how many failures are too many: a count, or a share of the rows done once a hundred are. The zero
// value allows any.
type Limit struct {
	Count   int64
	Percent float64
	Set     bool
}

// exceeded tells whether failed out of done rows are too many.
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

// queueRows is how many rows may always wait for their hosts, about 300 bytes each.
const queueRows = 1 << 14

// window is how many rows wait for their hosts at most.
func (o *Options) window() int { return max(queueRows, 4*o.Fetchers) }

// Slow is how many fetches that take long there are besides Fetchers.
func (o *Options) Slow() int { return (o.Fetchers + 1) / 2 }

// ownFailure is the cause of the hard context when we failed, not the rows.
type ownFailure struct{ error }

// run is one call of Run.
type run struct {
	Options
	job     store.Job
	session store.Session
	stats   *Stats
	budget  *budget
	leases  *leases
	repeats repeats
	queue   *host.Queue[*task]

	hard     context.Context         // ends when everything has to stop
	draining context.Context         // ends when nothing new may start
	drain    context.CancelCauseFunc // with a drainCause
	fetching context.Context         // ends DrainGrace after draining does

	stopImport context.CancelFunc

	abort    func(error)     // ends hard with our own failure
	inflight chan struct{}   // a token a row in flight
	kept     chan *task      // rows to read instead of fetching them
	fetched  chan *task      // fetch → work
	results  chan settlement // anything → writer
	judge    judge

	activity  activity
	importing importState
	pause     pause
	patience  *time.Timer // ends the run when an outage lasts; used by the queue's notifications only
}

// Run works on the job until all its rows are done, whoever does them, or until something ends it earlier.
// Stats are filled in while it runs.
func Run(ctx context.Context, job store.Job, o Options, stats *Stats) (End, error) {
	leaveProcessors(o.Workers)
	r := &run{Options: o, job: job, stats: stats, budget: newBudget(o.Memory, o.Fetcher.MostMemory())}
	session, err := job.Join(ctx, Self(), o.LeaseTTL)
	if err != nil {
		return Finished, fmt.Errorf("join the job: %w", err)
	}
	r.session = session
	r.leases = newLeases(session, func(l store.Lease) {
		stats.LeasesLost.Add(1)
		o.Log.Warn("lease lost: its rows go to its new owner", "shard", l.Shard, "lo", l.Lo, "hi", l.Hi)
	})
	end, err := r.run(ctx)

	// Whatever ended the run, leave in order: the shards are free at once, and nobody has to wait for the TTL.
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

func (r *run) run(ctx context.Context) (End, error) {
	g, gctx := errgroup.WithContext(ctx)
	hard, abort := context.WithCancelCause(gctx)
	defer abort(nil)
	r.hard, r.abort = hard, func(err error) { abort(ownFailure{err}) }
	r.draining, r.drain = context.WithCancelCause(hard)
	defer r.drain(nil)
	fetching, stopFetching := context.WithCancel(hard)
	defer stopFetching()
	r.fetching = fetching
	r.inflight = make(chan struct{}, 2*r.Fetchers)
	r.kept = make(chan *task)
	r.fetched = make(chan *task, r.Workers)
	r.results = make(chan settlement, 2*r.Fetchers)
	r.queue = host.New[*task](host.Options{
		PerHost: r.PerHost, Window: r.window(), Slots: r.Fetchers, Slow: r.Slow(), Take: r.enter,
		Probe: r.Fetcher.Probe, Resolver: r.Fetcher.ProbeResolver, Named: r.Fetcher.NeedsResolver,
		Witnesses: (&witnesses{job: r.job}).pick, Notify: r.outage,
	})
	r.judge = judge{decode: r.Decode, detector: r.Detector, encoded: r.Encoded, keeps: r.Keeper != nil, pixels: r.budget.pixels, stats: r.stats,
		log: r.Log, decoding: r.session.Decoding, trial: r.TryDecode}
	r.judge.open(r.Workers)
	defer r.judge.close()
	defer r.pause.probing.Wait()
	r.importing.changed = make(chan struct{}, 1)
	r.importing.set(len(r.Sources) > 0 || r.Adopt || r.Lists != nil)
	importing, stopImport := context.WithCancel(r.draining)
	defer stopImport()
	r.stopImport = stopImport
	if err := r.stats.begin(r); err != nil {
		return Finished, err
	}

	// The watchers end with the stages: over is cancelled when the writer is through.
	over, finish := context.WithCancel(hard)
	defer finish()

	g.Go(func() error {
		defer crash.Exit()
		return r.watch(over, stopFetching)
	})
	g.Go(func() error {
		defer crash.Exit()
		r.leases.keepRenewing(over, r.LeaseTTL/3, func(err error) {
			r.Log.Warn("cannot renew leases, trying again", "error", err)
		})
		return nil
	})
	if r.Publisher != nil {
		g.Go(func() error {
			defer crash.Exit()
			r.publish(over)
			return nil
		})
	}
	g.Go(func() error {
		defer crash.Exit()
		r.observe(over)
		return nil
	})
	g.Go(func() error {
		defer crash.Exit()
		r.report(over)
		return nil
	})
	g.Go(func() error {
		defer crash.Exit()
		r.importAll(importing)
		return nil
	})
	g.Go(func() error {
		defer crash.Exit()
		return r.dispatch()
	})
	g.Go(func() error {
		defer crash.Exit()
		defer close(r.fetched)
		err := pool(readers+r.Fetchers+r.Slow(), func(i int) error {
			if i < readers {
				r.readLoop()
			} else {
				r.fetchLoop()
			}
			return nil
		})
		for _, t := range r.queue.Stop() {
			r.giveUp(t, false)
		}
		return err
	})
	g.Go(func() error {
		defer crash.Exit()
		defer close(r.results)
		return pool(r.workers(), r.workLoop)
	})
	g.Go(func() error {
		defer crash.Exit()
		defer finish()
		return r.write()
	})
	err := g.Wait()
	if err = errors.Join(err, r.importing.err); err != nil {
		return Finished, err
	}
	if own := (ownFailure{}); errors.As(context.Cause(hard), &own) {
		return Finished, own.error
	}
	if ctx.Err() != nil {
		return Interrupted, nil
	}
	var d drainCause
	if errors.As(context.Cause(r.draining), &d) {
		return d.end, nil
	}
	return Finished, nil
}

// pool runs n loops and waits for all of them; the first error is returned.
func pool(n int, loop func(i int) error) error {
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			defer crash.Exit()
			return loop(i)
		})
	}
	return g.Wait()
}

// watch turns the reasons for an early end into a drain, and the drain's grace into the end of fetching.
func (r *run) watch(over context.Context, stopFetching func()) error {
	var deadline <-chan time.Time
	if r.MaxDuration > 0 {
		t := time.NewTimer(r.MaxDuration)
		defer t.Stop()
		deadline = t.C
	}
	select {
	case <-over.Done():
		return nil
	case <-r.Drain:
		r.drain(drainCause{Interrupted})
	case <-deadline:
		r.drain(drainCause{Limited})
	case <-r.draining.Done():
	}
	t := time.NewTimer(r.DrainGrace)
	defer t.Stop()
	select {
	case <-over.Done():
	case <-t.C:
		stopFetching()
	}
	return nil
}

// Self is this process, as the owner of shards.
func Self() store.Owner {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return store.Owner{Host: host, PID: os.Getpid()}
}
