package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/pipeline/detection"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/segment"
)

type statusOptions struct {
	by    string
	top   int
	json  bool
	watch bool
	every time.Duration
}

func (o *statusOptions) addFlags(fs *pflag.FlagSet) {
	fs.Var(newOptionalChoice(&o.by, words(store.Keys)...), "by",
		"sum up the done rows by `KEY` instead: host, reason, format, group or sha256; reads all of "+
			"them")
	fs.IntVar(&o.top, "top", 20, "with --by: list the N values with the most rows; 0 = all")
	fs.BoolVar(&o.json, "json", false, "print one JSON object")
	fs.BoolVar(&o.watch, "watch", false, "refresh every --every until interrupted or the job is done")
	fs.DurationVar(&o.every, "every", 2*time.Second, "interval of --watch")
}

func newStatus(g *globals) *cobra.Command {
	var o statusOptions
	return command(&cobra.Command{
		Use:   "status JOB…",
		Short: "Counts, rate, failures by reason, shards and owners",
		Long: "Prints how far a job is. Of several jobs, which are parts of one list (--node), it " +
			"prints the rows that are left over all.",
		Example: `facescan status urls.txt                     # counts, failures, owners
facescan status urls.txt --watch             # refresh until the job is done
facescan status urls.txt --by host --top 50  # which hosts the results come from
facescan status urls.txt --json              # for a script`,
		Args: args(cobra.MinimumNArgs(1), "a job, or the list it was made from, or several parts of a list"),
	}, &o, func(ctx context.Context, args []string) error { return runStatus(ctx, g, &o, args) })
}

// rateSample is how far apart two looks at the counters are when somebody works on the job.
const rateSample = 500 * time.Millisecond

func runStatus(ctx context.Context, g *globals, o *statusOptions, args []string) error {
	if o.every < 100*time.Millisecond {
		return usagef("--every %v: give 100ms or more", o.every)
	}
	if err := o.checkBy(); err != nil {
		return err
	}
	if len(args) > 1 || segment.IsFolder(args[0]) {
		return statusOfParts(ctx, g, o, args)
	}
	job, err := readJob(ctx, args[0])
	if err != nil {
		return err
	}
	defer job.Close()
	return statusOf(ctx, g, o, job)
}

