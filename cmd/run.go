package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/pipeline/fetch"
	"facescan/pipeline/keep"
	"facescan/pipeline/live"
	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/open"
	"facescan/store/segment"
)

type runOptions struct {
	workOptions
	keep  keepOptions
	live  liveOptions
	share publishOptions

	tailGrace   time.Duration
	maxDuration time.Duration
	maxRows     int64
	maxFail     failLimit
	out, format string
	hashes      hashList
	abortIf     abortRules
	progress    string
	dryRun      bool
}

func (o *runOptions) addFlags(fs *pflag.FlagSet) {
	o.workOptions.addFlags(fs)
	o.live.addFlags(fs)
	o.keep.addFlags(fs)
	o.share.addFlags(fs)
	fs.DurationVar(&o.tailGrace, "tail-grace", 0,
		"time for the last rows in flight; what is not done by then stays pending; default: no limit")
	fs.DurationVar(&o.maxDuration, "max-duration", 0, "stop after this time; default: no limit")
	fs.BoolVar(&o.source.watch, "watch", false,
		"when all rows are done wait until the lists grow, or lists join their folders; until interrupted")
	fs.Int64Var(&o.maxRows, "max-rows", 0, "stop after N rows; default: no limit")
	fs.Var(&o.maxFail, "max-fail",
		"exit 3 when more rows of the job failed than this count or share, e.g. 5%; default: no limit")
	fs.StringVar(&o.out, "out", "",
		"`file` to write results to in id order while they come: .csv, .jsonl, or - for "+
			"stdout; the next run resumes it")
	fs.StringVar(&o.format, "format", "",
		"`format` of --out: csv or jsonl; default: by the name of the file, csv on stdout")
	fs.Var(&o.hashes, "hash",
		"`hashes` to compute of the images from now on: sha256 (of the bytes), phash (of the picture), both "+
			"with a comma, or none; default: the job's own")
	fs.Var(&o.abortIf, "abort-if",
		"end the run with exit 3 when this holds, e.g. 'failed > 60% after 10000' or "+
			"'http_429 > 500'; may be repeated")
	fs.Var(newChoice(&o.progress, "auto", "bar", "plain", "json", "none"), "progress",
		"`kind` of progress: auto, bar, plain, json or none")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print what would be done, and do nothing")
}

func newRun(g *globals) *cobra.Command {
	var o runOptions
	return command(&cobra.Command{
		Use:   "run SOURCE…|JOB",
		Short: "Process a list of images, or resume it",
		Long: "Imports what is new in the lists and processes every row that is not done: downloads the " +
			"image, decodes it, finds the faces and stores the result. The same command resumes. A SOURCE " +
			"is a list of URLs (.txt, .csv, .tsv, .jsonl, .parquet), a folder of lists, a SQLite file with " +
			"--table, or - for stdin; with --images a folder or tar file of images. A JOB is a job file, " +
			"postgres://… or the list itself. The first Ctrl-C lets downloads in flight finish for 3 s, " +
			"the second stops at once; neither loses anything. kill -9 loses of a list on stdin what was " +
			"read and not imported yet: pipe the same stream again, or keep it in a file.",
		Example: `facescan run urls.txt                                           # process the list, or resume it
facescan run photos.csv --url-column link --keep-columns album  # the URLs of a column; carry another one through
facescan run --images photos --db faces.db                      # images of this machine
facescan run urls.txt --out faces.csv                           # write results in order while they come
facescan run urls.txt --listen 127.0.0.1:9187                   # serve a live page
facescan run postgres://me@db.lan/faces                         # work on a job that other machines share`,
		Args: args(cobra.MinimumNArgs(1), "a list of URLs, or a job"),
	}, &o, func(ctx context.Context, args []string) error { return runRun(ctx, g, &o, args) })
}

