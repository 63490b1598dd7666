package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"facescan/pipeline"
	"facescan/store"
)

// nodeFlag is --node: i/N, or what the array job that we are part of says.
type nodeFlag struct{ value pipeline.Node }

func (n *nodeFlag) Set(text string) error {
	var i, of int
	var err error
	switch part, count, cut := strings.Cut(text, "/"); {
	case text == "":
		n.value = pipeline.Node{}
		return nil
	case text == "auto":
		i, of, err = slurmNode()
	case part == "auto" && cut:
		if i, err = number("JOB_COMPLETION_INDEX"); err == nil {
			of, err = strconv.Atoi(count)
		}
	default:
		if i, err = strconv.Atoi(part); err == nil {
			of, err = strconv.Atoi(count)
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w; write i/N with i from 0, auto within a Slurm array, or auto/N within an indexed Kubernetes job", text, err)
	}
	if of < 1 || i < 0 || i >= of {
		return fmt.Errorf("%q means node %d of %d; i goes from 0 to N-1", text, i, of)
	}
	n.value = pipeline.Node{I: i, Of: of}
	return nil
}

func (n *nodeFlag) String() string {
	if n.value.Of == 0 {
		return ""
	}
	return n.value.String()
}

func (n *nodeFlag) Type() string { return "i/N" }

// slurmNode is our place in a Slurm array, whose task ids need not begin at 0 nor follow each other.
func slurmNode() (i, of int, err error) {
	id, err := number("SLURM_ARRAY_TASK_ID")
	if err != nil {
		return 0, 0, err
	}
	first, err := number("SLURM_ARRAY_TASK_MIN")
	if err != nil {
		return 0, 0, err
	}
	if of, err = number("SLURM_ARRAY_TASK_COUNT"); err != nil {
		return 0, 0, err
	}
	step := 1
	if os.Getenv("SLURM_ARRAY_TASK_STEP") != "" {
		if step, err = number("SLURM_ARRAY_TASK_STEP"); err != nil {
			return 0, 0, err
		}
	}
	return (id - first) / max(step, 1), of, nil
}

// number reads a variable that holds one.
func number(name string) (int, error) {
	text, ok := os.LookupEnv(name)
	if !ok {
		return 0, fmt.Errorf("%s is not set", name)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is no number", name, text)
	}
	return n, nil
}

// settleNode keeps a job to the part of the rows that it was begun for.
func settleNode(ctx context.Context, job store.Job, t *target) error {
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	if unfinished, err := unfinishedMerge(ctx, job); err != nil {
		return err
	} else if unfinished != "" {
		return errors.New(unfinished)
	}
	was := settings[store.NodeSetting]
	switch now := t.node.String(); {
	case len(t.sources) == 0: // nothing is imported: its rows are what they are
	case len(sources) == 0:
		return job.Set(ctx, map[string]string{store.NodeSetting: now})
	case was != now:
		return fmt.Errorf("%s was begun with --node %q, not %q; say the same, or name another job with --db", job.Path(), was, now)
	}
	return nil
}
