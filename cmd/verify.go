package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/parts"
	"facescan/store"
	"facescan/store/figures"
)

type verifyOptions struct {
	deep          bool
	requireSource bool
	json          bool
}

func (o *verifyOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.deep, "deep", false, "let the database check its own file, too")
	fs.BoolVar(&o.requireSource, "require-source", false, "report a missing list as a problem")
	fs.BoolVar(&o.json, "json", false, "print one JSON object per problem")
}

func (o *verifyOptions) check(string) error { return nil }

func newVerify(g *globals) *cobra.Command {
	var o verifyOptions
	return jobCommand(&cobra.Command{
		Use:   "verify JOB",
		Short: "Check the integrity of the job",
		Long: "Checks that every done row has exactly one result and no other row has any, that faces, " +
			"counters, shards and lists agree, and that the checksums of results, settings and sources " +
			"hold. Prints one line per problem. An unfinished job can pass. Works beside running processes.",
		Example: `facescan verify urls.txt         # prints nothing but a summary if the job is sound
facescan verify urls.txt --deep  # the database checks its file, too
facescan verify urls.txt --json  # problems for a script`,
	}, &o, readJob, func(ctx context.Context, job store.Job, _ string) error {
		return runVerify(ctx, g, &o, job)
	})
}

// shownProblems is how many problems of one kind are printed; the rest is counted.
const shownProblems = 20

func runVerify(ctx context.Context, g *globals, o *verifyOptions, job store.Job) error {
	found := map[string]int{}
	total := 0
	report := func(p store.Problem) {
		total++
		if found[p.Check]++; found[p.Check] > shownProblems {
			return
		}
		if o.json {
			_ = printJSON(g.out, map[string]any{"check": p.Check, "id": p.ID, "text": p.Text})
			return
		}
		if p.ID != 0 {
			g.print("%s: row %d: %s", p.Check, p.ID, p.Text)
		} else {
			g.print("%s: %s", p.Check, p.Text)
		}
	}
	unchecked := int64(0)
	options := store.VerifyOptions{Deep: o.deep, Unchecked: func(n int64) { unchecked = n }}
	if err := job.Verify(ctx, options, report); err != nil {
		return err
	}
	unfinished, err := parts.Unfinished(ctx, job)
	if err != nil {
		return err
	}
	if unfinished != "" {
		report(store.Problem{Check: "merge", Text: unfinished})
	}
	absent := func(name, why string) {
		if o.requireSource {
			report(store.Problem{Check: "source-absent", Text: fmt.Sprintf("%s: %s", name, why)})
			return
		}
		g.report("facescan: %s %s: its lines are not compared with the rows", name, why)
	}
	if err := pipeline.VerifySources(ctx, job, absent, report); err != nil {
		return err
	}
	for check, n := range found {
		if n > shownProblems {
			g.report("facescan: %s: %d more like these", check, n-shownProblems)
		}
	}
	if unchecked > 0 {
		were := figures.Of(unchecked, "result") + " were written"
		if unchecked == 1 {
			were = "1 result was written"
		}
		g.report("facescan: %s by an earlier release, without checksums: a change in them would not show",
			were)
	}
	if total > 0 {
		return fmt.Errorf("%s is not sound: %s", job.Path(), figures.Of(total, "problem"))
	}
	c, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	g.report("facescan: %s is sound: %s, %d done, %d pending",
		job.Path(), figures.Of(c.Total, "row"), c.Done, c.Pending)
	return reportMerge(ctx, g, job)
}
