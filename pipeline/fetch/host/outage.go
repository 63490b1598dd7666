package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"facescan/pipeline/crash"
	"facescan/pipeline/fetch"
)

const (
	outageHosts   = 8                // hosts that time out
	outageSpan    = 10 * time.Second // within this
	voidWait      = time.Second      // wait of a row after a void attempt
	probeTime     = 10 * time.Second // timeout of a probe
	promptly      = time.Second      // an answer within this shows that the link was up all the time
	firstPause    = 500 * time.Millisecond
	lastPause     = 5 * time.Second // between probes
	maxResponsive = 8               // hosts that answered lately
	excuseFor     = time.Minute
	sweep         = 256              // hosts probed at once, drawn from the whole job
	sweepHosts    = 1000             // this many silent hosts count as all of the job
	silentSpell   = time.Minute      // and for this long, if any host ever answered
	voidsMost     = 20               // attempts of a row that a resolver makes void
	aloneFor      = 10 * time.Minute // how long the verdict "all hosts are silent" holds
)

// resolver is the class of outages of the resolver.
const resolver = "resolver"

// Outage is a local outage: of this machine, its network or its resolver.
type Outage struct {
	On    bool
	Since time.Time
	Cause string
	Alone bool // it is over and was not one: only the hosts of the job are silent, all of them
}

// Outage returns the present outage; On is false if there is none.
func (q *Queue[T]) Outage() Outage {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.outage.certain {
		return Outage{}
	}
	return Outage{On: true, Since: q.outage.since, Cause: q.outage.cause}
}

// outage detects local outages. The queue's mutex guards it.
//
//	clear ──8 silent hosts, no network, no resolver──▶ suspected ──no probe answered──▶ certain
//	  ▲             held attempts count                    │     held attempts are void    │
//	  └────────────────────────────────────────────────────┴──────────── answered ─────────┘
//
// An outage of the resolver is over when the resolver works, even if hosts answer. Any other is over when a
// host answers: one that answered lately, one of a waiting row, or, since these may all be dead, one drawn
// from the whole job. If all drawn hosts are silent but the resolver works, the hosts are dead.
type outage[T any] struct {
	heard      time.Time    // when any host answered last
	back       time.Time    // when the latest outage ended
	held       []held[T]    // attempts that timed out without a later answer, by time
	responsive []responsive // answered lately, the latest last, each host once
	excused    map[string]time.Time

	cause   string // suspected or certain; empty without an outage
	class   string // of the cause
	certain bool
	since   time.Time
	silent  map[string]bool // hosts drawn from the job that were silent in this outage
	swept   bool            // these were all, or enough
	alone   time.Time       // when all hosts of the job were found silent; zero once one answers

	ctx     context.Context
	cancel  context.CancelFunc
	probing sync.WaitGroup
}

func (o *outage[T]) init() {
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.excused = map[string]time.Time{}
}

type responsive struct{ host, url string }

// held is an attempt that is not counted yet.
type held[T any] struct {
	item   *item[T]
	spent  int // attempts that it is for the row: 1, or 0 if it does not count
	host   string
	at     time.Time
	ours   bool
	commit func(sure bool, rows []T) // nil if the row is requeued anyway
}

// assessment is whether an attempt counts for its row.
type assessment int

const (
	sure   assessment = iota // it counts
	unsure                   // it depends on what comes after it
	void                     // it does not
)

// assess decides whether a failure counts.
func (o *outage[T]) assess(q *Queue[T], t *Ticket[T], v Verdict, now time.Time) assessment {
	if q.o.Probe == nil {
		return sure
	}
	switch v.Kind {
	case Ours:
		if v.class() == resolver {
			if t.item.voids++; t.item.voids > voidsMost {
				return sure
			}
			return unsure
		}
		if t.item.excused || now.Sub(o.excused[v.class()]) < excuseFor && now.Sub(o.heard) < time.Second ||
			v.unreachable() && now.Sub(o.alone) < aloneFor {
			return sure // other hosts are reachable: only the route to this one is missing
		}
		return unsure
	case Silent:
		if o.certain {
			return void
		}
		if t.item.excused {
			return sure
		}
		if t.start.Before(o.back) { // it was under way in the outage
			t.item.excused = true
			return void
		}
		if o.heard.After(t.start.Add(now.Sub(t.start)/2)) || len(q.hosts) < outageHosts ||
			now.Sub(o.alone) < aloneFor {
			return sure // other hosts answered meanwhile, or there are too few to compare with
		}
		return unsure
	case Refused, Trouble:
		if o.certain {
			return void // requests in progress may fail like this when the link ends
		}
	}
	return sure
}

