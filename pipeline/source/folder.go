package source

import (
	"cmp"
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

	"facescan/pipeline/fileurl"
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
	atOnce  int  // entries of a folder that are read at a time
	levels  []level
}

// level is a folder that is being read.
type level struct {
	path  string   // with a slash at its end
	names []string // that are left, sorted; those of folders with a slash at their end
}

func openFolder(ctx context.Context, root string, growing bool) (*folder, error) {
	f := &folder{ctx: ctx, root: root, growing: growing, atOnce: 4096}
	fi, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, usagef("%s is not a folder any more: give the folder of images, or import it into "+
			"another job with --db JOB.db", root)
	}
	top, err := f.list(strings.TrimSuffix(root, "/") + "/")
	if err != nil {
		var in *fs.PathError
		if errors.As(err, &in) {
			err = in.Err
		}
		return nil, fmt.Errorf("the folder %s cannot be read: %w; make it readable, then run the same "+
			"command again", root, err)
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
		path = strings.TrimSuffix(path, "/") // with the slash a link would be followed
	}
	dir, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return l, err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(f.atOnce)
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
func (f *folder) Next(dst []Row) (int, error) { return fill(dst, f.next) }

func (f *folder) next(row *Row, _ bool) error {
	for len(f.levels) > 0 {
		l := &f.levels[len(f.levels)-1]
		if len(l.names) == 0 {
			f.levels = f.levels[:len(f.levels)-1]
			continue
		}
		path := l.path + l.names[0]
		if !strings.HasSuffix(path, "/") {
			l.names = l.names[1:]
			if file, is := f.stat(path); is && f.take(row, fileurl.Of(path), file) {
				return nil
			}
			continue
		}
		inner, err := f.list(path)
		switch {
		case f.ctx.Err() != nil:
			return f.ctx.Err()
		case errors.Is(err, fs.ErrPermission):
			f.passed.Folders++
			f.passed.Folder = path
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		case err != nil: // it comes again, as the name is still there
			return fmt.Errorf("the folder %s cannot be read: %w; what was found before is kept, fix the "+
				"cause and run the same command again", path, err)
		}
		l.names = l.names[1:]
		if err == nil {
			f.levels = append(f.levels, inner)
		}
	}
	return cmp.Or(f.ctx.Err(), io.EOF)
}

// stat returns what a file looks like. A file that is not accessible is a row all the same, and its outcome
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
	if f.growing && age >= 0 && age < sameTime {
		return File{}, false // it may still be written
	}
	return File{Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}, true
}

// Close implements Reader.
func (f *folder) Close() error { return nil }
