package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"facescan/pipeline"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/open"
)

func newImport(g *globals) *cobra.Command {
	var o sourceOptions
	return command(&cobra.Command{
		Use:   "import SOURCE…",
		Short: "Read lists into a job, without processing them",
		Long: "Reads what is new in the lists into their job. `facescan run JOB` then processes it, " +
			"here or elsewhere.",
		Example: `facescan import urls.txt                                  # into urls.facescan.db
facescan import a.txt b.csv lists/ --db all.db            # several lists and a folder, into one job
facescan import urls.txt --db postgres://me@db.lan/faces  # into a database`,
		Args: args(cobra.MinimumNArgs(1), "a list of URLs"),
	}, &o, func(ctx context.Context, args []string) error { return runImport(ctx, g, &o, args) })
}

func runImport(ctx context.Context, g *globals, o *sourceOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	t, err := resolveTarget(ctx, args, o)
	if err != nil {
		return err
	}
	if len(t.sources) == 0 && t.table == nil {
		name := open.Redact(t.job)
		return usagef("%s is a job; name the lists to import into it, with --db %s", name, name)
	}
	job, err := openOrCreate(ctx, t)
	if err != nil {
		return err
	}
	defer job.Close()
	return importInto(ctx, g, o, job, t)
}

// importInto imports the lists of a target into its job.
func importInto(ctx context.Context, g *globals, o *sourceOptions, job store.Job, t target) error {
	if err := belongs(ctx, job, t, o.db != ""); err != nil {
		return err
	}
	if err := takePart(ctx, job, &t); err != nil {
		return err
	}
	session, err := job.Join(ctx, pipeline.Self(), o.leaseTTL)
	if err != nil {
		return err
	}
	var mu sync.Mutex // several lists are read at once
	begin, last, rows := time.Now(), time.Now(), int64(0)
	im := pipeline.Importer{Node: t.node, Priority: t.priority, Job: job, Session: session,
		ShardSize: o.shardSize, LeaseTTL: o.leaseTTL, Log: g.logger(g.err),
		Imported: func(list string, n int64, part float64) {
			mu.Lock()
			defer mu.Unlock()
			rows += n
			if time.Since(last) > plainEvery {
				last = time.Now()
				g.report("facescan: %s of %s, %s, %.0f%%", figures.Of(rows, "row"), list,
					figures.Rate(float64(rows)/time.Since(begin).Seconds()), 100*part)
			}
		}}
	if t.table != nil {
		err = im.Adopt(ctx)
	} else {
		err = im.Import(ctx, t.sources)
	}
	bye := context.WithoutCancel(ctx)
	if e := session.Leave(bye); e != nil && err == nil {
		err = e
	}
	interrupted := &exit{exitInterrupted,
		errors.New("interrupted; what is imported stays, the same command goes on")}
	if g.signals.interrupted() && errors.Is(err, context.Canceled) {
		return interrupted
	}
	if err != nil {
		return err
	}
	c, err := job.Counts(bye)
	if err != nil {
		return err
	}
	g.report("facescan: imported %s in %v; %s has %s, %d of them pending", figures.Of(rows, "row"),
		time.Since(begin).Round(time.Millisecond), job.Path(), figures.Of(c.Total, "row"), c.Pending)
	// other lists may be another process's
	incomplete := slices.DeleteFunc(c.ImportIncomplete, func(name string) bool {
		return t.table == nil && !slices.ContainsFunc(t.sources,
			func(s source.Spec) bool { return pipeline.NameOf(job.Path(), s) == name })
	})
	switch {
	case len(incomplete) > 0 && g.signals.interrupted():
		return interrupted
	case len(incomplete) > 0:
		return fmt.Errorf("the import of %s is not complete", strings.Join(incomplete, ", "))
	}
	return reportNext(bye, g, job, job.Path())
}