// hold keeps an attempt until it is clear whether it counts.
func (o *outage[T]) hold(q *Queue[T], h held[T], v Verdict) {
	h.ours = v.Kind == Ours
	if h.ours {
		h.item.spent -= h.spent // it is retried in any case, and then it counts
		if h.commit != nil {
			q.out--
			q.requeue(h.item, h.at, voidWait)
			h.commit = nil
		}
		if o.certain {
			return
		}
		h.item.excused = v.class() != resolver
	}
	o.held = append(o.held, h)
	q.wakeAt(h.at.Add(outageSpan))
	if o.cause != "" {
		return
	}
	if h.ours {
		o.suspect(q, h.at, v, fmt.Sprint(v.Err))
	} else if n := o.silentHosts(); n >= outageHosts || q.active() < outageHosts {
		o.suspect(q, h.at, v, fmt.Sprintf("%s; the last: %v", silence(n), v.Err))
	}
}

// silentHosts counts the hosts with held attempts.
func (o *outage[T]) silentHosts() int {
	silent := map[string]bool{}
	for _, x := range o.held {
		silent[x.host] = true
	}
	return len(silent)
}

// silence says that so many hosts did not answer.
func silence(hosts int) string {
	if hosts == 1 {
		return "one host did not answer"
	}
	return fmt.Sprintf("%d hosts in a row did not answer", hosts)
}

// suspect starts probing for an outage.
func (o *outage[T]) suspect(q *Queue[T], now time.Time, v Verdict, cause string) {
	if o.cause == "" {
		o.cause, o.class, o.since = cause, v.class(), now
		o.silent, o.swept = map[string]bool{}, false
		o.probing.Go(func() {
			defer crash.Exit()
			q.probe()
		})
	}
}

// answered records that a host answered, so that earlier timeouts count.
func (o *outage[T]) answered(q *Queue[T], t *Ticket[T], now time.Time) calls {
	o.heard, o.alone = now, time.Time{}
	o.addResponsive(responsive{t.Host, t.URL})
	if o.certain {
		return nil // it may have been under way before; the probe decides
	}
	return o.complete(q, len(o.held), true)
}

// addResponsive remembers a host that answered.
func (o *outage[T]) addResponsive(w responsive) {
	o.responsive = slices.DeleteFunc(o.responsive, func(old responsive) bool { return old.host == w.host })
	if len(o.responsive) == maxResponsive {
		o.responsive = o.responsive[1:]
	}
	o.responsive = append(o.responsive, w)
}

// complete ends the first n held attempts: they count if that is sure.
func (o *outage[T]) complete(q *Queue[T], n int, sure bool) calls {
	var completed calls
	for _, h := range o.held[:n] {
		if h.commit != nil {
			rows := q.finish(h.item)
			completed = append(completed, func() { h.commit(sure, rows) })
		}
	}
	clear(o.held[:n])
	o.held = o.held[n:]
	if len(o.held) == 0 {
		o.held = nil
	}
	return completed
}

// fewer starts probing at once if too few hosts have rows for more to become silent.
func (o *outage[T]) fewer(q *Queue[T]) {
	if n := o.silentHosts(); n > 0 && o.cause == "" && q.active() < outageHosts && !q.stopped {
		o.suspect(q, time.Now(), Verdict{}, silence(n))
	}
}

// due is when expire has something to do.
func (o *outage[T]) due() time.Time {
	if len(o.held) == 0 || o.cause != "" {
		return time.Time{}
	}
	return o.held[0].at.Add(outageSpan)
}

// expire lets attempts count that are older than outageSpan.
func (o *outage[T]) expire(now time.Time, q *Queue[T]) calls {
	if o.cause != "" {
		return nil
	}
	n := 0
	for n < len(o.held) && now.Sub(o.held[n].at) >= outageSpan {
		n++
	}
	return o.complete(q, n, true)
}

// confirm makes the outage certain: held attempts are void.
func (o *outage[T]) confirm(q *Queue[T], now time.Time) {
	o.certain = true
	for _, h := range o.held {
		h.item.excused = false
		if h.ours {
			continue
		}
		h.item.spent -= h.spent
		if h.commit != nil {
			q.out--
			q.requeue(h.item, now, 0)
		}
	}
	o.held = nil
}

// excuse treats a suspicion as an outage if the probe's answer was slow: the link may have been down and come
// back. The host may also just be slow, so each row is excused only once.
func (o *outage[T]) excuse(q *Queue[T], now time.Time) {
	silent := o.held
	o.confirm(q, now)
	for _, h := range silent {
		h.item.excused = true
	}
}

// over ends the suspicion or the outage.
func (o *outage[T]) over(q *Queue[T], now time.Time) calls {
	var completed calls
	if o.certain {
		o.back = now
		for _, h := range q.hosts {
			h.forgive()
			q.schedule(h, now)
		}
	} else {
		clear(o.excused)
		o.excused[o.class] = now
		completed = o.complete(q, len(o.held), true)
	}
	o.cause, o.certain, o.heard = "", false, now
	q.more.Broadcast()
	return completed
}

// stop drops the held attempts.
func (o *outage[T]) stop(q *Queue[T]) calls {
	o.cancel()
	return o.complete(q, len(o.held), false)
}

