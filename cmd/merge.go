package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"facescan/pipeline"
	"facescan/pipeline/detection"
	"facescan/store"
	"facescan/store/segment"
)

func newMerge(g *globals) *cobra.Command {
	var shardSize int
	c := &cobra.Command{
		Use:   "merge OUT IN…|DIR…",
		Short: "Unite jobs that were run with --node",
		Long: "Unites jobs that were made from the same list, such as those of `run --node i/N`. Of what " +
			"several say of a row, done\n" +
			"beats pending, ok beats failed, and else the first counts. A folder stands for all parts that " +
			"`run --publish` published\n" +
			"there. It may be repeated, and interrupted: the same command goes on.",
		Args: args(cobra.MinimumNArgs(2), "a new job, or an earlier merge, and the jobs, or "+
			"published folders, to unite"),
		RunE: func(c *cobra.Command, args []string) error {
			return runMerge(c.Context(), g, args[0], args[1:], shardSize)
		},
	}
	c.Flags().IntVar(&shardSize, "shard-size", 10_000, "rows of a shard")
	return c
}

func runMerge(ctx context.Context, g *globals, outPath string, inPaths []string, shardSize int) error {
	if shardSize < 1 {
		return usagef("--shard-size %d: give 1 or more rows", shardSize)
	}
	var in []store.Job
	for _, path := range inPaths {
		if sameFile(path, outPath) {
			continue // as by a pattern such as *.db; what it holds counts anyway
		}
		if segment.IsFolder(path) {
			parts, err := segment.OpenParts(ctx, path, outPath, pipeline.MayBeSameList)
			if err != nil {
				return err
			}
			defer parts.Close()
			in = append(in, parts.Jobs...)
			continue
		}
		job, err := readJob(ctx, path)
		if err != nil {
			return err
		}
		defer job.Close()
		if err := checkManifest(ctx, g, job); err != nil {
			return err
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
				g.tell("facescan: %d rows", rows)
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
	g.tell("facescan: %s has %d rows, %d done, %d pending", out.Path(), c.Total, c.Done, c.Pending)
	if err := tellMerge(ctx, g, out); err != nil {
		return err
	}
	g.tell("  next: %s", pipeline.ShellCommand("facescan", "export", out.Path(), "-o", "results.csv"))
	return nil
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// unfinishedMerge says that a job is a merge that was interrupted, and how to go on; empty for any other.
func unfinishedMerge(ctx context.Context, job store.Job) (string, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return "", err
	}
	inputs, is := store.UnfinishedMerge(settings)
	if !is {
		return "", nil
	}
	command := pipeline.ShellCommand(append([]string{"facescan", "merge", job.Path()}, inputs...)...)
	if len(inputs) == 0 {
		command += " IN…"
	}
	return fmt.Sprintf("%s is a merge that was interrupted: rows are missing; repeat it: %s",
		job.Path(), command), nil
}

// unimported says of each list whose rows are not all in a merged job how many are missing, and what to do;
// none for any other job.
func unimported(ctx context.Context, job store.Job) (texts []string, err error) {
	settings, err := job.Settings(ctx)
	if err != nil || !store.IsMerge(settings) {
		return nil, err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return nil, err
	}
	command, err := pipeline.RunCommand(ctx, job, job.Path())
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		switch n, known := store.Missing(settings, s); {
		case !known:
			texts = append(texts,
				fmt.Sprintf("parts of the list are missing in %s: rows of %s are missing, "+
					"how many is not known, as an earlier release made a part; merge the other parts too, "+
					"or process the missing rows: %s", job.Path(), s.Name, command))
		case n > 0:
			texts = append(texts,
				fmt.Sprintf("parts of the list are missing in %s: %d rows of %s are missing; merge the "+
					"other parts too, or process the missing rows: %s", job.Path(), n, s.Name, command))
		}
	}
	return texts, nil
}

// tellMerge says what a merged job lacks, if anything.
func tellMerge(ctx context.Context, g *globals, job store.Job) error {
	texts, err := unimported(ctx, job)
	if err != nil {
		return err
	}
	if unfinished, err := unfinishedMerge(ctx, job); err != nil {
		return err
	} else if unfinished != "" {
		texts = []string{unfinished}
	}
	for _, text := range texts {
		g.tell("facescan: %s", text)
	}
	return nil
}

// manifest says what a node's finished job holds. It is written last, so that where it is, the job is whole.
type manifest struct {
	Node     string `json:"node"`
	Detector string `json:"detector"`
	Total    int64  `json:"total"`
	OK       int64  `json:"ok"`
	Failed   int64  `json:"failed"`
	Faces    int64  `json:"faces"`
	SHA256   string `json:"sha256"` // of the job's CSV with the default columns
}

func manifestPath(job store.Job) string { return job.Path() + ".manifest.json" }

func manifestOf(ctx context.Context, job store.Job) (manifest, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return manifest{}, err
	}
	c, err := job.Counts(ctx)
	if err != nil {
		return manifest{}, err
	}
	sum, err := checksum(ctx, job)
	return manifest{settings[store.NodeSetting], settings[detection.DetectorSetting], c.Total, c.OK,
		c.Failed, c.Faces, sum}, err
}

// finishNode leaves a manifest beside the job of a part of a list; it does nothing for any other job.
func finishNode(ctx context.Context, job store.Job) error {
	settings, err := job.Settings(ctx)
	if err != nil || settings[store.NodeSetting] == "" {
		return err
	}
	if err := writeManifest(ctx, job); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

func writeManifest(ctx context.Context, job store.Job) error {
	m, err := manifestOf(ctx, job)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(manifestPath(job), append(b, '\n'))
}

// checkManifest refuses a job that is not what its manifest says.
func checkManifest(ctx context.Context, g *globals, job store.Job) error {
	b, err := os.ReadFile(manifestPath(job))
	if errors.Is(err, fs.ErrNotExist) {
		g.tell("facescan: %s has no manifest: it is merged as far as it is done", job.Path())
		return nil
	}
	if err != nil {
		return err
	}
	var was manifest
	if err := json.Unmarshal(b, &was); err != nil {
		return fmt.Errorf("%s: %w", manifestPath(job), err)
	}
	now, err := manifestOf(ctx, job)
	if err != nil {
		return err
	}
	if now != was {
		return fmt.Errorf("%s is not what %s says (%+v, not %+v): it was changed since, or copied "+
			"before it was finished; run it again, or remove the manifest to merge it as it is", job.Path(),
			manifestPath(job), now, was)
	}
	return nil
}
