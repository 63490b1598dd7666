package parts

import (
	"fmt"
	"os"
	"strconv"

	"facescan/store"
)

const (
	slurmIndex      = "SLURM_ARRAY_TASK_ID"
	kubernetesIndex = "JOB_COMPLETION_INDEX"
)

// ArrayIndex is the place in an array job of either kind.
func ArrayIndex() (i int, err error) {
	slurm, kubernetes := os.Getenv(slurmIndex), os.Getenv(kubernetesIndex)
	switch {
	case slurm == "" && kubernetes == "":
		return i, fmt.Errorf("neither %s nor %s is set", slurmIndex, kubernetesIndex)
	case slurm != "" && kubernetes != "" && slurm != kubernetes:
		return i, fmt.Errorf("%s=%s and %s=%s disagree", slurmIndex, slurm, kubernetesIndex, kubernetes)
	case slurm != "":
		return number(slurmIndex)
	}
	return number(kubernetesIndex)
}

// SlurmNode is the place in a Slurm array that was submitted as a whole. Of a part of one, such as a task
// that is submitted once more alone, Slurm's variables do not say how many tasks the first submission had.
func SlurmNode() (n store.Node, err error) {
	if n.I, err = number(slurmIndex); err != nil {
		return n, err
	}
	if n.Of, err = number("SLURM_ARRAY_TASK_COUNT"); err != nil {
		return n, err
	}
	first, err := number("SLURM_ARRAY_TASK_MIN")
	if err != nil {
		return n, err
	}
	last, step := n.Of-1, 1 // Slurm sets these, too
	for name, value := range map[string]*int{"SLURM_ARRAY_TASK_MAX": &last, "SLURM_ARRAY_TASK_STEP": &step} {
		if os.Getenv(name) == "" {
			continue
		}
		if *value, err = number(name); err != nil {
			return n, err
		}
	}
	if first != 0 || step != 1 || last != n.Of-1 || n.Of < 2 {
		return n, fmt.Errorf("the tasks of this Slurm array are %d to %d in steps of %d (%d in all), and "+
			"auto takes only a whole array from 0 in steps of 1: use --node auto/N, N being the size of the "+
			"first submission, and number its tasks from 0",
			first, last, step, n.Of)
	}
	return n, nil
}

// number reads a variable that holds one.
func number(name string) (n int, err error) {
	text := os.Getenv(name)
	if text == "" {
		return n, fmt.Errorf("%s is not set", name)
	}
	if n, err = strconv.Atoi(text); err != nil {
		return n, fmt.Errorf("%s=%q is not a number", name, text)
	}
	return n, nil
}
