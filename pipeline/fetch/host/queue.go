// Package host decides which row may be fetched next, so that no host gets more requests than it accepts,
// none delays the others, and a local outage costs no row.
//
//	Add ─▶ waiting, by host ─▶ Next ─▶ Ticket ─▶ Done           final, with the rows of the same URL
//	            ▲                        ├──▶ Retry, Back   waits again
//	            └────────────────────────┴──▶ Fail          final, once it is sure that it was not us
//
// # Waiting costs nothing
//
// A row whose host must wait stays in the queue: it holds neither a fetch slot nor memory for a body. Hosts
// that are ready take turns. A slow request moves to a slow lane and frees its place in the fast one, so that
// a few hanging servers do not stop the rest.
//
// # How many requests a host gets (state.go)
//
//   - How many at once: one until it has answered, then eight, then one more with every answer, up to
//     PerHost. Halved when it fails several times in a row, and when it answers 429.
//   - How often (pace.go): after 429s nothing until Retry-After has passed, then at most as many per second
//     as it answered in its last second without a 429, for ten minutes. Never more often than Delay says.
//   - Whether at all: a host without a sign of life gets single tries with pauses, then counts as dead. Its
//     rows then come out of Next with the reason of the last try, without a request. Now and then one is
//     tried, and an answer revives the host.
//
// # Our own outage (outage.go)
//
// An attempt that timed out counts only once another host answered after it, or ten seconds have passed. If
// eight hosts are silent by then, or the kernel reports no network, dispatch stops and a probe asks hosts
// that answered lately. If one answers, the attempts count. If none does, it is an outage: the attempts are
// void, the rows wait, and the probe repeats, with hosts drawn from the whole job, until one answers. A
// resolver that does not work is an outage of its own, and ends when it works.
package host

import (
	"cmp"
	"container/heap"
	"container/list"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"facescan/pipeline/fetch"
)

// Options of a Queue.
type Options struct {
	PerHost int // requests to one host at once, at most; 0 means no limit
	Window  int // waiting rows, at most; Add blocks above it
	// Slots bounds the requests in the fast lane, Slow those in the slow lane. Run as many fetchers as both
	// together. Slots of 0 means one per fetcher, and no lanes.
	Slots, Slow int
	// Take reserves a place for a row that is about to go out; false means that there is none now, and Offer
	// will be called when there may be. Optional. It must not block.
	Take func() bool
	// Probe requests a URL and returns what Fetch would. With nil, outages are not detected: a timeout is an
	// outcome at once.
	Probe func(ctx context.Context, url string) error
	// Resolver returns nil when the resolver does its work; hosts are names that it may be able to resolve.
	// Named reports whether a host has to be looked up. Both optional.
	Resolver func(ctx context.Context, hosts []string) error
	Named    func(host string) bool
	// Witnesses draws URLs from anywhere in the job, done or not: at most n, each of another host that is
	// wanted. Optional.
	Witnesses func(ctx context.Context, n int, wanted func(host string) bool) []string
	// Delay is the least time between two requests to a host, as far as it is known; 0 for none. Optional. It
	// must not call the queue.
	Delay func(host string) time.Duration
	// Log gets what changes for single hosts, for debugging; optional.
	Log *slog.Logger
	// Notify is called when an outage is certain, and when it is over; optional. It must not call Stop.
	Notify func(Outage)
}

const (
	slowAfter = time.Second // a request moves to the slow lane
	maxIdle   = 1 << 16     // hosts without rows that are remembered
)

// Queue holds the rows that wait and hands out those that may be fetched. It may be used by many goroutines.
type Queue[T any] struct {
	o Options

	mu          sync.Mutex
	more        sync.Cond // there may be a row to hand out, or none will come any more
	room        sync.Cond // there may be room in the window
	hosts       map[string]*state[T]
	idle        list.List       // of *state[T], the longest idle first
	ready       fifo[*state[T]] // ready for a request
	unproven    fifo[*state[T]] // likewise, hosts that have never answered
	unprovenOut int             // tickets out to those
	alarms      alarms[T]
	timer       *time.Timer
	timerAt     time.Time
	byURL       map[string]*item[T] // waiting or under way
	waiting     int                 // rows in the queue, duplicates included
	out         int                 // tickets out
	seq         uint64
	fast        list.List // of *Ticket[T], the oldest first
	slow        list.List
	closed      bool
	stopped     bool

	outage outage[T]
}

// item is a row that waits or is under way, with those of the same URL.
type item[T any] struct {
	host    *state[T]
	url     string
	rows    []T // the first one's attempts are counted; the others take its outcome
	taken   int // rows when it went out: these are not waiting, those that joined since are
	spent   int // attempts that count
	voids   int // attempts that an outage of the resolver made void
	excused bool
}

