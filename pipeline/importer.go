package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"facescan/pipeline/crash"
	"facescan/pipeline/fileurl"
	"facescan/pipeline/source"
	"facescan/store"
)

const (
	firstBatch  = 1_000   // rows of the first transaction, so that work starts at once
	importBatch = 50_000  // rows of the later ones, about 50 ms each, so that checkpoints get their turn
	importBytes = 8 << 20 // of URLs in a transaction, however few rows have them
	readRows    = 512     // asked of a reader at a time
	importers   = 4       // lists read at once

	pipeEvery = 50 * time.Millisecond // how often what came through a pipe goes to the job
)

// Importer reads lists into a job.
type Importer struct {
	Node      store.Node // which rows
	Priority  *int       // of the sources; nil leaves it
	Job       store.Job
	Session   store.Session
	ShardSize int
	LeaseTTL  time.Duration
	Log       *slog.Logger
	Imported  func(source string, rows int64, progress float64) // after each transaction; optional

	Hold  func() bool  // true while a pipe is not to be read; optional
	Ahead func() int64 // rows that may be pending when one is; optional

	// Patience is how long a folder or tar of images that is watched may be away.
	Patience time.Duration

	ended  func(source.Spec)  // after a list was read to its end; optional
	Joined func(store.Source) // before a source is read; optional
}