// statusOf prints how far one job is.
func statusOf(ctx context.Context, g *globals, o *statusOptions, job store.Job) error {
	if err := reportMerge(ctx, g, job); err != nil {
		return err
	}
	if o.by != "" {
		return statusBy(ctx, g, o, job)
	}
	for {
		c, err := job.Counts(ctx)
		if err != nil {
			return err
		}
		settings, err := job.Settings(ctx)
		if err != nil {
			return err
		}
		sources, err := job.Sources(ctx)
		if err != nil {
			return err
		}
		rate := 0.0
		if c.Working() {
			begin, done := time.Now(), c.Done
			if err := sleep(ctx, rateSample); err != nil {
				return err
			}
			if c, err = job.Counts(ctx); err != nil {
				return err
			}
			rate = float64(c.Done-done) / time.Since(begin).Seconds()
		}
		s := live.Snapshot{Counts: c, Detector: settings[detection.DetectorSetting], Rate: rate}
		s.Estimate()
		if o.json {
			line := pick(&s, append(jobFigures, "owners")...)
			line["missing"] = missingRows(settings, sources)
			if err := printJSON(g.out, line); err != nil {
				return err
			}
		} else {
			printStatus(g, job.Path(), &s, settings, sources)
		}
		if !o.watch || c.Pending == 0 && len(c.ImportIncomplete) == 0 {
			return nil
		}
		if sleep(ctx, o.every) != nil {
			return &exit{code: exitInterrupted}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// missingRows is how many rows of its lists a merged job lacks; nil when it is not known.
func missingRows(settings map[string]string, sources []store.Source) any {
	sum := int64(0)
	for _, s := range sources {
		n, known := store.Missing(settings, s)
		if !known {
			return nil
		}
		sum += n
	}
	return sum
}

func printStatus(g *globals, path string, s *live.Snapshot, settings map[string]string,
	sources []store.Source) {
	p := g.print
	p("job      %s", path)
	printSources(g, sources, settings)
	if s.Detector != "" {
		p("detector %s", s.Detector)
	}
	p("rows     %12d", s.Total)
	if s.AlreadyDone > 0 {
		p("  already done %4d", s.AlreadyDone)
	}
	p("  done   %12d   %s", s.Done, percent(s.Done, s.Total))
	p("  pending%12d", s.Pending)
	if s.LooksForFaces() {
		p("ok       %12d   %d with faces, %s", s.OK, s.ImagesWithFaces, figures.Of(s.Faces, "face"))
	} else {
		p("ok       %12d   no faces were looked for", s.OK)
	}
	p("failed   %12d   %s of done", s.Failed, percent(s.Failed, s.Done))
	for _, r := range store.Ranked(s.Failures) {
		p("  %-16s %10d  %s", r, s.Failures[r], r.Class())
	}
	p("shards   %12d   %d done, %d leased, %d free", s.Shards.Total, s.Shards.Done, s.Shards.Leased,
		s.Shards.Free)
	for _, o := range s.Owners {
		state := "alive"
		if !o.Alive {
			state = "gone"
		}
		p("  owner  %s pid %d on %s, %s, joined %v ago: %s, %s, lease ends in %v", o.ID,
			o.PID, o.Host, state, o.Age.Round(time.Second), figures.Of(o.Shards, "shard"),
			figures.Of(o.Pending, "pending row"), o.Expires.Round(time.Second))
		if o.Alive && o.Why != "" {
			p("         %.1f rows/s, held back by %s", o.Rate, o.Why)
		}
	}
	if s.Rate > 0 {
		p("rate     %12.1f rows/s", s.Rate)
	}
	if s.Rate > 0 && s.Left > 0 {
		p("left     %12s", figures.Span(s.Left))
	}
}

// topSources is how many lists status shows by name, those with the most rows left.
const topSources = 20

// printSources lists the sources by number; of many, only the top ones, and the sum of the rest.
func printSources(g *globals, sources []store.Source, settings map[string]string) {
	var rest []store.Source
	if len(sources) > topSources {
		byLeft := slices.Clone(sources)
		slices.SortStableFunc(byLeft,
			func(a, b store.Source) int { return cmp.Compare(b.Pending, a.Pending) })
		sources, rest = byLeft[:topSources], byLeft[topSources:]
		slices.SortFunc(sources, func(a, b store.Source) int { return cmp.Compare(a.Number, b.Number) })
	}
	for _, s := range sources {
		var state []string
		if !s.Complete {
			state = append(state, "import not complete")
		}
		if s.Importer != "" {
			state = append(state, "imported by "+s.Importer)
		}
		if s.Paused {
			state = append(state, "paused")
		}
		if s.Priority != 0 {
			state = append(state, fmt.Sprintf("priority %d", s.Priority))
		}
		if s.Pending > 0 {
			state = append(state, fmt.Sprintf("%d left", s.Pending))
		}
		if n, known := store.Missing(settings, s); n > 0 {
			state = append(state, figures.Of(n, "row")+" missing")
		} else if !known {
			state = append(state, "rows missing")
		}
		g.print("source   %12d   rows of %s%s", s.Rows, s.Name,
			strings.Join(append([]string{""}, state...), ", "))
	}
	if len(rest) > 0 {
		printRest(g, rest, settings)
	}
}

// printRest sums up sources that are not listed.
func printRest(g *globals, rest []store.Source, settings map[string]string) {
	var rows, left int64
	var incomplete, paused, missing int
	for _, s := range rest {
		rows, left = rows+s.Rows, left+s.Pending
		if !s.Complete {
			incomplete++
		}
		if s.Paused {
			paused++
		}
		if n, known := store.Missing(settings, s); n > 0 || !known {
			missing++
		}
	}
	text := fmt.Sprintf("source   %12d   %s of %s", rows, figures.Word(rows, "row"),
		figures.Of(len(rest), "more list"))
	for _, n := range []struct {
		n    int64
		what string
	}{
		{int64(incomplete), "imports not complete"}, {int64(paused), "paused"}, {left, "left"},
		{int64(missing), "with rows missing"},
	} {
		if n.n > 0 {
			text += fmt.Sprintf(", %d %s", n.n, n.what)
		}
	}
	g.print("%s", text)
}

// percent is a share, for a column.
func percent(n, of int64) string { return strings.ReplaceAll(figures.Percent(n, of), " ", "") }
