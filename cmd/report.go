package cmd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
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
	out        string
	blurFaces  bool
	blurMargin float64
}

func (o *reportOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "output", "o", "-", "`file` to write; - is stdout")
	addBlurFaces(fs, &o.blurFaces, &o.blurMargin)
}

func newReport(g *globals) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report JOB -o FILE.html",
		Short: "Write one page about the job: run, failures, faces, images",
		Long: "Writes one HTML file that needs nothing else: the run over time, failures and what to " +
			"do about them, faces per image, file sizes, formats, hosts, scores, and the pictures " +
			"that `run --thumbnails` kept. Works beside running processes.",
		Example: `facescan report urls.txt -o report.html               # the page
facescan report urls.txt -o report.html --blur-faces  # without faces in its pictures
facescan run urls.txt --thumbnails 200                # keep pictures for it during the run`,
		Args: args(cobra.ExactArgs(1), "a job, or the list it was made from"),
		RunE: func(c *cobra.Command, args []string) error {
			return runReport(c.Context(), g, &o, args[0])
		},
	}
	o.addFlags(c.Flags())
	return c
}

// runFlagsOf are the flags that a job keeps of its last run, as words of a shell; empty if there are none.
func runFlagsOf(settings map[string]string) string {
	var words []string
	_ = json.Unmarshal([]byte(settings[store.RunFlagsSetting]), &words) // damaged: verify says so
	if len(words) == 0 {
		return ""
	}
	return hint.Words(words...)
}

func runReport(ctx context.Context, g *globals, o *reportOptions, arg string) error {
	if err := checkBlurMargin(o.blurMargin); err != nil {
		return err
	}
	if o.out == "-" && isTerminal(g.out) {
		return usagef("a report is a page for a browser, not for a terminal: name a file: -o report.html")
	}
	job, err := readJob(ctx, arg)
	if err != nil {
		return err
	}
	defer job.Close()
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	ro := report.Options{
		Now: time.Now(), NoFaces: detection.NoFaces(settings), Version: release + " (" + commit() + ")",
		Flags: runFlagsOf(settings),
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
		g.tell("facescan: %s", blurWarning)
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
