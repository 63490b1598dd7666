package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline/detection"
	"facescan/pipeline/parts"
	"facescan/store"
	"facescan/store/export"
)

type exportOptions struct {
	outputs     []string
	format      string
	rows        string
	columns     []string
	where       string
	splitBy     string
	minScore    scores
	credentials bool
	follow      bool
	distance    int
	flags       *pflag.FlagSet
	onTerminal  bool // stdout is one

	// What the job says; set by readSettings.
	noFaces     bool
	leastScores map[string]float64
}

func (o *exportOptions) addFlags(fs *pflag.FlagSet) {
	o.flags = fs
	fs.StringArrayVarP(&o.outputs, "output", "o", nil,
		"`file` to write, or - for stdout; .gz and .zst compress; may be repeated (default: "+
			"-)")
	fs.StringVar(&o.format, "format", "",
		"`format`: csv, jsonl, parquet or coco; default: by the file name, csv for a name without a suffix")
	fs.StringVar(&o.rows, "rows", "images", "`kind` of record per row: images, faces, groups or "+
		"duplicates (groups of equal and similar pictures, of runs with --hash)")
	fs.IntVar(&o.distance, "distance", 4, "with --rows duplicates: pictures are similar if their phash "+
		"differs in at most N of 64 bits; 0 = equal ones alone")
	fs.StringSliceVar(&o.columns, "columns", nil,
		"`columns` to write, in this order: see facescan help columns; default: those of the rows")
	fs.StringVar(&o.where, "where", "",
		"`condition` for rows to write, e.g. \"faces > 0 and url like 'https:%'\"; default: "+
			"all")
	fs.StringVar(&o.splitBy, "split-by", "", "a file per value of `COLUMN`, in the folder of -o")
	fs.Var(&o.minScore, "min-score",
		"re-apply the score threshold, without downloading again: a score of the job's "+
			"detector, or one per detector, e.g. yunet=0.6,pigo=8; default: that of the run")
	fs.BoolVar(&o.follow, "follow", false,
		"keep writing rows in order as they are done, until the job is finished; resumes an existing file")
	fs.BoolVar(&o.credentials, "credentials", false, "show passwords in URLs, instead of ***")
}

func newExport(g *globals) *cobra.Command {
	o := exportOptions{onTerminal: isTerminal(g.out)}
	return jobCommand(&cobra.Command{
		Use:   "export JOB",
		Short: "Write the results as CSV, JSON Lines, Parquet or COCO",
		Long: "Writes one line per finished row of the job, in id order. Failed rows are included, " +
			"with their reason. Works beside running processes.",
		Example: `facescan export urls.txt -o faces.csv                                # one line per image
facescan export urls.txt --rows faces -o faces.parquet               # one row per face
facescan export urls.txt --where 'faces > 0' --columns id,url,faces  # only images with faces
facescan export urls.txt --min-score 0.7                             # another threshold, without downloading again
facescan export photos.csv --split-by album -o by-album              # a file per value`,
	}, &o, o.openJob, func(ctx context.Context, job store.Job, arg string) error {
		return runExport(ctx, g, &o, job, arg)
	})
}

// exportGC makes the collector look less often: of what an export reads little is alive at a time, and all of
// it for a moment.
const exportGC = 400

// openJob opens a job to export.
func (o *exportOptions) openJob(ctx context.Context, arg string) (store.Job, error) {
	if o.follow && slices.ContainsFunc(o.outputs, func(path string) bool { return path != "-" }) {
		return existingJob(ctx, arg) // which keeps how far the file is written
	}
	return readJob(ctx, arg)
}

