package host

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	outageHosts = 8                // silent at the same time
	outageSpan  = 10 * time.Second // within this
	voidWait    = time.Second      // a row waits that long after an attempt that was void
	probeTime   = 10 * time.Second // a probe takes at most
	promptly    = time.Second      // and what answers in this was there all the time
	firstPause  = 500 * time.Millisecond
	lastPause   = 5 * time.Second // between probes
	wellKept    = 8               // hosts that were well lately
	excuseFor   = time.Minute
)

// Outage is an outage of our own: this machine, its network, its resolver.
type Outage struct {
	On    bool
	Since time.Time
	Cause string
}

// Outage is the present one; On tells whether there is any.
func (q *Queue[T]) Outage() Outage {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.outage.certain {
		return Outage{}
	}
	return Outage{true, q.outage.since, q.outage.cause}
}

// outage is what the queue knows about our own outages. The queue's mutex guards it.
//
//	clear ──8 silent hosts, or no network──▶ suspected ──no probe answered──▶ certain
//	  ▲          held attempts count             │     held attempts are void    │
//	  └──────────────────────────────────────────┴──────────── answered ─────────┘
type outage[T any] struct {
	heard   time.Time // when any host answered last
	back    time.Time // when the latest outage ended
	held    []held[T] // attempts that ended in silence, none answered after them, by time
	well    []well    // answered lately, the latest last, a host once
	excused map[string]time.Time

	cause   string // suspected or certain; empty when all is well
	class   string // of the cause
	certain bool
	since   time.Time

	ctx     context.Context
	cancel  context.CancelFunc
	probing sync.WaitGroup
}

type well struct{ host, url string }

// held is an attempt that is not believed yet.
type held[T any] struct {
	item   *item[T]
	host   string
	at     time.Time
	ours   bool
	commit func(sure bool, rows []T) // nil when the row waits for another attempt anyway
}

// belief is whether an attempt's end says something about the row.
type belief int

const (
	sure   belief = iota // it counts
	unsure               // it depends on what comes after it
	void                 // it does not
)

func (o *outage[T]) init() {
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.excused = map[string]time.Time{}
}

