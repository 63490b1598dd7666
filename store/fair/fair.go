// Package fair shares the claims of a session among the sources of a job.
//
// It is start-time fair queueing: sources share by weight, 2 to the power of their priority, in rows. Each
// source has a start. A claim adds rows/weight to it, and the source with the lowest start is next. One that
// had no work meanwhile rejoins at the start that the others have reached. So none starves, and a new one
// comes next. Every session keeps its own round, in memory: all of them together are fair, and nothing in the
// store is written by all.
//
// How many sources there are matters to a claim no more than logarithmically. Which of them have free shards
// is found out by surveys, which look at all sources. The longer a survey takes, the less often there is one.
package fair

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	share = 20 // a survey is due after this many times as long as the last ones took
	few   = 64 // sources that are surveyed whenever there may be news
)

// Turn is a source's place in the round.
type Turn struct {
	Source int
	Cursor int64 // its free shards lie above this id; the store's own
	Left   int64 // pending rows in them, as of the last survey: it has no further turn when they are claimed

	start float64
	tie   int64 // order among those of the same start
}

// Survey is what a store found out about all sources.
type Survey struct {
	Open   []*Turn       // sources with free shards
	Left   int64         // pending rows in the job
	Owners int64         // sessions that share them
	News   int64         // value of the counter that Due is given, before the survey
	Took   time.Duration // by the survey
}

// Round is a session's place among the sources. The zero value has to begin with a survey.
type Round struct {
	at     float64         // start of the last one that had its turn
	starts map[int]float64 // of sources that are ahead of the round
	queue  queue
	left   int64
	owners int64

	news     int64           // of the last survey
	surveyed time.Time       // when that ended
	costs    []time.Duration // of the last few
}

// Due reports whether it is time for a survey. News counts what happened since that may have changed what it
// finds, as far as the caller knows.
func (r *Round) Due(news int64) bool {
	if len(r.queue) == 0 || news != r.news && len(r.queue) <= few {
		return true
	}
	cost := slices.Min(r.costs) // a machine that is busy for a moment does not make surveys dear
	return time.Since(r.surveyed) >= share*cost
}

// Begin goes on with what a survey found.
func (r *Round) Begin(s Survey) {
	r.queue, r.left, r.owners, r.news = r.queue[:0], s.Left, s.Owners, s.News
	for _, t := range s.Open {
		t.tie = int64(t.Source)
		if s.Owners > 1 { // or all sessions would go for the same sources at once
			t.tie = rand.Int64()
		}
		t.start = max(r.at, r.starts[t.Source])
		r.queue = append(r.queue, t)
	}
	heap.Init(&r.queue)
	starts := map[int]float64{}
	for source, start := range r.starts {
		if start > r.at {
			starts[source] = start
		}
	}
	r.starts = starts
	r.surveyed = time.Now()
	if r.costs = append(r.costs, s.Took); len(r.costs) > 4 {
		r.costs = r.costs[1:]
	}
}

// Empty reports whether no source is known to have free shards.
func (r *Round) Empty() bool { return len(r.queue) == 0 }

// Want is how many rows a claim should have, at most and at least: at the end of a job it is a fraction of
// what is left for each session, so that all of them end together.
func (r *Round) Want(most, least int64) int64 {
	return min(most, max(least, r.left/(2*max(r.owners, 1))))
}

// Next takes up to n sources out of the queue, in turn.
func (r *Round) Next(n int) (out []*Turn) {
	for len(out) < n && len(r.queue) > 0 {
		out = append(out, heap.Pop(&r.queue).(*Turn))
	}
	return out
}

// Return puts sources back that did not have their turn.
func (r *Round) Return(ts ...*Turn) {
	for _, t := range ts {
		heap.Push(&r.queue, t)
	}
}

// Took moves the round on after a claim of so many rows in the shard at an id.
func (r *Round) Took(t *Turn, priority int, rows, at int64) {
	r.at = max(r.at, t.start)
	t.start = r.at + math.Ldexp(float64(rows), -priority)
	r.starts[t.Source] = t.start
	r.left -= rows
	t.Cursor, t.Left = at, t.Left-rows
	if t.Left > 0 {
		r.Return(t)
	}
}

// queue is a heap, the next source first.
type queue []*Turn

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(t any)   { *q = append(*q, t.(*Turn)) }

func (q queue) Less(i, j int) bool {
	if q[i].start != q[j].start {
		return q[i].start < q[j].start
	}
	return q[i].tie < q[j].tie
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last], *q = nil, (*q)[:last]
	return t
}
