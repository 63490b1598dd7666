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
	if !slices.ContainsFunc(all, func(r NewRow) bool { return r.End }) {
		return all, nil
	}
	ends = map[string]int64{}
	for _, r := range all {
		if !r.End {
			rows = append(rows, r)
		} else if first, known := ends[r.Group]; !known || r.ID < first {
			ends[r.Group] = r.ID
		}
	}
	return rows, ends
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
	var records []NewRow
	for _, r := range all {
		if r.End {
			records = append(records, NewRow{ID: r.ID, Group: r.Group, End: true})
		} else {
			rows = append(rows, r)
		}
	}
	_, ends = SplitEnds(records)
	return rows, ends
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

// OutputSetting begins the keys of settings that tell how far a file is written that follows the job; its
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
