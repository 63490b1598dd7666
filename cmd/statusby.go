package cmd

import (
	"context"
	"fmt"

	"facescan/pipeline/detection"
	"facescan/store"
	"facescan/store/top"
)

// checkBy validates --by and the flags that go with it.
func (o *statusOptions) checkBy() error {
	switch {
	case o.by == "":
		return nil
	case o.top < 0:
		return usagef("--top %d: give how many to list, or 0 for all", o.top)
	case o.watch:
		return usagef("--by reads every result, once; leave --watch out")
	}
	return nil
}

// statusBy prints which values of a key the done rows have, the most frequent first.
func statusBy(ctx context.Context, g *globals, o *statusOptions, job store.Job) error {
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	r, err := top.Rank(ctx, job, store.Key(o.by), o.top)
	if err != nil {
		return err
	}
	if !o.json {
		printRanking(g, o.by, r)
		return nil
	}
	values := []map[string]any{}
	for _, v := range r.Top {
		line := map[string]any{"value": v.Value, "rows": v.Rows, "ok": v.OK,
			"failed": v.Rows - v.OK - v.Error, "images_with_faces": v.ImagesWithFaces, "faces": v.Faces,
			"bytes": v.Bytes}
		if detection.NoFaces(settings) {
			line["images_with_faces"], line["faces"] = nil, nil
		}
		if o.by == string(store.ByGroup) {
			line["source"] = v.Source
		}
		if v.Error > 0 {
			line["error"] = v.Error
		}
		values = append(values, line)
	}
	return printJSON(g.out, map[string]any{"by": o.by, "done": r.Rows, "values": r.Values, "exact": r.Exact,
		"top": values})
}

// without names rows that have no value of a key.
var without = map[string]string{"host": "(no host)", "reason": "(ok)", "format": "(unknown)",
	"group": "(no group)", "sha256": "(not hashed)"}

func printRanking(g *globals, by string, r top.Ranking) {
	g.print("%12s %7s %12s %12s %12s %15s  %s", "rows", "", "ok", "failed", "faces", "bytes", by)
	sources := map[int]bool{}
	for _, v := range r.Top {
		sources[v.Source] = true
	}
	for _, v := range r.Top {
		name := v.Value
		if name == "" {
			name = without[by]
		}
		if len(sources) > 1 {
			name = fmt.Sprintf("%s  (source %d)", name, v.Source)
		}
		g.print("%12d %7s %12d %12d %12d %15d  %s", v.Rows, percent(v.Rows, r.Rows), v.OK,
			v.Rows-v.OK-v.Error, v.Faces, v.Bytes, name)
	}
	if rest := r.Values - len(r.Top); rest > 0 && r.Exact {
		g.report("facescan: %d more; --top 0 lists all", rest)
	}
	if !r.Exact {
		var most int64
		for _, v := range r.Top {
			most = max(most, v.Error)
		}
		g.report("facescan: there are more than %d values: counts of rows may be up to %d too high, the "+
			"other sums as much too low", r.Values, most)
	}
}
