package keep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
	"facescan/store/slots"
)

// forgetSuffix ends the name of a tar file that is to take another's place, in the hidden folder.
const forgetSuffix = ".tar.forget"

// Files are the files of a job beside it, all that tell of single rows: kept bytes, crops, blurred pictures.
type Files struct {
	Missing []string // folders of the job that are not where they were
	folders []left
}

// OpenFiles finds the folders of a job, and finishes what dead processes left there. It is refused while a
// process lives that writes into one.
func OpenFiles(ctx context.Context, job store.Job, log *slog.Logger) (*Files, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	f := &Files{}
	k := &Keeper{o: Options{Job: job, Log: log}}
	defer k.archive.close()
	for key, dir := range settings {
		rest, ok := strings.CutPrefix(key, store.FolderSetting)
		kind, theirs, _ := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		is, err := token(dir)
		switch {
		case err != nil:
			return nil, fmt.Errorf("--%s %s: %w", kind, dir, err)
		case is != theirs:
			f.Missing = append(f.Missing, dir)
			continue
		}
		if pid, err := living(dir); err != nil || pid != "" {
			return nil, errors.Join(err, fmt.Errorf("a process writes into %s (%s is locked): stop it first", dir,
				pid))
		}
		f.folders = append(f.folders, left{kind, dir})
		if kind == "keep" {
			k.archive.add(dir)
		}
	}
	slices.Sort(f.Missing)
	for _, l := range f.folders {
		if err := k.archive.scan(); err != nil {
			return nil, err
		}
		if err := k.takeOver(l.kind, l.dir, ""); err != nil {
			return nil, fmt.Errorf("--%s %s: %w", l.kind, l.dir, err)
		}
	}
	return f, nil
}

// living is the lock file of a process that lives and writes into a folder; empty if there is none.
func living(dir string) (lock string, err error) {
	locks, err := filepath.Glob(filepath.Join(escape(dir), hidden, "*.lock"))
	for _, lock := range locks {
		if dead, _, err := slots.Probe(lock); err != nil || !dead {
			return lock, err
		}
	}
	return "", err
}

// Forget deletes the files of rows, whose ids ascend. When it returns, they are gone durably. A call that was
// cut short can be repeated.
func (f *Files) Forget(ids []int64) error {
	for _, l := range f.folders {
		var err error
		if l.kind == "keep" {
			err = forgetBodies(l.dir, ids)
		} else {
			err = forgetPictures(l.dir, ids)
		}
		if err != nil {
			return fmt.Errorf("--%s %s: %w", l.kind, l.dir, full(err))
		}
	}
	return nil
}

// forgetPictures removes every file in a folder that is called after one of the rows.
func forgetPictures(dir string, ids []int64) error {
	for len(ids) > 0 {
		sub := filepath.Dir(export.FileOf(ids[0]))
		names := map[string]bool{}
		for ; len(ids) > 0 && filepath.Dir(export.FileOf(ids[0])) == sub; ids = ids[1:] {
			names[filepath.Base(export.FileOf(ids[0]))] = true
		}
		path := filepath.Join(dir, sub)
		entries, err := os.ReadDir(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		removed := false
		for _, e := range entries {
			if end := strings.IndexAny(e.Name(), "-."); end > 0 && names[e.Name()[:end]] {
				if err := os.Remove(filepath.Join(path, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				removed = true
			}
		}
		if removed {
			if err := syncFile(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetBodies rewrites the tar files that have bytes of the rows.
func forgetBodies(dir string, ids []int64) error {
	unfinished, err := filepath.Glob(filepath.Join(escape(dir), hidden, "*"+forgetSuffix))
	if err != nil {
		return err
	}
	for _, path := range unfinished {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".tar")
		if !ok {
			continue
		}
		a := &tarFile{path: filepath.Join(dir, base)}
		has, err := a.hasAny(ids)
		if err == nil && has {
			err = a.forget(dir, ids)
		}
		if err != nil {
			return fmt.Errorf("%s.tar: %w", a.path, err)
		}
	}
	return nil
}

// hasAny reports whether a tar file has bytes of any of the rows, by its index.
func (a *tarFile) hasAny(ids []int64) (bool, error) {
	if err := a.inspect(); err != nil {
		return false, err
	}
	first, _ := slices.BinarySearch(ids, a.min)
	if a.n == 0 || first == len(ids) || ids[first] > a.max {
		return false, nil
	}
	f, err := os.Open(a.path + ".idx")
	if err != nil {
		return false, err
	}
	defer f.Close()
	for i := range a.n {
		e, err := entryAt(f, i)
		if err != nil {
			return false, err
		}
		if _, found := slices.BinarySearch(ids, e.id); found {
			return true, nil
		}
	}
	return false, nil
}

// forget puts a tar file without the rows in the place of one that has them. The new one is whole and synced
// before it has its name; its index goes first, since one that is missing is made from the file.
func (a *tarFile) forget(dir string, ids []int64) error {
	in, err := os.Open(a.path + ".tar")
	if err != nil {
		return err
	}
	defer in.Close()
	groups, end, err := walk(in)
	if err != nil {
		return err
	}
	if err := onlyZeros(in, end); err != nil {
		return err
	}
	var keep []bool
	for _, g := range groups {
		for _, i := range g.items {
			_, found := slices.BinarySearch(ids, i.note.ID)
			keep = append(keep, !found)
		}
	}
	base := filepath.Base(a.path)
	temp := filepath.Join(dir, hidden, base+forgetSuffix)
	out, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, draft.FileMode)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // once it has its name there is nothing to remove
	defer out.Close()
	entries, size, err := copyWanted(out, in, groups, keep)
	if errors.Is(err, errDamaged) {
		return damagedTar(end, err)
	}
	if err == nil {
		_, err = out.WriteAt(make([]byte, trailer), size)
	}
	if err == nil {
		err = out.Sync()
	}
	if err != nil {
		return err
	}
	if err := os.Remove(a.path + ".idx"); err != nil {
		return err
	}
	if len(entries) == 0 {
		err = os.Remove(a.path + ".tar")
	} else if err = os.Rename(temp, a.path+".tar"); err == nil {
		err = writeIndex(a.path, filepath.Join(dir, hidden, base+".idx.part"), entries)
	}
	return errors.Join(err, syncFile(dir))
}

// onlyZeros refuses a tar file that has more entries than could be read.
func onlyZeros(f *os.File, from int64) error {
	r := io.NewSectionReader(f, from, 1<<62)
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		if slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
			return damagedTar(from, errDamaged)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func damagedTar(at int64, err error) error {
	return fmt.Errorf("it cannot be rewritten, as it is damaged at or before byte %d: remove it, with the file "+
		".idx beside it, then run the same command again; its other rows are downloaded again when they are "+
		"rescanned (%w)", at, err)
}
