package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"

	"facescan/store"
)

// TestDispatchFails with the store's error, whichever call gives it; while the run drains it is none. A lease
// that is lost meanwhile is passed over.
func TestDispatchFails(t *testing.T) {
	broken := errors.New("the store does not answer")
	for _, call := range []string{"claim", "pending", "pending all", "suspects", "counts", "sources"} {
		for _, draining := range []bool{false, true} {
			alone(t, func(t *testing.T, b *dispatchBench) {
				c := b.claims
				switch call {
				case "pending":
					c.claims = [][]store.Lease{{c.shard(1, 3)}}
				case "pending all":
					c.claims = [][]store.Lease{{c.shard(1, 3), c.shard(2, 3)}}
				case "suspects":
					c.claims = [][]store.Lease{{c.shard(1, 0)}}
				case "sources":
					c.counts.ImportIncomplete = []string{"urls.txt"}
				}
				c.fails[call] = broken
				if draining {
					b.life.drain(Interrupted)
				}
				b.start()
				if err := b.end(t, Interrupted); errors.Is(err, broken) == draining {
					t.Errorf("%s, draining %v: %v", call, draining, err)
				}
			})
		}
	}
	alone(t, func(t *testing.T, b *dispatchBench) {
		b.claims.claims = [][]store.Lease{{b.claims.shard(1, 3)}, {b.claims.shard(2, 1),
			b.claims.shard(3, 1)}}
		b.claims.fails["pending"] = store.ErrLeaseLost
		b.start()
		if err := b.end(t, Finished); err != nil || len(b.line.ids()) != 2 {
			t.Errorf("%v, %v", err, b.line.ids())
		}
	})
	alone(t, func(t *testing.T, b *dispatchBench) { // a shard that cannot be given back
		b.claims.claims = [][]store.Lease{{b.claims.shard(1, 0)}}
		b.leases.store = failsToRelease{}
		b.start()
		if err := b.end(t, Finished); err == nil || !strings.HasPrefix(err.Error(), "release a shard: ") {
			t.Error(err)
		}
	})
	alone(t, func(t *testing.T, b *dispatchBench) { // a row that comes again and again
		b.claims.claims = [][]store.Lease{{b.claims.shard(1, 1)}}
		for range maxDispatches {
			b.repeats.note([]store.Result{{ID: 10_000}})
		}
		b.start()
		if err := b.end(t, Finished); err == nil || !strings.Contains(err.Error(), "row 10000") {
			t.Error(err)
		}
	})
}

type failsToRelease struct{ leaseStore }

func (failsToRelease) Release(context.Context, []store.Lease) error { return store.ErrFull }
