package cmd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"facescan/pipeline"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
)

// leastShare of a run's time is worth a line in its summary.
const leastShare = 0.2

// jobFigures are the names of what status --json and the summary tell of a job.
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

// summarize tells how a run ended: what was done, why rows failed, most frequent first, and what to do next:
// name stands for the job, and resume is the command that resumes the run.
func summarize(g *globals, mode, name, resume string, end pipeline.End, err error, s *live.Snapshot) {
	if mode == "json" {
		line := pick(s, append(jobFigures, "elapsed_seconds")...)
		line["summary"] = endWord(end, err)
		line["held_back_by"], line["held_back"], line["held_back_share"] = nil, nil, nil
		if m := s.Mostly; m.Kind != "" {
			line["held_back_by"], line["held_back"], line["held_back_share"] = m.Kind, m.Holdup.String(),
				m.Share
		}
		_ = printJSON(g.err, line) // stderr is gone: there is nobody to say so to
		return
	}
	rate := float64(s.Own.Done) / max(s.Elapsed().Seconds(), 0.001)
	g.tell("facescan: %s: %d of %d rows are done; this run did %d in %v (%s)",
		endWord(end, err), s.Done, s.Total, s.Own.Done, s.Elapsed().Round(100*time.Millisecond),
		figures.Rate(rate))
	if m := s.Mostly; m.Share >= leastShare {
		g.tell("  held back mostly by %s: %.0f%% of the time", m.What, 100*m.Share)
		if m.Advice != "" {
			g.tell("    %s", m.Advice)
		}
	}
	if end == pipeline.Finished && err == nil && s.Tail > time.Second && s.Own.Done > 0 {
		g.tell("  the last 1%% of the rows took %v", s.Tail.Round(100*time.Millisecond))
	}
	if s.LooksForFaces() {
		g.tell("  ok      %10d   %d of them with faces, %d faces", s.OK, s.ImagesWithFaces, s.Faces)
	} else {
		g.tell("  ok      %10d   no faces were looked for", s.OK)
	}
	g.tell("  failed  %10d", s.Failed)
	for _, f := range ranked(s.Failures) {
		g.tell("    %-16s %8d   %s", f.reason, f.n, pipeline.Hint(f.reason, name))
	}
	if s.Pending > 0 {
		g.tell("  pending %10d   nothing is lost; go on with: %s", s.Pending, resume)
	}
	if s.Pending == 0 && err == nil &&
		(len(s.ImportIncomplete) > 0 || end != pipeline.Finished && s.Total == 0) {
		g.tell("  nothing is lost; go on with: %s", resume)
	}
	if s.Done > 0 {
		g.tell("  next: %s", pipeline.ShellCommand("facescan", "export", name, "-o", "results.csv"))
	}
	if n := transient(s.Failures); n > 0 && s.Pending == 0 {
		g.tell("        %s      (%d failed for reasons that may have passed)",
			pipeline.ShellCommand("facescan", "retry", name), n)
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
	case end == pipeline.TooManyFail:
		return "aborted, too many failures"
	}
	return "finished"
}

type failures struct {
	reason store.Reason
	n      int64
}

func ranked(m map[store.Reason]int64) []failures {
	var out []failures
	for r, n := range m {
		if n > 0 {
			out = append(out, failures{r, n})
		}
	}
	slices.SortFunc(out, func(a, b failures) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.reason, b.reason))
	})
	return out
}

func transient(m map[store.Reason]int64) (n int64) {
	for r, k := range m {
		if r.Class() == store.Transient {
			n += k
		}
	}
	return n
}
