package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline/keep"
	"facescan/store"
	"facescan/store/figures"
)

type rescanOptions struct {
	detect     detectOptions
	remote     sidecarOptions
	stale, all bool
}

func (o *rescanOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.stale, "stale", false, "rows that another detector processed, or this one with other flags")
	fs.BoolVar(&o.all, "all", false, "all rows that are ok")
	o.detect.addFlags(fs)
	o.remote.addFlags(fs)
}

func (o *rescanOptions) check(string) error {
	if o.stale == o.all {
		return usagef("say which rows: --stale for those of another detector, or --all")
	}
	return errors.Join(o.remote.check(), o.detect.check())
}

func newRescan(g *globals) *cobra.Command {
	var o rescanOptions
	return jobCommand(&cobra.Command{
		Use:   "rescan JOB --stale|--all",
		Short: "Queue rows for another detection",
		Long: "Puts rows that are ok back to pending, so that the next run processes them again: stale " +
			"ones, or all. Detection flags that are given become those of the job; the others stay. " +
			"Current results are left alone. Rows whose bytes were kept (run --keep) are not " +
			"downloaded again. To change --min-score alone, use `facescan export --min-score`.",
		Example: `facescan rescan urls.txt --stale --min-face 40     # other detection flags
facescan rescan urls.txt --stale --detector yunet  # another detector
facescan rescan urls.txt --all                     # every row that is ok`,
	}, &o, existingJob, func(ctx context.Context, job store.Job, arg string) error {
		return runRescan(ctx, g, &o, job, arg)
	})
}

func runRescan(ctx context.Context, g *globals, o *rescanOptions, job store.Job, arg string) error {
	// First the job's detector, then the rows: if this is interrupted, the same command puts back the rest.
	log := g.logger(g.err)
	fingerprint, err := o.detect.choiceWith(&o.remote).Change(ctx, job, o.detect.opener(ctx, &o.remote, log))
	if err != nil {
		return err
	}
	s := store.Selection{OK: true}
	if o.stale {
		s.Except = detect.Equals(fingerprint)
	}
	if err := keep.TakeOver(ctx, job, log); err != nil {
		return err
	}
	n, err := job.Retry(ctx, s)
	if err != nil {
		return fmt.Errorf("after %s: %w", figures.Of(n, "row"), err)
	}
	g.report("facescan: %s pending again, to be processed by %s", figures.Are(n, "row"), fingerprint)
	if n > 0 {
		return reportNext(ctx, g, job, nameOf(arg))
	}
	return nil
}
