package cmd

import (
	"context"
	"os"
	"path/filepath"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/segment"
)

// statusOfParts prints how far several parts of a list are, and how many rows are left over all of them.
func statusOfParts(ctx context.Context, g *globals, o *statusOptions, args []string) error {
	if o.watch || o.by != "" {
		return usagef("--watch and --by take one job; name it alone")
	}
	var jobs []store.Job
	for _, arg := range args {
		if segment.IsFolder(arg) {
			parts, err := segment.OpenParts(ctx, arg, filepath.Join(os.TempDir(), "facescan-status"),
				pipeline.MayBeSameList)
			if err != nil {
				return err
			}
			defer parts.Close()
			jobs = append(jobs, parts.Jobs...)
			continue
		}
		job, err := readJob(ctx, arg)
		if err != nil {
			return err
		}
		defer job.Close()
		if err := reportMerge(ctx, g, job); err != nil {
			return err
		}
		jobs = append(jobs, job)
	}
	sum, err := store.SumParts(ctx, jobs, pipeline.MayBeSameList)
	if err != nil {
		return err
	}
	if o.json {
		parts := []map[string]any{}
		for _, p := range sum.Each {
			parts = append(parts, map[string]any{"job": p.Job.Path(), "node": p.Nodes.String(),
				"total": p.Counts.Total, "done": p.Counts.Done, "pending": p.Counts.Pending})
		}
		return printJSON(g.out, struct {
			Total any              `json:"total"`
			Done  int64            `json:"done"`
			Left  any              `json:"left"`
			Parts []map[string]any `json:"parts"`
		}{orNull(sum.Rows, sum.Known), sum.Done, orNull(sum.Rows-sum.Done, sum.Known), parts})
	}
	for _, p := range sum.Each {
		c := p.Counts
		g.print("part     %12d   %s of %s, %d done, %d pending",
			c.Total, figures.Word(c.Total, "row"), p.Job.Path(), c.Done, c.Pending)
	}
	if !sum.Known {
		g.print("done     %12d", sum.Done)
		g.report("facescan: how many rows the list has is not known, as its parts were made by an earlier " +
			"release: merge them to see whether rows are missing")
		return nil
	}
	soFar := ""
	if sum.Reading {
		soFar = ", so far: it is still being read"
	}
	g.print("rows     %12d   of the list%s", sum.Rows, soFar)
	g.print("done     %12d   %s", sum.Done, percent(sum.Done, sum.Rows))
	g.print("left     %12d   in parts that are not done, or not named", sum.Rows-sum.Done)
	return nil
}

// orNull is a number for JSON; null when it is not known.
func orNull(n int64, known bool) any {
	if !known {
		return nil
	}
	return n
}
