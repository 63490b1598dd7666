package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"facescan/store"
	"facescan/store/hint"
	"facescan/store/nearest"
)

func newPause(g *globals) *cobra.Command {
	return pauseCommand(g, "pause JOB", "Hold back a source, or all of them", true)
}

func newResume(g *globals) *cobra.Command {
	return pauseCommand(g, "resume JOB", "Release a paused source, or all of them", false)
}

func pauseCommand(g *globals, use, short string, pause bool) *cobra.Command {
	var source string
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Long: "Rows of a paused source are not fetched; those in flight finish. A run that has only paused " +
			"rows left exits 10. `pause` holds sources back, `resume` releases them.",
		Example: `facescan pause all.db --source a.txt   # one list of a job
facescan resume all.db --source a.txt  # release it
facescan resume all.db                 # release all`,
		Args: args(cobra.ExactArgs(1), "a job, or the list it was made from"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmpty(c.Flags(), "source", "a.txt"); err != nil {
				return err
			}
			return runPause(c.Context(), g, args[0], source, pause)
		},
	}
	c.Flags().StringVar(&source, "source", "", "`name` of one source, as status prints it; default: all")
	return c
}

func runPause(ctx context.Context, g *globals, arg, name string, pause bool) error {
	job, err := existingJob(ctx, arg)
	if err != nil {
		return err
	}
	defer job.Close()
	changed := 0
	err = eachSource(ctx, job, name, func(s store.Source) error {
		if s.Paused == pause {
			if name != "" || pause {
				g.tell("facescan: %s %s", s.Name, map[bool]string{true: "is paused already",
					false: "was not paused: there is nothing to release"}[pause])
			}
			return nil
		}
		if err := job.Pause(ctx, s.Number, pause); err != nil {
			return err
		}
		changed++
		g.tell("facescan: %s %s", s.Name, map[bool]string{true: "is paused", false: "goes on"}[pause])
		return nil
	})
	switch {
	case err != nil:
		return err
	case pause && changed > 0:
		var flags []string
		if name != "" {
			flags = []string{"--source", name}
		}
		g.tell("  release it with: %s", hint.On("resume", nameOf(arg), flags...))
	case !pause && changed == 0 && name == "":
		g.tell("facescan: nothing of %s was paused", nameOf(arg))
	case !pause && changed > 0:
		return tellReleased(ctx, g, job, nameOf(arg))
	}
	return nil
}

// tellReleased says who goes on with released rows.
func tellReleased(ctx context.Context, g *globals, job store.Job, name string) error {
	c, err := job.Counts(ctx)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(c.Owners, func(o store.OwnerCounts) bool { return o.Alive }):
		g.tell("facescan: the processes that run on the job take them")
		return nil
	case c.Pending == 0 && len(c.ImportIncomplete) == 0:
		return nil
	}
	return tellNext(ctx, g, job, name)
}

// eachSource calls f for the source of the name, or for all.
func eachSource(ctx context.Context, job store.Job, name string, f func(store.Source) error) error {
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	found := false
	var names []string
	for _, s := range sources {
		names = append(names, s.Name)
		if name == "" || s.Name == name {
			found = true
			if err := f(s); err != nil {
				return fmt.Errorf("source %s: %w", s.Name, err)
			}
		}
	}
	if !found && name != "" {
		return usagef("the job has no source %q; it has %s%s", name, strings.Join(names, ", "), nearest.Hint(name, names))
	}
	return nil
}
