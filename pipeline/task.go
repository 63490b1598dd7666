package pipeline

import (
	"time"

	"facescan/pipeline/fetch"
	"facescan/store"
)

// task is a row on its way, from the claim of its shard to its completion.
type task struct {
	row        store.Row
	lease      *leaseHandle
	file       *fileTask // of a row that is a file here; nil for any other
	away       string    // the folder that it waited for
	suspect    int       // times a process died with this row in a decoder
	attempts   int
	memory     reservation // for the body
	body       *fetch.Body // nil before it is fetched, and once nobody needs it
	kept       bool        // the body was read from where an earlier run kept it
	madeOf     *Downloaded // as in Original
	started    time.Time
	duplicates []*task // rows of the same URL, which share the outcome
	outputs    store.Outputs

	// Once it is complete:
	result   *store.Result // the duplicates' is the same but for the id; nil for a row that was given up
	inFlight bool          // it holds a place in flight
}

// join makes one task of the rows that share an outcome.
func join(rows []*task) *task {
	t := rows[0]
	t.duplicates = append(t.duplicates, rows[1:]...)
	return t
}

// all are the task and its duplicates, the task being the last.
func (t *task) all() []*task { return append(t.duplicates, t) }

// dropBody gives the body's memory back; more than once does no harm.
func (t *task) dropBody() {
	if t.body == nil {
		return
	}
	t.body.Release()
	t.body = nil
	if t.kept {
		t.memory.clear()
	}
}

// completed takes complete tasks to the writer.
type completed chan *task

// complete ends a row's way with its result.
func (c completed) complete(t *task, res *store.Result, inFlight bool) {
	t.dropBody()
	t.result, t.inFlight = res, inFlight
	c <- t
}

// giveUp ends a row's way without a result: it stays pending.
func (c completed) giveUp(t *task, inFlight bool) { c.complete(t, nil, inFlight) }

// places are the rows that may be in flight, each with a token while it is.
type places chan struct{}

// enter takes a place, if there is one.
func (p places) enter() bool {
	select {
	case p <- struct{}{}:
		return true
	default:
		return false
	}
}

// leave gives n places back.
func (p places) leave(n int) {
	for range n {
		<-p
	}
}
