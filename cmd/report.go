package cmd

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/pipeline/detection"
	"facescan/pipeline/keep"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/hint"
	"facescan/store/report"
)

type reportOptions struct {
	onTerminal bool // stdout is one
	out        string
	blurFaces  bool
	blurMargin float64
}

func (o *reportOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "output", "o", "-", "`file` to write; - is stdout")
	addBlurFaces(fs, &o.blurFaces, &o.blurMargin)
}

func (o *reportOptions) check(string) error {
	if o.out == "-" && o.onTerminal {
		return usagef("a report is a page for a browser, not for a terminal: name a file: -o report.html")
	}
	return checkBlurMargin(o.blurMargin)
}

func newReport(g *globals) *cobra.Command {
	o := reportOptions{onTerminal: isTerminal(g.out)}
	return jobCommand(&cobra.Command{
		Use:   "report JOB -o FILE.html",
		Short: "Write one page about the job: run, failures, faces, images",
		Long: "Writes one HTML file that needs nothing else: the run over time, failures and what to " +
			"do about them, faces per image, file sizes, formats, hosts, scores, and the pictures " +
			"that `run --thumbnails` kept. Works beside running processes.",
		Example: `facescan report urls.txt -o report.html               # the page
facescan report urls.txt -o report.html --blur-faces  # without faces in its pictures
facescan run urls.txt --thumbnails 200                # keep pictures for it during the run`,
	}, &o, readJob, func(ctx context.Context, job store.Job, arg string) error {
		return runReport(ctx, g, &o, job, arg)
	})
}

func runReport(ctx context.Context, g *globals, o *reportOptions, job store.Job, arg string) error {
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	ro := report.Options{
		Now: time.Now(), NoFaces: detection.NoFaces(settings), Version: release + " (" + commit() + ")",
		Flags: hint.Words(pipeline.RunFlags(settings)...),
		Hint:  func(r store.Reason) string { return pipeline.Hint(r, job.Path()) },
		Scale: func(fingerprint string) report.Scale {
			k := detect.KindOf(fingerprint)
			return report.Scale{Name: k.Name, Decimals: cmp.Or(k.Decimals, 2), Unit: k.MaxScore == 1}
		},
	}
	ro.More = func() (string, error) {
		return pipeline.RunCommand(ctx, job, nameOf(arg), "--thumbnails", "200")
	}
	if o.blurFaces {
		g.report("facescan: %s", blurWarning)
		ro.Blur = func(jpeg []byte, faces []store.Face, width, height int) ([]byte, error) {
			return keep.Blur(jpeg, faces, width, height, o.blurMargin)
		}
	}
	write := func(w io.Writer) error {
		b := bufio.NewWriter(w)
		if err := report.Write(ctx, b, job, ro); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return b.Flush()
	}
	if o.out == "-" {
		return write(g.out)
	}
	sources, err := exportSources(ctx, job)
	if err != nil {
		return err
	}
	if err := guardOutput(o.out, job, sources, arg); err != nil {
		return err
	}
	f, err := export.Create(o.out)
	if err != nil {
		return err
	}
	defer f.Discard() // does nothing to a finished one
	if err := write(f); err != nil {
		return err
	}
	return f.Close()
}
