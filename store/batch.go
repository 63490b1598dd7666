package store

import (
	"context"
	"fmt"

	"facescan/store/figures"
)

// AllResults are the results of some batches, one after the other.
func AllResults(batches []Batch) []Result {
	if len(batches) == 1 {
		return batches[0].Results
	}
	results := make([]Result, 0, countResults(batches))
	for i := range batches {
		results = append(results, batches[i].Results...)
	}
	return results
}

func countResults(batches []Batch) (n int) {
	for i := range batches {
		n += len(batches[i].Results)
	}
	return n
}

// ResultIDs are the rows of results.
func ResultIDs(results []Result) []int64 {
	ids := make([]int64, len(results))
	for i := range results {
		ids[i] = results[i].ID
	}
	return ids
}

// HeldBatches separates the batches whose leases are still held from those that are lost, by index. Released
// are the leases that go back with their batches.
func HeldBatches(batches []Batch, held []bool) (kept []Batch, lost []int, released []Lease) {
	for i, b := range batches {
		switch {
		case !held[i]:
			lost = append(lost, i)
			continue
		case b.Release:
			released = append(released, b.Lease)
		}
		kept = append(kept, b)
	}
	return kept, lost, released
}

// KeepPending leaves in batches the first result of each row that is pending: a second one comes too late.
func KeepPending(batches []Batch, pending []int64) []Batch {
	out, open := make([]Batch, len(batches)), idSet(pending)
	counts := func(id int64) bool {
		is := open[id]
		delete(open, id)
		return is
	}
	for i, b := range batches {
		n := 0
		for n < len(b.Results) && counts(b.Results[n].ID) {
			n++
		}
		if n < len(b.Results) { // mostly all count, and nothing is copied
			kept := append([]Result(nil), b.Results[:n]...)
			for _, r := range b.Results[n+1:] {
				if counts(r.ID) {
					kept = append(kept, r)
				}
			}
			b.Results = kept
		}
		out[i] = b
	}
	return out
}

// First is the only one of what a call for several returned.
func First[T any](all []T, err error) (one T, _ error) {
	if err == nil {
		one = all[0]
	}
	return one, err
}

// CommitOne is Session.Commit by CommitAll.
func CommitOne(ctx context.Context, s Session, l Lease, results []Result) error {
	batches := []Batch{{Lease: l, Results: results}}
	lost, err := s.CommitAll(ctx, batches)
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("%s: %w", committing(batches), ErrLeaseLost)
	}
	return err
}

// LeaseOne is Session.LeaseSource by LeaseSources.
func LeaseOne(ctx context.Context, s Session, source int) (SourceLease, error) {
	ls, err := s.LeaseSources(ctx, []int{source})
	if err == nil && len(ls) == 0 {
		err = fmt.Errorf("%s: %w", Leasing([]int{source}), ErrHeld)
	}
	return First(ls, err)
}

// Committing says that results of shards are committed, for errors; it refuses results that would break an
// invariant of the job, before any of them is written.
func Committing(batches []Batch) (doing string, err error) {
	doing = committing(batches)
	for _, b := range batches {
		if err := CheckResults(b.Lease, b.Results); err != nil {
			return doing, fmt.Errorf("%s: %w", doing, err)
		}
	}
	return doing, nil
}

func committing(batches []Batch) string {
	rows := figures.Of(countResults(batches), "row")
	if len(batches) == 1 {
		return fmt.Sprintf("commit %s of shard %d", rows, batches[0].Lease.Shard)
	}
	return fmt.Sprintf("commit %s of %d shards", rows, len(batches))
}