// New makes a Queue. Stop it.
func New[T any](o Options) *Queue[T] {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue[T]{o: o, hosts: map[string]*state[T]{}, byURL: map[string]*item[T]{}}
	q.more.L, q.room.L = &q.mu, &q.mu
	q.timer = time.AfterFunc(time.Hour, q.tick)
	q.timer.Stop()
	q.outage.init()
	return q
}

// Row is a row to be queued. Its host is one that fetch.Host returns; an empty one has no limits.
type Row[T any] struct {
	Host, URL string
	Value     T
}

// Add queues a row. It waits while the window is full; the error is the context's cause, or ErrStopped after
// Stop. If the URL is already waiting or under way, the row is a duplicate and shares its outcome.
func (q *Queue[T]) Add(ctx context.Context, host, url string, v T) error {
	_, err := q.AddAll(ctx, []Row[T]{{host, url, v}})
	return err
}

// AddAll queues rows like Add, and returns how many. None of them goes out before the window is full or all
// are in, so that those of the same URL share a request, however fast it is answered.
func (q *Queue[T]) AddAll(ctx context.Context, rows []Row[T]) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, row := range rows {
		if err := q.awaitRoom(ctx); err != nil {
			return i, err
		}
		q.add(row)
	}
	return len(rows), nil
}

// awaitRoom waits while the window is full. It fails when the context is over or the queue is stopped.
func (q *Queue[T]) awaitRoom(ctx context.Context) error {
	if q.o.Window > 0 && q.waiting >= q.o.Window {
		defer context.AfterFunc(ctx, q.wake)()
		for q.waiting >= q.o.Window && ctx.Err() == nil && !q.stopped {
			q.room.Wait()
		}
	}
	switch {
	case q.stopped:
		return ErrStopped
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

func (q *Queue[T]) add(row Row[T]) {
	q.waiting++
	if it := q.byURL[row.URL]; it != nil {
		it.rows = append(it.rows, row.Value)
		return
	}
	it := &item[T]{host: q.host(row.Host), url: row.URL, rows: []T{row.Value}}
	it.host.items++
	q.byURL[row.URL] = it
	it.host.fresh.push(it)
	q.schedule(it.host, time.Now())
}

// wake makes all waiting callers check their context.
func (q *Queue[T]) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more.Broadcast()
	q.room.Broadcast()
}

// Close says that no row will be added. Next returns false when the last one is out and cannot come back.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Broadcast()
}

// Next waits for a row that may be fetched now. False means that there will be none: the queue is stopped, or
// closed and through, or the context is over.
func (q *Queue[T]) Next(ctx context.Context) (*Ticket[T], bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var wakes func() bool // at the context's end
	for ctx.Err() == nil && !q.stopped && !q.through() {
		if t := q.pick(time.Now()); t != nil {
			return t, true
		}
		if wakes == nil {
			wakes = context.AfterFunc(ctx, q.wake)
			defer wakes()
		}
		q.more.Wait()
	}
	q.more.Signal() // pass on what may have been meant for another
	return nil, false
}

// through reports whether no row is left, and none will come.
func (q *Queue[T]) through() bool { return q.closed && q.waiting == 0 && q.out == 0 }

// pick takes out the next row, nil if none may go now.
func (q *Queue[T]) pick(now time.Time) *Ticket[T] {
	for !q.stopped && q.outage.cause == "" {
		h := q.turn()
		if h == nil {
			return nil
		}
		q.resume(h, now)
		ok, free, _ := h.may(now)
		if !ok {
			q.schedule(h, now)
			continue
		}
		if q.o.Take != nil && !q.o.Take() {
			h.ready = q.listOf(h) // without waking a caller
			h.ready.push(h)
			return nil
		}
		it := h.pop()
		it.taken = len(it.rows)
		q.waiting -= it.taken
		q.room.Broadcast()
		q.out++
		q.seq++
		t := &Ticket[T]{Host: h.name, URL: it.url, Value: it.rows[0], q: q, item: it, start: now}
		if free {
			t.Dead = h.dead
		} else {
			h.fast++
			t.request = request{seq: q.seq, first: it.spent == 0, at: now}
			t.request.rate, t.request.above = h.pace.sent(now)
			if d := q.delay(h); d > 0 {
				t.turn = now.Add(d)
				h.pace.postpone(t.turn)
			}
			t.place = q.fast.PushBack(t)
			if t.unproven = !h.proven; t.unproven {
				q.unprovenOut++
			}
			if q.o.Slow > 0 {
				q.wakeAt(t.start.Add(slowAfter))
			}
		}
		q.schedule(h, now)
		if q.ready.len()+q.unproven.len() > 0 {
			q.more.Signal()
		}
		return t
	}
	return nil
}

