package store

import (
	"context"
	"fmt"
	"iter"
)

// PartSum sums up jobs that are parts of the same lists.
type PartSum struct {
	Each    []PartCounts
	Rows    int64 // of the lists
	Known   bool  // Rows: the first release did not count them
	Reading bool  // no part has read all lists to their ends: there may be more rows
	Done    int64 // in any of the parts, each counted once
}

// PartCounts is one of them.
type PartCounts struct {
	Job    Job
	Nodes  Nodes
	Counts Counts
}

// SumParts sums parts up. Those whose rows overlap are read through, since a row that is done in several
// counts once. Same reports whether two sources are the same list, as far as both have read it.
func SumParts(ctx context.Context, jobs []Job, same func(a, b Source) bool) (sum PartSum, err error) {
	var lists []Source // as the part knows them that has read most
	disjoint := true
	sum.Known, sum.Reading = true, true
	for _, j := range jobs {
		settings, err := j.Settings(ctx)
		if err != nil {
			return sum, err
		}
		sources, err := j.Sources(ctx)
		if err != nil {
			return sum, err
		}
		p := PartCounts{Job: j}
		if p.Nodes, err = partsOfAll(settings, sources); err != nil {
			return sum, fmt.Errorf("%s: %w", j.Path(), err)
		}
		if p.Counts, err = j.Counts(ctx); err != nil {
			return sum, err
		}
		for k, s := range sources {
			switch {
			case k >= len(lists):
				lists = append(lists, s)
			case !same(lists[k], s):
				return sum, fmt.Errorf("%s was made from another list than %s: %s", j.Path(), jobs[0].Path(),
					s.Name)
			case s.Position.Line > lists[k].Position.Line || lists[k].Position.Rows < 0:
				lists[k] = s
			}
		}
		for _, other := range sum.Each {
			disjoint = disjoint && p.Nodes.Disjoint(other.Nodes)
		}
		// Of a merge that lacks rows those may be there that a run has added since, of any part.
		disjoint = disjoint && (len(jobs) == 1 || !IsMerge(settings))
		sum.Each = append(sum.Each, p)
		sum.Done += p.Counts.Done
		sum.Reading = sum.Reading && len(p.Counts.ImportIncomplete) > 0
	}
	for _, s := range lists {
		sum.Rows += s.Position.Rows
		sum.Known = sum.Known && s.Position.Rows >= 0
	}
	if !disjoint {
		sum.Done, err = doneInAny(ctx, jobs)
	}
	return sum, err
}

// doneInAny counts the rows that are done in at least one of the jobs.
func doneInAny(ctx context.Context, jobs []Job) (n int64, err error) {
	type reader struct {
		id   int64
		more bool
		next func() (Result, error, bool)
	}
	readers := make([]reader, len(jobs))
	advance := func(r *reader) error {
		result, err, more := r.next()
		r.id, r.more = result.ID, more
		return err
	}
	for i, j := range jobs {
		next, stop := iter.Pull2(j.Select(ctx, Query{To: 1 << 62, Brief: true}))
		defer stop()
		readers[i].next = next
		if err := advance(&readers[i]); err != nil {
			return n, err
		}
	}
	for {
		least := int64(-1)
		for _, r := range readers {
			if r.more && (least < 0 || r.id < least) {
				least = r.id
			}
		}
		if least < 0 {
			return n, nil
		}
		n++
		for i := range readers {
			if r := &readers[i]; r.more && r.id == least {
				if err := advance(r); err != nil {
					return n, err
				}
			}
		}
	}
}
