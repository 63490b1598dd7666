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
	"facescan/store/export"
	"facescan/store/lockfile"
)

// forgetSuffix ends the name of a tar file that is to take another's place, in the hidden folder.
const forgetSuffix = ".tar.forget"

// Files are the files of single rows beside the job: kept bytes, crops, blurred pictures.
type Files struct {
	Missing []string // folders of the job that are not where they were
	folders []jobFolder
}

// OpenFiles finds the folders of a job, and finishes what dead processes left there. It is refused while a
// process lives that writes into one.
func OpenFiles(ctx context.Context, job store.Job, log *slog.Logger) (*Files, error) {
	all, err := foldersOf(ctx, job)
	if err != nil {
		return nil, err
	}
	f := &Files{}
	k := &Keeper{o: Options{Job: job, Log: log}}
	for _, l := range all {
		switch {
		case l.err != nil:
			return nil, fmt.Errorf("--%s %s: %w", l.kind, l.dir, l.err)
		case !l.here:
			f.Missing = append(f.Missing, l.dir)
			continue
		}
		lock, err := living(l.dir)
		if err != nil {
			return nil, fmt.Errorf("--%s %s: %w", l.kind, l.dir, err)
		}
		if lock != "" {
			return nil, fmt.Errorf("a process writes into %s (%s is locked): stop it first", l.dir, lock)
		}
		f.folders = append(f.folders, l)
		if l.kind == ofBodies {
			k.archive.add(l.dir)
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
	locks, err := hiddenFiles(dir, "*.lock")
	for _, lock := range locks {
		if dead, _, err := lockfile.Probe(lock); err != nil || !dead {
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
		if l.kind == ofBodies {
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
				err := os.Remove(filepath.Join(path, e.Name()))
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
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
	for _, suffix := range []string{forgetSuffix, compactSuffix} { // nobody else writes
		if err := removeHidden(dir, "*"+suffix); err != nil {
			return err
		}
	}
	paths, err := filesLike(dir, "*.tar")
	if err != nil {
		return err
	}
	for _, path := range paths {
		a := &tarFile{path: strings.TrimSuffix(path, ".tar")}
		known, err := a.those(ids)
		if err == nil && len(known) > 0 {
			err = a.forget(dir, ids, known)
		}
		if err != nil {
			return fmt.Errorf("%s.tar: %w", a.path, err)
		}
	}
	return nil
}

// those returns the entries of some rows that are in a tar file, by its index.
func (a *tarFile) those(ids []int64) (entries []entry, err error) {
	if err := a.inspect(); err != nil {
		return nil, err
	}
	first, _ := slices.BinarySearch(ids, a.min)
	if a.n == 0 || first == len(ids) || ids[first] > a.max {
		return nil, nil
	}
	entries, err = a.entries()
	return slices.DeleteFunc(entries, func(e entry) bool {
		_, found := slices.BinarySearch(ids, e.id)
		return !found
	}), err
}

// forget puts a tar file without the rows in the place of one that has them. The new one is whole and synced
// before it has its name; its index goes first, since one that is missing is made from the file. No checksum
// covers the id in an entry: the entries that the index knows of the rows must all be among those removed.
func (a *tarFile) forget(dir string, ids []int64, known []entry) error {
	in, err := os.Open(a.path + ".tar")
	if err != nil {
		return err
	}
	defer in.Close()
	base := filepath.Base(a.path)
	temp := filepath.Join(dir, hidden, base+forgetSuffix)
	gone := map[entry]bool{}
	out, entries, size, err := rewrite(temp, in, func(e entry, n note) bool {
		_, found := slices.BinarySearch(ids, n.ID)
		gone[e] = found
		return !found
	})
	if err != nil {
		return err
	}
	defer os.Remove(temp) // once it has its name there is nothing to remove
	defer out.Close()
	for _, e := range known {
		if !gone[e] {
			return damagedTar(e.at+e.size, errDamaged)
		}
	}
	if _, err = out.WriteAt(make([]byte, trailer), size); err == nil {
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

// rewrite makes a tar file, without its end, of the rows of another that keep lets through. The error is
// errDamaged if that cannot be read to its end.
func rewrite(path string, from *os.File, keep func(entry, note) bool) (*os.File, []entry, int64, error) {
	groups, end, err := walk(from)
	if err == nil {
		err = onlyZeros(from, end)
	}
	if err != nil {
		return nil, nil, 0, err
	}
	out, entries, size, err := copyGroups(path, from, only(groups, keep))
	if errors.Is(err, errDamaged) {
		err = damagedTar(end, err)
	}
	return out, entries, size, err
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
	return fmt.Errorf("it cannot be rewritten, as it is damaged at or before byte %d: remove it, with the "+
		"file .idx beside it, then run the same command again; its other rows are downloaded again when "+
		"they are rescanned (%w)", at, err)
}
