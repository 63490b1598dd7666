package pipeline

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/store"
)

// TestRunOutWhenClaimed holds leases that ran out on the way from the store, as those of a process which was
// stopped meanwhile do: each is lost once, and none is kept.
func TestRunOutWhenClaimed(t *testing.T) {
	const n = 1000
	var lost atomic.Int64
	ls := newLeases(nil, func(store.Lease) { lost.Add(1) })
	for i := range int64(n) {
		h := ls.hold(t.Context(), store.Lease{Shard: i, Expires: time.Now().Add(-time.Second)})
		select {
		case <-h.ctx.Done():
		case <-time.After(5 * time.Minute):
			t.Fatalf("lease %d ran out and is still trusted", i)
		}
	}
	if shards, _ := ls.count(); shards != 0 || lost.Load() != n {
		t.Errorf("%d of %d leases were lost, %d are kept", lost.Load(), n, shards)
	}
}

// shards is a leaseStore in memory.
type shards struct {
	mu      sync.Mutex
	ttl     time.Duration
	down    bool
	renewed int
	gone    []int64 // shards that others have
	back    []int64 // shards that were given back, in order
}

func (s *shards) Renew(_ context.Context, ls []store.Lease) (kept []store.Lease, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("the store does not answer")
	}
	s.renewed++
	for _, l := range ls {
		if !slices.Contains(s.gone, l.Shard) {
			l.Expires = time.Now().Add(s.ttl)
			kept = append(kept, l)
		}
	}
	return kept, nil
}

func (s *shards) Release(_ context.Context, ls []store.Lease) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range ls {
		s.back = append(s.back, l.Shard)
	}
	return nil
}

func (s *shards) set(down bool, gone ...int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.gone = down, gone
}

// TestRenewal: leases are trusted for as long as they are renewed; one that the store does not renew is lost
// at once, and the others are not. When the store does not answer, trust ends by itself.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{ttl: 9 * time.Second}
		var lost []int64
		var mu sync.Mutex
		ls := newLeases(s, func(l store.Lease) {
			mu.Lock()
			defer mu.Unlock()
			lost = append(lost, l.Shard)
		})
		ctx, stop := context.WithCancel(t.Context())
		var failures atomic.Int64
		over := make(chan struct{})
		go func() {
			defer close(over)
			ls.keepRenewing(ctx, 3*time.Second, func(error) { failures.Add(1) })
		}()
		time.Sleep(10 * time.Second) // nothing is held, so nothing is renewed
		hold := func(shard int64) *leaseHandle {
			return ls.hold(t.Context(), store.Lease{Shard: shard, Generation: 1,
				Expires: time.Now().Add(s.ttl)})
		}
		a, b := hold(1), hold(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.renewed < 19 || s.renewed > 21 || a.ctx.Err() != nil || b.ctx.Err() != nil {
			t.Fatalf("renewed %d times, %v, %v", s.renewed, a.ctx.Err(), b.ctx.Err())
		}
		s.set(false, 1)
		time.Sleep(4 * time.Second)
		if !errors.Is(context.Cause(a.ctx), store.ErrLeaseLost) || b.ctx.Err() != nil ||
			!slices.Equal(lost, []int64{1}) {
			t.Fatalf("after another process took it: %v, %v, lost %v", context.Cause(a.ctx), b.ctx.Err(),
				lost)
		}
		s.set(true)
		time.Sleep(5 * time.Second)
		if b.ctx.Err() != nil || failures.Load() == 0 {
			t.Errorf("a store that is away for a moment costs the lease: %v after %d failures",
				context.Cause(b.ctx), failures.Load())
		}
		time.Sleep(5 * time.Second)
		if !errors.Is(context.Cause(b.ctx), store.ErrLeaseLost) || !slices.Equal(lost, []int64{1, 2}) {
			t.Errorf("trust outlives the lease: %v, lost %v", context.Cause(b.ctx), lost)
		}
		if n, _ := ls.count(); n != 0 || len(s.back) != 0 {
			t.Errorf("%d are held, %v were given back", n, s.back)
		}
		stop()
		<-over
	})
}

// TestRenewalOfAnotherGeneration: an answer about a lease says nothing about a later one of the same shard.
func TestRenewalOfAnotherGeneration(t *testing.T) {
	var ls *leases
	var second *leaseHandle
	s := &lateAnswer{}
	ls = newLeases(s, func(l store.Lease) { t.Errorf("lost %+v", l) })
	first := ls.hold(t.Context(), store.Lease{Shard: 7, Generation: 1, Expires: time.Now().Add(time.Hour)})
	s.while = func() {
		if err := ls.finish(t.Context(), []*leaseHandle{first}); err != nil {
			t.Error(err)
		}
		second = ls.hold(t.Context(), store.Lease{Shard: 7, Generation: 2,
			Expires: time.Now().Add(time.Hour)})
	}
	if err := ls.renew(t.Context()); err != nil || second.ctx.Err() != nil {
		t.Errorf("%v, %v", err, context.Cause(second.ctx))
	}
	if err := ls.release(t.Context(), []*leaseHandle{second}); err != nil {
		t.Error(err)
	}
}

// lateAnswer renews nothing, and is asked while something else happens.
type lateAnswer struct {
	shards
	while func()
}

func (s *lateAnswer) Renew(context.Context, []store.Lease) ([]store.Lease, error) {
	s.while()
	return nil, nil
}

// TestLeasesGoBack when every row of the shard was handed out and is completed, and not before.
func TestLeasesGoBack(t *testing.T) {
	s := &shards{}
	ls := newLeases(s, func(l store.Lease) { t.Errorf("lost %+v", l) })
	h := ls.hold(t.Context(), store.Lease{Shard: 3, Expires: time.Now().Add(time.Hour)})
	empty := ls.hold(t.Context(), store.Lease{Shard: 4, Expires: time.Now().Add(time.Hour)})
	for range 3 {
		h.handOut()
	}
	if h.complete(1) || h.isLast(2) {
		t.Error("rows may still come")
	}
	if err := ls.finish(t.Context(), []*leaseHandle{h, empty}); err != nil ||
		!slices.Equal(s.back, []int64{4}) {
		t.Errorf("%v, given back %v", err, s.back)
	}
	if n, rows := ls.count(); n != 1 || rows != 2 {
		t.Errorf("%d shards, %d rows are held", n, rows)
	}
	if h.isLast(1) || !h.isLast(2) || h.complete(1) || !h.complete(1) {
		t.Error("the last row is not known")
	}
	for range 2 { // once is enough
		if err := ls.release(t.Context(), []*leaseHandle{h}); err != nil ||
			!slices.Equal(s.back, []int64{4, 3}) {
			t.Errorf("%v, given back %v", err, s.back)
		}
	}
	select {
	case <-ls.freed:
	default:
		t.Error("nobody was told")
	}
}
