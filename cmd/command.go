package cmd

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/store"
)

// options are the flags of a command.
type options interface{ addFlags(*pflag.FlagSet) }

// command completes a command with its flags and what it does.
func command(c *cobra.Command, o options, run func(ctx context.Context, args []string) error) *cobra.Command {
	o.addFlags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error { return run(c.Context(), args) }
	return c
}

// jobOptions are the flags of a command on one job.
type jobOptions interface {
	options
	check(arg string) error // whether the flags are valid, before the job that arg stands for is opened
}

// jobCommand completes a command on one job, which it opens and closes. The run also gets the argument that
// stands for the job.
func jobCommand(c *cobra.Command, o jobOptions, open func(ctx context.Context, arg string) (store.Job, error),
	run func(ctx context.Context, job store.Job, arg string) error) *cobra.Command {
	c.Args = args(cobra.ExactArgs(1), "a job, or the list it was made from")
	return command(c, o, func(ctx context.Context, args []string) error {
		if err := o.check(args[0]); err != nil {
			return err
		}
		job, err := open(ctx, args[0])
		if err != nil {
			return err
		}
		defer job.Close()
		return run(ctx, job, args[0])
	})
}
