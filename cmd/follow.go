package cmd

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/pipeline/live"
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

// checkOut refuses an --out of run that cannot be meant.
func checkOut(path string) error {
	if path == "-" {
		return usagef("--out needs a file, to go on with in the next run; for a stream, follow the job: facescan export JOB --follow")
	}
	return export.CheckFollow(export.Options{Format: formatOf("", path)}, path)
}

// following is the --out of a run, at work.
type following struct {
	over   chan struct{} // closed when no more rows come
	ended  chan struct{} // closed when it is through, err set
	err    error
	cancel context.CancelFunc
}

// follow begins to write the results of a run to a file in order; nil without one. A file that the job may not write is
// refused before anything is done.
func follow(ctx context.Context, job store.Job, path string, t target, log *slog.Logger) (*following, error) {
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
	if err := guardOutput(path, job, sources, named...); err != nil {
		return nil, err
	}
	f := newFollower(job, path, export.Options{Format: formatOf("", path), Detectors: exportDetectors()}, log)
	if err := f.Check(ctx); err != nil {
		return nil, err
	}
	w := &following{over: make(chan struct{}), ended: make(chan struct{})}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer crash.Exit()
		defer close(w.ended)
		w.err = f.Follow(ctx, w.over)
	}()
	return w, nil
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

// finish lets what is done in order be written, and ends. An interruption ends it at once when the run was through: then it
// waits for no more than another process.
func (w *following) finish(drain <-chan struct{}, stats *pipeline.Stats) error {
	if w == nil {
		return nil
	}
	defer stats.Wait(live.Holdup{Kind: live.ByOutput, What: "the output, which takes rows more slowly than they are done"})()
	defer w.cancel()
	select {
	case <-drain:
		drain = nil
	default:
	}
	close(w.over)
	select {
	case <-w.ended:
	case <-drain:
		w.cancel()
		<-w.ended
	}
	if errors.Is(w.err, context.Canceled) {
		return nil
	}
	return w.err
}

// followExport is export with --follow: it writes what is done in order, until the job is finished.
func followExport(ctx context.Context, g *globals, o *exportOptions, job store.Job, arg string) error {
	if o.splitBy != "" {
		return usagef("--split-by makes files that are whole, and --follow goes on with one: use one of the two")
	}
	sources, err := exportSources(ctx, job)
	if err != nil {
		return err
	}
	var all []*export.Follower
	for _, path := range o.outputs {
		opts := o.options(path, sources)
		if err := export.CheckFollow(opts, path); err != nil {
			return err
		}
		f := newFollower(job, path, opts, g.logger(g.err))
		if f.Finish = true; path == "-" {
			f.Path, f.Out = "", g.out
		} else if err := guardOutput(path, job, sources, arg); err != nil {
			return err
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
