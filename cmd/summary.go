package cmd

import (
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"facescan/pipeline"
	"facescan/store"
)

// leastShare of a run's time is worth a line in its summary.
const leastShare = 0.2

// summarize tells how a run ended: what was done, why rows failed, most frequent first, and what to do next:
// name stands for the job, and resume is the command that resumes the run.
func summarize(g *globals, mode, name, resume string, end pipeline.End, err error, c store.Counts, s pipeline.Snapshot) {
	if mode == "json" {
		line := statusLine(c, s.Detector == store.NoDetector, rateOf(s), etaOf(c, s))
		line["summary"] = endWord(end, err)
		line["elapsed_seconds"] = s.Elapsed.Seconds()
		line["held_back_by"], line["held_back"], line["held_back_share"] = nil, nil, nil
		if m := s.Mostly; m.Kind != "" {
			line["held_back_by"], line["held_back"], line["held_back_share"] = m.Kind, m.Holdup.String(), m.Share
		}
		if b, err := json.Marshal(line); err == nil {
			fmt.Fprintf(g.err, "%s\n", b)
		}
		return
	}
	rate := float64(s.Done) / max(s.Elapsed.Seconds(), 0.001)
	g.tell("facescan: %s: %d of %d rows are done; this run did %d in %v (%.1f/s)",
		endWord(end, err), c.Done, c.Total, s.Done, s.Elapsed.Round(100*time.Millisecond), rate)
	if m := s.Mostly; m.Share >= leastShare {
		g.tell("  held back mostly by %s: %.0f%% of the time", m.What, 100*m.Share)
		if m.Advice != "" {
			g.tell("    %s", m.Advice)
		}
	}
	if s.Tail > time.Second && s.Done > 0 {
		g.tell("  the last 1%% of the rows took %v", s.Tail.Round(100*time.Millisecond))
	}
	if s.Detector == store.NoDetector {
		g.tell("  ok      %10d   no faces were looked for", c.OK)
	} else {
		g.tell("  ok      %10d   %d of them with faces, %d faces", c.OK, c.ImagesWithFaces, c.Faces)
	}
	g.tell("  failed  %10d", c.Failed)
	for _, f := range ranked(c.Failures) {
		g.tell("    %-16s %8d   %s", f.reason, f.n, pipeline.Remedy(f.reason, name))
	}
	if c.Pending > 0 {
		g.tell("  pending %10d   nothing is lost; go on with: %s", c.Pending, resume)
	}
	if c.Pending == 0 && err == nil && (len(c.ImportIncomplete) > 0 || end != pipeline.Finished && c.Total == 0) {
		g.tell("  nothing is lost; go on with: %s", resume)
	}
	if c.Done > 0 {
		g.tell("  next: %s", pipeline.ShellCommand("facescan", "export", name, "-o", "results.csv"))
	}
	if n := transient(c.Failures); n > 0 && c.Pending == 0 {
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
	sort.Slice(out, func(i, j int) bool {
		if out[i].n != out[j].n {
			return out[i].n > out[j].n
		}
		return out[i].reason < out[j].reason
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

func rateOf(s pipeline.Snapshot) float64 { return s.Rate }

func etaOf(c store.Counts, s pipeline.Snapshot) any {
	if c.Pending == 0 {
		return 0
	}
	if s.Rate <= 0 || len(c.ImportIncomplete) > 0 {
		return nil
	}
	return float64(c.Pending) / s.Rate
}
