package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"facescan/pipeline/fetch"
	"facescan/store"
)

// readers is how many rows are read from where they are kept at once.
const readers = 4

// Keeper keeps what is left of an image besides its result: its bytes, pictures made of it. Rows whose bytes
// it kept earlier are read from it instead of downloaded. It is called from many goroutines. Its errors are
// our own, never a row's: they end the run.
type Keeper interface {
	// Find tells whether the row's bytes are kept, and how much memory reading them takes.
	Find(id int64) (size int64, ok bool)
	// Read returns what is kept of the row. It may turn out that the bytes are damaged, or another URL's.
	Read(row store.Row) (Original, error)

	// Keep keeps what is wanted of an image that a detector judged, and returns for each of its rows what
	// that was. It need not be durable yet, and nobody else sees it.
	Keep(ctx context.Context, img Judged) ([]store.Outputs, error)
	// Stage makes durable what was kept of these rows. It is called before they are marked done under the lease.
	Stage(l store.Lease, results []store.Result) error
	// Done tells that rows were marked done: what was kept of them is to be seen, and what an earlier run
	// made and these results do not tell of is in the way.
	Done(ctx context.Context, l store.Lease, results []store.Result) error
	// Drop tells that rows were not marked done by this process: what was kept of them goes.
	Drop(ids []int64) error
	// TakeOver makes what others kept, dead processes above all, known to Find. It is called for every shard.
	TakeOver() error
}

// Original is what a download gave.
type Original struct {
	Body     []byte
	Status   int    // of HTTP
	FinalURL string // empty when it was the row's own
}

// Judged is an image that a detector has judged.
type Judged struct {
	Original
	Rows        []store.Row   // that it belongs to, id and URL, at least one
	Generations []int64       // of the leases of these
	Result      *store.Result // of each, but for the id
	Kept        bool          // the body was read from where it is kept
	// Room waits for memory for pixels; what it returns gives it back.
	Room func(bytes int64) (free func(), err error)
}

// find tells whether a row is to be read instead of fetched.
func (r *run) find(row store.Row) bool {
	if r.Keeper == nil {
		return false
	}
	_, ok := r.Keeper.Find(row.ID)
	return ok
}

// readLoop takes rows whose bodies are kept the way that fetchLoop takes the others.
func (r *run) readLoop() {
	for t := range r.kept {
		r.waitOut()
		select {
		case r.inflight <- struct{}{}:
		case <-r.draining.Done():
			r.giveUp(t, false)
			continue
		}
		t.started = time.Now()
		r.activity.reading.Add(1)
		err := r.readKept(t)
		r.activity.reading.Add(-1)
		if err == nil {
			select {
			case r.fetched <- t:
			case <-r.hard.Done():
				r.giveUp(t, true)
			}
			continue
		}
		r.leave(1)
		if t.lease.ctx.Err() == nil {
			r.Log.Warn("the bytes that were kept of a row cannot be used: downloading it", "id", t.row.ID, "error", err)
			if r.queue.Add(r.draining, fetch.Host(t.row.URL), t.row.URL, t) == nil {
				continue
			}
		}
		r.giveUp(t, false)
	}
}

// readKept fills the task's body with what is kept.
func (r *run) readKept(t *task) error {
	size, ok := r.Keeper.Find(t.row.ID)
	if !ok {
		return errors.New("they are gone")
	}
	if err := t.memory.Reserve(t.lease.ctx, min(size, fetch.FirstMemory)); err != nil {
		return err
	}
	defer t.memory.finish()
	err := t.memory.Grow(t.lease.ctx, max(0, size-fetch.FirstMemory))
	var o Original
	if err == nil {
		o, err = r.Keeper.Read(t.row)
	}
	if err != nil {
		t.memory.clear()
		return err
	}
	t.body = body{bytes: o.Body, status: o.Status, finalURL: o.FinalURL, release: t.memory.clear, kept: true}
	return nil
}

// keep has the Keeper keep what it wants of the row's image.
func (r *run) keep(t *task, res *store.Result) error {
	if r.Keeper == nil || res.Status != store.OK {
		return nil
	}
	ctx := t.lease.ctx
	// As precise as stores are: this tells what belongs to this result from what another process made for the
	// row.
	res.Time = time.Now().Truncate(time.Millisecond)
	img := Judged{Original: Original{t.body.bytes, t.body.status, t.body.finalURL}, Rows: []store.Row{t.row}, Generations: []int64{t.lease.now().Generation}, Result: res, Kept: t.body.kept,
		Room: func(n int64) (func(), error) {
			err := r.budget.pixels.reserve(ctx, n)
			return func() { r.budget.pixels.free(n) }, err
		}}
	for _, rider := range t.riders {
		img.Rows = append(img.Rows, rider.row)
		img.Generations = append(img.Generations, rider.lease.now().Generation)
	}
	r.activity.elsewise.Add(1)
	outputs, err := r.Keeper.Keep(ctx, img)
	r.activity.elsewise.Add(-1)
	if err != nil {
		return fmt.Errorf("keep row %d: %w", t.row.ID, err)
	}
	for i, o := range append(t.riders, t) {
		o.outputs = outputs[(i+1)%len(outputs)] // the task itself is the first of the rows, and the last here
	}
	return nil
}
