// Package parts has the rules of jobs that hold one part of a list (run --node), and of the merges of such
// jobs.
package parts

import (
	"context"
	"errors"
	"fmt"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// Bind gives a new job the part of the rows that it takes of its lists, and holds one that was begun to its
// own.
func Bind(ctx context.Context, job store.Job, node store.Node) error {
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	was := settings[store.NodeSetting]
	switch now := node.String(); {
	case store.IsMerge(settings) && now != "":
		return pipeline.Usagef("%s is a merge, which takes all rows that it lacks: leave --node out, "+
			"or name another job with --db", job.Path())
	case len(sources) == 0:
		return job.Set(ctx, map[string]string{store.NodeSetting: now})
	case was != now:
		return fmt.Errorf("%s was begun with --node %q, not %q; say the same, or name another job with --db",
			job.Path(), was, now)
	}
	return nil
}

// CheckWhole is an error for a merge that was interrupted.
func CheckWhole(ctx context.Context, job store.Job) error {
	text, err := Unfinished(ctx, job)
	if err == nil && text != "" {
		err = errors.New(text)
	}
	return err
}

// Unfinished says that a job is a merge that was interrupted, and how to resume it; empty for any other job.
func Unfinished(ctx context.Context, job store.Job) (string, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return "", err
	}
	return unfinished(settings, job.Path()), nil
}

func unfinished(settings map[string]string, path string) string {
	inputs, is := store.UnfinishedMerge(settings)
	if !is {
		return ""
	}
	command := hint.Command("merge", append([]string{path}, inputs...))
	if len(inputs) == 0 {
		command += " IN…"
	}
	return fmt.Sprintf("%s is a merge that was interrupted: rows are missing; repeat it: %s", path, command)
}

// Lacks says what a merge lacks, and what to do: that it was interrupted, or how many rows of each list are
// missing. It is empty for any other job.
func Lacks(ctx context.Context, job store.Job) (texts []string, err error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if text := unfinished(settings, job.Path()); text != "" {
		return []string{text}, nil
	}
	if !store.IsMerge(settings) {
		return nil, nil
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
		n, known := store.Missing(settings, s)
		missing := fmt.Sprintf("%s of %s %s missing", figures.Of(n, "row"), s.Name, figures.Be(n))
		if !known {
			missing = fmt.Sprintf("rows of %s are missing, how many is not known, as an "+
				"earlier release made a part",
				s.Name)
		}
		if n > 0 || !known {
			texts = append(texts,
				fmt.Sprintf("parts of the list are missing in %s: %s; merge the other parts too, "+
					"or process the missing rows: %s", job.Path(), missing, command))
		}
	}
	return texts, nil
}
