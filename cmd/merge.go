package cmd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"facescan/pipeline"
	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/segment"
)

func newMerge(g *globals) *cobra.Command {
	var shardSize int
	c := &cobra.Command{
		Use:   "merge OUT IN…|DIR…",
		Short: "Unite jobs that were run with --node",
		Long: "Unites jobs that were made from the same list, such as those of `run --node i/N`. When " +
			"jobs disagree about a row, done wins over pending, ok over failed, and else the first " +
			"argument. A folder stands for all parts that `run --publish` wrote into it. The command " +
			"may be interrupted and repeated.",
		Example: `facescan merge urls.db urls.node-*.facescan.db  # unite the parts beside the list
facescan merge urls.db results                  # unite all parts of a --publish folder
facescan run urls.txt --db urls.db              # process the rows that no part has`,
		Args: args(cobra.MinimumNArgs(2), "a new job, or an earlier merge, and the jobs, or "+
			"published folders, to unite"),
		RunE: func(c *cobra.Command, args []string) error {
			return runMerge(c.Context(), g, args[0], args[1:], shardSize)
		},
	}
	c.Flags().IntVar(&shardSize, "shard-size", store.DefaultShardSize, "rows per shard")
	return c
}

func runMerge(ctx context.Context, g *globals, outPath string, inPaths []string, shardSize int) error {
	if shardSize < 1 {
		return usagef("--shard-size %d: give 1 or more rows", shardSize)
	}
	var in []store.Job
	for _, path := range inPaths {
		if source.SameFile(path, outPath) {
			continue // as by a pattern such as *.db; what it holds counts anyway
		}
		if segment.IsFolder(path) {
			published, err := segment.OpenParts(ctx, path, outPath, pipeline.MayBeSameList)
			if err != nil {
				return err
			}
			defer published.Close()
			in = append(in, published.Jobs...)
			continue
		}
		job, err := readJob(ctx, path)
		if err != nil {
			return err
		}
		defer job.Close()
		if err := withoutImages(ctx, job); err != nil {
			return err
		}
		found, err := parts.CheckManifest(ctx, job)
		if err != nil {
			return err
		}
		if !found {
			g.report("facescan: %s has no manifest: it is merged as far as it is done", job.Path())
		}
		in = append(in, job)
	}
	_, err := os.Stat(outPath)
	isNew := errors.Is(err, fs.ErrNotExist)
	out, err := openOrCreate(ctx, target{job: outPath})
	if err != nil {
		return err
	}
	defer out.Close()
	rows, last := int64(0), time.Now()
	err = store.Merge(ctx, out, in, store.MergeOptions{
		Same: pipeline.SameList, MayBeSame: pipeline.MayBeSameList, ShardSize: shardSize,
		SourceName: func(of store.Job, s store.Source) string {
			if pipeline.IsStdin(s) {
				return s.Name
			}
			return pipeline.SourceName(out.Path(), pipeline.SourcePath(of.Path(), s.Name))
		},
		Merged: func(n int64) {
			if rows += n; time.Since(last) > plainEvery {
				last = time.Now()
				g.report("facescan: %s", figures.Of(rows, "row"))
			}
		},
	})
	if err != nil {
		// refused before anything was written
		if s, e := out.Sources(context.WithoutCancel(ctx)); isNew && e == nil && len(s) == 0 {
			_ = out.Close()
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(outPath + suffix) // else the next merge finds an empty job
			}
		}
		return err
	}
	c, err := out.Counts(ctx)
	if err != nil {
		return err
	}
	g.report("facescan: %s has %s, %d done, %d pending",
		out.Path(), figures.Of(c.Total, "row"), c.Done, c.Pending)
	if err := reportMerge(ctx, g, out); err != nil {
		return err
	}
	g.report("  next: %s", hint.On("export", out.Path(), "-o", "results.csv"))
	return nil
}

// withoutImages refuses a job of folders or tars: which row is which file is known in that job only.
func withoutImages(ctx context.Context, job store.Job) error {
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if source.HasImages(s.Format) {
			return usagef("%s has images of this machine (%s), and merge unites parts of lists: export the "+
				"jobs one by one, or import all the images into one job", job.Path(), s.Name)
		}
	}
	return nil
}

// reportMerge says what a merged job lacks, if anything.
func reportMerge(ctx context.Context, g *globals, job store.Job) error {
	texts, err := parts.Lacks(ctx, job)
	for _, text := range texts {
		g.report("facescan: %s", text)
	}
	return err
}
