package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/sqlite"
)

// tries is how often a folder is listed again whose segments are folded meanwhile.
const tries = 20

// Parts are the jobs of all parts that a folder has segments of.
type Parts struct {
	Jobs   []store.Job
	folder *draft.Draft
}

// OpenParts puts the parts together that a folder has segments of, in temporary files beside a path. Same
// reports whether two sources may be the same list: parts of different lists of one name stay apart.
func OpenParts(ctx context.Context, dir, beside string,
	same func(a, b store.Source) bool) (p *Parts, err error) {
	p = &Parts{}
	if p.folder, err = draft.CreateFolder(beside + ".parts"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", dir, err), p.Close())
		}
	}()
	parts, err := listParts(dir)
	if err != nil {
		return p, err
	}
	if len(parts) == 0 {
		return p, errors.New("there are no segments in this folder, as facescan run --publish makes them")
	}
	for _, part := range parts {
		if err := p.open(ctx, dir, part, same); err != nil {
			return p, err
		}
	}
	return p, nil
}

// open puts the parts together that are called alike.
func (p *Parts) open(ctx context.Context, dir string, like File, same func(a, b store.Source) bool) error {
	segments, err := openPart(ctx, dir, like.List, like.Node, p.folder.Name())
	if err != nil {
		return err
	}
	defer closeAll(segments)
	for len(segments) > 0 {
		first := segments[0]
		var mine, others []*opened
		for _, o := range segments {
			if o == first || len(o.sources) == 0 || len(first.sources) == 0 ||
				same(first.sources[0], o.sources[0]) {
				mine = append(mine, o)
			} else {
				others = append(others, o)
			}
		}
		segments = others
		name := fmt.Sprintf("%s.%d.db", like.part(), len(p.Jobs))
		path := filepath.Join(p.folder.Name(), name)
		lists := listsOf(mine)
		err := build(ctx, path, mine, lists)
		closeAll(mine)
		if err != nil {
			return err
		}
		job, err := sqlite.OpenForReading(ctx, path)
		if err != nil {
			return err
		}
		called := filepath.Join(dir, like.part())
		p.Jobs = append(p.Jobs, publishedPart{job, called, dir, isRead(lists)})
	}
	return nil
}

// openPart opens the segments of a part, the one with the furthest position first.
func openPart(ctx context.Context, dir, list string, node store.Node, to string) ([]*opened, error) {
	var err error
	for range tries {
		files, e := listPart(dir, list, node)
		if e != nil {
			return nil, e
		}
		var segments []*opened
		if segments, err = openAll(ctx, dir, files, to); err == nil {
			slices.SortStableFunc(segments, func(a, b *opened) int { return cmp.Compare(line(b), line(a)) })
			return segments, nil
		}
		if !errors.Is(err, errMissing) {
			break
		}
	}
	return nil, err
}

// line is how far the first list of a segment was read.
func line(o *opened) int64 {
	if len(o.sources) == 0 {
		return -1
	}
	return o.sources[0].Position.Line
}

// publishedPart is a part put together, under the name that the user knows.
type publishedPart struct {
	store.Job
	name string
	dir  string
	read bool // its lists were read to their ends
}

// Counts of a part whose lists were read to their ends do not say that these are still being read, although
// rows that are not done may be missing.
func (p publishedPart) Counts(ctx context.Context) (store.Counts, error) {
	c, err := p.Job.Counts(ctx)
	if p.read {
		c.ImportIncomplete = nil
	}
	return c, err
}

// Path names the part.
func (p publishedPart) Path() string { return p.name }

// Input is what a merge of the part takes: the folder.
func (p publishedPart) Input() string { return p.dir }

// Close removes the temporary files.
func (p *Parts) Close() error {
	var errs []error
	for _, j := range p.Jobs {
		errs = append(errs, j.Close())
	}
	p.folder.Discard()
	return errors.Join(errs...)
}

// OtherParts is the name of a segment of a list that is of another number of parts; empty for none.
func OtherParts(dir, list string, of int) string {
	files, err := List(dir)
	if err != nil {
		return "" // publishing will tell
	}
	for _, f := range files {
		if f.List == list && f.Node.Of > 0 && f.Node.Of != of {
			return f.Name
		}
	}
	return ""
}
