package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/store"
	"facescan/store/export"
)

type exportOptions struct {
	out         string
	columns     []string
	credentials bool
}

func (o *exportOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "output", "o", "-", "`file` to write, beside and then renamed; - is stdout")
	fs.StringSliceVar(&o.columns, "columns", nil, "columns, in this order; "+
		"besides the default ones: source,row,group,class,attempts,final_url,partial,detector,confidence")
	fs.BoolVar(&o.credentials, "credentials", false, "show passwords in URLs, instead of ***")
}

func newExport(g *globals) *cobra.Command {
	var o exportOptions
	c := &cobra.Command{
		Use:   "export JOB",
		Short: "Write the results as CSV",
		Long:  "Writes a line a done row, in id order. Failed rows are in it too, with their reason. Works beside running processes.",
		Args:  args(cobra.ExactArgs(1), "a job, or the list it was made from"),
		RunE: func(c *cobra.Command, args []string) error {
			return runExport(c.Context(), g, &o, args[0])
		},
	}
	o.addFlags(c.Flags())
	return c
}

func runExport(ctx context.Context, g *globals, o *exportOptions, arg string) error {
	job, err := existingJob(ctx, arg)
	if err != nil {
		return err
	}
	defer job.Close()
	_, ctx, stop := interrupts(ctx, func() {})
	defer stop()
	sources, err := exportSources(ctx, job)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		out, err := export.New(w, export.Options{Columns: o.columns, Sources: sources, Credentials: o.credentials})
		if err != nil {
			return err
		}
		for r, err := range job.Results(ctx, 0, math.MaxInt64) {
			if err != nil {
				return err
			}
			if err := out.Write(r); err != nil {
				return fmt.Errorf("write the export: %w", err)
			}
		}
		return out.Close()
	}
	if o.out == "-" {
		return write(g.out)
	}
	if err := guardOutput(o.out, job, sources); err != nil {
		return err
	}
	return writeBeside(o.out, write)
}

// exportSources are the sources of a job as an export names them.
func exportSources(ctx context.Context, job store.Job) ([]export.Source, error) {
	sources, err := job.Sources(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]export.Source, len(sources))
	for i, s := range sources {
		var spec struct{ KeepColumns, Keep []string } // a list's columns, a table's
		if err := json.Unmarshal([]byte(s.Options), &spec); err != nil {
			return nil, fmt.Errorf("the options of source %s: %w", s.Name, err)
		}
		out[i] = export.Source{Name: s.Name, Kept: append(spec.KeepColumns, spec.Keep...)}
	}
	return out, nil
}
