package pipeline

import (
	"fmt"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// What holds a run back is found out here, once for all who show it.
//
//	run ──sample, 10 times a second──▶ observations ──lately──▶ load ──holdup──▶ live page, metrics, …
//
// A limit holds the run back when somebody waits for it at most moments: then all that it grants is used up.
// That a stage is busy does not say so, since it may be busy because of a limit within it.

const (
	fewSamples  = 5               // are too few for a diagnosis
	mostMoments = 0.6             // the share of moments above which somebody waits nearly always
	busyWorkers = 0.85            // the share of the workers' time
	busyMachine = 0.85            // the share of the processors' time that this process takes
	busyWriter  = 0.7             // the share of the writer's time
	silentFor   = 2 * time.Second // a sidecar that does not answer for so long is more than busy
	oldFlight   = 5 * time.Second // a request this old is named
)

// observation counts samples of the run in which something was so, and sums numbers over them.
type observation struct {
	samples int

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

func (sum *observation) add(o observation) {
	for _, p := range []struct{ to, n *int }{
		{&sum.samples, &o.samples}, {&sum.rate, &o.rate}, {&sum.bandwidth, &o.bandwidth},
		{&sum.bodies, &o.bodies},
		{&sum.pixels, &o.pixels}, {&sum.full, &o.full}, {&sum.starved, &o.starved}, {&sum.empty, &o.empty},
		{&sum.flightFull, &o.flightFull}, {&sum.queued, &o.queued}, {&sum.writing, &o.writing},
		{&sum.keeping, &o.keeping}, {&sum.claiming, &o.claiming}, {&sum.idle, &o.idle},
		{&sum.output, &o.output},
		{&sum.reading, &o.reading}, {&sum.standIn, &o.standIn}, {&sum.sidecarBusy, &o.sidecarBusy},
		{&sum.inFlight, &o.inFlight}, {&sum.waiting, &o.waiting}, {&sum.fetching, &o.fetching},
		{&sum.decoding, &o.decoding}, {&sum.detecting, &o.detecting}, {&sum.workersElse, &o.workersElse},
	} {
		*p.to += *p.n
	}
}

// load is what a run did lately, and its settings: all that the diagnosis depends on.
type load struct {
	observation
	path       string        // of the job
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
	watching bool // lists may grow, and nobody expects them to grow all the time
	now      time.Time
}

// often reports whether something was so at most moments.
func (l *load) often(n int) bool { return float64(n) >= mostMoments*float64(l.samples) }

// mean is over the moments.
func (l *load) mean(n int) float64 { return float64(n) / float64(max(1, l.samples)) }

// holdup is the diagnosis. Limits come first that are proof by themselves: everything they grant is used up.
// Then the stages from the last to the first, since one that is slow makes the ones before it wait. At the
// end come reasons for too few rows.
func (l *load) holdup() live.Holdup {
	switch {
	case l.draining:
		return live.Holdup{}
	case l.away:
		return l.unavailable()
	case l.outage.On:
		return live.Holdup{Kind: live.ByOutage, What: "an outage of this machine: " + l.outage.Cause,
			Advice: "rows wait, and none is marked failed"}
	case l.samples < fewSamples:
		return live.Holdup{}
	case l.often(l.rate):
		return live.Holdup{Kind: live.ByRate, What: fmt.Sprintf("--rate (%v requests per second)",
			l.perSecond)}
	case l.often(l.output):
		return SlowOutput
	case l.often(l.bandwidth):
		return live.Holdup{Kind: live.ByBandwidth, What: fmt.Sprintf("--bwlimit (%s per second)",
			figures.Flag(l.bandwidthIs))}
	}
	for _, diagnose := range []func() live.Holdup{l.behind, l.work, l.slots, l.supply} {
		if h := diagnose(); h.Kind != "" {
			return h
		}
	}
	return live.Holdup{}
}

// SlowOutput is an output that holds a run back, or its end.
var SlowOutput = live.Holdup{Kind: live.ByOutput,
	What: "the output, which is taken more slowly than rows are done"}

// unavailable is a detector that cannot be asked.
func (l *load) unavailable() live.Holdup {
	h := live.Holdup{Kind: live.BySidecar, What: "the sidecar, which cannot be used: " + l.outage.Cause,
		Advice: "rows wait, and none is marked failed"}
	if !l.remote {
		h.Kind, h.What = live.ByWorkers, "the detector, which cannot be used: "+l.outage.Cause
	}
	return h
}

// behind diagnoses what comes after the workers.
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
		return live.Holdup{Kind: live.ByKeep, What: "the disk that images are kept on",
			Advice: "use a faster one"}
	case writing >= busyWriter && (l.often(l.flightFull) || l.often(l.empty) && l.often(l.idle)):
		return live.Holdup{Kind: live.ByStore, What: store + took,
			Advice: "put the job on a faster disk, or nearer to its database"}
	case l.often(l.claiming) && l.often(l.empty):
		return live.Holdup{Kind: live.ByStore, What: store + ", which is slow to give rows"}
	}
	return live.Holdup{}
}

