package pipeline

import (
	"context"
	"runtime/debug"
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
	bodies *bodies
	pixels half
}

// newBudget divides n bytes, for bodies that take most bytes each while they are read.
func newBudget(n, most int64) *budget {
	b := &budget{bodies: newBodies(n/2, most)}
	b.pixels.size = n - n/2
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

// waiters is how many images wait for memory.
func (h *half) waiters() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
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

func (h *half) release(n int64, last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used -= n
	if last {
		h.holders--
	}
	h.admit()
}

// free is release for what a decoder took. If it is much, the garbage collector returns it first: left alone, it would
// let the garbage of one large image lie while the next takes as much again.
func (h *half) free(n int64, last bool) {
	if n > h.size/4 {
		debug.FreeOSMemory()
	}
	h.release(n, last)
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
