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
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"facescan/store/draft"
)

// Rows that are in the folder already are kept once more, when their result is beside them and is a new
// one. Until their old entries are removed, which is when the process leaves the folder, the last written
// entry counts. A file of the process's name says that there may be old entries; if the process dies, the
// next one to leave the folder does the work.

const renewSuffix = ".renew" // of the file that says so

// renewed is what is behind the name of a tar file that took the place of another, with its number from the
// second one on.
var renewed = regexp.MustCompile(`-renewed([0-9]*)$`)

// renewedName names the tar file that takes the place of another. It depends on that name alone, so that what
// a kill left of both can be told. It counts, so that names do not grow until the file system refuses them.
func renewedName(name string) string {
	m := renewed.FindStringSubmatch(name)
	if m == nil {
		return name + "-renewed"
	}
	n, _ := strconv.Atoi(m[1]) // none for the first one, which counts as 1
	return strings.TrimSuffix(name, m[0]) + "-renewed" + strconv.Itoa(max(n, 1)+1)
}

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
	notes, err := hiddenFiles(k.bodies.dir, "*"+renewSuffix)
	if err != nil || len(notes) == 0 {
		return err
	}
	lock, err := os.Open(k.bodies.private(jobFile))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := draft.Lock(lock, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if err := k.finishReplacing(); err != nil {
		return err
	}
	if err := k.archive.scan(); err != nil {
		return err
	}
	for _, note := range notes {
		name := strings.TrimSuffix(filepath.Base(note), renewSuffix)
		if _, err := os.Stat(k.bodies.private(name + ".lock")); err == nil && name != k.bodies.name {
			continue // it lives, or what it left is not taken over yet
		}
		all, err := k.removeOldOf(name)
		if err != nil {
			return err
		}
		if !all {
			continue // the next process tries again
		}
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// finishReplacing ends what processes that died had begun: it removes tar files whose replacements have their
// names, and the indexes of replacements that have not. Made once more, a replacement could differ from the
// one that others know by its name.
func (k *Keeper) finishReplacing() error {
	if err := syncFile(k.bodies.dir); err != nil {
		return err
	}
	all, err := filesLike(k.bodies.dir, "*")
	has := func(name string) bool {
		_, is := slices.BinarySearch(all, name+".tar")
		return is
	}
	for _, path := range all {
		suffix := filepath.Ext(path)
		name := strings.TrimSuffix(path, suffix)
		to := filepath.Join(k.bodies.dir, renewedName(filepath.Base(name)))
		cut := suffix == ".idx" && renewed.MatchString(name) && !has(name)
		if err == nil && (cut || suffix == ".tar" && has(to)) {
			err = removeTar(name)
		}
	}
	return err
}

// removeOldOf removes the old entries of the rows that are in a process's tar files. It reports whether it
// removed all: those in a damaged file stay.
func (k *Keeper) removeOldOf(name string) (all bool, err error) {
	indexes, err := filesLike(k.bodies.dir, name+"-*.idx")
	if err != nil {
		return false, err
	}
	all = true
	for _, path := range indexes {
		old, err := k.oldOf(tarFile{path: strings.TrimSuffix(path, ".idx")})
		if err != nil {
			return false, fmt.Errorf("index %s: %w", path, err)
		}
		for path, entries := range old {
			err := k.replace(path, entries)
			switch {
			case errors.Is(err, errDamaged):
				k.o.Log.Warn("old results stay in a tar file", "file", path+".tar", "error", err)
				all = false
			case err != nil:
				return false, err
			}
		}
		if err := k.archive.scan(); err != nil {
			return false, err
		}
	}
	return all, nil
}

// oldOf finds the old entries of the rows in a tar file, by the files that they are in. There are none if the
// file was replaced meanwhile.
func (k *Keeper) oldOf(a tarFile) (map[string]map[entry]bool, error) {
	entries, err := a.entries()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old := map[string]map[entry]bool{}
	for _, e := range slices.CompactFunc(entries, func(a, b entry) bool { return a.id == b.id }) {
		places := slices.DeleteFunc(k.archive.find(e.id), func(p place) bool {
			return filepath.Dir(p.file.path) != k.bodies.dir
		})
		if len(places) < 2 {
			continue
		}
		times := map[place]int64{} // names say only when a process began
		for _, p := range places {
			times[p] = timeOf(p)
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
	return old, nil
}

// timeOf is the time of the result that an entry was kept for; 0 of one that is damaged.
func timeOf(p place) int64 {
	b, err := p.read()
	if err != nil {
		return 0
	}
	if _, _, err := parse(b); err != nil {
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

// replace puts another tar file in the place of one, without some entries. The new one has its name before
// the old one goes: an entry that is in both is found once. The error is errDamaged for one that cannot be
// read to its end, which stays.
func (k *Keeper) replace(path string, without map[entry]bool) error {
	f, err := os.Open(path + ".tar")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// A process that takes over from this one removes what is called so.
	temp := k.bodies.private(k.bodies.name + "-0" + partSuffix + compactSuffix)
	out, entries, size, err := rewrite(temp, f, func(e entry, _ note) bool { return !without[e] })
	if err != nil {
		return err
	}
	defer os.Remove(temp) // once it has its name there is nothing to remove
	defer out.Close()
	if err := seal(out, k.bodies.dir, renewedName(filepath.Base(path)), size, entries); err != nil {
		return err
	}
	return removeTar(path)
}

// removeTar removes a tar file and its index, named without a suffix. The index goes first: one that is
// missing shows others that the file was replaced.
func removeTar(path string) error {
	for _, suffix := range []string{".idx", ".tar"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncFile(filepath.Dir(path))
}