func (o *runOptions) check() error {
	switch {
	case o.tailGrace < 0:
		return usagef("--tail-grace %v cannot be negative", o.tailGrace)
	case o.maxRows < 0:
		return usagef("--max-rows %d cannot be negative; 0 is no limit", o.maxRows)
	case o.maxDuration < 0:
		return usagef("--max-duration %v cannot be negative; 0s is no limit", o.maxDuration)
	}
	for _, check := range []func() error{o.share.check, o.keep.check, o.workOptions.check} {
		if err := check(); err != nil {
			return err
		}
	}
	if o.out == "" {
		return nil
	}
	if _, err := export.FormatOf(o.out, export.FollowFormats()); err != nil && o.format == "" {
		return usagef("--out %w", err)
	}
	return export.CheckFollow(outOptions(o.format, o.out), o.out)
}

func runRun(ctx context.Context, g *globals, o *runOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	t, err := resolveTarget(ctx, args, &o.source)
	if err != nil {
		return err
	}
	if err := o.share.checkTarget(t, o.source.node, &o.keep); err != nil {
		return err
	}
	if err := o.keep.checkImages(t); err != nil {
		return err
	}
	fetcher, err := o.fetch.fetcher() // flags are checked before there is a job
	if err != nil {
		return err
	}
	defer fetcher.Close()
	if o.dryRun {
		return dryRun(ctx, g, t)
	}
	if err := o.beforeJob(ctx, t); err != nil {
		return err
	}
	page, err := o.live.begin()
	if err != nil {
		return err
	}
	if page != nil {
		defer page.Close("stopped by an error")
	}
	job, err := openOrCreate(ctx, t)
	if err != nil {
		return err
	}
	defer job.Close()
	if err := belongs(ctx, job, t, o.source.db != ""); err != nil {
		return err
	}
	r := &jobRun{runOptions: o, globals: g, args: args, target: t, job: job, fetcher: fetcher, page: page,
		show: newProgress(g, o.progress), stats: &pipeline.Stats{}}
	r.log = g.logger(r.show.log())
	defer r.close()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// jobRun is a run on a job that is open.
type jobRun struct {
	*runOptions
	*globals
	args    []string
	target  target
	job     store.Job
	fetcher *fetch.Fetcher
	page    *live.Server // nil without --listen
	show    *progress
	stats   *pipeline.Stats
	log     *slog.Logger

	// Set by prepare.
	publisher *segment.Publisher // nil without --publish
	detector  detect.Detector    // nil when no faces are looked for
	hashes    pipeline.Hashes
	pictures  *pipeline.Pictures // for the live page; nil without one
	keeper    *keep.Keeper       // nil when there is nothing to keep
}

// prepare agrees with the job on what the run does, from its flags and the job's own settings.
func (r *jobRun) prepare(ctx context.Context) (err error) {
	if r.publisher, err = r.share.open(ctx, r.job, r.target, r.source.shardSize, r.log); err != nil {
		return err
	}
	if err := takePart(ctx, r.job, &r.target); err != nil {
		return err
	}
	if r.detector, err = r.detect.openForJob(ctx, r.job, &r.remote, r.log); err != nil {
		return err
	}
	if err := r.withoutFaces(); err != nil { // the job may say so
		return err
	}
	hashes, missing, err := pipeline.ChooseHashes(ctx, r.job, r.runOptions.hashes.Hashes)
	if err != nil {
		return err
	}
	if err := r.withoutPictures(hashes); err != nil {
		return err
	}
	if r.hashes = hashes; missing != "" {
		r.log.Warn(missing)
	}
	if r.page != nil && r.keep.thumbnails > 0 {
		r.pictures = r.stats.MakePictures()
	}
	if r.keeper, err = r.keep.open(ctx, r.job, r.detect.decode(), r.pictures, r.log); err != nil {
		return err
	}
	return pipeline.Remember(ctx, r.job, r.rememberedWords(), hintName(r.args, r.job),
		len(r.target.sources) > 0, r.log)
}

func (r *jobRun) close() {
	closeDetector(r.detector)
	if r.publisher != nil {
		r.publisher.Close()
	}
}

// run processes the rows of the job, until all are done or something ends it, and says how that was.
func (r *jobRun) run(ctx context.Context) error {
	hard, stop := context.WithCancel(ctx)
	defer stop()
	drain := r.signals.drain(func() {
		r.log.Info(fmt.Sprintf("draining: no new fetches; %s in flight: %v to end, then back to pending; "+
			"interrupt again to stop at once; nothing is lost either way",
			figures.Of(r.stats.Snapshot().InFlight, "row"), drainGrace))
	})
	defer onUSR1(func() { dumpFlights(r.globals, r.show.log(), r.stats) })()
	out, err := follow(hard, r.globals, r.job, r.format, r.out, r.target, r.log)
	if err != nil {
		return err
	}
	po := r.pipelineOptions()
	po.Drain = out.drainToo(hard, drain, r.log)
	out.set(&po)
	unwatch := r.live.watch(r.page, r.job, r.stats, r.pictures, r.log)
	end, err := r.work(hard, po, out, drain)
	unwatch(endWord(end, err))
	return r.finish(context.WithoutCancel(ctx), end, err)
}

// pipelineOptions are what the pipeline is to do.
func (r *jobRun) pipelineOptions() pipeline.Options {
	po, t := r.options(r.fetcher, r.detector, r.log), r.target
	po.SHA256, po.Decode.PHash = r.hashes.SHA256, r.hashes.PHash
	if r.publisher != nil {
		po.Publisher, po.PublishEvery = r.publisher, r.share.every
	}
	if r.keeper != nil {
		po.Keeper = r.keeper
	}
	po.Sources, po.Lists, po.Node, po.Priority = t.sources, t.lists, t.node, t.priority
	po.Adopt = t.table != nil
	if r.source.watch && po.Lists == nil { // rows come into the job, or the table, by themselves
		po.Lists = func() ([]source.Spec, error) { return nil, nil }
	}
	po.TailGrace, po.MaxRows, po.MaxDuration = r.tailGrace, r.maxRows, r.maxDuration
	po.MaxFail, po.AbortIf = r.maxFail.Limit, r.abortIf
	return po
}

// beforeJob refuses what can be refused before there is a job.
func (o *runOptions) beforeJob(ctx context.Context, t target) error {
	if err := o.share.prepare(); err != nil {
		return err
	}
	if isNew(t.job) {
		if err := o.detect.choose(ctx, &o.remote); err != nil {
			return err
		}
		if _, err := o.detect.params(); err != nil {
			return err
		}
	}
	return o.withoutFaces()
}

// withoutFaces refuses what cannot be made of images in which no faces are looked for.
func (o *runOptions) withoutFaces() error {
	if !o.detect.choice.None() {
		return nil
	}
	if err := o.keep.withoutFaces(); err != nil || o.hashes.Hashes == nil {
		return err
	}
	return o.withoutPictures(*o.hashes.Hashes)
}

// withoutPictures refuses the hash of pictures where none are decoded.
func (o *runOptions) withoutPictures(h pipeline.Hashes) error {
	if o.detect.choice.None() && h.PHash {
		return usagef("--hash %v: --detector none looks at the header of an image alone, and phash needs "+
			"its pixels; use --hash sha256, or another detector", h)
	}
	return nil
}

// work processes the rows, and completes what is written of them.
func (r *jobRun) work(ctx context.Context, po pipeline.Options, out *following, drain <-chan struct{}) (
	pipeline.End, error) {
	var late <-chan time.Time
	if r.maxDuration > 0 {
		late = time.After(r.maxDuration)
	}
	shown := r.show.run(r.job, r.stats)
	end, err := pipeline.Run(ctx, r.job, po, r.stats)
	if r.keeper != nil {
		if err == nil && end == pipeline.Finished {
			err = fillThumbnails(ctx, r.job, r.keeper, r.log)
		}
		err = errors.Join(err, r.keeper.Close())
	}
	shown()
	end, e := out.finish(end, err != nil, drain, late, r.stats, r.log)
	return end, errors.Join(err, e)
}

// finish says how a run ended, and returns what its exit code says.
func (r *jobRun) finish(ctx context.Context, end pipeline.End, err error) error {
	if errors.Is(err, store.ErrFull) {
		err = fmt.Errorf("%w; what was done is kept: make room, then run the same command again", err)
	}
	counts, e := r.job.Counts(ctx)
	if e != nil {
		return errors.Join(err, e)
	}
	resume := r.resume(r.args, r.job, len(counts.ImportIncomplete) == 0)
	r.stats.See(counts)
	snap := r.stats.Snapshot()
	sum := summary{globals: r.globals, mode: r.progress, name: hintName(r.args, r.job), resume: resume,
		password: hidesPassword(r.args, r.source.db), end: end, err: err, Snapshot: &snap}
	sum.reportAll()
	if err != nil {
		return err
	}
	if end == pipeline.Finished {
		if err := parts.WriteManifest(ctx, r.job); err != nil {
			return err
		}
	}
	switch aborted := r.stats.Aborted(); {
	case end == pipeline.Interrupted:
		return &exit{code: exitInterrupted}
	case end == pipeline.TooManyFail && aborted != nil:
		return &exit{exitFailures, fmt.Errorf("--abort-if: %w", aborted)}
	case end == pipeline.TooManyFail,
		end == pipeline.Finished && r.maxFail.Finally(counts.Failed, counts.Done):
		return &exit{exitFailures, fmt.Errorf("%d of %d done rows failed, more than --max-fail %v allows",
			counts.Failed, counts.Done, &r.maxFail)}
	case end == pipeline.Limited, end == pipeline.Paused:
		return &exit{code: exitLimited}
	}
	return nil
}

// belongs refuses a list that would join a job which was begun, under the same name, for another list.
func belongs(ctx context.Context, job store.Job, t target, named bool) error {
	if named || len(t.sources) == 0 {
		return nil
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	want := pipeline.NameOf(job.Path(), t.sources[0])
	for _, s := range sources {
		if s.Name == want {
			return nil
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return fmt.Errorf("%s is the job of %s, not of %s; to add the list to it add %s, to keep it "+
		"apart name another job with --db",
		job.Path(), sources[0].Name, t.sources[0].Path, hint.Words("--db", job.Path()))
}

// dryRun prints what a run would do.
func dryRun(ctx context.Context, g *globals, t target) error {
	if t.table != nil {
		g.print("would work on table %s of %s in place: id %s, url %s, done %s", t.table.Name, t.job,
			t.table.ID, t.table.URL, t.table.Done)
		for _, change := range t.table.Changes() {
			g.print("would run: %s", change)
		}
		return nil
	}
	job, err := readJob(ctx, t.job)
	if err != nil && len(t.sources) > 0 && (errors.Is(err, fs.ErrNotExist) || isNew(t.job)) {
		g.print("would create the job %s", open.Redact(t.job))
	} else {
		if err != nil {
			return err
		}
		defer job.Close()
		c, err := job.Counts(ctx)
		if err != nil {
			return err
		}
		g.print("would go on with the job %s: %s, %d done, %d pending",
			job.Path(), figures.Of(c.Total, "row"), c.Done, c.Pending)
	}
	for _, s := range t.sources {
		if s.Format == source.Folder {
			g.print("would search %s for images", s.Path)
			continue
		}
		size := "of unknown size"
		if st, err := os.Stat(s.Path); err == nil {
			size = fmt.Sprintf("of %d bytes", st.Size())
		}
		g.print("would import what is new in %s, %s", s.Path, size)
	}
	return nil
}
