package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
)

// Publisher publishes what a run does (store/segment).
type Publisher interface {
	// Publish writes what changed since the last publication.
	Publish(ctx context.Context) error
}

// lastTries is how often the last publication of a run is tried, lastPause the time in between.
const (
	lastTries = 3
	lastPause = time.Second
)

// publish publishes at every interval, until over ends. A failure loses nothing: the next publication has
// the rows, too. What does not pass is the run's own failure at its end.
func (o *Options) publish(over context.Context) {
	failing := false
	for range ticks(over, o.PublishEvery) {
		err := o.Publisher.Publish(over)
		switch {
		case over.Err() != nil:
			return
		case err != nil:
			failing = true
			o.Log.Warn("cannot publish: trying again; the job itself has all rows", "error", err, "in",
				o.PublishEvery)
		case failing:
			failing = false
			o.Log.Info("published again")
		}
	}
}

// publishLast publishes what a run has done when it is over. One that was stopped at once publishes nothing
// more.
func (o *Options) publishLast(ctx context.Context, job store.Job) (err error) {
	if o.Publisher == nil || ctx.Err() != nil {
		return nil
	}
	for try := 1; ; try++ {
		if err = o.Publisher.Publish(ctx); err == nil || try == lastTries || ctx.Err() != nil {
			break
		}
		_ = sleep(ctx, lastPause) // the next try finds out that it ended
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; nothing is lost, as %s has all rows: fix the cause, then run the same "+
			"command again", err, job.Path())
	}
	return nil
}

// PublishedLists tells which sources of published segments are lists of a job.
type PublishedLists struct {
	Job   store.Job
	Specs []source.Spec // lists that the job is to import
}

// Place returns the absolute path of a source of the job.
func (l PublishedLists) Place(name string) string {
	path := SourcePath(l.Job.Path(), name)
	if abs, err := filepath.Abs(path); err == nil && name != "-" {
		path = abs
	}
	return path
}

// Match returns the name in the job of a source that a segment has, whose Name is an absolute path; ok is
// false if the job's list of that number, or name, is another one.
func (l PublishedLists) Match(ctx context.Context, s store.Source) (name string, ok bool, err error) {
	have, err := l.Job.Sources(ctx)
	if err != nil {
		return "", false, err
	}
	if s.Number < len(have) && (have[s.Number].Position.Line > 0 || len(have[s.Number].Position.Mark) > 0) {
		return have[s.Number].Name, s.Position.Line == 0 || MayBeSameList(have[s.Number], s), nil
	}
	base := filepath.Base(s.Name)
	i := slices.IndexFunc(l.Specs, func(spec source.Spec) bool { return filepath.Base(spec.Path) == base })
	if i < 0 || s.Position.Line == 0 {
		return s.Name, true, nil
	}
	spec, err := asImported(l.Specs[i], s)
	if err != nil {
		return "", false, err
	}
	list, err := source.Open(ctx, spec, s.Position)
	var changed *source.ChangedError
	switch {
	case errors.As(err, &changed) && l.Place(spec.Path) != s.Name:
		return "", false, nil // another list of that name
	case err != nil:
		return "", false, err
	}
	return SourceName(l.Job.Path(), spec.Path), true, list.Close()
}
