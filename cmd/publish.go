package cmd

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/parts"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/open"
	"facescan/store/segment"
)

// publishOptions say where a run publishes what it does.
type publishOptions struct {
	dir   string
	every time.Duration
}

func (o *publishOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.dir, "publish", "",
		"copy results to `FOLDER`, on any file system; a run with an empty job reads them "+
			"first")
	fs.DurationVar(&o.every, "publish-every", 30*time.Second,
		"interval of --publish; the end of a run publishes, too")
}

func (o *publishOptions) check() error {
	if o.every < 100*time.Millisecond {
		return usagef("--publish-every %v: give 100ms or more", o.every)
	}
	return nil
}

// checkTarget refuses jobs that cannot be published, and side files that would be left behind.
func (o *publishOptions) checkTarget(t target, node nodeFlag, k *keepOptions) error {
	if o.dir == "" {
		return nil
	}
	if open.IsURL(t.job) {
		return usagef("--publish copies a job file's results to where they outlive its machine, and %s is "+
			"a database, which does: leave --publish out", open.Redact(t.job))
	}
	if t.table != nil {
		return usagef("--publish takes a job made from lists, and %s is worked on in place: copy the table "+
			"into a job with --db JOB.db", t.job)
	}
	for _, s := range t.sources {
		if source.HasImages(s.Format) {
			return usagef("--publish takes lists, which are the same elsewhere, and %s are files of this "+
				"machine: leave --publish out; several machines share a job in PostgreSQL (--db "+
				"postgres://…)", s.Path)
		}
		if s.IsPipe() {
			return usagef("--publish takes lists that can be read again elsewhere, and %s is a pipe: save "+
				"the list to a file", s.Path)
		}
	}
	if len(t.sources) > 0 {
		if err := checkListName(t.sources[0].Path, t.node); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, folder string }{{"keep", k.keep}, {"crops", k.crops},
		{"blurred", k.blurred}} {
		if f.folder != "" && !isBelow(f.folder, o.dir) {
			return usagef("--%s %s: files are not copied by --publish, so their folder must be in it: give "+
				"--%s %s", f.name, f.folder, f.name, filepath.Join(o.dir, f.name))
		}
	}
	if node.auto && len(t.sources) > 0 {
		if other := segment.OtherParts(o.dir, parts.ListName(t.sources[0].Path), t.node.Of); other != "" {
			return otherNumber(t.node.Of, other+" in "+o.dir+" is of a part")
		}
	}
	return nil
}

// checkListName refuses a list after which segments cannot be called.
func checkListName(name string, node store.Node) error {
	if err := segment.CheckList(parts.ListName(name), node); err != nil {
		return usagef("--publish: %w; rename the list, or leave --publish out", err)
	}
	return nil
}

// isBelow reports whether a folder, which need not be there yet, is in another one.
func isBelow(folder, other string) bool {
	rel, err := filepath.Rel(realPath(other), realPath(folder))
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// realPath is a path without symbolic links in what there is of it.
func realPath(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return abs
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// prepare makes the folder, if the one that it is to lie in is there: where that is not mounted, nothing is
// made.
func (o *publishOptions) prepare() error {
	if o.dir == "" {
		return nil
	}
	if err := os.Mkdir(o.dir, draft.FolderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return usagef("--publish: %w", err)
	}
	return nil
}

// open takes in what was published of the job's part; nil without --publish.
func (o *publishOptions) open(ctx context.Context, job store.Job, t target, shardSize int,
	log *slog.Logger) (*segment.Publisher, error) {
	if o.dir == "" {
		return nil, nil
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	sources, err := job.Sources(ctx)
	if err != nil {
		return nil, err
	}
	node, err := store.ParseNode(settings[store.NodeSetting])
	if err != nil {
		return nil, err
	}
	name := ""
	switch {
	case len(sources) > 0:
		name = sources[0].Name
		if segment.Folder(settings) == "" { // else its segments have these names already
			if err := checkListName(name, node); err != nil {
				return nil, err
			}
		}
	case len(t.sources) > 0:
		name, node = t.sources[0].Path, t.node
	}
	lists := pipeline.PublishedLists{Job: job, Specs: t.sources}
	p := &segment.Publisher{Dir: o.dir, Job: job, List: parts.ListName(name), Node: node,
		ShardSize: shardSize, Log: log, Place: lists.Place, Match: lists.Match}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}