func runExport(ctx context.Context, g *globals, o *exportOptions, job store.Job, arg string) (err error) {
	if err := o.readSettings(ctx, job); err != nil {
		return err
	}
	if err := reportMerge(ctx, g, job); err != nil {
		return err
	}
	sources, err := exportSources(ctx, job)
	if err != nil {
		return err
	}
	if err := o.guard(job, sources, arg); err != nil {
		return err
	}
	if o.follow {
		return followExport(ctx, g, o, job, sources)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(exportGC))
	if err := o.checkScores(ctx, job, sources); err != nil {
		return err
	}
	var outs []*output
	defer func() {
		for _, out := range outs {
			out.discard() // does nothing to a finished one
		}
	}()
	for _, path := range o.outputs {
		out, err := o.open(g, path, sources)
		if err != nil {
			return err
		}
		outs = append(outs, out)
	}
	switch o.rows {
	case "duplicates":
		err = o.writeDuplicates(ctx, g, job, outs)
	case "groups":
		err = writeAll(outs, job.Groups(ctx, 0), export.Writer.WriteGroup)
	default:
		err = writeAll(outs, job.Select(ctx, store.Query{
			From: math.MinInt64, To: math.MaxInt64, Brief: o.brief(sources), Where: o.condition(sources)}),
			export.Writer.Write)
	}
	if err != nil {
		return err
	}
	for _, out := range outs {
		if err := out.finish(); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
	}
	return nil
}

// check rejects invalid outputs.
func (o *exportOptions) check(string) error {
	if len(o.outputs) == 0 {
		o.outputs = []string{"-"}
	}
	if err := o.checkDuplicates(); err != nil {
		return err
	}
	if o.splitBy != "" && (len(o.outputs) != 1 || o.outputs[0] == "-") {
		return usagef("--split-by needs one folder: -o FOLDER")
	}
	if o.splitBy != "" {
		ext := strings.TrimPrefix(export.Suffix(o.outputs[0]), ".")
		st, err := os.Stat(o.outputs[0])
		if slices.Contains(export.Formats(), ext) && (err != nil || !st.IsDir()) {
			return usagef("-o %s: --split-by makes a folder of files: name one, e.g. -o by-%s, and choose "+
				"the format of the files with --format %s", o.outputs[0], o.splitBy, ext)
		}
	}
	seen := map[string]bool{}
	for _, path := range o.outputs {
		name := filepath.Clean(path)
		if abs, err := filepath.Abs(path); err == nil && path != "-" {
			name = abs
		}
		if seen[name] {
			return usagef("-o %s is given twice", path)
		}
		seen[name] = true
	}
	if o.format == "parquet" && seen["-"] && o.onTerminal {
		return usagef("Parquet is for programs, not for a terminal: name a file: -o results.parquet")
	}
	return nil
}

// guard refuses outputs that belong to the job, and names that do not say in which format to write.
func (o *exportOptions) guard(job store.Job, sources []export.Source, arg string) error {
	formats := export.Formats()
	if o.follow {
		formats = export.FollowFormats()
	}
	for _, path := range o.outputs {
		if path == "-" {
			continue
		}
		if err := guardOutput(path, job, sources, arg); err != nil {
			return err
		}
		if _, err := export.FormatOf(path, formats); err != nil && o.format == "" && o.splitBy == "" {
			return usagef("-o %w", err)
		}
	}
	return nil
}

// writeAll gives every record to every output.
func writeAll[T any](outs []*output, records iter.Seq2[T, error], write func(export.Writer, T) error) error {
	for r, err := range records {
		if err != nil {
			return err
		}
		for _, out := range outs {
			if err := write(out.Writer, r); err != nil {
				return fmt.Errorf("write the export: %w", err)
			}
		}
	}
	return nil
}

// brief reports whether only default columns are asked for, and nothing of a result besides.
func (o *exportOptions) brief(sources []export.Source) bool {
	kept := slices.ContainsFunc(sources, func(s export.Source) bool { return len(s.Kept) > 0 })
	return !kept && len(o.columns) == 0 && o.where == "" && o.splitBy == "" && !o.minScore.set() &&
		o.format != "coco"
}

// condition is --where for the database, so that rows it excludes are not even read; nil where what it asks
// for is decided here.
func (o *exportOptions) condition(sources []export.Source) store.Condition {
	if o.where == "" || o.rows != "images" || o.minScore.set() {
		return nil
	}
	f, err := export.ParseFilter(o.where, export.Options{Sources: sources, Detectors: exportDetectors()})
	if err != nil {
		return nil // the outputs report it
	}
	return f
}