// delay is the least time between two requests to a host.
func (q *Queue[T]) delay(h *state[T]) time.Duration {
	if q.o.Delay == nil || h.name == "" {
		return 0
	}
	return q.o.Delay(h.name)
}

// Offer announces that Take may find a place again.
func (q *Queue[T]) Offer() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more.Signal() // who takes out a row wakes the next
}

// turn takes out the host whose turn it is, nil if no slot is free. Hosts that have never answered come
// first, since most answer quickly. Those that hang must not fill the fast lane, so their number is limited
// to the slow lane's and a few.
func (q *Queue[T]) turn() *state[T] {
	if q.full() {
		return nil
	}
	if q.trusting() {
		if h := firstOf(&q.unproven); h != nil {
			return h
		}
	}
	return firstOf(&q.ready)
}

// firstOf takes a host out of a list, nil if there is none. Entries of hosts that moved to the other list are
// dropped.
func firstOf[T any](list *fifo[*state[T]]) *state[T] {
	for list.len() > 0 {
		if h := list.pop(); h.ready == list {
			h.ready = nil
			return h
		}
	}
	return nil
}

// trusting reports whether one more host that has never answered may get a request.
func (q *Queue[T]) trusting() bool {
	return q.o.Slots == 0 || q.unprovenOut < q.o.Slow+max(1, q.o.Slots/16) || q.fast.Len() < q.o.Slots/2
}

// host finds or makes a host's state.
func (q *Queue[T]) host(name string) *state[T] {
	h := q.hosts[name]
	if h == nil {
		h = newState[T](name, q.o.PerHost)
		q.hosts[name] = h
	}
	if h.idle != nil {
		q.idle.Remove(h.idle)
		h.idle = nil
	}
	return h
}

// active counts the hosts that have rows.
func (q *Queue[T]) active() int { return len(q.hosts) - q.idle.Len() }

// schedule files a host after its state changed: as ready, with an alarm for later, or as idle.
func (q *Queue[T]) schedule(h *state[T], now time.Time) {
	list := q.listOf(h)
	if h.ready == list {
		return
	}
	q.resume(h, now)
	ok, _, at := h.may(now)
	switch {
	case ok:
		h.ready = list
		list.push(h)
		q.more.Signal()
	case !at.IsZero():
		if h.alarm.IsZero() || at.Before(h.alarm) {
			h.alarm = at
			q.setAlarm(alarm[T]{at: at, host: h})
		}
	case h.items == 0 && h.idle == nil:
		h.idle = q.idle.PushBack(h)
		if q.idle.Len() > maxIdle {
			old := q.idle.Remove(q.idle.Front()).(*state[T])
			delete(q.hosts, old.name)
		}
	}
}

// listOf returns the list that a host is in while it is ready for a request.
func (q *Queue[T]) listOf(h *state[T]) *fifo[*state[T]] {
	if !h.proven && h.dead == nil && h.name != "" {
		return &q.unproven
	}
	return &q.ready
}

func (q *Queue[T]) setAlarm(a alarm[T]) {
	heap.Push(&q.alarms, a)
	q.wakeAt(a.at)
}

// wakeAt makes sure that tick runs then, or earlier.
func (q *Queue[T]) wakeAt(at time.Time) {
	if q.stopped || !q.timerAt.IsZero() && !at.Before(q.timerAt) {
		return
	}
	q.timerAt = at
	q.timer.Reset(time.Until(at))
}

// tick does what is due, and sets the timer for the next time.
func (q *Queue[T]) tick() {
	q.mu.Lock()
	now := time.Now()
	q.timerAt = time.Time{}
	for len(q.alarms) > 0 && !q.alarms[0].at.After(now) {
		a := heap.Pop(&q.alarms).(alarm[T])
		if a.item != nil {
			a.item.host.retries.push(a.item)
			q.schedule(a.item.host, now)
			continue
		}
		if a.host.alarm.Equal(a.at) {
			a.host.alarm = time.Time{}
		}
		q.schedule(a.host, now)
	}
	q.demote(now)
	completed := q.outage.expire(now, q)
	if len(q.alarms) > 0 {
		q.wakeAt(q.alarms[0].at)
	}
	if e := q.fast.Front(); e != nil && q.slow.Len() < q.o.Slow {
		q.wakeAt(e.Value.(*Ticket[T]).start.Add(slowAfter))
	}
	if at := q.outage.due(); !at.IsZero() {
		q.wakeAt(at)
	}
	q.mu.Unlock()
	completed.run()
}

