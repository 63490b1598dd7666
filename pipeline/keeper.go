package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	// Find reports whether the row's bytes are kept, and how much memory reading them takes.
	Find(id int64) (size int64, ok bool)
	// Read returns what is kept of the row. It may turn out that the bytes are damaged, or another URL's.
	Read(row store.Row) (Original, error)

	// Keep keeps what is wanted of an image whose faces were found, and returns for each of its rows what
	// that was. It need not be durable yet, and nobody else sees it.
	Keep(ctx context.Context, img Processed) ([]store.Outputs, error)
	// Stage makes durable what was kept of these rows. It is called before they are marked done under the
	// lease.
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

	MadeOf *Downloaded // nil unless Body is a smaller picture, which was kept instead of what was downloaded
}

// Processed is an image whose faces were found.
type Processed struct {
	Original
	Rows        []store.Row   // that it belongs to, id and URL, at least one
	Generations []int64       // of the leases of these
	Result      *store.Result // of each, but for the id
	Kept        bool          // the body was read from where it is kept
	// Room waits for memory for pixels; what it returns gives it back.
	Room func(bytes int64) (free func(), err error)
}

// finds reports whether a row is to be read instead of fetched.
func finds(k Keeper, id int64) bool {
	if k == nil {
		return false
	}
	_, ok := k.Find(id)
	return ok
}

// reader is the stage that reads rows whose bodies are kept, the way that fetcher downloads the others.
type reader struct {
	keeper   Keeper
	in       <-chan *task
	out      chan<- *task
	download func(*task) error // queues a row whose bytes cannot be used
	complete completed
	inFlight places
	leave    func(n int) // gives places in flight back
	life     *lifecycle
	outages  *outages
	activity *activity
	log      *slog.Logger

	tellSmaller sync.Once
}

// loop reads one row after the other.
func (r *reader) loop() {
	for t := range r.in {
		r.outages.waitOut(r.life.draining, ofDetector)
		select {
		case r.inFlight <- struct{}{}:
		case <-r.life.draining.Done():
			r.complete.giveUp(t, false)
			continue
		}
		t.started = time.Now()
		r.activity.reading.Add(1)
		err := r.read(t)
		r.activity.reading.Add(-1)
		if err == nil {
			select {
			case r.out <- t:
			case <-r.life.hard.Done():
				r.complete.giveUp(t, true)
			}
			continue
		}
		r.leave(1)
		if t.lease.ctx.Err() == nil {
			r.log.Warn("the bytes that were kept of a row cannot be used: downloading it", "id", t.row.ID,
				"error", err)
			if r.download(t) == nil {
				continue
			}
		}
		r.complete.giveUp(t, false)
	}
}

// read fills the task's body with what is kept.
func (r *reader) read(t *task) error {
	ctx := t.lease.ctx
	size, ok := r.keeper.Find(t.row.ID)
	if !ok {
		return errors.New("they are gone")
	}
	if err := t.memory.Reserve(ctx, min(size, fetch.FirstMemory)); err != nil {
		return err
	}
	defer t.memory.finish()
	err := t.memory.Grow(ctx, max(0, size-fetch.FirstMemory))
	var o Original
	if err == nil {
		o, err = r.keeper.Read(t.row)
	}
	if err != nil {
		t.memory.clear()
		return err
	}
	t.body, t.kept = &fetch.Body{Bytes: o.Body, Status: o.Status, FinalURL: o.FinalURL}, true
	if t.madeOf = o.MadeOf; t.madeOf != nil {
		r.tellSmaller.Do(func() {
			r.log.Info("rows are processed from the smaller pictures that --keep-size kept of them: faces " +
				"that are small there are missed; boxes are in pixels of the images as downloaded")
		})
	}
	return nil
}
