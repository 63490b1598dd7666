package segment

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// mostSegments is how many segments of one class there may be before they are folded.
const mostSegments = 8

// smallest is the size in bytes of the smallest segments, which are mostly the tables' own pages.
const smallest = 256 << 10

// toFold chooses segments that one is to take the place of: those of the smallest class that is full. A
// class is an eightfold range of sizes.
func toFold(files []File) []File {
	classes := map[int][]File{}
	lowest := math.MaxInt
	for _, f := range files {
		class := 0
		for size := f.Size / smallest; size > 0; size /= mostSegments {
			class++
		}
		classes[class] = append(classes[class], f)
		if len(classes[class]) >= mostSegments {
			lowest = min(lowest, class)
		}
	}
	return classes[lowest]
}

// fold puts one segment in the place of those that are chosen among all whose rows are in the job.
func (p *Publisher) fold(ctx context.Context, choose func([]File) []File) error {
	files, err := p.list()
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(f File) bool { return !p.known[f.Name] })
	if err = p.replace(ctx, choose(files)); errors.Is(err, errMissing) {
		return nil // folded by another process: what is left is folded next time
	}
	return err
}

// FoldAll puts one segment in the place of all that the job's part has, and removes unfinished ones, so that
// nothing is left of earlier versions of rows. What other processes publish or fold meanwhile is taken in,
// and folded, too.
func (p *Publisher) FoldAll(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, err := p.attach(ctx)
	if err == nil && !held {
		err = errors.New("another process publishes this job: stop it, then run the same command again")
	}
	for try, whole := 0, false; err == nil && !whole; try++ {
		if whole, err = p.foldAll(ctx); err == nil && !whole && try == tries {
			err = errors.New("other processes publish the same rows all the time: stop them, then run the " +
				"same command again")
		}
	}
	if err == nil {
		err = cleanPart(p.Dir, p.List, p.Node)
	}
	return p.wrap(err)
}

// foldAll puts one segment in the place of all that are known, and reports whether the folder has no others
// of the list.
func (p *Publisher) foldAll(ctx context.Context) (whole bool, err error) {
	files, err := p.list()
	if err != nil {
		return false, err
	}
	isNew := func(f File) bool { return !p.known[f.Name] && !p.others[f.Name] }
	if slices.ContainsFunc(files, isNew) {
		if err = p.begin(ctx); err == nil {
			err = p.publishAll(ctx)
		}
		return false, err
	}
	files = slices.DeleteFunc(files, func(f File) bool { return p.others[f.Name] })
	if err = p.replace(ctx, files); errors.Is(err, errMissing) {
		if err = p.checkFolder(ctx); err == nil {
			err = p.publishAll(ctx)
		}
		return false, err
	}
	if err != nil {
		return false, err
	}
	files, err = p.list()
	return !slices.ContainsFunc(files, isNew), err
}

// replace puts one segment in the place of several.
func (p *Publisher) replace(ctx context.Context, files []File) error {
	if len(files) == 0 {
		return nil
	}
	folder, err := p.folder()
	if err != nil {
		return err
	}
	defer folder.Discard()
	segments, err := openAll(ctx, p.Dir, files, folder.Name())
	if err != nil {
		return err
	}
	defer closeAll(segments)
	path := filepath.Join(folder.Name(), "segment.db")
	if err := build(ctx, path, segments, listsOf(segments)); err != nil {
		return err
	}
	f := newFile(p.List, p.Node, p.number+1)
	if err := p.ship(ctx, path, f); err != nil {
		return err
	}
	left := maps.Clone(p.known)
	for _, old := range files {
		delete(left, old.Name)
	}
	if err := p.job().DropChanges(ctx, 0, p.settings(left)); err != nil {
		return err
	}
	for _, old := range files {
		if err := os.Remove(filepath.Join(p.Dir, old.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(p.known, old.Name) // not before: what an error left is folded next time
	}
	return nil
}
