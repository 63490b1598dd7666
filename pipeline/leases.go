package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"facescan/store"
)

// leaseHandle is a shard that this process works on.
//
// Its context ends when the lease cannot be trusted any more: the store said so, or 2/3 of the TTL went by
// since before the last renewal was asked for. Work on its rows stops then, before a successor can start.
type leaseHandle struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	trust  *time.Timer

	mu    sync.Mutex
	lease store.Lease
	open  int  // rows handed out and not completed
	read  bool // every pending row of the shard was handed out
}

// leaseStore is what leases need of a store.Session.
type leaseStore interface {
	Renew(ctx context.Context, ls []store.Lease) ([]store.Lease, error)
	Release(ctx context.Context, ls []store.Lease) error
}

// leases are the shards that this process holds.
type leases struct {
	store leaseStore
	lost  func(store.Lease) // is called once for each lease that is lost
	log   *slog.Logger
	freed chan struct{} // a token when a shard was given back or lost

	mu   sync.Mutex
	byID map[int64]*leaseHandle
}

func newLeases(s leaseStore, lost func(store.Lease)) *leases {
	return &leases{store: s, byID: map[int64]*leaseHandle{}, lost: lost, freed: make(chan struct{}, 1),
		log: slog.New(slog.DiscardHandler)}
}

// hold starts to trust a lease that was just claimed. A process that was stopped since may find it run out
// already: the timer then goes off at once, and must find the shard among ours to take it out again.
func (ls *leases) hold(ctx context.Context, l store.Lease) *leaseHandle {
	h := &leaseHandle{lease: l}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	ls.mu.Lock()
	ls.log.Debug("lease taken", "shard", l.Shard, "lo", l.Lo, "hi", l.Hi, "pending", l.Pending,
		"generation", l.Generation)
	ls.byID[l.Shard] = h
	h.trust = time.AfterFunc(time.Until(l.Expires), func() { ls.lose(h) })
	ls.mu.Unlock()
	return h
}

// lose gives a lease up without telling the store, which knows or will find out.
func (ls *leases) lose(h *leaseHandle) {
	if ls.drop(h) {
		ls.lost(h.now())
	}
	h.cancel(store.ErrLeaseLost)
}

// drop takes a shard out, and reports whether it was held.
func (ls *leases) drop(h *leaseHandle) bool {
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

// now is the lease as of its last renewal.
func (h *leaseHandle) now() store.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// handOut counts a row as handed out.
func (h *leaseHandle) handOut() {
	h.mu.Lock()
	h.open++
	h.mu.Unlock()
}

// complete counts n rows as committed or given up, and reports whether the shard is to be given back: all
// rows are.
func (h *leaseHandle) complete(n int) (done bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open -= n
	return h.open == 0 && h.read
}

// isLast reports whether n rows are the last ones of the shard that are not completed.
func (h *leaseHandle) isLast(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open == n && h.read
}

// finish says that every row of some shards was handed out; those whose rows are all completed go back.
func (ls *leases) finish(ctx context.Context, all []*leaseHandle) error {
	var done []*leaseHandle
	for _, h := range all {
		h.mu.Lock()
		h.read = true
		h.mu.Unlock()
		if h.complete(0) {
			done = append(done, h)
		}
	}
	return ls.release(ctx, done)
}

// release gives shards back.
func (ls *leases) release(ctx context.Context, all []*leaseHandle) error {
	var back []store.Lease
	for _, h := range all {
		if ls.drop(h) {
			l := h.now()
			ls.log.Debug("lease released", "shard", l.Shard, "generation", l.Generation)
			back = append(back, l)
		}
		h.cancel(nil)
	}
	if len(back) == 0 {
		return nil
	}
	return ls.store.Release(ctx, back)
}

// count is how many shards are held, and how many rows of them are handed out and not completed.
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

// keepRenewing prolongs all leases now and then until the context ends. A renewal that fails is tried again
// until trust runs out by itself: a store that is away for a moment costs nothing.
func (ls *leases) keepRenewing(ctx context.Context, every time.Duration, failed func(error)) {
	for range ticks(ctx, every) {
		if err := ls.renew(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// renew prolongs all leases. Those that the store does not renew are lost.
func (ls *leases) renew(ctx context.Context) error {
	ls.mu.Lock()
	asked := make([]store.Lease, 0, len(ls.byID))
	for _, h := range ls.byID {
		asked = append(asked, h.now())
	}
	ls.mu.Unlock()
	if len(asked) == 0 {
		return nil
	}
	kept, err := ls.store.Renew(ctx, asked)
	if err != nil {
		return err
	}
	still := make(map[int64]store.Lease, len(kept))
	for _, l := range kept {
		still[l.Shard] = l
	}
	ls.mu.Lock()
	var gone []*leaseHandle
	for _, l := range asked {
		h := ls.byID[l.Shard]
		if h == nil || h.now().Generation != l.Generation {
			continue // given back meanwhile
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
	return nil
}