// probe probes until something answers.
func (q *Queue[T]) probe() {
	o := &q.outage
	round := 0
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		start := time.Now()
		over := q.probeOnce(round)
		round++
		q.mu.Lock()
		now := time.Now()
		if o.ctx.Err() != nil {
			q.mu.Unlock()
			return
		}
		was := Outage{On: o.certain, Since: o.since, Cause: o.cause}
		var completed calls
		switch {
		case over:
			if !o.certain && now.Sub(start) > promptly {
				o.excuse(q, now)
			}
			completed = o.over(q, now)
		case !o.certain:
			o.confirm(q, now)
		}
		alone := over && now.Sub(o.alone) < aloneFor
		q.mu.Unlock()
		completed.run()
		if q.o.Notify != nil && was.On == over {
			q.o.Notify(Outage{!over, was.Since, was.Cause, alone})
		}
		if over {
			return
		}
		select {
		case <-time.After(pause):
		case <-o.ctx.Done():
			return
		}
	}
}

// probeOnce probes once, according to the cause, and reports whether the outage is over. In the first round
// it probes only a few hosts.
func (q *Queue[T]) probeOnce(round int) bool {
	o := &q.outage
	q.mu.Lock()
	class, since, met := o.class, o.since, len(o.responsive)
	names := q.named()
	urls := o.candidates(q)
	q.mu.Unlock()
	if q.o.Resolver != nil && (class == resolver || len(names) > 0) {
		err := q.probeResolver(names)
		if class == resolver {
			return err == nil
		}
		if err != nil {
			q.mu.Lock()
			o.class, o.cause = resolver, err.Error()
			q.mu.Unlock()
			return false
		}
	}
	var drawn []string
	if round > 0 && q.o.Witnesses != nil {
		var all bool
		drawn, all = q.draw()
		o.swept = o.swept || all
	}
	network, answered := q.probeAll(append(urls, drawn...))
	if answered {
		return true
	}
	for _, u := range drawn {
		o.silent[fetch.Host(u)] = true
	}
	if o.swept && round == 1 && network && len(o.silent) < outageHosts {
		return true // the job has too few hosts to decide
	}
	if o.swept = o.swept || len(o.silent) >= sweepHosts; o.swept {
		clear(o.silent) // the first ones may be back
	}
	// The hosts may all be dead, unless this machine seems to be offline.
	if !o.swept || !network || q.o.Resolver == nil || met > 0 && time.Since(since) < silentSpell {
		return false
	}
	if q.probeResolver(names) != nil {
		return false
	}
	q.mu.Lock()
	o.alone = time.Now()
	q.mu.Unlock()
	return true
}

func (q *Queue[T]) probeResolver(names []string) error {
	ctx, cancel := context.WithTimeout(q.outage.ctx, probeTime)
	defer cancel()
	return q.o.Resolver(ctx, names)
}

// draw returns URLs of hosts from the whole job that were not probed in this outage, and reports whether
// these are all.
func (q *Queue[T]) draw() (urls []string, all bool) {
	o := &q.outage
	n := sweep
	if q.o.Slots > 0 {
		n = min(n, max(q.o.Slots, outageHosts))
	}
	urls = q.o.Witnesses(o.ctx, n, func(host string) bool { return !o.silent[host] })
	return urls, len(urls) < n
}

// probeAll requests URLs concurrently, and reports whether any host answers; a refusal is an answer. Without
// an answer, network is false if this machine could not send at all.
func (q *Queue[T]) probeAll(urls []string) (network, answered bool) {
	ctx, cancel := context.WithTimeout(q.outage.ctx, probeTime)
	defer cancel()
	type answer struct {
		url string
		v   Verdict
	}
	answers := make(chan answer, len(urls))
	var probes sync.WaitGroup
	defer probes.Wait()
	for _, u := range urls {
		probes.Go(func() {
			defer crash.Exit()
			answers <- answer{u, VerdictOf(q.o.Probe(ctx, u))}
		})
	}
	network = true
	for range urls {
		a := <-answers
		switch a.v.Kind {
		case Answered, Busy, Trouble, Refused:
			cancel()
			q.mu.Lock()
			q.outage.addResponsive(responsive{fetch.Host(a.url), a.url})
			q.mu.Unlock()
			return true, true
		case Ours:
			network = network && a.v.unreachable()
		}
	}
	return network, false
}

// named returns a few hosts of waiting rows that have to be looked up.
func (q *Queue[T]) named() (hosts []string) {
	if q.o.Named == nil {
		return nil
	}
	looked := 0
	for _, it := range q.byURL { // a map's order is as good as random
		if looked++; looked > sweep || len(hosts) == outageHosts {
			break
		}
		if h := it.host.name; q.o.Named(h) && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// candidates returns the URLs to probe first: of the two hosts that answered last, and two others.
func (o *outage[T]) candidates(q *Queue[T]) []string {
	var urls []string
	for i := len(o.responsive) - 1; i >= max(len(o.responsive)-2, 0); i-- {
		urls = append(urls, o.responsive[i].url)
	}
	if n := len(o.responsive) - 2; n > 0 {
		urls = append(urls, o.responsive[rand.IntN(n)].url)
	}
	for _, it := range q.byURL { // a map's order is as good as random
		if len(urls) >= 4 {
			break
		}
		urls = append(urls, it.url)
	}
	return urls
}
