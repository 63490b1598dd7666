package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/store"
	"facescan/store/hint"
	"facescan/store/nearest"
)

type pauseOptions struct {
	flags  *pflag.FlagSet
	source string
}

func (o *pauseOptions) addFlags(fs *pflag.FlagSet) {
	o.flags = fs
	fs.StringVar(&o.source, "source", "", "`name` of one source, as status prints it; default: all")
}

func (o *pauseOptions) check(string) error { return refuseEmpty(o.flags, "source", "a.txt") }

func newPause(g *globals) *cobra.Command {
	return pauseCommand(g, "pause JOB", "Hold back a source, or all of them", true)
}

func newResume(g *globals) *cobra.Command {
	return pauseCommand(g, "resume JOB", "Release a paused source, or all of them", false)
}

func pauseCommand(g *globals, use, short string, pause bool) *cobra.Command {
	var o pauseOptions
	return jobCommand(&cobra.Command{
		Use:   use,
		Short: short,
		Long: "Rows of a paused source are not fetched; those in flight finish. A run that has only paused " +
			"rows left exits 10. `pause` holds sources back, `resume` releases them.",
		Example: `facescan pause all.db --source a.txt   # one list of a job
facescan resume all.db --source a.txt  # release it
facescan resume all.db                 # release all`,
	}, &o, existingJob, func(ctx context.Context, job store.Job, arg string) error {
		return runPause(ctx, g, job, nameOf(arg), o.source, pause)
	})
}

// runPause holds the source of a name back or releases it; all of them if the name is empty.
func runPause(ctx context.Context, g *globals, job store.Job, jobName, name string, pause bool) error {
	changed := 0
	err := eachSource(ctx, job, name, func(s store.Source) error {
		if s.Paused == pause {
			if name != "" || pause {
				g.report("facescan: %s %s", s.Name, map[bool]string{true: "is paused already",
					false: "was not paused: there is nothing to release"}[pause])
			}
			return nil
		}
		if err := job.Pause(ctx, s.Number, pause); err != nil {
			return err
		}
		changed++
		g.report("facescan: %s %s", s.Name, map[bool]string{true: "is paused", false: "goes on"}[pause])
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
		g.report("  release it with: %s", hint.On("resume", jobName, flags...))
	case !pause && changed == 0 && name == "":
		g.report("facescan: nothing of %s was paused", jobName)
	case !pause && changed > 0:
		return reportReleased(ctx, g, job, jobName)
	}
	return nil
}

// reportReleased says who goes on with released rows.
func reportReleased(ctx context.Context, g *globals, job store.Job, name string) error {
	c, err := job.Counts(ctx)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(c.Owners, func(o store.OwnerCounts) bool { return o.Alive }):
		g.report("facescan: the processes that run on the job take them")
		return nil
	case c.Pending == 0 && len(c.ImportIncomplete) == 0:
		return nil
	}
	return reportNext(ctx, g, job, name)
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
		return usagef("the job has no source %q; it has %s%s",
			name, strings.Join(names, ", "), nearest.Hint(name, names))
	}
	return nil
}
