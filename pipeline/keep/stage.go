package keep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
)

// A file beside the results gets its name only after the commit of the result that it belongs to. Until then
// it is in a hidden folder of its process, under a name that says what it belongs to:
//
//	ROW-FACE-GENERATION-TIME    the generation is the lease's, the time the result's, in milliseconds
//
// The time shows later whether a row's result is the one that the file was made for: a lease that was lost
// leaves the row to another process, with a result of its own. So another process can finish the work of a
// dead one. A mark has no content: it means that an earlier result left files that the new one does not have.

const (
	stageSuffix = ".tmp" // of the hidden folder
	syncsMost   = 32     // files synced at once: a journal takes many into one commit
)

// staged is a file that waits for its row's commit.
type staged struct {
	id         int64
	face       int // from 1; 0 for a mark, and for a picture that is the row's only one
	mark       bool
	generation int64
	time       int64
}

func (s staged) name() string {
	face := strconv.Itoa(s.face)
	if s.mark {
		face = "mark"
	}
	return fmt.Sprintf("%d-%s-%d-%d", s.id, face, s.generation, s.time)
}

// parseStaged parses a name; ok is false if it is not one.
func parseStaged(name string) (s staged, ok bool) {
	sign := int64(1)
	if rest, negative := strings.CutPrefix(name, "-"); negative {
		name, sign = rest, -1
	}
	parts := strings.Split(name, "-")
	if len(parts) != 4 {
		return s, false
	}
	if s.mark = parts[1] == "mark"; s.mark {
		parts[1] = "0"
	}
	var errs [4]error
	s.id, errs[0] = strconv.ParseInt(parts[0], 10, 64)
	s.face, errs[1] = strconv.Atoi(parts[1])
	s.generation, errs[2] = strconv.ParseInt(parts[2], 10, 64)
	s.time, errs[3] = strconv.ParseInt(parts[3], 10, 64)
	s.id *= sign
	return s, errors.Join(errs[:]...) == nil
}

// stage is where the folder's process has files that wait.
func (f *folder) stage() string { return f.private(f.name + stageSuffix) }

// put writes a file that gets its name once its row is done.
func (f *folder) put(s staged, b []byte) error {
	write := func() error { return os.WriteFile(filepath.Join(f.stage(), s.name()), b, draft.FileMode) }
	err := withDescriptor(write)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(f.stage(), draft.FolderMode); err == nil {
			err = withDescriptor(write)
		}
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.staged[s.id] = append(f.staged[s.id], s)
	return nil
}

// sync makes the waiting files of these rows durable.
func (f *folder) sync(results []store.Result) error {
	f.mu.Lock()
	var names []string
	for i := range results {
		for _, s := range f.staged[results[i].ID] {
			names = append(names, s.name())
		}
	}
	f.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(min(syncsMost, pipeline.ShareDescriptors().Files))
	for _, name := range names {
		g.Go(func() error {
			defer crash.Exit()
			return syncFile(filepath.Join(f.stage(), name))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return syncFile(f.stage())
}

// descriptorWait is how long a file waits to be opened while the process has no descriptor to spare:
// connections give theirs back.
const descriptorWait = 10 * time.Second

func syncFile(path string) error {
	return withDescriptor(func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// withDescriptor calls open, and retries while the process is out of descriptors.
func withDescriptor(open func() error) error {
	err := open()
	for end := time.Now().Add(descriptorWait); errors.Is(err, syscall.EMFILE) &&
		time.Now().Before(end); err = open() {
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// take removes and returns the waiting files of a row.
func (f *folder) take(id int64) []staged {
	f.mu.Lock()
	defer f.mu.Unlock()
	files := f.staged[id]
	delete(f.staged, id)
	return files
}

// drop removes the waiting files of rows that got no result here.
func (f *folder) drop(ids []int64) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, f.remove(f.take(id)))
	}
	return errors.Join(errs...)
}

// remove removes waiting files.
func (f *folder) remove(files []staged) error {
	var errs []error
	for _, s := range files {
		errs = append(errs, os.Remove(filepath.Join(f.stage(), s.name())))
	}
	return errors.Join(errs...)
}

// pictures is a folder of pictures of one kind: crops, or whole pictures with their faces blurred.
type pictures struct {
	dir  string
	kind store.Outputs
}

// path is a file's place in the folder.
func (p pictures) path(id int64, face int) string {
	if p.kind == store.Crops {
		return filepath.Join(p.dir, export.CropOf(id, face))
	}
	return filepath.Join(p.dir, export.BlurredOf(id))
}

// surplus returns the files of an earlier result of a row that this one does not have, the last first.
func (p pictures) surplus(r *store.Result) (paths []string) {
	first := 1
	if r.Outputs&p.kind != 0 {
		if p.kind == store.Blurred {
			return nil
		}
		first += len(r.Faces)
	}
	for face := first; ; face++ {
		path := p.path(r.ID, face)
		if _, err := os.Lstat(path); err != nil {
			return paths
		}
		paths = slices.Insert(paths, 0, path)
		if p.kind == store.Blurred {
			return paths
		}
	}
}

// place gives the files of a done row their names, after it removes the row's surplus files: the last first,
// so that a crash leaves no gap that would hide the rest. The mark is removed last: until then the work can
// be repeated.
func (p pictures) place(stage string, r *store.Result, files []staged) error {
	for _, path := range p.surplus(r) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, s := range files {
		if s.mark {
			continue
		}
		path := p.path(s.id, s.face)
		if err := os.MkdirAll(filepath.Dir(path), draft.FolderMode); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(stage, s.name()), path); err != nil {
			return err
		}
	}
	for _, s := range files {
		if s.mark {
			if err := os.Remove(filepath.Join(stage, s.name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// repair finishes the stage of a dead process: files made for the present results of their rows get their
// names, the others are removed.
func (p pictures) repair(ctx context.Context, job store.Job, stage string) error {
	entries, err := os.ReadDir(stage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	files := map[int64][]staged{}
	for _, e := range entries {
		if s, ok := parseStaged(e.Name()); ok {
			files[s.id] = append(files[s.id], s)
		}
	}
	for id, waiting := range files {
		r, done, err := resultOf(ctx, job, id)
		if err != nil {
			return err
		}
		own := slices.DeleteFunc(waiting, func(s staged) bool {
			return s.time != r.Time.UnixMilli() || !s.mark && (s.face > 0) != (p.kind == store.Crops)
		})
		if done && len(own) > 0 {
			if err := p.place(stage, &r, own); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(stage)
}

// resultOf reads a row's result; done is false if it has none.
func resultOf(ctx context.Context, job store.Job, id int64) (r store.Result, done bool, err error) {
	for r, err := range job.Results(ctx, id, id+1) {
		return r, err == nil, err
	}
	return r, false, nil
}

// complete gives the files of a done row their names. After the lease's time it first checks that the row
// still has this result: another process may have taken it over, or a retry reopened it.
func (k *Keeper) complete(ctx context.Context, p pictures, f *folder, r *store.Result,
	until time.Time) error {
	files := f.take(r.ID)
	if len(files) == 0 {
		return nil
	}
	if time.Now().After(until) {
		now, done, err := resultOf(ctx, k.o.Job, r.ID)
		if err != nil {
			return err
		}
		if !done || now.Time.UnixMilli() != r.Time.UnixMilli() {
			return f.remove(files)
		}
	}
	return p.place(f.stage(), r, files)
}