// SourceName is what a list is called in its job: relative to the job's folder when it lies in there, so that
// both can be moved together; otherwise absolute; "-" for stdin.
func SourceName(jobPath, list string) string {
	if list == "-" {
		return list
	}
	abs, err := filepath.Abs(list)
	if err != nil {
		return list
	}
	if strings.Contains(jobPath, "://") {
		return abs
	}
	dir, err := filepath.Abs(filepath.Dir(jobPath))
	if err != nil {
		return abs
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return abs
}

// NameOf is what a list is called in its job.
func NameOf(jobPath string, spec source.Spec) string {
	if spec.As != "" {
		return spec.As
	}
	if source.HasImages(spec.Format) {
		if !utf8.ValidString(spec.Path) { // which not every database takes
			return fileurl.Of(spec.Path)
		}
		return spec.Path // absolute, as in the URLs
	}
	return SourceName(jobPath, spec.Path)
}

// AsName is the name that --as gave to a source; empty for any other one.
func AsName(s store.Source) string {
	var spec source.Spec
	if json.Unmarshal([]byte(s.Options), &spec) != nil {
		return ""
	}
	return spec.As
}

// IsStdin reports whether a source came from standard input.
func IsStdin(s store.Source) bool { return s.Name == "-" || AsName(s) != "" }

// SourcePath is where the list lies that is called so in its job.
func SourcePath(jobPath, name string) string {
	if path, _, ok := fileurl.Split(name); ok {
		return path
	}
	if name == "-" || filepath.IsAbs(name) || strings.Contains(jobPath, "://") {
		return name
	}
	return filepath.Join(filepath.Dir(jobPath), name)
}

// Import reads the lists to their ends, or as far as the context lets it; then what is appended stays, and a
// later import goes on there. Lists are numbered in the order given before any is read.
func (im *Importer) Import(ctx context.Context, specs []source.Spec) error {
	settings, err := im.Job.Settings(ctx)
	if err != nil {
		return err
	}
	lists, err := im.join(ctx, settings, specs)
	if err != nil {
		return unless(ctx, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(importers)
	run := func(do func() error) {
		g.Go(func() error {
			defer crash.Exit()
			err := do()
			if ctx.Err() != nil {
				return nil // stopped, which is not a failure
			}
			return err
		})
	}
	one := func(l joinedList) error {
		err := im.one(gctx, settings, l.spec, l.source)
		if im.ended != nil {
			im.ended(l.spec)
		}
		return err
	}
	var small []joinedList
	if !store.IsMerge(settings) && im.ended == nil && len(lists) > 1 {
		lists = slices.DeleteFunc(lists, func(l joinedList) bool {
			is := l.isSmall()
			if is {
				small = append(small, l)
			}
			return is
		})
		run(func() error { return im.readSmall(gctx, small, one) })
	}
	for _, l := range lists {
		run(func() error { return one(l) })
	}
	return g.Wait()
}

// joinAtOnce is how many sources one transaction adds.
const joinAtOnce = 1000

// join makes lists sources of the job, numbered in the order given. It returns them as they are to be read.
func (im *Importer) join(ctx context.Context, settings map[string]string, specs []source.Spec) (
	[]joinedList, error) {
	if err := im.checkImages(ctx, specs); err != nil {
		return nil, err
	}
	out := make([]joinedList, 0, len(specs))
	for some := range slices.Chunk(specs, joinAtOnce) {
		add := make([]store.Source, len(some))
		for i, spec := range some {
			options, err := json.Marshal(spec)
			if err != nil {
				return nil, err
			}
			name := NameOf(im.Job.Path(), spec)
			if store.IsMerge(settings) {
				if name, err = im.mergedName(ctx, spec, name); err != nil {
					return nil, err
				}
			}
			add[i] = store.Source{Name: name, Format: spec.Format, Options: string(options)}
			if im.Priority != nil {
				add[i].Priority = *im.Priority
			}
		}
		sources, err := im.Job.AddSources(ctx, add)
		if err != nil {
			return nil, fmt.Errorf("add %s to the job: %w", some[0].Path, err)
		}
		for i, s := range sources {
			if AsName(s) != some[i].As {
				return nil, fmt.Errorf("the job has another list that is called %s: choose another name "+
					"with --as", s.Name)
			}
			if im.Joined != nil {
				im.Joined(s)
			}
			spec, err := asBegun(some[i], add[i].Options, s)
			if err != nil {
				return nil, err
			}
			out = append(out, joinedList{spec, s})
			if im.Priority != nil && s.Priority != *im.Priority {
				if err := im.Job.Prioritize(ctx, s.Number, *im.Priority); err != nil {
					return nil, fmt.Errorf("set the priority of %s: %w", some[i].Path, err)
				}
			}
		}
	}
	return out, nil
}

// one reads a list.
func (im *Importer) one(ctx context.Context, settings map[string]string, spec source.Spec,
	s store.Source) error {
	if spec.IsPipe() {
		return im.readPipe(ctx, settings, spec, s)
	}
	if source.HasImages(spec.Format) {
		return im.leased(ctx, s, spec.Growing, func(ctx context.Context, l store.SourceLease) error {
			err := im.readImages(ctx, spec, s, l)
			if spec.Growing && errors.Is(err, fs.ErrNotExist) {
				err = nil // it is away, and looked for
			}
			return err
		})
	}
	return im.leased(ctx, s, spec.Growing, func(ctx context.Context, l store.SourceLease) error {
		lease, err := im.fill(ctx, settings, spec, s, l)
		if err == nil && ctx.Err() == nil {
			err = im.read(ctx, spec, s, lease)
		}
		if errors.Is(err, source.ErrNotBegun) {
			err = nil
		}
		return err
	})
}

// leased does the import of a source under its lease, waiting while another process does it. With own it
// looks for itself even when the other one has read the source to its end: that is over only for lists that
// do not grow, and a pipe is this process's alone.
func (im *Importer) leased(ctx context.Context, s store.Source, own bool,
	do func(context.Context, store.SourceLease) error) error {
	for waiting := false; ; {
		lease, err := im.Session.LeaseSource(ctx, s.Number)
		switch {
		case err == nil:
			im.Log.Debug("import lease taken", "source", s.Name)
			err = im.renewing(ctx, lease, do)
			if e := im.Session.ReleaseSource(context.WithoutCancel(ctx), lease); e != nil && err == nil {
				err = fmt.Errorf("release the import of %s: %w", s.Name, e)
			}
			if !errors.Is(err, store.ErrLeaseLost) {
				return err
			}
			im.Log.Warn("the import went to another process", "source", s.Name)
		case !errors.Is(err, store.ErrHeld):
			return fmt.Errorf("lease the import of %s: %w", s.Name, err)
		case IsStdin(s) && !waiting:
			waiting = true
			im.Log.Info("another process imports this source: standard input is read when that one has ended",
				"source", s.Name)
		}
		if sleep(ctx, idlePoll) != nil {
			return nil
		}
		if own {
			continue
		}
		all, err := im.Job.Sources(ctx)
		if err != nil {
			return err
		}
		if s.Number < len(all) && all[s.Number].Complete {
			return nil // the other process read it to its end
		}
	}
}

// renewing does an import and prolongs its lease meanwhile: a list may give nothing for long. When the lease
// is lost, so is the context.
func (im *Importer) renewing(ctx context.Context, lease store.SourceLease,
	do func(context.Context, store.SourceLease) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var renewal sync.WaitGroup
	renewal.Go(func() {
		defer crash.Exit()
		for range ticks(ctx, im.LeaseTTL/3) {
			// Another failure is the next write's, too.
			if _, err := im.Session.RenewSource(ctx, lease); errors.Is(err, store.ErrLeaseLost) {
				cancel(err)
				return
			}
		}
	})
	err := do(ctx, lease)
	if lost := context.Cause(ctx); errors.Is(lost, store.ErrLeaseLost) {
		err = lost
	}
	cancel(nil)
	renewal.Wait()
	return err
}

// read reads a list from where its import stopped to its end.
func (im *Importer) read(ctx context.Context, spec source.Spec, s store.Source,
	lease store.SourceLease) error {
	list, err := openList(ctx, spec, lease.Position)
	if err != nil {
		return err
	}
	defer list.Close()
	defer list.warnOfDamage(s.Name, im.Log)

	chunk := make([]source.Row, readRows)
	var batch rowBatch
	var total int64
	size := firstBatch
	flush := func(complete bool) error {
		err := im.Session.Append(ctx, lease, batch.rows, list.Position(), complete, im.ShardSize)
		if err != nil {
			return fmt.Errorf("import %s: %w", spec.Path, err)
		}
		total += int64(len(batch.rows))
		im.Log.Debug("imported", "source", s.Name, "rows", total,
			"share", math.Round(1000*list.Progress())/1000, "complete", complete)
		im.imported(s.Name, len(batch.rows), list.Progress())
		batch.clear()
		size = min(size*4, importBatch)
		return nil
	}
	for {
		n, err := list.Next(chunk)
		im.take(&batch, store.FirstOf(s.Number), chunk[:n])
		switch {
		case errors.Is(err, io.EOF) && spec.Growing && total == 0 && len(batch.rows) == 0 && s.Complete &&
			list.Position().Line == s.Position.Line && lease.Position.Line == s.Position.Line:
			return nil // it says so already
		case errors.Is(err, io.EOF):
			if err := flush(true); err != nil {
				return err
			}
			return list.noRow()
		case err != nil:
			return fmt.Errorf("read %s: %w", spec.Path, err)
		case ctx.Err() != nil:
			return nil // what was not appended is read again later
		case batch.full(size):
			if err := flush(false); err != nil {
				return err
			}
		}
	}
}

// take adds those rows of a list to a batch that the job takes; its ids begin above first. A group's end
// counts in every part.
func (im *Importer) take(batch *rowBatch, first int64, rows []source.Row) {
	for _, row := range rows {
		row.ID += first
		if row.End || im.Node.Takes(row.ID) {
			batch.add(row)
		}
	}
}

// imported tells of a transaction.
func (im *Importer) imported(source string, rows int, progress float64) {
	if im.Imported != nil {
		im.Imported(source, int64(rows), progress)
	}
}

// SameList reports whether two sources are one list, read to the same position.
func SameList(a, b store.Source) bool {
	return source.Same(a.Position, b.Position)
}

// MayBeSameList reports whether nothing shows that two sources are different lists, as far as both have been
// read.
func MayBeSameList(a, b store.Source) bool {
	return source.MayBeSame(a.Position, b.Position)
}

// lastID is where a pass over a table begins that is only to find rows behind the others.
const lastID = math.MaxInt64

// Adopt takes what is new, or was changed by the user, in the table that a job works on in place: a pass over
// it.
func (im *Importer) Adopt(ctx context.Context) error { return im.adopt(ctx, math.MinInt64) }

// adopt does a pass over the table from an id on.
func (im *Importer) adopt(ctx context.Context, from int64) error {
	adopter, ok := im.Session.(store.Adopter)
	if !ok {
		return fmt.Errorf("%s is not a table to work on in place", im.Job.Path())
	}
	table := store.Source{Name: im.Job.Path()}
	return im.leased(ctx, table, false, func(ctx context.Context, lease store.SourceLease) error {
		for more := true; more && ctx.Err() == nil; {
			var err error
			if from, more, err = adopter.Adopt(ctx, lease, from, im.ShardSize); err != nil {
				return fmt.Errorf("read the table: %w", err)
			}
			im.imported(table.Name, 0, 0)
		}
		return nil
	})
}

// importStage is the stage that reads the lists, or the table, into the job.
type importStage struct {
	im      Importer
	sources []source.Spec
	lists   func() ([]source.Spec, error) // names those there are by now, to be watched; optional
	adopt   bool                          // the rows lie in a user's table
	drain   func(End)
	changed chan struct{} // a token when a shard may have been cut
	err     error         // why the import failed; to be read when the run is over

	mu      sync.Mutex
	ctx     context.Context
	stop    context.CancelFunc // ends the import where it is
	running bool
}

// begin makes the import active, if there is something to import, until it ends or ctx does.
func (s *importStage) begin(ctx context.Context) {
	s.ctx, s.stop = context.WithCancel(ctx)
	s.changed = make(chan struct{}, 1)
	s.set(len(s.sources) > 0 || s.adopt || s.lists != nil)
}

// active reports whether more rows may come.
func (s *importStage) active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

func (s *importStage) set(running bool) {
	s.mu.Lock()
	s.running = running
	s.mu.Unlock()
	s.poke()
}

// poke says that a shard may have been cut.
func (s *importStage) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// run imports. A failure drains the run: what was imported and fetched by then is kept.
func (s *importStage) run() {
	defer s.set(false)
	var err error
	switch {
	case s.adopt && s.lists != nil:
		err = s.im.WatchTable(s.ctx)
	case s.adopt:
		err = s.im.Adopt(s.ctx)
	case s.lists != nil:
		err = s.im.Watch(s.ctx, s.sources, s.lists)
	default:
		err = s.im.Import(s.ctx, s.sources)
	}
	if err != nil && s.ctx.Err() == nil {
		s.err = err
		s.drain(Interrupted)
	}
}
