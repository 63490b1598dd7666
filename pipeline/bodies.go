package pipeline

import (
	"cmp"
	"container/list"
	"context"
	"slices"
	"sync"
)

// bodies is the half of the budget that bodies are taken from.
//
// A body gets a little before it is asked for and more as it grows. The oldest body that is being read may
// use all of the half; the younger ones leave enough for it aside, so it can always finish, and then the next
// one is the oldest. One that cannot grow waits, with what it has.
//
// Bodies that were read whole wait for no memory of this half, and a decoder frees them sooner or later. When
// there are none, the oldest gets what it asks for however small the half is: a body larger than that is
// read all the same.
type bodies struct {
	size   int64
	shared int64 // of size, for all but the oldest

	mu       sync.Mutex
	used     int64
	whole    int        // bodies that were read and still take memory
	ages     int64      // given out
	reading  list.List  // of *account, the oldest first
	growing  []*account // of these, those that wait, the oldest first
	arriving []*account // those that wait for their first bytes, in order
}

// newBodies makes a half of so many bytes, for bodies that take most bytes each while they are read.
func newBodies(size, most int64) *bodies {
	return &bodies{size: size, shared: max(size-most, size/2)}
}

// now is how many bytes are taken.
func (b *bodies) now() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// waiters is how many bodies wait for memory.
func (b *bodies) waiters() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.growing) + len(b.arriving)
}

// account is what one row holds of the half. It is what fetch.Memory asks for.
type account struct {
	b     *bodies
	held  int64
	ahead int64 // of these, what is not asked for yet
	first int64 // is held at least before the body is asked for

	age   int64
	place *list.Element // while it is being read
	wants int64         // while it waits
	ready chan struct{} // closed when it got what it wants
}

// Reserve waits for the first n bytes.
func (a *account) Reserve(ctx context.Context, n int64) error {
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
func (a *account) Grow(ctx context.Context, n int64) error {
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
	at, _ := slices.BinarySearchFunc(b.growing, a, func(x, y *account) int { return cmp.Compare(x.age, y.age) })
	b.growing = slices.Insert(b.growing, at, a)
	return a.wait(ctx, &b.growing)
}

// wait is called with the lock held, which it gives back.
func (a *account) wait(ctx context.Context, among *[]*account) error {
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

// fits reports whether an account can have what it wants.
func (b *bodies) fits(a *account) bool {
	oldest := b.reading.Front()
	if oldest == nil || oldest == a.place {
		return b.used+a.wants <= b.size || b.whole == 0
	}
	others := b.used - oldest.Value.(*account).held
	return others+a.wants <= b.shared && b.used+a.wants <= b.size
}

func (b *bodies) grant(a *account) {
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
func (b *bodies) serve() {
	b.growing = slices.DeleteFunc(b.growing, func(a *account) bool {
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
func (a *account) Release(n int64) {
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
func (a *account) finish() {
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
func (a *account) clear() {
	a.ahead = 0
	a.Release(a.held)
}
