package store

import (
	"context"
	"iter"
	"time"
)

// Ordered is the part of a Job by which its results can be written in order while they come in.
type Ordered interface {
	// Frontier says how far a source is done in order, from an id on. It is quick at any size: shards without pending
	// rows are passed over by their counters.
	Frontier(ctx context.Context, source int, from int64) (Frontier, error)
	// Groups yields the finished groups whose Sequence is above after, in that order, paged as Results is.
	Groups(ctx context.Context, after int64) iter.Seq2[Group, error]
}

// Frontier is how far a source is done in order.
type Frontier struct {
	// Next is the lowest pending id, but not below the one asked for; without any, the id after the last row imported so
	// far. Every row between the two is done.
	Next int64
	// Changes grows whenever what was read of the source before may not hold any more: a done row became pending again,
	// its result gave way to another, or a row came in among older ones.
	Changes int64
}

// OutputSetting begins the keys of settings that tell how far a file is written that follows the job; its name comes after.
const OutputSetting = "output:"

// Group is the aggregate of the rows of one source that have one value of --group-column.
//
// It is there from the transaction on, of the last row's commit or of the import's end, after which none of these rows is
// pending and the import is complete; and until one of them is reopened, or a further one comes in.
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
