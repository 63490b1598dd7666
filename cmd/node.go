package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"facescan/pipeline/parts"
	"facescan/store"
	"facescan/store/hint"
	"facescan/store/open"
	"facescan/store/sqlite"
)

// nodeFlag is --node: i/N, or the place in an array job, which its variables say.
type nodeFlag struct {
	value store.Node
	auto  bool // N is the size of the Slurm array
}

func (n *nodeFlag) Set(text string) error {
	if text == "" {
		*n = nodeFlag{}
		return nil
	}
	i, of, err := readNode(text)
	if err != nil {
		return fmt.Errorf("%q: %w; write i/N with i from 0, auto in a whole Slurm array, "+
			"or auto/N in any Slurm array or indexed Kubernetes job", text, err)
	}
	if of < 1 || i < 0 || i >= of {
		return fmt.Errorf("%q means node %d of %d; i goes from 0 to N-1", text, i, of)
	}
	*n = nodeFlag{store.Node{I: i, Of: of}, text == "auto"}
	return nil
}

func readNode(text string) (i, of int, err error) {
	if text == "auto" {
		return slurmNode()
	}
	part, count, _ := strings.Cut(text, "/")
	if of, err = strconv.Atoi(count); err != nil {
		return 0, 0, errors.New("the number of parts is missing, or not a number")
	}
	if part == "auto" {
		i, err = arrayIndex()
	} else if i, err = strconv.Atoi(part); err != nil {
		err = fmt.Errorf("%q is not a number", part)
	}
	return i, of, err
}

func (n *nodeFlag) String() string {
	if n.value.Of == 0 {
		return ""
	}
	return n.value.String()
}

func (n *nodeFlag) Type() string { return "i/N" }

const (
	slurmIndex      = "SLURM_ARRAY_TASK_ID"
	kubernetesIndex = "JOB_COMPLETION_INDEX"
)

// arrayIndex is the place in an array job of either kind.
func arrayIndex() (int, error) {
	slurm, kubernetes := os.Getenv(slurmIndex), os.Getenv(kubernetesIndex)
	switch {
	case slurm == "" && kubernetes == "":
		return 0, fmt.Errorf("neither %s nor %s is set", slurmIndex, kubernetesIndex)
	case slurm != "" && kubernetes != "" && slurm != kubernetes:
		return 0, fmt.Errorf("%s=%s and %s=%s disagree", slurmIndex, slurm, kubernetesIndex, kubernetes)
	case slurm != "":
		return number(slurmIndex)
	}
	return number(kubernetesIndex)
}

// slurmNode is the place in a Slurm array that was submitted as a whole. Of a part of one, such as a task
// that is submitted once more alone, Slurm's variables do not say how many tasks the first submission had.
func slurmNode() (i, of int, err error) {
	if i, err = number(slurmIndex); err != nil {
		return 0, 0, err
	}
	if of, err = number("SLURM_ARRAY_TASK_COUNT"); err != nil {
		return 0, 0, err
	}
	first, err := number("SLURM_ARRAY_TASK_MIN")
	if err != nil {
		return 0, 0, err
	}
	last, step := of-1, 1 // Slurm sets these, too
	for name, value := range map[string]*int{"SLURM_ARRAY_TASK_MAX": &last, "SLURM_ARRAY_TASK_STEP": &step} {
		if os.Getenv(name) == "" {
			continue
		}
		if *value, err = number(name); err != nil {
			return 0, 0, err
		}
	}
	if first != 0 || step != 1 || last != of-1 || of < 2 {
		return 0, 0,
			fmt.Errorf("the tasks of this Slurm array are %d to %d in steps of %d (%d in all), and auto "+
				"takes only a whole array from 0 in steps of 1: use --node auto/N, N being the size of the "+
				"first submission, and number its tasks from 0",
				first, last, step, of)
	}
	return i, of, nil
}

// number reads a variable that holds one.
func number(name string) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return 0, fmt.Errorf("%s is not set", name)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s=%q is not a number", name, text)
	}
	return n, nil
}

// checkNode refuses --node for what has no parts, and --node auto where the parts of a list have another
// size: then the array was submitted again with another number of tasks, and each of them would take rows
// that other parts have.
func (o *sourceOptions) checkNode(args []string) error {
	if o.node.value.Of == 0 {
		return nil
	}
	for _, name := range append([]string{o.db}, args...) {
		if open.IsURL(name) {
			return usagef("--node (or FACESCAN_NODE) takes a part of a list into a job file, and %s is a "+
				"database, whose processes share the list by themselves: leave --node out", open.Redact(name))
		}
	}
	for _, name := range args {
		if name == "-" {
			continue
		}
		if is, err := sqlite.IsJob(name); err == nil && is {
			return usagef("--node (or FACESCAN_NODE) takes a part of a list, and %s is a job, which keeps "+
				"the rows it has: leave --node out, or name the list", name)
		}
		if other := otherParts(name, o.node.value.Of); o.node.auto && other != "" {
			return otherNumber(o.node.value.Of, other+" is a part")
		}
	}
	return nil
}

// otherNumber refuses --node auto where something is there that belongs to another number of parts.
func otherNumber(of int, found string) error {
	return usagef("--node auto means %d parts, and %s of another number: use --node auto/N, N being the size "+
		"of the first submission", of, found)
}

// otherParts is the job of a part of a list that lies beside it and is one of another number of parts; empty
// for none.
func otherParts(list string, of int) string {
	for _, p := range partsOf(list) {
		if p.node.Of != of {
			return p.path
		}
	}
	return ""
}

type part struct {
	path string
	node store.Node
}

// partsOf are the jobs of a list's parts that lie beside it.
func partsOf(list string) (parts []part) {
	whole := strings.TrimSuffix(filepath.Base(jobOf(list, store.Node{})), jobSuffix)
	entries, err := os.ReadDir(filepath.Dir(list))
	if err != nil {
		return nil // the list will tell
	}
	for _, e := range entries {
		middle := strings.TrimSuffix(strings.TrimPrefix(e.Name(), whole+".node-"), jobSuffix)
		var n store.Node
		if _, err := fmt.Sscanf(middle, "%d-of-%d", &n.I, &n.Of); err == nil &&
			e.Name() == filepath.Base(jobOf(list, n)) {
			parts = append(parts, part{filepath.Join(filepath.Dir(list), e.Name()), n})
		}
	}
	return parts
}

// mergeCommand unites the parts of a list.
func mergeCommand(list string, parts []part) string {
	names := []string{jobOf(list, store.Node{})}
	for _, p := range parts {
		names = append(names, p.path)
	}
	return hint.Command("merge", names)
}

// settleNode keeps a job to the part of the rows that it was begun for.
func settleNode(ctx context.Context, job store.Job, t *target) error {
	// else its rows are what they are
	if err := parts.CheckWhole(ctx, job); err != nil || len(t.sources) == 0 {
		return err
	}
	return parts.Settle(ctx, job, t.node)
}
