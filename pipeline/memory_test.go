package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func reserved(h *pixelPool, n int64) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// A reservation that fits is granted although the context is over; one that does not returns at once.
	return h.reserve(ctx, n) == nil
}

func TestBudgetHalves(t *testing.T) {
	b := newBudget(100, 0)
	if !has(b.bodies, 50) || has(b.bodies, 1) {
		t.Fatal("bodies must get half of the budget and no more")
	}
	if !reserved(b.pixels, 50) || reserved(b.pixels, 1) {
		t.Fatal("pixels must get the other half whatever the bodies hold")
	}
	if used := b.bodies.now() + b.pixels.now(); used != 100 {
		t.Fatalf("used %d, want 100", used)
	}
}

// has reports whether a new body gets n bytes at once.
func has(b *bodyPool, n int64) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := &reservation{b: b}
	return a.Reserve(ctx, n) == nil
}

func TestLargerThanTheBudgetGoesAlone(t *testing.T) {
	h := newPixelPool(10)
	if !reserved(h, 1000) {
		t.Fatal("alone, a reservation of any size is granted")
	}
	if reserved(h, 1) {
		t.Fatal("nothing else fits beside it")
	}
	h.free(1000)
	if !reserved(h, 1) || reserved(h, 1000) {
		t.Fatal("beside another holder the size counts")
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPixelPool(10)
		if !reserved(h, 10) {
			t.Fatal("it fits")
		}
		order := make(chan int, 3)
		for i, n := range []int64{8, 1, 1} {
			go func() {
				if h.reserve(t.Context(), n) == nil {
					order <- i
				}
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := make(chan error)
		go func() { gone <- h.reserve(ctx, 5) }()
		synctest.Wait()
		cause := errors.New("no more patience")
		cancel(cause)
		if err := <-gone; !errors.Is(err, cause) {
			t.Fatalf("a waiter that gave up got %v", err)
		}
		h.free(10)
		synctest.Wait()
		if len(order) != 3 {
			t.Fatalf("%d of 3 waiters were served: the large one at the head must not be passed by",
				len(order))
		}
		if h.now() != 10 || h.waiters() != 0 {
			t.Fatalf("used %d, %d wait", h.now(), h.waiters())
		}
	})
}

// TestPixelsNeverLoseBytes plays random images against their half: it never exceeds its size unless one is
// alone, and everything comes back.
func TestPixelsNeverLoseBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newPixelPool(rapid.Int64Range(1, 100).Draw(t, "size"))
		var live []int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "more") {
				if n := rapid.Int64Range(1, 150).Draw(t, "n"); reserved(h, n) {
					live = append(live, n)
				}
			} else if len(live) > 0 {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "who")
				h.free(live[i])
				live = append(live[:i], live[i+1:]...)
			}
			var sum int64
			for _, n := range live {
				sum += n
			}
			if h.now() != sum {
				t.Fatalf("used %d, the %d holders have %d", h.now(), len(live), sum)
			}
			if h.now() > h.size && len(live) > 1 {
				t.Fatalf("%d of %d bytes used by %d holders", h.now(), h.size, len(live))
			}
		}
	})
}

// TestBodyLimits: the younger bodies may use all but what the oldest may need, to the byte.
func TestBodyLimits(t *testing.T) {
	b := newBodyPool(100, 60)
	oldest := &reservation{b: b}
	if err := oldest.Reserve(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if has(b, 51) || !has(b, 50) || has(b, 1) || b.now() != 60 {
		t.Errorf("%d bytes are taken", b.now())
	}
	if err := oldest.Grow(t.Context(), 1); err != nil || b.now() != 61 {
		t.Errorf("%d bytes are taken, %v", b.now(), err)
	}
}

// TestOlderBodiesGrowFirst, in whichever order they came to wait.
func TestOlderBodiesGrowFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodyPool(100, 60)
		all := make([]*reservation, 4)
		for i, n := range []int64{10, 8, 8, 24} {
			all[i] = &reservation{b: b}
			if err := all[i].Reserve(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		grown := make(chan int, 2)
		for _, i := range []int{2, 1} {
			go func() {
				if err := all[i].Grow(t.Context(), 20); err != nil {
					t.Error(err)
				}
				grown <- i
			}()
			synctest.Wait()
		}
		all[3].clear()
		synctest.Wait()
		if len(grown) != 1 || <-grown != 1 {
			t.Error("the older one did not grow first")
		}
		all[1].clear()
		synctest.Wait()
		if len(grown) != 1 || b.now() != 38 {
			t.Errorf("%d grew, %d bytes are taken", len(grown), b.now())
		}
	})
}