// believe judges a failure.
func (o *outage[T]) believe(q *Queue[T], t *Ticket[T], v Verdict, now time.Time) belief {
	if q.o.Probe == nil {
		return sure
	}
	switch v.Kind {
	case Ours:
		if t.item.excused || now.Sub(o.excused[v.class()]) < excuseFor && now.Sub(o.heard) < time.Second {
			return sure // others are reached: it is this host's way
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
		if o.heard.After(t.start.Add(now.Sub(t.start)/2)) || q.active() < outageHosts {
			return sure // others were answered while it was waiting, or there are not enough to tell by
		}
		return unsure
	case Refused, Trouble:
		if o.certain {
			return void // the link's end may look like this to those who were on it
		}
	}
	return sure
}

// hold keeps an attempt until it is clear what to make of it.
func (o *outage[T]) hold(q *Queue[T], h held[T], v Verdict) {
	h.ours = v.Kind == Ours
	if h.ours {
		h.item.spent-- // it is asked again in any case, and then it counts
		if h.commit != nil {
			q.out--
			q.requeue(h.item, h.at, voidWait)
			h.commit = nil
		}
		if o.certain {
			return
		}
		h.item.excused = true
	}
	o.held = append(o.held, h)
	q.wakeAt(h.at.Add(outageSpan))
	if o.cause != "" {
		return
	}
	silent := map[string]bool{}
	for _, x := range o.held {
		silent[x.host] = true
	}
	if h.ours || len(silent) >= outageHosts {
		o.cause, o.class, o.since = fmt.Sprint(v.Err), v.class(), h.at
		if !h.ours {
			o.cause = fmt.Sprintf("%d hosts in a row did not answer; the last: %v", len(silent), v.Err)
		}
		o.probing.Go(func() { q.probe() })
	}
}

// answered notes that a host answered: what ended in silence before was true.
func (o *outage[T]) answered(q *Queue[T], t *Ticket[T], now time.Time) calls {
	o.heard = now
	for i, w := range o.well {
		if w.host == t.Host {
			o.well = append(o.well[:i], o.well[i+1:]...)
			break
		}
	}
	if len(o.well) == wellKept {
		o.well = o.well[1:]
	}
	o.well = append(o.well, well{t.Host, t.URL})
	if o.certain {
		return nil // it may have been under way before; the probe decides
	}
	return o.settle(q, len(o.held))
}

// settle lets the first n held attempts count.
func (o *outage[T]) settle(q *Queue[T], n int) calls {
	var settled calls
	for _, h := range o.held[:n] {
		if h.commit != nil {
			rows := q.finish(h.item)
			settled = append(settled, func() { h.commit(true, rows) })
		}
	}
	clear(o.held[:n])
	o.held = o.held[n:]
	if len(o.held) == 0 {
		o.held = nil
	}
	return settled
}

// fewer settles everything when too few hosts are left to tell an outage by.
func (o *outage[T]) fewer(q *Queue[T]) calls {
	if len(o.held) == 0 || o.cause != "" || q.active() >= outageHosts {
		return nil
	}
	return o.settle(q, len(o.held))
}

// due is when expire has something to do.
func (o *outage[T]) due() time.Time {
	if len(o.held) == 0 || o.cause != "" {
		return time.Time{}
	}
	return o.held[0].at.Add(outageSpan)
}

// expire lets attempts count that were not followed by enough others.
func (o *outage[T]) expire(now time.Time, q *Queue[T]) calls {
	if o.cause != "" {
		return nil
	}
	n := 0
	for n < len(o.held) && now.Sub(o.held[n].at) >= outageSpan {
		n++
	}
	return o.settle(q, n)
}

// confirm makes the outage certain: what was held is void.
func (o *outage[T]) confirm(q *Queue[T], now time.Time) {
	o.certain = true
	for _, h := range o.held {
		h.item.excused = false
		if h.ours {
			continue
		}
		h.item.spent--
		if h.commit != nil {
			q.out--
			q.requeue(h.item, now, 0)
		}
	}
	o.held = nil
}

// excuse makes an outage of a suspicion that ended by an answer which was long in coming: the link may have been gone,
// and come back meanwhile. Since the host that answered may as well be a slow one, a row is excused for that once.
func (o *outage[T]) excuse(q *Queue[T], now time.Time) {
	silent := o.held
	o.confirm(q, now)
	for _, h := range silent {
		h.item.excused = true
	}
}

// over ends the suspicion or the outage.
func (o *outage[T]) over(q *Queue[T], now time.Time) calls {
	var settled calls
	if o.certain {
		o.back = now
		for _, h := range q.hosts {
			h.forgive()
			q.schedule(h, now)
		}
	} else {
		clear(o.excused)
		o.excused[o.class] = now
		settled = o.settle(q, len(o.held))
	}
	o.cause, o.certain, o.heard = "", false, now
	q.more.Broadcast()
	return settled
}

// stop gives up what is held.
func (o *outage[T]) stop(q *Queue[T]) calls {
	o.cancel()
	var settled calls
	for _, h := range o.held {
		if h.commit != nil {
			rows := q.finish(h.item)
			settled = append(settled, func() { h.commit(false, rows) })
		}
	}
	o.held = nil
	return settled
}

// probe asks until something answers.
func (q *Queue[T]) probe() {
	o := &q.outage
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		asked := time.Now()
		answered := q.probeOnce()
		q.mu.Lock()
		now := time.Now()
		if o.ctx.Err() != nil {
			q.mu.Unlock()
			return
		}
		was := Outage{o.certain, o.since, o.cause}
		var settled calls
		switch {
		case answered:
			if !o.certain && now.Sub(asked) > promptly {
				o.excuse(q, now)
			}
			settled = o.over(q, now)
		case !o.certain:
			o.confirm(q, now)
		}
		q.mu.Unlock()
		settled.run()
		if q.o.Notify != nil && was.On == answered {
			q.o.Notify(Outage{!answered, was.Since, was.Cause})
		}
		if answered {
			return
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-o.ctx.Done():
			t.Stop()
			return
		}
	}
}

// probeOnce asks a few URLs at once, of hosts that were well lately and of some that rows wait for, and tells whether
// any answers. A refusal is an answer.
func (q *Queue[T]) probeOnce() bool {
	ctx, cancel := context.WithTimeout(q.outage.ctx, probeTime)
	defer cancel()
	q.mu.Lock()
	urls := q.outage.candidates(q)
	q.mu.Unlock()
	answers := make(chan bool, len(urls))
	var asked sync.WaitGroup
	defer asked.Wait()
	for _, u := range urls {
		asked.Go(func() {
			switch VerdictOf(q.o.Probe(ctx, u)).Kind {
			case Answered, Busy, Trouble, Refused:
				answers <- true
			default:
				answers <- false
			}
		})
	}
	for range urls {
		if <-answers {
			cancel()
			return true
		}
	}
	return false
}

// candidates are what a probe asks for: the two hosts that were well last, and two others.
func (o *outage[T]) candidates(q *Queue[T]) []string {
	var urls []string
	for i := len(o.well) - 1; i >= max(len(o.well)-2, 0); i-- {
		urls = append(urls, o.well[i].url)
	}
	if n := len(o.well) - 2; n > 0 {
		urls = append(urls, o.well[rand.IntN(n)].url)
	}
	for _, it := range q.byURL { // a map's order is as good as random
		if len(urls) >= 4 {
			break
		}
		urls = append(urls, it.url)
	}
	return urls
}
