package keep

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"facescan/store/draft"
)

// An index is beside its tar file, with the suffix .idx: eight bytes that say what it is, the number of
// entries, then the entries in order of their ids; all numbers of 64 bits, little-endian.
const (
	indexMagic = "fskeep01"
	indexHead  = 16
	indexEntry = 24
)

// writeIndex writes the index of a tar file, by way of a temporary file. The entries are sorted.
func writeIndex(path, temp string, entries []entry) error {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	b := append(make([]byte, 0, indexHead+indexEntry*len(entries)), indexMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(entries)))
	for _, e := range entries {
		for _, v := range []int64{e.id, e.at, e.size} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	err := os.WriteFile(temp, b, draft.FileMode)
	if err == nil {
		err = syncFile(temp)
	}
	if err == nil {
		err = os.Rename(temp, path+".idx")
	}
	if err != nil {
		_ = os.Remove(temp) // the first error is returned
	}
	return err
}

// tarFile is a tar file with its index.
type tarFile struct {
	path     string // without a suffix
	min, max int64  // ids in it
	n        int
}

// archive is the tar files of some folders.
type archive struct {
	dirs []*archiveFolder

	mu    sync.Mutex
	files []*tarFile // by min
	reach []int64    // the highest max of files[:i+1]
}

// archiveFolder is one of the folders of an archive.
type archiveFolder struct {
	dir     string
	changed time.Time       // its modification time at the last scan
	quiet   bool            // it had not changed for a while then: times are coarse
	known   map[string]bool // paths of its archives
	failed  map[string]time.Time
}

// tryAgain is when a tar file whose index could not be read, or made, is tried again.
const tryAgain = time.Minute

// triesAgain reports whether it is time for one that failed.
func (s *archiveFolder) triesAgain() bool {
	for _, at := range s.failed {
		if time.Since(at) >= tryAgain {
			return true
		}
	}
	return false
}

func (l *archive) add(dir string) {
	l.dirs = append(l.dirs, &archiveFolder{dir: dir, known: map[string]bool{},
		failed: map[string]time.Time{}})
}

// scan adds the new tar files. A folder or file that cannot be read does not keep it from the others, and is
// tried again.
func (l *archive) scan() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.dirs {
		info, err := os.Stat(s.dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if s.quiet && info.ModTime().Equal(s.changed) && !s.triesAgain() {
			continue
		}
		s.changed, s.quiet = info.ModTime(), time.Since(info.ModTime()) > 2*time.Second
		entries, err := os.ReadDir(s.dir)
		if err != nil {
			errs, s.quiet = append(errs, err), false
			continue
		}
		for _, e := range entries {
			base, ok := strings.CutSuffix(e.Name(), ".tar")
			if !ok || s.known[base] || time.Since(s.failed[base]) < tryAgain {
				continue
			}
			a := &tarFile{path: filepath.Join(s.dir, base)}
			err := a.inspect()
			if errors.Is(err, fs.ErrNotExist) { // another process replaced it
				continue
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("index of %s.tar: %w", a.path, err))
				s.failed[base] = time.Now()
				continue
			}
			s.known[base] = true
			delete(s.failed, base)
			if a.n > 0 {
				l.files = append(l.files, a)
			}
		}
	}
	slices.SortStableFunc(l.files, func(a, b *tarFile) int { return cmp.Compare(a.min, b.min) })
	l.reach = l.reach[:0]
	reach := int64(math.MinInt64)
	for _, a := range l.files {
		reach = max(reach, a.max)
		l.reach = append(l.reach, reach)
	}
	return errors.Join(errs...)
}

