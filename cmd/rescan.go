package cmd

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect/sidecar"
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
		Short: "Put rows back to pending that are to be judged anew",
		Long: "Puts rows that are ok back to pending, so that the next run judges them anew: those that are stale, or all. Detection flags that\n" +
			"are given become the job's; the others stay. What is current is left alone. Rows whose bytes were kept (run --keep) are not\n" +
			"downloaded again. To change --min-score alone, `facescan export --min-score` needs no rescan.",
		Args: args(cobra.ExactArgs(1), "a job, or the list it was made from"),
		RunE: func(c *cobra.Command, args []string) error {
			return runRescan(c.Context(), g, &o, c.Flags(), args[0])
		},
	}
	o.addFlags(c.Flags())
	return c
}

func runRescan(ctx context.Context, g *globals, o *rescanOptions, flags *pflag.FlagSet, arg string) error {
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
	fingerprint, err := o.fingerprint(ctx, g, flags, settings)
	if err != nil {
		return err
	}
	if was := settings["detector"]; was != "" && !sidecar.Same(was, fingerprint) {
		c, err := job.Counts(ctx)
		if err != nil {
			return err
		}
		if working(c) { // they would go on judging as before
			return fmt.Errorf("processes are at work on %s with the detector it had (see `facescan status`); stop them, then rescan", nameOf(arg, job))
		}
	}
	// First the job's detector, then the rows: whatever happens in between, the same command puts back the rest.
	if err := saveDetector(ctx, job, settings, flags, fingerprint); err != nil {
		return err
	}
	s := store.Selection{OK: true}
	if o.stale {
		s.Except = sidecar.Equals(fingerprint)
	}
	n, err := job.Retry(ctx, s)
	if err != nil {
		return fmt.Errorf("after %d rows: %w", n, err)
	}
	fmt.Fprintf(g.out, "%d\n", n)
	g.tell("facescan: %d rows are pending again, to be judged by %s", n, fingerprint)
	if n > 0 {
		g.tell("  next: facescan run %s", nameOf(arg, job))
	}
	return nil
}

// fingerprint is that of the detector that the job is to have: with its own flags, but for those that are given.
func (o *rescanOptions) fingerprint(ctx context.Context, g *globals, flags *pflag.FlagSet, settings map[string]string) (string, error) {
	was := map[string]string{}
	if saved := settings["detection"]; saved != "" {
		if err := json.Unmarshal([]byte(saved), &was); err != nil {
			return "", fmt.Errorf("the job's detection flags cannot be read: %w", err)
		}
	}
	for _, name := range detectionFlags {
		f := flags.Lookup(name)
		if old, ok := was[name]; ok && !f.Changed {
			if err := f.Value.Set(old); err != nil {
				return "", fmt.Errorf("the job's --%s %q: %w", name, old, err)
			}
		}
	}
	p, err := o.detect.params()
	if err != nil {
		return "", err
	}
	d, err := o.remote.open(ctx, p, g.logger(g.err))
	if err != nil {
		return "", err
	}
	defer d.Close()
	return d.Fingerprint(), nil
}
