package keep

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"facescan/store/draft"
)

// Rows that are in the folder already are kept once more, when their result is beside them and is a new
// one. Until their old entries are removed, which is when the process leaves the folder, the last written
// entry counts. A file of the process's name says that there may be old entries; if the process dies, the
// next one to leave the folder does the work.

const (
	renewSuffix = ".renew"   // of the file that says so
	renewedName = "-renewed" // behind the name of a tar file that takes the place of another
)

// renewing notes that this process keeps rows once more, durably.
func (k *Keeper) renewing() error {
	k.renews.Lock()
	defer k.renews.Unlock()
	if k.noted {
		return nil
	}
	path := k.bodies.private(k.bodies.name + renewSuffix)
	err := os.WriteFile(path, nil, draft.FileMode)
	if err == nil {
		err = errors.Join(syncFile(path), syncFile(filepath.Dir(path)))
	}
	k.noted = err == nil
	return err
}

// removeOld removes the old entries of rows that processes kept once more, this one and dead ones. One
// process alone does it at a time.
func (k *Keeper) removeOld() error {
	notes, err := filepath.Glob(escape(k.bodies.private("")) + "/*" + renewSuffix)
	if err != nil || len(notes) == 0 {
		return err
	}
	lock, err := os.Open(k.bodies.private(jobFile))
	if err != nil {
		return err
	}
	defer lock.Close()
	for err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); err == unix.EINTR; {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := k.archive.scan(); err != nil {
		return err
	}
	for _, note := range notes {
		name := strings.TrimSuffix(filepath.Base(note), renewSuffix)
		if _, err := os.Stat(k.bodies.private(name + ".lock")); err == nil && name != k.bodies.name {
			continue // it lives, or what it left is not taken over yet
		}
		if err := k.removeOldOf(name); err != nil {
			return err
		}
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// removeOldOf removes the old entries of the rows that are in a process's tar files.
func (k *Keeper) removeOldOf(name string) error {
	indexes, err := filepath.Glob(escape(filepath.Join(k.bodies.dir, name)) + "-*.idx")
	if err != nil {
		return err
	}
	for _, path := range indexes {
		ids, err := idsIn(path)
		if err != nil {
			return err
		}
		old := map[string]map[entry]bool{}
		for _, id := range ids {
			places := slices.DeleteFunc(k.archive.find(id), func(p place) bool {
				return filepath.Dir(p.file.path) != k.bodies.dir
			})
			if len(places) < 2 {
				continue
			}
			times := map[place]int64{} // names tell when a process began
			for _, p := range places {
				times[p] = k.timeOf(p)
			}
			slices.SortStableFunc(places, func(a, b place) int {
				return cmp.Compare(times[b], times[a])
			})
			for _, p := range places[1:] {
				if old[p.file.path] == nil {
					old[p.file.path] = map[entry]bool{}
				}
				old[p.file.path][p.entry] = true
			}
		}
		for path, entries := range old {
			if err := k.replace(path, entries); err != nil {
				return err
			}
		}
		if err := k.archive.scan(); err != nil {
			return err
		}
	}
	return nil
}

// timeOf is the time of the result that an entry was kept for; 0 if it cannot be read.
func (k *Keeper) timeOf(p place) int64 {
	b, err := k.archive.read(p)
	if err != nil {
		return 0
	}
	h, err := tar.NewReader(bytes.NewReader(b)).Next()
	if err != nil {
		return 0
	}
	n, err := noteOf(h)
	if err != nil {
		return 0
	}
	return n.Time
}

// idsIn are the ids in an index, each once.
func idsIn(path string) (ids []int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var a tarFile
	if err := a.bounds(f); err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	for i := range a.n {
		e, err := entryAt(f, i)
		if err != nil {
			return nil, err
		}
		ids = append(ids, e.id)
	}
	return slices.Compact(ids), nil
}

// replace puts another tar file in the place of one, without some entries. The new one has its name before
// the old one goes: an entry that is in both is found once.
func (k *Keeper) replace(path string, without map[entry]bool) error {
	f, err := os.Open(path + ".tar")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	groups, _, err := walk(f)
	if err != nil {
		return err
	}
	var keep []bool
	for _, g := range groups {
		for _, i := range g.items {
			keep = append(keep, !without[entry{i.note.ID, g.at, g.size - g.json}])
		}
	}
	if slices.Contains(keep, true) {
		// A process that takes over from this one removes what is called so.
		temp := k.bodies.private(k.bodies.name + "-0" + partSuffix + compactSuffix)
		out, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, draft.FileMode)
		if err != nil {
			return err
		}
		defer out.Close()
		entries, size, err := copyWanted(out, f, groups, keep)
		if err == nil {
			err = seal(out, k.bodies.dir, filepath.Base(path)+renewedName, size, entries)
		}
		if err != nil {
			return err
		}
	}
	for _, suffix := range []string{".tar", ".idx"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncFile(k.bodies.dir)
}
