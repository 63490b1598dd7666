package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline/forget"
	"facescan/pipeline/parts"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/segment"
)

type forgetOptions struct {
	where       string
	url         bool
	yes, dryRun bool
	publish     string
}

func (o *forgetOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.where, "where", "", "rows to forget, e.g. \"id = 7\" or \"url like '%/alice/%'\"; the "+
		"columns are those of export; pending rows are found by what the list says of them")
	fs.BoolVar(&o.url, "url", false, "remove URL, group and kept columns too; a salted hash of the URL "+
		"stays, so that the list can still be compared")
	fs.BoolVar(&o.yes, "yes", false, "do it without asking; required when stdin is not a terminal")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print how many rows this would forget, and do nothing")
	fs.StringVar(&o.publish, "publish", "", "`folder` that the job is published to, if it was moved since")
}

func newForget(g *globals) *cobra.Command {
	var o forgetOptions
	return command(&cobra.Command{
		Use:   "forget JOB --where … --yes",
		Short: "Delete what is known of rows, and their files",
		Long: "Deletes results, faces, landmarks, hashes, candidates and thumbnails of the rows, their " +
			"crops, blurred pictures and kept bytes, and what was published of them. The rows stay, done " +
			"and failed as `forgotten`: no run, rescan or merge brings them back, only `facescan retry " +
			"--reason forgotten`. The job file is rewritten (VACUUM), which takes twice its size for a " +
			"while. No other process may work on the job meanwhile. If it is interrupted, the same command " +
			"does the rest.\n\nNot reached are exports, reports and copies that you made, backups, file " +
			"systems that keep old blocks or snapshots, other jobs that have the same rows, and of " +
			"PostgreSQL the write-ahead log, its archives and replicas.",
		Example: `facescan forget urls.txt --where "url like '%/alice/%'"   # asks first; --yes does not
facescan forget urls.txt --where "id = 7" --url --yes     # the URL, too
facescan forget urls.txt --where "id = 7" --dry-run       # how many rows?`,
		Args: args(cobra.ExactArgs(1), "a job, or the list it was made from"),
	}, &o, func(ctx context.Context, args []string) error { return runForget(ctx, g, &o, args[0]) })
}

func runForget(ctx context.Context, g *globals, o *forgetOptions, arg string) error {
	if strings.TrimSpace(o.where) == "" {
		return usagef("say which rows to forget, e.g. --where \"id = 7\"; --where \"id = id\" is all of them")
	}
	if !o.yes || o.dryRun {
		rows, err := o.count(ctx, arg)
		if err != nil {
			return err
		}
		if o.dryRun {
			g.report("facescan: would forget %s", rows)
			return nil
		}
		err = g.ask("facescan: delete what is known of %s? It cannot be undone. [y/N] ", rows)
		if err != nil {
			return err
		}
	}
	job, err := existingJob(ctx, arg)
	if err != nil {
		return err
	}
	defer job.Close()
	return forgetRows(ctx, g, o, job, nameOf(arg))
}