// readSettings reads what the job says about the export. It refuses to export the groups of a job that has
// only a part of its lists' rows, and a threshold that is not one of the job's detector.
func (o *exportOptions) readSettings(ctx context.Context, job store.Job) error {
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	if o.rows == "groups" && settings[store.NodeSetting] != "" {
		merge, err := parts.MergeHint(ctx, job)
		if err != nil {
			return err
		}
		return usagef("%s is node %s of its list: groups are finished when the parts are merged: %s",
			job.Path(), settings[store.NodeSetting], merge)
	}
	o.noFaces = detection.NoFaces(settings)
	if !o.minScore.set() {
		return nil
	}
	name, err := detection.Current(ctx, job)
	if err != nil {
		return err
	}
	if name == detect.None { // rows that are done before a rescan have no faces anyway
		name = detect.Default
	}
	o.leastScores, err = o.minScore.of(name)
	return err
}

// checkScores refuses a threshold for rows of a detector that it is not for, before any row is written.
func (o *exportOptions) checkScores(ctx context.Context, job store.Job, sources []export.Source) error {
	if o.leastScores == nil {
		return nil
	}
	prints, err := job.Detectors(ctx)
	if err != nil {
		return err
	}
	mixed := slices.ContainsFunc(prints, func(p string) bool {
		_, ok := o.leastScores[detect.KindOf(p).Name]
		return !ok && p != store.NoDetector
	})
	if !mixed {
		return nil
	}
	opts := o.options("-", sources)
	opts.Format, opts.Columns = "csv", []string{"id"}
	w, err := export.New(io.Discard, opts)
	if err != nil {
		return err
	}
	for r, err := range job.Results(ctx, math.MinInt64, math.MaxInt64) {
		if err != nil {
			return err
		}
		if err := w.Write(r); err != nil {
			return err
		}
	}
	return w.Close()
}

// output is one of the exports that are written at once.
type output struct {
	export.Writer
	finish  func() error
	discard func()
}

func (o *exportOptions) options(path string, sources []export.Source) export.Options {
	opts := export.Options{Format: formatOf(o.format, path), Rows: o.rows, Columns: o.columns,
		Sources: sources, Where: o.where, Credentials: o.credentials}
	opts.Detectors, opts.NoFaces, opts.MinScore = exportDetectors(), o.noFaces, o.leastScores
	return opts
}

func (o *exportOptions) open(g *globals, path string, sources []export.Source) (*output, error) {
	opts := o.options(path, sources)
	if o.splitBy != "" {
		w, discard, err := export.NewSplit(path, o.splitBy, opts)
		if err != nil {
			return nil, err
		}
		return newOutput(w, discard, func() error { return nil }), nil
	}
	var to io.Writer = g.out
	closeFile, discard := func() error { return nil }, func() {}
	if path != "-" {
		f, err := export.Create(path)
		if err != nil {
			return nil, err
		}
		to, closeFile, discard = f, f.Close, f.Discard
	}
	w, err := export.New(to, opts)
	if err != nil {
		discard()
		return nil, err
	}
	return newOutput(w, discard, closeFile), nil
}

func newOutput(w export.Writer, discard func(), closeFile func() error) *output {
	out := &output{Writer: w, discard: discard}
	out.finish = func() error {
		if err := w.Close(); err != nil {
			return err
		}
		out.discard = func() {}
		return closeFile()
	}
	return out
}

// formatOf is the format that was requested, or the one that a file's name means.
func formatOf(requested, path string) string {
	byName, _ := export.FormatOf(path, nil) // of another suffix it was refused
	return cmp.Or(requested, byName)
}

// exportSources are the sources of a job as an export names them.
func exportSources(ctx context.Context, job store.Job) ([]export.Source, error) {
	sources, err := job.Sources(ctx)
	if err != nil {
		return nil, err
	}
	return sourcesOf(sources)
}

func sourcesOf(sources []store.Source) ([]export.Source, error) {
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
