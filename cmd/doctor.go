package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline/doctor"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/open"
)

type doctorOptions struct {
	list   string
	dns    []string
	dir    string
	json   bool
	remote sidecarOptions
}

func (o *doctorOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.list, "list", "", "`list` whose hosts to measure the resolver with")
	fs.StringSliceVar(&o.dns, "dns", nil,
		"name `SERVERS` to measure, as host:port; default: those of the system")
	fs.StringVar(&o.dir, "dir", ".", "`folder` that jobs will lie in")
	fs.BoolVar(&o.json, "json", false, "print one JSON object per finding")
	o.remote.addFlags(fs)
}

func newDoctor(g *globals) *cobra.Command {
	var o doctorOptions
	return command(&cobra.Command{
		Use:   "doctor [JOB]",
		Short: "Check what a run needs from this machine",
		Long: "Checks open files, processor, disk, certificates and resolver, and the sidecars and " +
			"the job if any are named; says what to change. Exits 1 if a check failed.",
		Example: `facescan doctor                             # this machine
facescan doctor --list urls.txt             # the resolver, with the hosts of a list
facescan doctor postgres://me@db.lan/faces  # a database as well
facescan doctor --sidecar http://gpu1:8000  # a sidecar as well`,
		Args: args(cobra.MaximumNArgs(1), "at most one job"),
	}, &o, func(ctx context.Context, args []string) error { return runDoctor(ctx, g, &o, args) })
}

func runDoctor(ctx context.Context, g *globals, o *doctorOptions, args []string) error {
	failed := 0
	if err := o.remote.check(); err != nil {
		return err
	}
	for _, server := range o.dns {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return usagef("--dns %q: write it as HOST:PORT, e.g. 127.0.0.1:53", server)
		}
	}
	report := func(f doctor.Finding) {
		if f.State == "fail" {
			failed++
		}
		if o.json {
			_ = printJSON(g.out, f) // as print, which says nothing of a stdout that is gone
			return
		}
		g.print("%-4s  %-12s %s", f.State, f.Check, f.Found)
		if f.Advice != "" {
			g.print("      %-12s → %s", "", f.Advice)
		}
	}
	report(doctor.Descriptors())
	report(doctor.Processor(cores))
	report(doctor.Disk(o.dir))
	report(doctor.Certificates())
	database := len(args) == 1 && open.IsURL(args[0])
	// A check of a database looks no names up, unless it is asked to.
	if !database || o.list != "" || len(o.dns) > 0 {
		dns, err := doctor.Resolver(ctx, o.dns, o.list)
		if err != nil {
			return err
		}
		report(dns)
	}
	for _, url := range o.remote.urls {
		report(doctor.Sidecar(ctx, url, func(ctx context.Context, p detect.Params) (detect.Detector, error) {
			one := o.remote
			one.urls, one.delay, one.fallback = []string{url}, 0, ""
			return one.open(ctx, p, slog.New(slog.DiscardHandler))
		}))
	}
	refused := false
	if database {
		for _, f := range doctor.Database(ctx, args[0]) {
			refused = refused || f.State == "fail"
			report(f)
		}
	}
	if len(args) == 1 && !refused {
		report(lookAtJob(ctx, args[0]))
	}
	if failed > 0 {
		return fmt.Errorf("checks failed: %d; a run needs all of them", failed)
	}
	return nil
}

// lookAtJob counts the rows of a job.
func lookAtJob(ctx context.Context, arg string) (f doctor.Finding) {
	f.Check = "job"
	job, err := readJob(ctx, arg)
	if open.IsURL(arg) && errors.Is(err, fs.ErrNotExist) {
		f.State, f.Found = "ok", "there is none yet"
		f.Advice = "to make it of a list: " + hint.On("import", "urls.txt", "--db", nameOf(arg))
		return f
	}
	if err != nil {
		f.State, f.Found = "fail", err.Error()
		return f
	}
	defer job.Close()
	begin := time.Now()
	c, err := job.Counts(ctx)
	if err != nil {
		f.State, f.Found = "fail", err.Error()
		return f
	}
	f.State, f.Found = "ok", fmt.Sprintf("%s: %s, %d done, counted in %v", filepath.Base(job.Path()),
		figures.Of(c.Total, "row"), c.Done, time.Since(begin).Round(time.Millisecond))
	return f
}
