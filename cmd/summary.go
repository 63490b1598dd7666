package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"facescan/pipeline"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
	"facescan/store/hint"
)

// leastShare of a run's time is worth a line in its summary.
const leastShare = 0.2

// tailRows is how many rows a run must have done for the time of the last 1 % to be worth a line.
const tailRows = 1000

// jobFigures are the names of what status --json and the summary print of a job.
var jobFigures = []string{"total", "done", "pending", "already_done", "ok", "failed", "images_with_faces",
	"faces", "failures", "rate", "eta_seconds", "shards"}

// pick is the figures of a snapshot with these names.
func pick(s *live.Snapshot, names ...string) map[string]any {
	all, line := map[string]json.RawMessage{}, map[string]any{}
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	for _, name := range names {
		figure, known := all[name]
		if !known {
			panic("a snapshot has no " + name)
		}
		line[name] = figure
	}
	return line
}

// printJSON writes a line of JSON.
func printJSON(w io.Writer, line any) error {
	b, err := json.Marshal(line)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s\n", b)
	}
	return err
}

// summary is what the end of a run says: what was done, why rows failed, and what to do next.
type summary struct {
	*globals
	mode     string // --progress
	name     string // stands for the job in commands
	resume   string // the command that goes on with the run
	password bool   // the job was named with a password, which commands lack
	end      pipeline.End
	err      error
	*live.Snapshot
}

// nextCommands are commands that may follow, by what they do. Release is for paused rows, resume for pending
// ones.
func (s *summary) nextCommands() (next struct{ release, resume, export, retry string }) {
	waits := len(s.ImportIncomplete) > 0 || s.end != pipeline.Finished && s.Total == 0
	if s.end == pipeline.Paused && s.err == nil {
		next.release = hint.On("resume", s.name)
	}
	if s.Pending > 0 || waits && s.err == nil {
		next.resume = s.resume
	}
	if s.Done > 0 {
		next.export = hint.On("export", s.name, "-o", "results.csv")
	}
	if s.Pending == 0 && transient(s.Failures) > 0 {
		next.retry = hint.On("retry", s.name)
	}
	return next
}

// reportAll writes the summary.
func (s *summary) reportAll() {
	switch {
	case s.mode == "json":
		_ = printJSON(s.globals.err, s.figures()) // stderr is gone: there is nobody to say so to
	case s.json():
		s.logAll()
	case !s.quiet:
		s.print()
	}
}

// figures are the summary as JSON.
func (s *summary) figures() map[string]any {
	line := pick(s.Snapshot, append(jobFigures, "elapsed_seconds")...)
	line["summary"] = endWord(s.end, s.err)
	line["held_back_by"], line["held_back"], line["held_back_share"] = nil, nil, nil
	if m := s.Mostly; m.Kind != "" {
		line["held_back_by"], line["held_back"], line["held_back_share"] = m.Kind, m.Holdup.String(), m.Share
	}
	return line
}

// asAttrs are figures as attributes of a record.
func asAttrs(figures map[string]any) (attrs []any) {
	for _, key := range slices.Sorted(maps.Keys(figures)) {
		attrs = append(attrs, key, figures[key])
	}
	return attrs
}

// logAll is the summary as a record.
func (s *summary) logAll() {
	line, next := s.figures(), s.nextCommands()
	delete(line, "summary") // it is the message
	attrs := asAttrs(line)
	for _, c := range []struct{ key, command string }{{"release", next.release}, {"resume", next.resume},
		{"export", next.export}, {"retry", next.retry}} {
		if c.command != "" {
			attrs = append(attrs, c.key, c.command)
		}
	}
	s.log().Info(endWord(s.end, s.err), attrs...)
}

// print is the summary for people.
func (s *summary) print() {
	g, next := s.globals, s.nextCommands()
	word := endWord(s.end, s.err)
	stopped := s.end == pipeline.Interrupted || s.end == pipeline.Limited
	if stopped && s.err == nil && s.Pending == 0 && s.Total > 0 {
		word += " after the last row"
	}
	rate := float64(s.Own.Done) / max(s.Elapsed().Seconds(), 0.001)
	g.report("facescan: %s: %d of %s done; this run did %d in %v (%s)",
		word, s.Done, figures.Are(s.Total, "row"), s.Own.Done, s.Elapsed().Round(100*time.Millisecond),
		figures.Rate(rate))
	if m := s.Mostly; m.Share >= leastShare {
		g.report("  held back mostly by %s: %.0f%% of the time", m.What, 100*m.Share)
		if m.Advice != "" {
			g.report("    %s", m.Advice)
		}
	}
	if s.end == pipeline.Finished && s.err == nil && s.Tail > time.Second && s.Own.Done >= tailRows {
		g.report("  the last 1%% of the rows took %v", s.Tail.Round(100*time.Millisecond))
	}
	if s.LooksForFaces() {
		g.report("  ok      %10d   %d of them with faces, %s",
			s.OK, s.ImagesWithFaces, figures.Of(s.Faces, "face"))
	} else {
		g.report("  ok      %10d   no faces were looked for", s.OK)
	}
	g.report("  failed  %10d", s.Failed)
	for _, r := range store.Ranked(s.Failures) {
		g.report("    %-16s %8d   %s", r, s.Failures[r], pipeline.Hint(r, s.name))
	}
	switch {
	case next.release != "":
		g.report("  paused  %10d   they wait in paused lists; to release them: %s",
			s.PausedPending, next.release)
		g.report("  %18s   then go on with: %s", "", next.resume)
	case s.Pending > 0:
		g.report("  pending %10d   nothing is lost; go on with: %s", s.Pending, next.resume)
	case next.resume != "":
		g.report("  nothing is lost; go on with: %s", next.resume)
	}
	if next.export != "" {
		g.report("  next: %s", next.export)
	}
	if next.retry != "" {
		g.report("        %s      (%d failed for reasons that may have passed)", next.retry,
			transient(s.Failures))
	}
	if s.password {
		g.report("  these commands lack the database's password: put it into PGPASSWORD or ~/.pgpass")
	}
}

func endWord(end pipeline.End, err error) string {
	switch {
	case err != nil:
		return "stopped by an error"
	case end == pipeline.Interrupted:
		return "interrupted"
	case end == pipeline.Limited:
		return "stopped by a limit"
	case end == pipeline.Paused:
		return "paused"
	case end == pipeline.TooManyFail:
		return "aborted, too many failures"
	}
	return "finished"
}

func transient(m map[store.Reason]int64) (n int64) {
	for r, k := range m {
		if r.Class() == store.Transient {
			n += k
		}
	}
	return n
}
