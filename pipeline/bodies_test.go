package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

// TestOldestBodyFinishes: younger bodies leave room for the oldest, and wait with what they have.
func TestOldestBodyFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies(100, 60)
		var order []int
		accounts := make([]*account, 4)
		for i := range accounts {
			accounts[i] = &account{b: b}
			if err := accounts[i].Reserve(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		for i, a := range accounts {
			go func() {
				if err := a.Grow(t.Context(), 50); err != nil {
					t.Error(err)
				}
				order = append(order, i)
			}()
			synctest.Wait()
		}
		// 30 of the 40 that are not kept aside are taken by the younger ones.
		for i, a := range accounts {
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
		b := newBodies(10, 1000)
		read, small := &account{b: b}, &account{b: b}
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
		b := newBodies(10, 0)
		first := &account{b: b}
		if first.Reserve(t.Context(), 10) != nil {
			t.Fatal("it fits")
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := make(chan error)
		go func() { gone <- (&account{b: b}).Reserve(ctx, 9) }()
		synctest.Wait()
		served := make(chan struct{}, 2)
		for range 2 {
			go func() {
				if (&account{b: b}).Reserve(t.Context(), 3) == nil {
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
	b := newBodies(100, 60)
	a := &account{b: b, first: 60}
	if err := a.Reserve(t.Context(), 10); err != nil || a.held != 60 {
		t.Fatalf("%v, %d held", err, a.held)
	}
	other := &account{b: b}
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
		b := newBodies(size, most)
		decode := make(chan *account, 4)
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
					a := &account{b: b}
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
			t.Errorf("left over: %d used, %d whole, %d read, %d and %d waiting", b.used, b.whole, b.reading.Len(), len(b.growing), len(b.arriving))
		}
	})
}