// demote moves requests that take long to the slow lane, while there is room.
func (q *Queue[T]) demote(now time.Time) {
	for q.slow.Len() < q.o.Slow && q.fast.Len() > 0 {
		t := q.fast.Front().Value.(*Ticket[T])
		if now.Sub(t.start) < slowAfter {
			return
		}
		q.fast.Remove(t.place)
		t.place, t.slow = q.slow.PushBack(t), true
		t.item.host.fast--
		t.item.host.slow++
		q.schedule(t.item.host, now)
		q.more.Signal()
	}
}

// requeue lets a row wait again, after a while.
func (q *Queue[T]) requeue(it *item[T], now time.Time, wait time.Duration) {
	q.waiting += it.taken
	if wait > 0 {
		q.setAlarm(alarm[T]{at: now.Add(wait), item: it})
		return
	}
	it.host.retries.push(it)
	q.schedule(it.host, now)
}

// Stop ends Next and Add and returns the waiting rows, in no order. Tickets that are out still end as usual,
// but no row waits again. It returns after the last probe, and may be called twice.
func (q *Queue[T]) Stop() []T {
	q.mu.Lock()
	var rows []T
	if !q.stopped {
		q.stopped = true
		q.timer.Stop()
		for _, h := range q.hosts {
			for h.waiting() > 0 {
				rows = append(rows, h.pop().rows...)
			}
		}
		for _, a := range q.alarms {
			if a.item != nil {
				rows = append(rows, a.item.rows...)
			}
		}
		q.alarms, q.waiting = nil, 0
		q.more.Broadcast()
		q.room.Broadcast()
	}
	completed := q.outage.stop(q)
	q.mu.Unlock()
	completed.run()
	q.outage.probing.Wait()
	return rows
}

// Flight is a request under way.
type Flight struct {
	Host, URL string
	Since     time.Time
	Attempt   int
	Slow      bool // in the slow lane
}

// InFlight lists the requests under way, the oldest first.
func (q *Queue[T]) InFlight() []Flight {
	q.mu.Lock()
	defer q.mu.Unlock()
	var fs []Flight
	for _, lane := range []*list.List{&q.slow, &q.fast} {
		for e := lane.Front(); e != nil; e = e.Next() {
			t := e.Value.(*Ticket[T])
			fs = append(fs, Flight{t.Host, t.URL, t.start, t.item.spent + 1, t.slow})
		}
	}
	slices.SortFunc(fs, func(a, b Flight) int { return a.Since.Compare(b.Since) })
	return fs
}

// Info describes a host that has rows.
type Info struct {
	Host     string
	Waiting  int // rows, those of equal URLs as one
	InFlight int
	Limit    float64   // requests at once
	Ceiling  int       // requests per second, 0 for none
	Until    time.Time // no request before
	Dead     *fetch.Error
}

// Hosts lists the hosts with rows that wait or are under way, those with most of them first, at most n.
func (q *Queue[T]) Hosts(n int) []Info {
	q.mu.Lock()
	defer q.mu.Unlock()
	var is []Info
	now := time.Now()
	for _, h := range q.hosts {
		if h.idle == nil {
			is = append(is, Info{Host: h.name, Waiting: h.waiting(), InFlight: h.fast + h.slow,
				Limit: h.limit, Ceiling: h.pace.perSecond(now), Until: h.pace.until, Dead: h.dead})
		}
	}
	slices.SortFunc(is, func(a, b Info) int {
		return cmp.Or(cmp.Compare(b.Waiting+b.InFlight, a.Waiting+a.InFlight), cmp.Compare(a.Host, b.Host))
	})
	return is[:min(n, len(is))]
}

// Slowest is the longest backlog of any host, for requests of the given duration. Hosts that have not
// answered yet are skipped: most of them soon accept more requests, or are dead.
func (q *Queue[T]) Slowest(request time.Duration) (longest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, h := range q.hosts {
		n := h.waiting()
		if n == 0 || !h.proven || h.dead != nil {
			continue
		}
		each := request.Seconds() / h.limit
		if n := h.pace.perSecond(now); n > 0 {
			each = max(each, 1/float64(n))
		}
		each = max(each, q.delay(h).Seconds())
		longest = max(longest, time.Duration(float64(n)*each*float64(time.Second))+max(0,
			h.pace.until.Sub(now)))
	}
	return longest
}

// full reports whether every slot is taken.
func (q *Queue[T]) full() bool { return q.o.Slots > 0 && q.fast.Len() >= q.o.Slots }
