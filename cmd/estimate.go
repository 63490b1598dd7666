package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline/estimate"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/open"
	"facescan/store/sqlite"
)

type estimateOptions struct {
	workOptions
	sample int
	json   bool
}

func (o *estimateOptions) addFlags(fs *pflag.FlagSet) {
	o.workOptions.addFlags(fs)
	withoutJob(fs)
	fs.Lookup("as").Hidden = true // refused: it appends to a job
	fs.IntVar(&o.sample, "sample", 2000, "rows to fetch and process")
	fs.BoolVar(&o.json, "json", false, "print one JSON object")
}

func newEstimate(g *globals) *cobra.Command {
	var o estimateOptions
	return command(&cobra.Command{
		Use:   "estimate SOURCE…",
		Short: "Predict success rate, time and size from a sample of the list",
		Long: "Reads the lists to their ends, fetches and processes a sample of their rows as a run " +
			"with the same flags would, and predicts which share of the rows will be ok, how long it " +
			"takes on this machine and what limits it, how much is downloaded, and how large the job " +
			"becomes. Nothing is kept. Shares and sums have 95 % confidence intervals.",
		Example: `facescan estimate urls.txt                            # with the flags of a plain run
facescan estimate urls.txt --sample 500 --per-host 4  # a smaller sample, with other flags
facescan estimate urls.txt --json                     # for a script`,
		Args: args(cobra.MinimumNArgs(1), "a list of URLs"),
	}, &o, func(ctx context.Context, args []string) error { return runEstimate(ctx, g, &o, args) })
}

func (o *estimateOptions) check(args []string) error {
	if o.sample < 1 || o.sample > 1_000_000 {
		return usagef("--sample %d: give 1 to 1000000 rows", o.sample)
	}
	if o.source.as != "" {
		return usagef("--as %s names a stream that is appended to a job, and estimate has no job: leave it "+
			"out",
			o.source.as)
	}
	for _, arg := range args {
		if is, err := sqlite.IsJob(arg); err == nil && is || open.IsURL(arg) {
			return usagef("%s is a job; estimate looks at lists", open.Redact(arg))
		}
	}
	return o.workOptions.check()
}

func runEstimate(ctx context.Context, g *globals, o *estimateOptions, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	if err := o.detect.choose(ctx, &o.remote); err != nil {
		return err
	}
	lists, err := o.source.lists(ctx, args)
	if err != nil {
		return err
	}
	for _, l := range lists {
		switch l.Format {
		case source.Folder:
			o.fetch.allowFiles = append(o.fetch.allowFiles, l.Path)
		case source.Tar:
			return usagef("estimate does not read tar files, and %s is one: run a part of it instead, with "+
				"--max-rows 2000", l.Path)
		}
	}
	log := g.logger(g.err)
	detector, err := o.detect.open(ctx, &o.remote, log)
	if err != nil {
		return err
	}
	defer closeDetector(detector)
	fetcher, err := o.fetch.fetcher()
	if err != nil {
		return err
	}
	defer fetcher.Close()

	plan := estimate.Plan{Lists: lists, Rows: o.sample,
		Read: func(rows int64) { g.report("facescan: %s read", figures.Of(rows, "row")) }}
	if node := o.source.node.value; node.Of > 0 {
		plan.Takes = node.Takes
	}
	sample, err := estimate.Draw(ctx, plan)
	if err != nil {
		return err
	}
	g.report("facescan: the list has %s; %s fetched and processed", figures.Of(sample.Total, "row"),
		fmt.Sprintf("%d of them %s", len(sample.Drawn), figures.Be(len(sample.Drawn))))

	results, run, err := sample.Try(ctx, o.options(fetcher, detector, log))
	switch {
	case errors.Is(err, estimate.ErrInterrupted):
		return &exit{code: exitInterrupted}
	case err != nil:
		return err
	}
	run.Detector = store.NoDetector
	if detector != nil {
		run.Detector = detector.Fingerprint()
	}
	run.Cores, run.Elsewhere = cores, len(o.remote.urls) > 0
	run.Rate, run.Bandwidth = o.fetch.rate, int64(o.fetch.bandwidth)
	p := sample.Predict(results, run)
	if o.json {
		return printJSON(g.out, p)
	}
	printPrediction(g, p)
	return nil
}

func printPrediction(g *globals, p estimate.Prediction) {
	line := func(name string, format string, args ...any) {
		g.print("%-20s %s", name, fmt.Sprintf(format, args...))
	}
	share := func(b estimate.Bounds) string {
		if b.Low == b.High {
			return fmt.Sprintf("%6.1f %%", 100*b.Value)
		}
		return fmt.Sprintf("%6.1f %%  (%.1f to %.1f)", 100*b.Value, 100*b.Low, 100*b.High)
	}
	lasting := func(seconds float64) string {
		return figures.Span(time.Duration(seconds * float64(time.Second)))
	}
	sum := func(b estimate.Bounds, text func(float64) string) string {
		if b.Low == b.High {
			return text(b.Value)
		}
		return fmt.Sprintf("%s  (%s to %s)", text(b.Value), text(b.Low), text(b.High))
	}
	line("rows", "%d, of which %d were fetched and processed", p.Rows, p.Sampled)
	line("detector", "%s", p.Detector)
	line("ok", "%s", share(p.Success))
	for _, r := range p.Ranked() {
		line("  "+string(r), "%s  %s", share(p.Failures[r]), r.Class())
	}
	if p.LooksForFaces() {
		line("images with faces", "%s", sum(p.WithFaces, figures.About))
		line("faces", "%s", sum(p.Faces, figures.About))
	}
	line("downloads", "%s", sum(p.Bytes, figures.Decimal))
	line("job file", "%s", figures.Decimal(float64(p.Database)))
	line("time", "%s, limited by %s", lasting(p.Seconds), p.LimitText)
	for _, name := range p.Parts() {
		line("  "+name, "%s", lasting(p.Limits[name]))
	}
	for _, s := range p.Suggestion {
		line("consider", "%s  %s", s.Flags, s.Why)
	}
}
