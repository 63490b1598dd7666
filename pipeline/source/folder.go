package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// folder finds the images in a folder and below it. Folders are listed one at a time, each sorted: what is in
// memory are the names that are left in the folder it is at and in those above it, however many files there
// are in all.
//
// Byte order of whole paths is that of the names of each folder if a folder's name has a slash at its end:
// a-b/x < a.jpg < a/b.jpg.
type folder struct {
	numbered
	ctx     context.Context
	root    string
	growing bool // files that were just written are left for the next time
	levels  []level
	ahead   []Row // found by any
}

// level is a folder that is being read.
type level struct {
	path  string   // with a slash at its end
	names []string // that are left, sorted; those of folders with a slash at their end
}

// listAtOnce is how many entries of a folder are read at a time.
const listAtOnce = 4096

func openFolder(ctx context.Context, root string, growing bool) (*folder, error) {
	f := &folder{ctx: ctx, root: root, growing: growing}
	fi, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, usagef("%s is not a folder any more: give the folder of images, or import it into another "+
			"job with --db JOB.db", root)
	}
	top, err := f.list(strings.TrimSuffix(root, "/") + "/")
	if err != nil {
		var in *fs.PathError
		if errors.As(err, &in) {
			err = in.Err
		}
		return nil, fmt.Errorf("the folder %s cannot be read: %w; make it readable, then run the same command again",
			root, err)
	}
	f.levels = []level{top}
	return f, nil
}

// list reads the names in a folder.
func (f *folder) list(path string) (level, error) {
	l := level{path: path}
	flags := os.O_RDONLY | syscall.O_DIRECTORY
	if len(f.levels) > 0 {
		flags |= syscall.O_NOFOLLOW
	}
	dir, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return l, err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(listAtOnce)
		for _, e := range entries {
			f.add(&l, e)
		}
		if err == nil {
			err = f.ctx.Err()
		}
		if err == io.EOF {
			slices.Sort(l.names)
			return l, nil
		}
		if err != nil {
			return l, err
		}
	}
}

// add takes what may be an image or have some.
func (f *folder) add(l *level, e fs.DirEntry) {
	name := e.Name()
	switch {
	case name[0] == '.' || e.Type()&fs.ModeSymlink != 0:
	case e.IsDir():
		l.names = append(l.names, name+"/")
	case e.Type() == 0 && IsImageName(name):
		l.names = append(l.names, name)
	default:
		f.passed.Other++
	}
}

// Next implements Reader.
func (f *folder) Next(dst []Row) (n int, err error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if n = copy(dst, f.ahead); n > 0 {
		f.ahead = f.ahead[n:]
		return n, nil
	}
	for n < len(dst) && len(f.levels) > 0 {
		l := &f.levels[len(f.levels)-1]
		if len(l.names) == 0 {
			f.levels = f.levels[:len(f.levels)-1]
			continue
		}
		name := l.names[0]
		path := l.path + name
		if strings.HasSuffix(name, "/") {
			next, err := f.list(path)
			switch {
			case f.ctx.Err() != nil:
				return n, noneWith(n, f.ctx.Err())
			case errors.Is(err, fs.ErrPermission):
				f.passed.Folders++
				f.passed.Folder = path
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
			case err != nil: // it comes again, as the name is still there
				return n, noneWith(n, fmt.Errorf("the folder %s cannot be read: %w; what was found before is "+
					"kept, fix the cause and run the same command again", path, err))
			default:
				l.names = l.names[1:]
				f.levels = append(f.levels, next)
				continue
			}
			l.names = l.names[1:]
			continue
		}
		l.names = l.names[1:]
		if row, is := f.stat(path); is && f.take(&dst[n], fileURL(path), row) {
			n++
		}
	}
	if n == 0 {
		err = f.ctx.Err()
		if err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// noneWith is an error unless there are rows, after which it comes again.
func noneWith(n int, err error) error {
	if n > 0 {
		return nil
	}
	return err
}

// stat returns what a file looks like. A file that may not be looked at is a row all the same, whose outcome
// says so.
func (f *folder) stat(path string) (File, bool) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return File{}, false // it just went
	case err != nil:
		return File{Size: -1}, true
	case !fi.Mode().IsRegular():
		f.passed.Other++
		return File{}, false
	}
	age := time.Since(fi.ModTime())
	if f.growing && age >= 0 && age < settled {
		return File{}, false // it may still be written
	}
	return File{Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}, true
}

func (f *folder) any() (bool, error) {
	row := make([]Row, 1)
	n, err := f.Next(row)
	f.ahead = row[:n]
	if err == io.EOF {
		err = nil
	}
	return n > 0, err
}

// Close implements Reader.
func (f *folder) Close() error { return nil }
