package pipeline

import (
	"cmp"
	"container/list"
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// budget is the run's one byte budget: a pool for bodies, and one for what decoding them takes.
//
// Bodies may take half of it. A decoder has a body already and asks for more, so if bodies could fill the
// budget, every decoder could end up waiting for memory that only a decoder can free. With the pools apart, a
// decoder waits only for other decoders, and they always finish.
//
// In each pool one reservation may exceed the size when it is alone there: a body or an image larger than the
// budget is processed by itself instead of never.
type budget struct {
	bodies *bodyPool
	pixels *pixelPool
}

// newBudget divides n bytes, for bodies that take most bytes each while they are read.
func newBudget(n, most int64) *budget {
	return &budget{bodies: newBodyPool(n/2, most), pixels: newPixelPool(n - n/2)}
}

// pixelPool is memory for decoding and detection. Images that wait are served in order. One that is larger
// than the pool takes all of it, and so is alone.
type pixelPool struct {
	size    int64
	room    *semaphore.Weighted
	used    atomic.Int64
	waiting atomic.Int64 // images
}

func newPixelPool(size int64) *pixelPool {
	return &pixelPool{size: size, room: semaphore.NewWeighted(size)}
}

// now is how many bytes are taken.
func (p *pixelPool) now() int64 { return p.used.Load() }

// waiters is how many images wait for memory.
func (p *pixelPool) waiters() int { return int(p.waiting.Load()) }

// reserve waits for n bytes. The error is the context's cause.
func (p *pixelPool) reserve(ctx context.Context, n int64) error {
	if share := min(n, p.size); !p.room.TryAcquire(share) {
		p.waiting.Add(1)
		defer p.waiting.Add(-1)
		if p.room.Acquire(ctx, share) != nil {
			return context.Cause(ctx)
		}
	}
	p.used.Add(n)
	return nil
}

// reduce gives back what a reservation of n bytes has above left. If that is much, the garbage collector
// returns it first: left alone, it would let the garbage of one large image lie while the next takes as much
// again.
func (p *pixelPool) reduce(n, left int64) {
	if n-left > p.size/4 {
		debug.FreeOSMemory()
	}
	p.used.Add(left - n)
	p.room.Release(min(n, p.size) - min(left, p.size))
}

// free gives a reservation of n bytes back.
func (p *pixelPool) free(n int64) { p.reduce(n, 0) }

// bodyPool is memory for bodies.
//
// A body gets a little before it is asked for and more as it grows. The oldest body that is being read may
// use all of the pool; the younger ones leave enough for it aside, so it can always finish, and then the next
// one is the oldest. One that cannot grow waits, with what it has.
//
// Bodies that were read whole wait for no memory of this pool, and a decoder frees them sooner or later. When
// there are none, the oldest gets what it asks for however small the pool is: a body larger than that is read
// all the same.
type bodyPool struct {
	size   int64
	shared int64 // of size, for all but the oldest

	mu       sync.Mutex
	used     int64
	whole    int            // bodies that were read and still take memory
	ages     int64          // given out
	reading  list.List      // of *reservation, the oldest first
	growing  []*reservation // of these, those that wait, the oldest first
	arriving []*reservation // those that wait for their first bytes, in order
}

// newBodyPool makes a pool of so many bytes, for bodies that take most bytes each while they are read.
func newBodyPool(size, most int64) *bodyPool {
	return &bodyPool{size: size, shared: max(size-most, size/2)}
}

// now is how many bytes are taken.
func (b *bodyPool) now() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// waiters is how many bodies wait for memory.
func (b *bodyPool) waiters() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.growing) + len(b.arriving)
}

// reservation is what one row's body holds of the pool. It is what fetch.Memory asks for.
type reservation struct {
	b     *bodyPool
	held  int64
	ahead int64 // of these, what is not asked for yet
	first int64 // is held at least before the body is asked for

	age   int64
	place *list.Element // while it is being read
	wants int64         // while it waits
	ready chan struct{} // closed when it got what it wants
}

// Reserve waits for the first n bytes.
func (a *reservation) Reserve(ctx context.Context, n int64) error {
	b := a.b
	b.mu.Lock()
	if a.wants = n; len(b.arriving) == 0 && b.fits(a) {
		b.grant(a)
		b.mu.Unlock()
	} else {
		b.arriving = append(b.arriving, a)
		if err := a.wait(ctx, &b.arriving); err != nil {
			return err
		}
	}
	if a.first <= n {
		return nil
	}
	if err := a.Grow(ctx, a.first-n); err != nil {
		a.clear()
		return err
	}
	a.ahead = a.first - n
	return nil
}

// Grow waits for n more.
func (a *reservation) Grow(ctx context.Context, n int64) error {
	known := min(n, a.ahead)
	a.ahead -= known
	if n -= known; n == 0 {
		return nil
	}
	b := a.b
	b.mu.Lock()
	if a.wants = n; b.fits(a) {
		b.grant(a)
		b.mu.Unlock()
		return nil
	}
	byAge := func(x, y *reservation) int { return cmp.Compare(x.age, y.age) }
	at, _ := slices.BinarySearchFunc(b.growing, a, byAge)
	b.growing = slices.Insert(b.growing, at, a)
	return a.wait(ctx, &b.growing)
}

// wait is called with the lock held, which it gives back.
func (a *reservation) wait(ctx context.Context, among *[]*reservation) error {
	ready := make(chan struct{})
	a.ready = ready
	a.b.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(*among, a); i >= 0 {
		*among = slices.Delete(*among, i, i+1)
		b.serve() // the one behind may fit where this one did not
		return context.Cause(ctx)
	}
	return nil // it got it after all
}

// fits reports whether a reservation can have what it wants.
func (b *bodyPool) fits(a *reservation) bool {
	oldest := b.reading.Front()
	if oldest == nil || oldest == a.place {
		return b.used+a.wants <= b.size || b.whole == 0
	}
	others := b.used - oldest.Value.(*reservation).held
	return others+a.wants <= b.shared && b.used+a.wants <= b.size
}

func (b *bodyPool) grant(a *reservation) {
	if a.place == nil {
		b.ages++
		a.age, a.place = b.ages, b.reading.PushBack(a)
	}
	a.held += a.wants
	b.used += a.wants
	if a.ready != nil {
		close(a.ready)
		a.ready = nil
	}
}

// serve gives out what became free: to those that are being read, by age, and then to newcomers, in order.
func (b *bodyPool) serve() {
	b.growing = slices.DeleteFunc(b.growing, func(a *reservation) bool {
		ok := b.fits(a)
		if ok {
			b.grant(a)
		}
		return ok
	})
	for len(b.arriving) > 0 && b.fits(b.arriving[0]) {
		b.grant(b.arriving[0])
		b.arriving = b.arriving[1:]
	}
}

// Release gives n bytes back.
func (a *reservation) Release(n int64) {
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, a.held)
	if n == 0 {
		return
	}
	a.held -= n
	b.used -= n
	if a.held == 0 {
		if a.place == nil {
			b.whole--
		} else {
			b.reading.Remove(a.place)
			a.place = nil
		}
	}
	b.serve()
}

// finish says that the body was read.
func (a *reservation) finish() {
	a.Release(a.ahead)
	a.ahead = 0
	b := a.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.place != nil {
		b.reading.Remove(a.place)
		a.place = nil
		b.whole++
		b.serve() // there is another oldest now
	}
}

// clear gives everything back.
func (a *reservation) clear() {
	a.ahead = 0
	a.Release(a.held)
}
