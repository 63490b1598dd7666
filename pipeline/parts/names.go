package parts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/pipeline"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
)

// listSuffixes are the ends of a list's name that its job's name does without.
var listSuffixes = []string{".gz", ".zst", ".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".tar"}

const jobSuffix = ".facescan.db"

// JobOf is the job of a list, or of a node's part of it, beside it: urls.txt.gz → urls.facescan.db.
func JobOf(list string, node store.Node) string {
	base := list
	for again := true; again; {
		again = false
		for _, s := range listSuffixes {
			if strings.HasSuffix(strings.ToLower(base), s) && len(filepath.Base(base)) > len(s) {
				base, again = base[:len(base)-len(s)], true
			}
		}
	}
	if node.Of > 0 {
		base += fmt.Sprintf(".node-%d-of-%d", node.I, node.Of)
	}
	return base + jobSuffix
}

// ListName is what segments call a list: the name of its job, without the suffix.
func ListName(list string) string {
	return strings.TrimSuffix(filepath.Base(JobOf(list, store.Node{})), jobSuffix)
}

// A Part is the job of a part of a list.
type Part struct {
	Path string
	Node store.Node
}

// Beside returns the jobs of a list's parts in the list's folder; none if that cannot be read.
func Beside(list string) (parts []Part) {
	entries, err := os.ReadDir(filepath.Dir(list))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		middle := strings.TrimSuffix(strings.TrimPrefix(e.Name(), ListName(list)+".node-"), jobSuffix)
		var n store.Node
		if _, err := fmt.Sscanf(middle, "%d-of-%d", &n.I, &n.Of); err == nil &&
			e.Name() == filepath.Base(JobOf(list, n)) {
			parts = append(parts, Part{filepath.Join(filepath.Dir(list), e.Name()), n})
		}
	}
	return parts
}

// MergeCommand is the command that unites the parts of a list.
func MergeCommand(list string, parts []Part) string {
	names := []string{JobOf(list, store.Node{})}
	for _, p := range parts {
		names = append(names, p.Path)
	}
	return hint.Command("merge", names)
}

// MergeHint is the command that unites the job of a part of a list with those of the other parts.
func MergeHint(ctx context.Context, job store.Job) (string, error) {
	sources, err := job.Sources(ctx)
	if err != nil || len(sources) == 0 {
		return "", err
	}
	list := pipeline.SourcePath(job.Path(), sources[0].Name)
	parts := Beside(list)
	if !slices.ContainsFunc(parts, func(p Part) bool { return source.SameFile(p.Path, job.Path()) }) {
		parts = append(parts, Part{Path: job.Path()})
	}
	return MergeCommand(list, parts), nil
}