// work diagnoses decoders and detectors.
func (l *load) work() live.Holdup {
	if l.remote {
		// Rows in flight are few at the end of a job; so their share counts, not their number.
		mostThere := 2*l.detecting > l.inFlight
		switch {
		case l.often(l.standIn) && mostThere:
			return live.Holdup{Kind: live.BySidecar,
				What:   "the stand-in for the sidecar, which does not answer",
				Advice: "start the sidecar again"}
		case mostThere && l.silence >= silentFor:
			return live.Holdup{Kind: live.BySidecar,
				What: fmt.Sprintf("the sidecar, which has not answered for %v",
					l.silence.Round(time.Second)),
				Advice: "check that it runs"}
		case l.often(l.sidecarBusy) && l.detecting > 0:
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
			h.Advice = fmt.Sprintf("%d of %d processors are used: more --workers may help", l.workers,
				l.cores)
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
	return live.Holdup{Kind: live.ByMemory, What: fmt.Sprintf("--memory (%s)", figures.Flag(l.memory)),
		Advice: "raise it"}
}

// slots diagnoses the fetchers, and the hosts that they may ask.
func (l *load) slots() live.Holdup {
	switch {
	case l.often(l.bodies):
		return l.short()
	case l.often(l.reading) && l.often(l.empty):
		return live.Holdup{Kind: live.ByKeep, What: "the disk that kept images are read from"}
	case l.often(l.full), l.often(l.flightFull), l.often(l.starved) && l.blocked.Cause == host.ByNewcomers:
		what := fmt.Sprintf("slow servers (all %s busy)", figures.Are(l.fetchers, "fetcher"))
		if l.often(l.starved) {
			what = fmt.Sprintf("slow servers (%s for hosts that have not answered yet)",
				rowsWait(l.blocked.Rows))
		}
		if l.wanted > l.fetchers {
			return live.Holdup{Kind: live.ByFiles,
				What: fmt.Sprintf("the limit of open files (%d fetchers instead of %d)",
					l.fetchers, l.wanted), Advice: fmt.Sprintf("raise it first: ulimit -n %d", 4*l.wanted)}
		}
		return live.Holdup{Kind: live.BySlowHosts, What: what, Advice: "more --fetchers may help"}
	case l.often(l.starved):
		return l.hosts()
	}
	return live.Holdup{}
}

// rowsWait says that so many do.
func rowsWait(n int) string {
	if n == 1 {
		return "one row waits"
	}
	return fmt.Sprintf("%d rows wait", n)
}

// hosts diagnoses why rows wait while fetchers are free.
func (l *load) hosts() live.Holdup {
	b := l.blocked
	name, rows := b.Host, rowsWait(b.Rows)
	switch {
	case b.Hosts == 2:
		name += " and another host"
	case b.Hosts > 2:
		name += fmt.Sprintf(" and %d other hosts", b.Hosts-1)
	}
	pace := func(what string) live.Holdup {
		return live.Holdup{Kind: live.ByHostPace, What: what, Detail: rows}
	}
	switch b.Cause {
	case host.ByPerHost:
		return live.Holdup{Kind: live.ByPerHost, What: fmt.Sprintf("--per-host (%.0f) at %s", b.Limit, name),
			Detail: rows,
			Advice: "raise it only if the host may be asked more"}
	case host.ByCeiling:
		return pace(fmt.Sprintf("the pace of %s (%.0f requests per second)", name, b.Limit))
	case host.ByPause:
		h := pace(fmt.Sprintf("a pause that %s asked for (429)", name))
		h.Detail = fmt.Sprintf("%s, %v more", rows, max(0, b.Until.Sub(l.now)).Round(time.Second))
		return h
	case host.ByRobots:
		return live.Holdup{Kind: live.ByRetries, Detail: rows,
			What: "the robots.txt of " + name + ", which cannot be read now"}
	case host.ByDelay:
		return pace(fmt.Sprintf("the crawl-delay of %s (%.3g s between requests)", name, b.Limit))
	case host.ByLimit:
		return pace(fmt.Sprintf("the pace of %s (%.0f requests at once, by how it answered)", name,
			max(1, b.Limit)))
	case host.ByTrouble:
		return live.Holdup{Kind: live.ByRetries, What: "the silence of " + name, Detail: rows}
	case host.ByRetry:
		return live.Holdup{Kind: live.ByRetries, What: "pauses before further attempts", Detail: rows,
			Advice: "fewer --retries make them shorter"}
	}
	return live.Holdup{}
}

// supply diagnoses why there are too few rows.
func (l *load) supply() live.Holdup {
	c := l.counts
	switch {
	case !l.often(l.empty) || !l.often(l.idle):
		return live.Holdup{}
	case len(c.ImportIncomplete) > 0 && l.pipe && l.watching:
		return live.Holdup{}
	case len(c.ImportIncomplete) > 0 && l.pipe:
		return live.Holdup{Kind: live.ByImport,
			What: "stdin, which brings rows more slowly than they are processed"}
	case len(c.ImportIncomplete) > 0:
		return live.Holdup{Kind: live.ByImport,
			What: "the list, which is read more slowly than its rows are processed"}
	case l.inFlight > 0:
		h := live.Holdup{Kind: live.ByTail, What: "the last rows",
			Detail: fmt.Sprintf("%.0f in flight", max(1, l.mean(l.inFlight)))}
		if l.oldest != nil && l.now.Sub(l.oldest.Since) >= oldFlight {
			h.Detail = fmt.Sprintf("waiting %v for %s", l.now.Sub(l.oldest.Since).Round(time.Second),
				store.Redact(l.oldest.URL))
			h.Advice = "--tail-grace leaves the slowest pending"
		}
		return h
	case c.Pending > 0 && c.Pending == c.PausedPending:
		return live.Holdup{Kind: live.ByPause,
			What:   fmt.Sprintf("paused lists (%s)", figures.Of(c.PausedPending, "row")),
			Advice: "to release them: " + hint.On("resume", l.path)}
	case c.Pending > 0 && l.others > 0:
		return live.Holdup{Kind: live.ByOthers, What: "other processes, which have the last rows",
			Detail: fmt.Sprint(c.Pending)}
	}
	return live.Holdup{}
}