// forgetRows deletes what is known of the rows of a job, which the user calls name.
func forgetRows(ctx context.Context, g *globals, o *forgetOptions, job store.Job, name string) error {
	filter, err := o.filter(ctx, job)
	if err != nil {
		return err
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	log := g.logger(g.err)
	fo := forget.Options{Job: job, Filter: filter, URL: o.url, Log: log}
	if err := o.checkTable(ctx, job); err != nil {
		return err
	}
	publisher, gone, err := o.publisher(ctx, job, settings, log)
	if err != nil {
		return err
	}
	if publisher != nil {
		defer publisher.Close()
		fo.Publisher = publisher
	}
	out, err := forget.Run(ctx, fo)
	switch {
	case err != nil && out.Rows > 0:
		return fmt.Errorf("after %s: %w", figures.Of(out.Rows, "row"), err)
	case err != nil:
		return err
	}
	if err := parts.RenewManifest(ctx, job); err != nil {
		return err
	}
	g.report("facescan: forgot %s", rowsOf(out.Rows, job.Path()))
	if gone != "" {
		out.Missing = append(out.Missing, gone)
	}
	reportRest(g, out, settings, name)
	return nil
}

// matched is how many rows a forget is about.
type matched struct {
	all, pending int64
	job          string
}

func (m matched) String() string {
	text := rowsOf(m.all, m.job)
	if m.pending > 0 {
		text += fmt.Sprintf(", %d of them pending", m.pending)
	}
	return text
}

// rowsOf names rows of a job by their number.
func rowsOf(n int64, job string) string {
	return figures.Of(n, "row") + " of " + job
}

// count opens the job to count the rows, and writes nothing.
func (o *forgetOptions) count(ctx context.Context, arg string) (m matched, err error) {
	job, err := readJob(ctx, arg)
	if err != nil {
		return m, err
	}
	defer job.Close()
	return o.countIn(ctx, job)
}

func (o *forgetOptions) countIn(ctx context.Context, job store.Job) (m matched, err error) {
	if err := o.checkTable(ctx, job); err != nil {
		return m, err
	}
	filter, err := o.filter(ctx, job)
	if err != nil {
		return m, err
	}
	m.job = job.Path()
	m.all, m.pending, err = forget.Count(ctx, job, filter)
	return m, err
}

// filter reads --where.
func (o *forgetOptions) filter(ctx context.Context, job store.Job) (*export.Filter, error) {
	sources, err := exportSources(ctx, job)
	if err != nil {
		return nil, err
	}
	return export.ParseFilter(o.where, export.Options{Sources: sources, Detectors: exportDetectors()})
}

// checkTable refuses --url for a job whose URLs are the user's own.
func (o *forgetOptions) checkTable(ctx context.Context, job store.Job) error {
	sources, err := job.Sources(ctx)
	if err != nil || !o.url || len(sources) == 0 || sources[0].Format != store.TableFormat {
		return err
	}
	return usagef("--url cannot change %s: its URLs are in your table %s; leave --url out, and remove them "+
		"there",
		job.Path(), sources[0].Name)
}

// publisher opens the folder that the job is published to; nil without one. Gone is a folder that is not
// there.
func (o *forgetOptions) publisher(ctx context.Context, job store.Job, settings map[string]string,
	log *slog.Logger) (p *segment.Publisher, gone string, err error) {
	dir := segment.Folder(settings)
	switch {
	case o.publish != "" && dir == "":
		return nil, "", usagef("--publish %s: %s is not published; leave --publish out",
			o.publish, job.Path())
	case o.publish != "":
		dir = o.publish
	case dir == "":
		return nil, "", nil
	}
	if _, err := os.Stat(dir); err != nil {
		if o.publish != "" {
			return nil, "", fmt.Errorf("--publish: %w", err)
		}
		return nil, dir, nil
	}
	share := publishOptions{dir: dir}
	p, err = share.open(ctx, job, target{}, store.DefaultShardSize, log)
	return p, "", err
}

// reportRest says what may still have the rows.
func reportRest(g *globals, out forget.Outcome, settings map[string]string, name string) {
	for _, dir := range out.Missing {
		g.report("  not looked at: %s, which is not there; if it was moved, put it back, then run: %s", dir,
			hint.On("forget", name, "--where", "reason = 'forgotten'", "--yes"))
	}
	if out.Rows == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		file, is := strings.CutPrefix(key, store.OutputSetting)
		if is && settings[key] != "" && !strings.HasPrefix(file, "-") {
			g.report("  not changed: %s still has these rows; the next `facescan run --out` or `facescan "+
				"export --follow -o` to it writes it again without them", file)
		}
	}
	if inputs, _ := store.UnfinishedMerge(settings); len(inputs) > 0 {
		g.report("  not changed: the jobs that were merged into this one: %s", strings.Join(inputs, ", "))
	}
	g.report("  not changed: exports and reports that you made; they are your copies")
	if out.Limits != "" {
		g.report("  %s", out.Limits)
	}
}

// ask asks a question on a terminal, and returns an error unless the answer is yes. Where nobody can answer,
// it is refused with what --yes would do.
func (g *globals) ask(question string, about fmt.Stringer) error {
	if in, ok := g.in.(io.Writer); !ok || !isTerminal(in) || !isTerminal(g.rawErr) {
		return usagef("this would delete what is known of %s, which cannot be undone: add --yes to do it",
			about)
	}
	fmt.Fprintf(g.err, question, about)
	line, err := bufio.NewReader(g.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was removed")
}
