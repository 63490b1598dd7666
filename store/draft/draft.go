// Package draft writes a file or folder under a temporary name first, so that its own name never shows half
// of it.
//
// A draft is called .NAME.RANDOM.part. Its name cannot be guessed, it is made only where nothing is, and no
// symlink is followed to it. Its maker holds it locked (flock): the kernel drops the lock when the maker
// dies, however it dies. So the next process that makes a draft of that name removes drafts that dead
// processes left.
//
// # Modes
//
// All that facescan writes may be about people: files are for their owner alone (0600, folders 0700). A file
// that replaces another takes over its permissions.
package draft

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Modes of what is written.
const (
	FileMode   fs.FileMode = 0o600
	FolderMode fs.FileMode = 0o700
)

// Longest is how many bytes of a name its drafts repeat, as names end at 255.
const Longest = 200

const (
	suffix     = ".part"
	randomSize = 8  // bytes
	tries      = 10 // to make a draft, in spite of those who clean up
)

// Draft is a file or folder that is not finished.
type Draft struct {
	*os.File
	target string
}

// All drafts of this process.
var (
	mu   sync.Mutex
	open = map[*Draft]struct{}{}
)

// Create begins a file that is to be called path.
func Create(path string) (*Draft, error) {
	return begin(path, createFile)
}

func createFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, FileMode)
}

// CreateFolder begins a folder that is to be called path.
func CreateFolder(path string) (*Draft, error) {
	return begin(path, createFolder)
}

func createFolder(name string) (*os.File, error) {
	if err := os.Mkdir(name, FolderMode); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		err = errors.Join(err, os.Remove(name))
	}
	return f, err
}

// begin makes a draft and locks it. One that another process cleaned up before it was locked is made again.
func begin(path string, create func(name string) (*os.File, error)) (*Draft, error) {
	path = filepath.Clean(path)
	Clean(path)
	for try := 1; ; try++ {
		random := make([]byte, randomSize)
		rand.Read(random)
		f, err := create(prefix(path) + hex.EncodeToString(random) + suffix)
		if err != nil {
			if try < tries && (errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ELOOP)) {
				continue
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil, noFolderError(path)
			}
			return nil, named(err, path)
		}
		// Where nothing can be locked, drafts stay for ever after a crash; nothing else depends on it.
		_ = Lock(f, unix.LOCK_EX)
		if !same(f) {
			_ = f.Close()
			if try < tries {
				continue
			}
			return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrNotExist}
		}
		d := &Draft{File: f, target: path}
		mu.Lock()
		open[d] = struct{}{}
		mu.Unlock()
		return d, nil
	}
}

// noFolderError is the error for a path in a folder that does not exist.
type noFolderError string

func (e noFolderError) Error() string {
	path := string(e)
	return path + ": the folder " + filepath.Dir(path) + " does not exist: make it first"
}

func (e noFolderError) Unwrap() error { return fs.ErrNotExist }

// prefix is what the drafts of a path begin with.
func prefix(path string) string {
	base := filepath.Base(path)
	return filepath.Join(filepath.Dir(path), "."+base[:min(len(base), Longest)]+".")
}

// named makes an error one about the file that the user knows.
func named(err error, path string) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: path, Err: p.Err}
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return &fs.PathError{Op: "write", Path: path, Err: l.Err}
	}
	return err
}

// Place makes the draft durable and gives it its name, which it takes over from a file that had it before.
func (d *Draft) Place() error {
	return d.place(func() error {
		st, err := os.Lstat(d.target)
		if err == nil && (st.IsDir() || st.Mode().IsRegular()) && st.IsDir() == d.isFolder() {
			if err := d.File.Chmod(st.Mode().Perm()); err != nil {
				return err
			}
		}
		// Not os.Rename, which does not let a folder take the place of an empty one.
		if err := unix.Rename(d.Name(), d.target); err != nil {
			return &os.LinkError{Op: "rename", Old: d.Name(), New: d.target, Err: err}
		}
		return nil
	})
}

// PlaceNew is Place, unless something has the name: then the error is fs.ErrExist.
func (d *Draft) PlaceNew() error {
	return d.place(func() error {
		err := os.Link(d.Name(), d.target)
		if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without hard links
			if _, err := os.Lstat(d.target); err == nil {
				return &fs.PathError{Op: "create", Path: d.target, Err: fs.ErrExist}
			}
			err = os.Rename(d.Name(), d.target)
		} else if err == nil {
			err = os.Remove(d.Name())
		}
		return err
	})
}

func (d *Draft) isFolder() bool {
	st, err := d.File.Stat()
	return err == nil && st.IsDir()
}

func (d *Draft) place(name func() error) error {
	err := d.File.Sync()
	if err == nil {
		err = name()
	}
	if err != nil {
		d.Discard()
		return named(err, d.target)
	}
	d.end()
	// The name is as durable as the file where the folder can be synced, which not every system can.
	if dir, err := os.Open(filepath.Dir(d.target)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// Discard gives up what was written. It does nothing to a draft that was placed, or discarded: nothing has
// its name any more.
func (d *Draft) Discard() {
	_ = os.RemoveAll(d.Name())
	d.end()
}

func (d *Draft) end() {
	mu.Lock()
	delete(open, d)
	mu.Unlock()
	_ = d.File.Close() // it was synced, or is not wanted
}

// RemoveAll removes all drafts of this process, which is about to end without finishing them.
func RemoveAll() {
	mu.Lock()
	defer mu.Unlock()
	for d := range open {
		_ = os.RemoveAll(d.Name())
	}
}

// Clean removes the drafts of a path whose makers are dead. What cannot be removed does no harm.
func Clean(path string) {
	start := prefix(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		random, ok := strings.CutPrefix(e.Name(), filepath.Base(start))
		random, part := strings.CutSuffix(random, suffix)
		b, err := hex.DecodeString(random)
		if ok && part && err == nil && len(b) == randomSize && (e.Type().IsRegular() || e.IsDir()) {
			removeDead(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// removeDead removes a draft unless its maker lives.
func removeDead(name string) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if Lock(f, unix.LOCK_EX|unix.LOCK_NB) != nil || !same(f) {
		return
	}
	_ = os.RemoveAll(name)
	for _, s := range []string{"-journal", "-wal", "-shm"} { // of a database
		_ = os.Remove(name + s)
	}
}

// same reports whether an open file is still called what it was.
func same(f *os.File) bool {
	have, _ := f.Stat()
	now, _ := os.Lstat(f.Name())
	return os.SameFile(have, now) // not where one of the two is missing
}

// Full reports whether an error says that a disk, a quota or a size limit has no room for more.
func Full(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// Lock is flock, which a signal does not end.
func Lock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
