package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"facescan/pipeline/parts"
	"facescan/store"
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
	v, err := readNode(text)
	if err != nil {
		return fmt.Errorf("%q: %w; write i/N with i from 0, auto in a whole Slurm array, "+
			"or auto/N in any Slurm array or indexed Kubernetes job", text, err)
	}
	if v.Of < 1 || v.I < 0 || v.I >= v.Of {
		return fmt.Errorf("%q means node %d of %d; i goes from 0 to N-1", text, v.I, v.Of)
	}
	*n = nodeFlag{v, text == "auto"}
	return nil
}

func readNode(text string) (n store.Node, err error) {
	if text == "auto" {
		return parts.SlurmNode()
	}
	part, count, _ := strings.Cut(text, "/")
	if n.Of, err = strconv.Atoi(count); err != nil {
		return n, errors.New("the number of parts is missing, or not a number")
	}
	if part == "auto" {
		n.I, err = parts.ArrayIndex()
	} else if n.I, err = strconv.Atoi(part); err != nil {
		err = fmt.Errorf("%q is not a number", part)
	}
	return n, err
}

func (n *nodeFlag) String() string {
	if n.value.Of == 0 {
		return ""
	}
	return n.value.String()
}

func (n *nodeFlag) Type() string { return "i/N" }

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
		for _, p := range parts.Beside(name) {
			if of := o.node.value.Of; o.node.auto && p.Node.Of != of {
				return otherNumber(of, p.Path+" is a part")
			}
		}
	}
	return nil
}

// otherNumber refuses --node auto where something is there that belongs to another number of parts.
func otherNumber(of int, found string) error {
	return usagef("--node auto means %d parts, and %s of another number: use --node auto/N, N being the "+
		"size of the first submission", of, found)
}

// takePart keeps a job to the part of the rows that it was begun for.
func takePart(ctx context.Context, job store.Job, t *target) error {
	// else its rows are what they are
	if err := parts.CheckWhole(ctx, job); err != nil || len(t.sources) == 0 {
		return err
	}
	return parts.Bind(ctx, job, t.node)
}
