package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"facescan/pipeline/crash"
	"facescan/pipeline/source"
	"facescan/store"
)

const (
	watchPoll  = 250 * time.Millisecond // how often lists are looked at
	watchShare = 20                     // looking takes one part in so many of the time at most
	watchGone  = 5 * time.Second        // how long a list may be away, as while it is renamed
)

// A list that grows is read like any other one, again and again: from where its import stopped, with what
// lies before compared, up to its last whole record. That it grew is found out by looking: it works for every
// file system, and a look at a file costs microseconds.

// watcher watches lists.
type watcher struct {
	im   *Importer
	list func() ([]source.Spec, error)

	mu      sync.Mutex
	busy    map[string]bool         // paths that are being read
	stamps  map[string]source.Stamp // of lists, from before they were last read
	known   map[string]bool         // lists that are known to be some
	told    map[string]bool         // files that are known to be none
	reading int                     // calls of Import under way
	gone    time.Time               // since when a list is away
	begun   map[string]time.Time    // of folders of images: when the latest look began,
	due     map[string]time.Time    // and when the next one may
}

// Watch imports lists to their ends, and then what is appended to them, until the context ends or none is
// left that may grow. List names the lists that there are by now; those it names first are numbered in that
// order.
func (im *Importer) Watch(ctx context.Context, first []source.Spec,
	list func() ([]source.Spec, error)) error {
	w := &watcher{im: im, list: list, busy: map[string]bool{}, stamps: map[string]source.Stamp{},
		known: map[string]bool{}, told: map[string]bool{}, begun: map[string]time.Time{},
		due: map[string]time.Time{}}
	pipes := 0
	for _, spec := range first {
		if w.known[spec.Path] = true; spec.IsPipe() {
			pipes++
		}
	}
	if pipes > 0 && pipes == len(first) {
		return im.Import(ctx, first)
	}
	settings, err := im.Job.Settings(ctx)
	if err != nil {
		return err
	}
	if _, err := im.join(ctx, settings, first); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, spec := range first {
		if spec.IsPipe() {
			w.busy[spec.Path] = true // for good
			w.read(gctx, g, []source.Spec{spec})
		}
	}
	g.Go(func() error {
		defer crash.Exit()
		return w.watch(gctx, g, first)
	})
	return g.Wait()
}

// watch looks at the lists until the context ends.
func (w *watcher) watch(ctx context.Context, g *errgroup.Group, specs []source.Spec) error {
	for {
		begin := time.Now()
		ready, err := w.ready(ctx, specs)
		if err != nil {
			return err
		}
		if len(ready) > 0 {
			w.read(ctx, g, ready)
		}
		if sleep(ctx, max(watchPoll, watchShare*time.Since(begin))) != nil {
			return nil
		}
		switch specs, err = w.list(); {
		case err == nil:
			w.gone = time.Time{}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		case w.gone.IsZero():
			if w.gone = time.Now(); w.im.Patience > watchGone {
				w.im.Log.Warn("images that are watched are away: waiting", "cause", err, "at most",
					w.im.Patience)
			}
		case time.Since(w.gone) > max(watchGone, w.im.Patience):
			return fmt.Errorf("a list that is watched is gone: %w; put it back, and run the same command "+
				"again", err)
		}
	}
}

// ready returns the lists that may have something new, and marks them as being read.
func (w *watcher) ready(ctx context.Context, specs []source.Spec) (ready []source.Spec, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reading >= importers {
		return nil, nil
	}
	for _, spec := range specs {
		if w.busy[spec.Path] || time.Now().Before(w.due[spec.Path]) {
			continue
		}
		if spec.Format == source.Folder { // only reading all of it shows what is new
			w.begun[spec.Path], w.busy[spec.Path] = time.Now(), true
			ready = append(ready, spec)
			continue
		}
		stamp, err := source.StampOf(spec)
		if errors.Is(err, fs.ErrNotExist) {
			continue // which list says, too, if it has to be there
		}
		if err != nil {
			return nil, err
		}
		if was, seen := w.stamps[spec.Path]; seen && !stamp.Moved(was) {
			continue
		}
		w.stamps[spec.Path] = stamp
		if !w.known[spec.Path] && !w.isList(ctx, spec) {
			continue
		}
		w.known[spec.Path], w.busy[spec.Path] = true, true
		ready = append(ready, spec)
	}
	return ready, nil
}

// isList reports whether a file that came later is a list. One that is none, or not yet, is looked at when it
// has changed.
func (w *watcher) isList(ctx context.Context, spec source.Spec) bool {
	err := source.Check(ctx, &spec)
	if err != nil && !errors.Is(err, source.ErrNotBegun) && ctx.Err() == nil && !w.told[spec.Path] {
		w.told[spec.Path] = true
		w.im.Log.Warn("passed over until it changes", "list", spec.Path, "error", err)
	}
	return err == nil
}

// read imports what is new in lists.
func (w *watcher) read(ctx context.Context, g *errgroup.Group, specs []source.Spec) {
	w.mu.Lock()
	w.reading++
	w.mu.Unlock()
	im := *w.im
	im.ended = func(spec source.Spec) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy[spec.Path] = spec.IsPipe()
		if begun, is := w.begun[spec.Path]; is {
			w.due[spec.Path] = time.Now().Add(watchShare * time.Since(begun))
		}
	}
	g.Go(func() error {
		defer crash.Exit()
		err := im.Import(ctx, specs)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reading--
		return err
	})
}

// WatchTable takes what is new in the table that a job works on in place, and then the rows that are added
// behind the others, until the context ends.
func (im *Importer) WatchTable(ctx context.Context) error {
	if err := im.Adopt(ctx); err != nil {
		return err
	}
	adopter, _ := im.Session.(store.Adopter)
	for sleep(ctx, watchPoll) == nil {
		grown, err := adopter.Grown(ctx)
		if err != nil || ctx.Err() != nil {
			return err
		}
		if grown {
			if err := im.adopt(ctx, lastID); err != nil {
				return err
			}
		}
	}
	return nil
}
