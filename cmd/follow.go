package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/store"
	"facescan/store/export"
)

// newFollower makes what writes a job's results in order to a file.
func newFollower(job store.Job, path string, o export.Options, log *slog.Logger) *export.Follower {
	return &export.Follower{Job: job, Path: path, Name: pipeline.SourceName(job.Path(), path), Log: log,
		Options: func(sources []store.Source) (export.Options, error) {
			var err error
			o.Sources, err = sourcesOf(sources)
			return o, err
		}}
}

// outOptions say what a run writes to a file, or to stdout as -.
func outOptions(format, path string) export.Options {
	return export.Options{Format: formatOf(format, path), Detectors: exportDetectors()}
}

// following is the --out of a run, at work.
type following struct {
	over   chan struct{} // closed when no more rows come
	ended  chan struct{} // closed when it is through, err set
	err    error
	cancel context.CancelFunc
	f      *export.Follower
	stdout bool
	named  sync.Map // numbers of the sources that stdout gets rows of; all if the command names none
}

// follow begins to write the results of a run to a file in order; nil without one. A file that the job may
// not write is refused before anything is done.
func follow(ctx context.Context, g *globals, job store.Job, format, path string, t target,
	log *slog.Logger) (*following, error) {
	if path == "" {
		return nil, nil
	}
	sources, err := exportSources(ctx, job)
	if err != nil {
		return nil, err
	}
	var named []string
	for _, s := range t.sources {
		named = append(named, s.Path)
	}
	f := newFollower(job, path, outOptions(format, path), log)
	w := &following{over: make(chan struct{}), ended: make(chan struct{}), f: f, stdout: path == "-"}
	if w.stdout {
		f.Path, f.Out = "", g.out
		if len(t.sources) > 0 || t.lists != nil {
			f.Wants = func(number int) bool { _, named := w.named.Load(number); return named }
		}
		signal.Ignore(syscall.SIGPIPE) // so that a consumer that is gone is an error of the write
	} else if err := guardOutput(path, job, sources, named...); err != nil {
		return nil, err
	}
	if err := f.Check(ctx); err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer crash.Exit()
		defer close(w.ended)
		w.err = f.Follow(ctx, w.over)
	}()
	return w, nil
}

// set has a run report which sources it imports, and wait while stdout is not read.
func (w *following) set(o *pipeline.Options) {
	if w != nil && w.stdout {
		o.Joined, o.Hold = func(s store.Source) { w.named.Store(s.Number, nil) }, w.f.Behind
	}
}

// drainToo is closed when drain is, or when the file cannot be written.
func (w *following) drainToo(ctx context.Context, drain <-chan struct{}, log *slog.Logger) <-chan struct{} {
	if w == nil {
		return drain
	}
	either := make(chan struct{})
	go func() {
		defer crash.Exit()
		defer close(either)
		select {
		case <-drain:
		case <-w.over:
		case <-w.ended:
			if ctx.Err() == nil {
				log.Error("draining, as the output cannot be written", "error", w.err)
			}
		}
	}()
	return either
}

// finish writes the rows that are done in order by the end of the run, and returns how the command ends. A
// consumer that does not read stdout delays the end of a run that failed, was interrupted or is out of time
// by drainGrace at most. A file that another process writes is left to it when the wait for it is
// interrupted, or out of time.
func (w *following) finish(end pipeline.End, failed bool, drain <-chan struct{}, late <-chan time.Time,
	stats *pipeline.Stats, log *slog.Logger) (pipeline.End, error) {
	if w == nil {
		return end, nil
	}
	defer stats.Wait(pipeline.SlowOutput, w.f.Writing)()
	defer w.cancel()
	close(w.over)
	var grace <-chan time.Time
	select {
	case <-drain:
		failed = true
	default:
	}
	switch {
	case failed, end == pipeline.Interrupted, end == pipeline.TooManyFail:
		drain, late, grace = nil, nil, time.After(drainGrace)
	case !w.stdout && (end == pipeline.Limited || end == pipeline.Paused):
		late = nil
	}
	cut := end
	for {
		select {
		case <-w.ended:
			return end, w.error()
		case <-drain:
			cut = pipeline.Interrupted
		case <-late:
			cut = pipeline.Limited
		case <-grace:
			if w.stdout {
				log.Warn("standard output is not read: the rows that are left are written by the " +
					"next run of this command")
				return cut, nil
			}
			grace = nil
			continue
		}
		drain, late, grace = nil, nil, time.After(drainGrace)
		if !w.stdout {
			w.cancel()
		}
	}
}

// error is why what was written ended early.
func (w *following) error() error {
	switch {
	case errors.Is(w.err, context.Canceled):
		return nil
	case w.stdout && errors.Is(w.err, syscall.EPIPE):
		return fmt.Errorf("nobody reads standard output any more (%w): the run stopped, and nothing is "+
			"lost; the same command goes on with the rows that were not written", syscall.EPIPE)
	}
	return w.err
}

// followExport is export with --follow: it writes what is done in order, until the job is finished.
func followExport(ctx context.Context, g *globals, o *exportOptions, job store.Job,
	sources []export.Source) error {
	if o.splitBy != "" {
		return usagef("--split-by makes files that are whole, and --follow goes on with " +
			"one: use one of the two")
	}
	var all []*export.Follower
	for _, path := range o.outputs {
		opts := o.options(path, sources)
		if err := export.CheckFollow(opts, path); err != nil {
			return err
		}
		f := newFollower(job, path, opts, g.logger(g.err))
		if f.Finish = true; path == "-" {
			f.Path, f.Name, f.Out = "", "", g.out
		}
		if err := f.Check(ctx); err != nil {
			return err
		}
		all = append(all, f)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range all {
		group.Go(func() error {
			defer crash.Exit()
			return f.Follow(ctx, nil)
		})
	}
	return group.Wait()
}
