package pipeline

import (
	"sync/atomic"
	"testing"
	"time"

	"facescan/store"
)

// TestRunOutWhenClaimed holds leases that ran out on the way from the store, as those of a process which was stopped
// meanwhile do: each is lost once, and none is kept.
func TestRunOutWhenClaimed(t *testing.T) {
	const n = 1000
	var lost atomic.Int64
	ls := newLeases(nil, func(store.Lease) { lost.Add(1) })
	for i := range int64(n) {
		h := ls.hold(t.Context(), store.Lease{Shard: i, Expires: time.Now().Add(-time.Second)})
		select {
		case <-h.ctx.Done():
		case <-time.After(10 * time.Second):
			t.Fatalf("lease %d ran out and is still trusted", i)
		}
	}
	if shards, _ := ls.count(); shards != 0 || lost.Load() != n {
		t.Errorf("%d of %d leases were lost, %d are kept", lost.Load(), n, shards)
	}
}
