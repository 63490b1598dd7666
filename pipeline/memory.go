package pipeline

import (
	"context"
	"sync"
)

// budget is the run's one byte budget: bodies, and what decoding them takes.
//
// Bodies may take half of it. Whoever decodes holds a body already and asks for more, so if bodies could fill the
// budget, every decoder could end up waiting for memory that only a decoder can free. With the halves apart, a
// decoder waits only for other decoders, and they always finish.
//
// Each half lets one holder exceed it when it is alone there: a body or an image larger than the budget is
// processed by itself instead of never.
type budget struct {
	bodies, pixels half
}

func newBudget(n int64) *budget {
	b := &budget{}
	b.bodies.size, b.pixels.size = n/2, n-n/2
	return b
}

// used is what is taken now, in bytes.
func (b *budget) used() int64 { return b.bodies.now() + b.pixels.now() }

// half is one side of the budget; waiters are served in order.
type half struct {
	size int64

	mu      sync.Mutex
	used    int64
	holders int
	waiting []*waiter
}

type waiter struct {
	n     int64
	ready chan struct{}
}

func (h *half) now() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.used
}

func (h *half) fits(n int64) bool { return h.used+n <= h.size || h.holders == 0 }

func (h *half) reserve(ctx context.Context, n int64) error {
	h.mu.Lock()
	if len(h.waiting) == 0 && h.fits(n) {
		h.used += n
		h.holders++
		h.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	h.waiting = append(h.waiting, w)
	h.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, x := range h.waiting {
		if x == w {
			h.waiting = append(h.waiting[:i], h.waiting[i+1:]...)
			h.admit() // the one behind may fit where we did not
			return context.Cause(ctx)
		}
	}
	// Admitted between the two: take it back.
	h.used -= n
	h.holders--
	h.admit()
	return context.Cause(ctx)
}

// grow takes n more for somebody who holds `held` already. It never waits.
func (h *half) grow(held, n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.used+n > h.size && h.used != held {
		return false
	}
	h.used += n
	return true
}

func (h *half) release(n int64, last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used -= n
	if last {
		h.holders--
	}
	h.admit()
}

func (h *half) admit() {
	for len(h.waiting) > 0 && h.fits(h.waiting[0].n) {
		w := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.used += w.n
		h.holders++
		close(w.ready)
	}
}

// account is what one row holds of the body half. It is what fetch.Memory asks for.
type account struct {
	h    *half
	held int64
}

// Reserve waits for n bytes; it is called while the row holds nothing.
func (a *account) Reserve(ctx context.Context, n int64) error {
	if err := a.h.reserve(ctx, n); err != nil {
		return err
	}
	a.held = n
	return nil
}

// Grow takes n more, or tells that there are none.
func (a *account) Grow(n int64) bool {
	if !a.h.grow(a.held, n) {
		return false
	}
	a.held += n
	return true
}

// Release gives n bytes back.
func (a *account) Release(n int64) {
	if a.held == 0 {
		return
	}
	n = min(n, a.held)
	a.held -= n
	a.h.release(n, a.held == 0)
}
