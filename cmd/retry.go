package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/nearest"
)

// classWords are the classes of reasons.
var classWords = words([]store.Class{store.Transient, store.Permanent, store.Policy})

type retryOptions struct {
	flags   *pflag.FlagSet
	classes []string
	reasons []string
	host    string

	selection store.Selection // set by check
}

func (o *retryOptions) addFlags(fs *pflag.FlagSet) {
	o.flags = fs
	fs.StringSliceVar(&o.classes, "class", nil,
		"`classes` of reasons: transient, permanent, policy; default: transient unless "+
			"--reason is given")
	fs.StringSliceVar(&o.reasons, "reason", nil, "`reasons` such as timeout,http_5xx")
	fs.StringVar(&o.host, "host", "", "only URLs of `HOST`")
}

func newRetry(g *globals) *cobra.Command {
	var o retryOptions
	return jobCommand(&cobra.Command{
		Use:   "retry JOB",
		Short: "Queue failed rows again",
		Long: "Puts failed rows back to pending, so that the next run processes them again. Without flags " +
			"it takes rows that failed temporarily (class transient). Rows that were forgotten belong to " +
			"no class: only --reason forgotten takes them.",
		Example: `facescan retry urls.txt                                           # rows that failed temporarily
facescan retry urls.txt --reason private_address                  # one reason
facescan retry urls.txt --class permanent --host img.example.org  # one class, of one host`,
	}, &o, existingJob, func(ctx context.Context, job store.Job, arg string) error {
		return runRetry(ctx, g, &o, job, arg)
	})
}

// check resolves classes and reasons to reasons of rows.
func (o *retryOptions) check(arg string) error {
	for _, f := range [][2]string{{"class", "permanent"}, {"reason", "timeout,http_5xx"},
		{"host", "img.example.org"}} {
		if err := refuseEmpty(o.flags, f[0], f[1]); err != nil {
			return err
		}
	}
	classes := o.classes
	if len(classes) == 0 && len(o.reasons) == 0 {
		classes = []string{string(store.Transient)}
	}
	s := &o.selection
	*s = store.Selection{Host: strings.TrimSuffix(strings.ToLower(o.host), ".")}
	for _, c := range classes {
		rs := store.Reasons(store.Class(c))
		if c == "" || len(rs) == 0 {
			return usagef("--class %q: %s", c, nearest.OneOf(c, classWords))
		}
		for _, r := range rs {
			if r != store.Forgotten { // only --reason takes these
				s.Reasons = append(s.Reasons, r)
			}
		}
	}
	for _, r := range o.reasons {
		if !store.Reason(r).Known() {
			return usagef("--reason %q: no such reason; those of the job: %s%s", r,
				hint.On("status", nameOf(arg)), nearest.Hint(r, words(store.Reasons(""))))
		}
		s.Reasons = append(s.Reasons, store.Reason(r))
	}
	return nil
}

func runRetry(ctx context.Context, g *globals, o *retryOptions, job store.Job, arg string) error {
	s := o.selection
	before, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	n, err := job.Retry(ctx, s)
	if err != nil {
		return fmt.Errorf("after %s: %w", figures.Of(n, "row"), err)
	}
	g.report("facescan: %s pending again", figures.Are(n, "failed row"))
	switch forgotten := before.Failures[store.Forgotten]; {
	case forgotten == 0:
	case slices.Contains(s.Reasons, store.Forgotten):
		if err := reportForgotten(ctx, g, job, forgotten); err != nil {
			return err
		}
	case slices.Contains(o.classes, string(store.Policy)):
		g.report("  %s still forgotten; to download them again: %s", figures.Are(forgotten, "row"),
			hint.On("retry", nameOf(arg), "--reason", string(store.Forgotten)))
	}
	if n > 0 {
		flags, err := runFlags(ctx, job, s, before)
		if err != nil {
			return err
		}
		return reportNext(ctx, g, job, nameOf(arg), flags...)
	}
	return nil
}

// reportForgotten says what a retry means for the rows that were forgotten before it.
func reportForgotten(ctx context.Context, g *globals, job store.Job, before int64) error {
	after, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	left := after.Failures[store.Forgotten]
	if n := before - left; n > 0 {
		g.report("  %d of them had been forgotten: the next run downloads them again", n)
	}
	if left > 0 {
		g.report("  %s still forgotten: their URLs were removed, or another host was asked for",
			figures.Are(left, "row"))
	}
	return nil
}

// runFlags are the flags that the next run needs, besides those of the last one, for rows that were queued:
// without --allow-private those with private addresses would fail at once.
func runFlags(ctx context.Context, job store.Job, queued store.Selection, before store.Counts) ([]string,
	error) {
	if !slices.Contains(queued.Reasons, store.PrivateAddress) || before.Failures[store.PrivateAddress] == 0 {
		return nil, nil
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(pipeline.RunFlags(settings), "--allow-private") {
		return nil, nil
	}
	return []string{"--allow-private"}, nil
}
