package store

import (
	"context"
	"iter"
	"slices"
	"time"
)

// Ordered is the part of a Job by which its results can be written in order while they come in.
type Ordered interface {
	// Frontier says how far a source is done in order, from an id on. It is quick at any size: shards without
	// pending rows are passed over by their counters.
	Frontier(ctx context.Context, source int, from int64) (Frontier, error)
	// Groups yields the finished groups whose Sequence is above after, in that order, paged as Results is.
	Groups(ctx context.Context, after int64) iter.Seq2[Group, error]
	// Ends yields the end records of a source's groups, the first of each group, by ID.
	Ends(ctx context.Context, source int) iter.Seq2[GroupEnd, error]
	// EndOf is the ID of a group's end record; 0 if none was read.
	EndOf(ctx context.Context, source int, group string) (int64, error)
}

// GroupEnd is a record that ends a group.
type GroupEnd struct {
	ID    int64
	Group string
}

// SplitEnds separates rows from end records, of which it returns the first of each group.
func SplitEnds(all []NewRow) (rows []NewRow, ends map[string]int64) {
	return splitEnds(all, func(r *NewRow) (bool, GroupEnd) { return r.End, GroupEnd{r.ID, r.Group} })
}

func splitEnds[R any](all []R, end func(*R) (is bool, e GroupEnd)) (rows []R, ends map[string]int64) {
	for i := range all {
		if is, e := end(&all[i]); is {
			if ends == nil { // mostly there are none, and nothing is copied
				rows = slices.Clone(all[:i])
			}
			ends = addEnd(ends, e)
		} else if ends != nil {
			rows = append(rows, all[i])
		}
	}
	if ends == nil {
		return all, nil
	}
	return rows, ends
}

// addEnd adds an end record to those that are the first of their groups.
func addEnd(ends map[string]int64, e GroupEnd) map[string]int64 {
	if ends == nil {
		ends = map[string]int64{}
	}
	if first, known := ends[e.Group]; !known || e.ID < first {
		ends[e.Group] = e.ID
	}
	return ends
}

// SplitAllEnds is SplitEnds for each of some additions.
func SplitAllEnds(all []Addition) (rows []Addition, ends []map[string]int64) {
	rows, ends = slices.Clone(all), make([]map[string]int64, len(all))
	for i := range rows {
		rows[i].Rows, ends[i] = SplitEnds(rows[i].Rows)
	}
	return rows, ends
}

// SplitMergedEnds is SplitEnds for rows from another job.
func SplitMergedEnds(all []MergedRow) (rows []MergedRow, ends map[string]int64) {
	return splitEnds(all, func(r *MergedRow) (bool, GroupEnd) { return r.End, GroupEnd{r.ID, r.Group} })
}

// Frontier is how far a source is done in order.
type Frontier struct {
	// Next is the lowest pending id, but not below the one asked for; without any, the id after the last row
	// imported so far. Every row between the two is done.
	Next int64
	// Changes grows whenever what was read of the source before may not hold any more: a done row became
	// pending again, its result gave way to another, or a row came in among older ones.
	Changes int64
}

// OutputSetting begins the keys of settings that say how far a file is written that follows the job; its
// name comes after.
const OutputSetting = "output:"

// Group is the aggregate of the rows of one source that have one value of --group-column.
//
// It is finished when none of these rows is pending and either the import is complete or the group's end
// record was read. The transaction that fulfils the last condition writes it; the one that reopens one of the
// rows, or adds one, removes it.
type Group struct {
	Source          int
	Name            string // the value, never empty
	Images          int64  // rows
	OK, Failed      int64  // of these
	Faces           int64
	ImagesWithFaces int64
	LargestFace     int       // its longer side, in pixels; 0 without faces
	First, Last     time.Time // when its rows were done
	Revision        int64     // how many times it was finished, this one included
	Sequence        int64     // its place among all that the job ever finished; ascends
}
