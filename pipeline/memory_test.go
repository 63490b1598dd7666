package pipeline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func reserved(h *half, n int64) bool {
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
	if !reserved(&b.pixels, 50) || reserved(&b.pixels, 1) {
		t.Fatal("pixels must get the other half whatever the bodies hold")
	}
	if b.used() != 100 {
		t.Fatalf("used %d, want 100", b.used())
	}
}

// has reports whether a new body gets n bytes at once.
func has(b *bodies, n int64) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a := &account{b: b}
	return a.Reserve(ctx, n) == nil
}

func TestLargerThanTheBudgetGoesAlone(t *testing.T) {
	h := &half{size: 10}
	if !reserved(h, 1000) {
		t.Fatal("alone, a reservation of any size is granted")
	}
	if reserved(h, 1) {
		t.Fatal("nothing else fits beside it")
	}
	h.release(1000, true)
	if !reserved(h, 1) || reserved(h, 1000) {
		t.Fatal("beside another holder the size counts")
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &half{size: 10}
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
		h.release(10, true)
		synctest.Wait()
		if len(order) != 3 {
			t.Fatalf("%d of 3 waiters were served: the large one at the head must not be passed by", len(order))
		}
		if h.used != 10 || h.holders != 3 {
			t.Fatalf("used %d by %d", h.used, h.holders)
		}
	})
}

// TestPixelsNeverLoseBytes plays random images against their half: it never exceeds its size unless one is alone, and
// everything comes back.
func TestPixelsNeverLoseBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &half{size: rapid.Int64Range(1, 100).Draw(t, "size")}
		var live []int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "more") {
				if n := rapid.Int64Range(1, 150).Draw(t, "n"); reserved(h, n) {
					live = append(live, n)
				}
			} else if len(live) > 0 {
				i := rapid.IntRange(0, len(live)-1).Draw(t, "who")
				h.release(live[i], true)
				live = append(live[:i], live[i+1:]...)
			}
			var sum int64
			for _, n := range live {
				sum += n
			}
			if h.used != sum || h.holders != len(live) {
				t.Fatalf("used %d by %d, the holders have %d by %d", h.used, h.holders, sum, len(live))
			}
			if h.used > h.size && len(live) > 1 {
				t.Fatalf("%d of %d bytes used by %d holders", h.used, h.size, len(live))
			}
		}
	})
}
