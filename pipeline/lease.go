package pipeline

import (
	"context"
	"sync"
	"time"

	"facescan/store"
)

// held is a shard we work on.
//
// Its context ends when the lease cannot be trusted any more: the store said so, or 2/3 of the TTL went by since
// before the last renewal was asked for. Work on its rows stops then, before a successor can start.
type held struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	trust  *time.Timer

	mu    sync.Mutex
	lease store.Lease
	open  int  // rows handed out and not settled
	read  bool // every pending row of the shard was handed out
}

// leases are the shards this process holds.
type leases struct {
	session store.Session

	mu    sync.Mutex
	byID  map[int64]*held
	lost  func(store.Lease)
	freed chan struct{} // a token when a shard was given back or lost
}

func newLeases(s store.Session, lost func(store.Lease)) *leases {
	return &leases{session: s, byID: map[int64]*held{}, lost: lost, freed: make(chan struct{}, 1)}
}

// hold starts to trust a lease that was just claimed. A process that was stopped since may find it run out already:
// the timer then goes off at once, and must find the shard among ours to take it out again.
func (ls *leases) hold(ctx context.Context, l store.Lease) *held {
	h := &held{lease: l}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	ls.mu.Lock()
	ls.byID[l.Shard] = h
	h.trust = time.AfterFunc(time.Until(l.Expires), func() { ls.lose(h) })
	ls.mu.Unlock()
	return h
}

// lose gives a lease up without telling the store, which knows or will find out.
func (ls *leases) lose(h *held) {
	if ls.drop(h) {
		ls.lost(h.now())
	}
	h.cancel(store.ErrLeaseLost)
}

func (ls *leases) drop(h *held) bool {
	ls.mu.Lock()
	h.trust.Stop()
	id := h.now().Shard
	mine := ls.byID[id] == h
	if mine {
		delete(ls.byID, id)
	}
	ls.mu.Unlock()
	select {
	case ls.freed <- struct{}{}:
	default:
	}
	return mine
}

func (h *held) now() store.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// take counts a row as handed out.
func (h *held) take() {
	h.mu.Lock()
	h.open++
	h.mu.Unlock()
}

// settle counts n rows as committed or given up, and reports whether the shard is to be given back: all rows are.
func (h *held) settle(n int) (done bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open -= n
	return h.open == 0 && h.read
}

// isLast reports whether n rows are the last ones of the shard that are not settled.
func (h *held) isLast(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open == n && h.read
}

// finish says that every row of some shards was handed out; those whose rows are all settled go back.
func (ls *leases) finish(ctx context.Context, all []*held) error {
	var done []*held
	for _, h := range all {
		h.mu.Lock()
		h.read = true
		h.mu.Unlock()
		if h.settle(0) {
			done = append(done, h)
		}
	}
	return ls.release(ctx, done)
}

// release gives shards back.
func (ls *leases) release(ctx context.Context, all []*held) error {
	var back []store.Lease
	for _, h := range all {
		if ls.drop(h) {
			back = append(back, h.now())
		}
		h.cancel(nil)
	}
	if len(back) == 0 {
		return nil
	}
	return ls.session.Release(ctx, back)
}

// count is how many shards are held, and how many rows of them are handed out and not settled.
func (ls *leases) count() (shards, rows int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, h := range ls.byID {
		h.mu.Lock()
		rows += h.open
		h.mu.Unlock()
	}
	return len(ls.byID), rows
}

// renew prolongs all leases now and then until the context ends. A renewal that fails is tried again until trust
// runs out by itself: a store that is away for a moment costs nothing.
func (ls *leases) renew(ctx context.Context, every time.Duration, failed func(error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		ls.mu.Lock()
		asked := make([]store.Lease, 0, len(ls.byID))
		for _, h := range ls.byID {
			asked = append(asked, h.now())
		}
		ls.mu.Unlock()
		if len(asked) == 0 {
			continue
		}
		kept, err := ls.session.Renew(ctx, asked)
		if err != nil {
			if ctx.Err() == nil {
				failed(err)
			}
			continue
		}
		still := make(map[int64]store.Lease, len(kept))
		for _, l := range kept {
			still[l.Shard] = l
		}
		ls.mu.Lock()
		var gone []*held
		for _, l := range asked {
			h := ls.byID[l.Shard]
			if h == nil || h.now().Generation != l.Generation {
				continue // settled meanwhile
			}
			if n, ok := still[l.Shard]; ok {
				h.mu.Lock()
				h.lease.Expires = n.Expires
				h.mu.Unlock()
				h.trust.Reset(time.Until(n.Expires))
			} else {
				gone = append(gone, h)
			}
		}
		ls.mu.Unlock()
		for _, h := range gone {
			ls.lose(h)
		}
	}
}