// inspect reads the first and last entry of the index. A missing or damaged index is rebuilt, with all rows
// that can be found; bodies are verified when they are read.
func (a *tarFile) inspect() error {
	for again := false; ; again = true {
		f, err := os.Open(a.path + ".idx")
		if err == nil {
			err = a.bounds(f)
			_ = f.Close()
		}
		if err == nil || again || !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		t, err := os.Open(a.path + ".tar")
		if err != nil {
			return err
		}
		groups, _, _, err := salvage(t, 0)
		_ = t.Close()
		if err == nil {
			err = writeIndex(a.path, filepath.Join(filepath.Dir(a.path), hidden,
				filepath.Base(a.path)+"-"+random(3)+".idx.part"), entriesOf(groups))
		}
		if err != nil {
			return err
		}
	}
}

func (a *tarFile) bounds(f *os.File) error {
	head := make([]byte, indexHead)
	if _, err := f.ReadAt(head, 0); errors.Is(err, io.EOF) {
		return errDamaged
	} else if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	a.n = int(binary.LittleEndian.Uint64(head[8:]))
	if string(head[:8]) != indexMagic || a.n < 0 || info.Size() != indexHead+indexEntry*int64(a.n) {
		return errDamaged
	}
	if a.n == 0 {
		return nil
	}
	first, err := entryAt(f, 0)
	if err != nil {
		return err
	}
	last, err := entryAt(f, a.n-1)
	a.min, a.max = first.id, last.id
	return err
}

// entries are all that are in the index.
func (a *tarFile) entries() (entries []entry, err error) {
	f, err := os.Open(a.path + ".idx")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := a.bounds(f); err != nil {
		return nil, err
	}
	for i := range a.n {
		e, err := entryAt(f, i)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func entryAt(f *os.File, i int) (entry, error) {
	b := make([]byte, indexEntry)
	_, err := f.ReadAt(b, indexHead+indexEntry*int64(i))
	n := func(at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
	return entry{n(0), n(8), n(16)}, err
}

// place is where a row is.
type place struct {
	file *tarFile
	entry
}

// find returns the places of a row, the last written first. Unreadable files are skipped. A file that another
// process replaced is known again by its new name.
func (l *archive) find(id int64) []place {
	out, gone := l.search(id)
	if gone {
		_ = l.scan() // what it cannot read is not found
		out, _ = l.search(id)
	}
	return out
}

// search is find, and reports whether a file is gone. It is no longer among the files then.
func (l *archive) search(id int64) (out []place, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := sort.Search(len(l.files), func(i int) bool { return l.files[i].min > id }) - 1; i >= 0 &&
		l.reach[i] >= id; i-- {
		a := l.files[i]
		if a.max < id {
			continue
		}
		entries, err := a.find(id)
		if errors.Is(err, fs.ErrNotExist) {
			gone = true
			l.files, l.reach = slices.Delete(l.files, i, i+1), slices.Delete(l.reach, i, i+1)
		}
		for _, e := range entries {
			out = append(out, place{a, e})
		}
	}
	// Names begin with a time; within a file what comes last was written last.
	slices.SortStableFunc(out, func(a, b place) int {
		return cmp.Or(strings.Compare(filepath.Base(b.file.path), filepath.Base(a.file.path)),
			cmp.Compare(b.at, a.at))
	})
	return out, gone
}

// find returns the entries of a row in the file, by its index.
func (a *tarFile) find(id int64) (entries []entry, err error) {
	f, err := os.Open(a.path + ".idx")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := sort.Search(a.n, func(k int) bool {
		e, e2 := entryAt(f, k)
		err = errors.Join(err, e2)
		return e.id >= id
	})
	for ; err == nil && at < a.n; at++ {
		var e entry
		if e, err = entryAt(f, at); err != nil || e.id != id {
			break
		}
		entries = append(entries, e)
	}
	return entries, err
}

// read reads the bytes of an entry.
func (p place) read() ([]byte, error) {
	f, err := os.Open(p.file.path + ".tar")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// A wrong index must not cause a large allocation.
	if p.at < 0 || p.size < 0 || p.at > info.Size()-p.size {
		return nil, errDamaged
	}
	b := make([]byte, p.size)
	_, err = f.ReadAt(b, p.at)
	return b, err
}
