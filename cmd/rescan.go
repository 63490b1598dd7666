package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/store"
)

type rescanOptions struct {
	detect     detectOptions
	remote     sidecarOptions
	stale, all bool
}

func (o *rescanOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.stale, "stale", false, "rows that another detector judged, or this one with other flags")
	fs.BoolVar(&o.all, "all", false, "all rows that are ok")
	o.detect.addFlags(fs)
	o.remote.addFlags(fs)
}

func newRescan(g *globals) *cobra.Command {
	var o rescanOptions
	c := &cobra.Command{
		Use:   "rescan JOB --stale|--all",
		Short: "Queue rows for another detection",
		Long: "Puts rows that are ok back to pending, so that the next run judges them anew: those that are stale, or all. Detection flags that\n" +
			"are given become the job's; the others stay. What is current is left alone. Rows whose bytes were kept (run --keep) are not\n" +
			"downloaded again. To change --min-score alone, `facescan export --min-score` needs no rescan.",
		Args: args(cobra.ExactArgs(1), "a job, or the list it was made from"),
		RunE: func(c *cobra.Command, args []string) error {
			return runRescan(c.Context(), g, &o, args[0])
		},
	}
	o.addFlags(c.Flags())
	return c
}

func runRescan(ctx context.Context, g *globals, o *rescanOptions, arg string) error {
	if o.stale == o.all {
		return usagef("say which rows: --stale for those of another detector, or --all")
	}
	if err := o.remote.check(); err != nil {
		return err
	}
	job, err := existingJob(ctx, arg)
	if err != nil {
		return err
	}
	defer job.Close()
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	was, err := readJobDetector(settings)
	if err != nil {
		return err
	}
	fingerprint, err := o.fingerprint(ctx, g, was)
	if err != nil {
		return err
	}
	if was.begun && !detect.Same(was.fingerprint, fingerprint) {
		c, err := job.Counts(ctx)
		if err != nil {
			return err
		}
		if working(c) { // they would go on judging as before
			return fmt.Errorf("processes are at work on %s with the detector it had (see `%s`); stop them, then rescan",
				nameOf(arg, job), commandOn("status", arg))
		}
	}
	// First the job's detector, then the rows: whatever happens in between, the same command puts back the rest.
	if err := o.detect.save(ctx, job, settings, fingerprint); err != nil {
		return err
	}
	s := store.Selection{OK: true}
	if o.stale {
		s.Except = detect.Equals(fingerprint)
	}
	n, err := job.Retry(ctx, s)
	if err != nil {
		return fmt.Errorf("after %d rows: %w", n, err)
	}
	fmt.Fprintf(g.out, "%d\n", n)
	g.tell("facescan: %d rows are pending again, to be judged by %s", n, fingerprint)
	if n > 0 {
		return tellNext(ctx, g, job, nameOf(arg, job))
	}
	return nil
}

// fingerprint is that of the detector that the job is to have: with its own flags, but for those that are given.
func (o *rescanOptions) fingerprint(ctx context.Context, g *globals, was *jobDetector) (string, error) {
	if err := o.detect.choose(ctx, &o.remote, was); err != nil {
		return "", err
	}
	if o.detect.none() {
		return "", usagef("--detector none looks for no faces: name a detector that can judge rows again, such as --detector %s", detect.Default)
	}
	if _, err := o.detect.adopt(was); err != nil {
		return "", err
	}
	d, err := o.detect.open(ctx, &o.remote, g.logger(g.err))
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Fingerprint(), nil
}