// TestOldestBodyFinishes: younger bodies leave room for the oldest, and wait with what they have.
func TestOldestBodyFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodyPool(100, 60)
		var order []int
		reservations := make([]*reservation, 4)
		for i := range reservations {
			reservations[i] = &reservation{b: b}
			if err := reservations[i].Reserve(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		for i, a := range reservations {
			go func() {
				if err := a.Grow(t.Context(), 50); err != nil {
					t.Error(err)
				}
				order = append(order, i)
			}()
			synctest.Wait()
		}
		// 30 of the 40 that are not kept aside are taken by the younger ones.
		for i, a := range reservations {
			if len(order) != i+1 || order[i] != i {
				t.Fatalf("%d has grown, in order %v", i, order)
			}
			a.finish()
			synctest.Wait()
			if i < 3 && len(order) != i+1 {
				t.Errorf("a body that was read makes no room: %v", order)
			}
			a.clear()
			synctest.Wait()
		}
		if b.used != 0 || b.whole != 0 || b.reading.Len() != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// TestBodyLargerThanTheHalf is read all the same, once nothing is left to be decoded.
func TestBodyLargerThanTheHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodyPool(10, 1000)
		read, small := &reservation{b: b}, &reservation{b: b}
		if read.Reserve(t.Context(), 4) != nil || small.Reserve(t.Context(), 4) != nil {
			t.Fatal("both fit")
		}
		read.finish()
		grown := make(chan error, 1)
		go func() { grown <- small.Grow(t.Context(), 1000) }()
		synctest.Wait()
		if len(grown) != 0 {
			t.Fatal("it grew although the other's memory will come back")
		}
		read.clear()
		if err := <-grown; err != nil {
			t.Fatal(err)
		}
		if has(b, 1) {
			t.Error("a newcomer fits beside it")
		}
		small.clear()
		if !has(b, 10) {
			t.Error("what was given back is not free")
		}
	})
}

// TestNewcomersWait in order, and one that gives up is not missed.
func TestNewcomersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodyPool(10, 0)
		first := &reservation{b: b}
		if first.Reserve(t.Context(), 10) != nil {
			t.Fatal("it fits")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := make(chan error)
		go func() { gone <- (&reservation{b: b}).Reserve(ctx, 9) }()
		synctest.Wait()
		served := make(chan struct{}, 2)
		for range 2 {
			go func() {
				if (&reservation{b: b}).Reserve(t.Context(), 3) == nil {
					served <- struct{}{}
				}
			}()
		}
		synctest.Wait()
		first.Release(6)
		synctest.Wait()
		if len(served) != 0 {
			t.Error("the newcomer at the head was passed by")
		}
		cause := errors.New("no more patience")
		cancel(cause)
		if err := <-gone; !errors.Is(err, cause) {
			t.Errorf("one that gave up got %v", err)
		}
		synctest.Wait()
		if len(served) != 2 {
			t.Errorf("%d of 2 were served", len(served))
		}
		first.clear()
	})
}

// TestRoomForAllOfIt: a row whose connection was lost while it waited has all that it may need before it asks
// again.
func TestRoomForAllOfIt(t *testing.T) {
	b := newBodyPool(100, 60)
	a := &reservation{b: b, first: 60}
	if err := a.Reserve(t.Context(), 10); err != nil || a.held != 60 {
		t.Fatalf("%v, %d held", err, a.held)
	}
	other := &reservation{b: b}
	if err := other.Reserve(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := a.Grow(t.Context(), 10); err != nil || a.held != 60 {
			t.Fatalf("%v, %d held", err, a.held)
		}
	}
	a.Release(30)
	a.finish()
	if a.held != 30 || b.now() != 70 {
		t.Errorf("%d held, %d used", a.held, b.now())
	}
	a.clear()
	a.clear() // more than it holds
	other.clear()
	if b.now() != 0 {
		t.Errorf("%d bytes are lost", b.now())
	}
}

// TestBodiesByChance plays many bodies of any size against a small half, some of which give up. All the
// others get what they want, the half is kept to, and everything comes back.
func TestBodiesByChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, most = 1000, 400
		b := newBodyPool(size, most)
		decode := make(chan *reservation, 4)
		var decoders, readers sync.WaitGroup
		for range 2 {
			decoders.Go(func() {
				for a := range decode {
					a.clear()
				}
			})
		}
		for range 20 {
			readers.Go(func() {
				for range 200 {
					a := &reservation{b: b}
					ctx, cancel := context.WithCancel(t.Context())
					if rand.IntN(10) == 0 {
						go cancel()
					}
					err := a.Reserve(ctx, 10)
					for want := rand.Int64N(most - 10); want > 0 && err == nil; {
						n := 1 + rand.Int64N(want)
						err = a.Grow(ctx, n)
						want -= n
						if used := b.now(); used > size {
							t.Errorf("%d of %d used", used, size)
						}
					}
					if err != nil {
						a.clear()
						if ctx.Err() == nil {
							t.Error(err)
						}
					} else {
						a.finish()
						decode <- a
					}
					cancel()
				}
			})
		}
		readers.Wait()
		close(decode)
		decoders.Wait()
		if b.used != 0 || b.whole != 0 || b.reading.Len()+len(b.growing)+len(b.arriving) != 0 {
			t.Errorf("left over: %d used, %d whole, %d read, %d and %d waiting", b.used, b.whole,
				b.reading.Len(), len(b.growing), len(b.arriving))
		}
	})
}
