package fetch

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"facescan/pipeline/fileurl"
	"facescan/store/listed"
)

// Images that are here already. No network policy applies to them: no robots, no limits of hosts, no rate.
//
// A file is opened below its folder by os.Root, component by component, so that no link leads out of the
// folder, even if it is put there meanwhile. The folder is opened for every file, so that one that was away
// and is back is found again.

// File names an image that is a row of a folder or tar of images.
type File struct {
	Source string // the folder or tar
	Tar    bool
	Name   string // path below the folder, or name of the member
	Offset int64  // of a member: where its headers begin; below 0 if it is gone
}

// GoneError says that a folder or tar cannot be opened, or that this machine cannot open any file: an outage
// of our own, and no outcome of a row.
type GoneError struct {
	Source string
	Err    error
}

func (e *GoneError) Error() string {
	if is(e.Err, fs.ErrNotExist) {
		return e.Source + " is not there; if it is on a disk or share, mount that"
	}
	return fmt.Sprintf("%s cannot be opened: %v", e.Source, e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// allowed is a folder below which lists may name files.
type allowed struct {
	named string // absolute
	real  string // without symbolic links
}

// allow resolves folders.
func allow(folders []string) (out []allowed, err error) {
	for _, folder := range folders {
		named, err := filepath.Abs(folder)
		if err != nil {
			return nil, err
		}
		real, err := filepath.EvalSymlinks(named)
		if err != nil {
			return nil, fmt.Errorf("--allow-files %s: %w; name a folder that exists", folder, reasonIn(err))
		}
		if fi, err := os.Stat(real); err != nil || !fi.IsDir() {
			return nil, fmt.Errorf("--allow-files %s: that is not a folder; name the folder with the files",
				folder)
		}
		out = append(out, allowed{named, real})
	}
	return out, nil
}

// reasonIn is the error that a path's name comes with.
func reasonIn(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}

// is reports whether an error is one of some.
func is(err error, some ...error) bool {
	return slices.ContainsFunc(some, func(one error) bool { return errors.Is(err, one) })
}

// readOnly opens a file to read it, and does not wait for a writer if it is a pipe.
const readOnly = os.O_RDONLY | syscall.O_NONBLOCK

// FetchFile reads an image of a folder or tar. The error is an *Error, a *GoneError, or the context's cause
// if that ended first.
func (f *Fetcher) FetchFile(ctx context.Context, file File, mem Memory) (*Body, error) {
	r := fileReader{f: f, ctx: ctx, mem: mem, start: time.Now()}
	if file.Tar {
		return r.member(file)
	}
	root, err := os.OpenRoot(file.Source)
	if err != nil {
		return nil, &GoneError{file.Source, reasonIn(err)}
	}
	defer root.Close()
	fi, err := root.Lstat(file.Name)
	if err != nil {
		return nil, fileError(file.Source, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, &Error{Reason: FileMissing, Err: errors.New("not a regular file any more: " + file.Name)}
	}
	in, err := root.OpenFile(file.Name, readOnly, 0)
	if err != nil {
		return nil, fileError(file.Source, err)
	}
	defer in.Close()
	return r.file(in)
}

// fetchListed reads a file that a list names.
func (f *Fetcher) fetchListed(ctx context.Context, rawURL string, mem Memory) (*Body, error) {
	path, ok := fileurl.Path(tidy(rawURL))
	if !ok {
		return nil, &Error{Reason: BadURL, Err: errors.New("no absolute path on this machine")}
	}
	in, err := f.openListed(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	r := fileReader{f: f, ctx: ctx, mem: mem, start: time.Now()}
	return r.file(in)
}

// errNotAllowed refuses a file that is elsewhere.
var errNotAllowed = &Error{Reason: BadURL, Err: errors.New("not below a folder that --allow-files names")}

func (f *Fetcher) openListed(path string) (*os.File, error) {
	for _, a := range f.files {
		for _, folder := range []string{a.named, a.real} {
			rel, below := inside(folder, path)
			if !below {
				continue
			}
			root, err := os.OpenRoot(a.real)
			if err != nil {
				return nil, &GoneError{a.named, reasonIn(err)}
			}
			defer root.Close()
			in, err := root.OpenFile(rel, readOnly, 0)
			if err == nil || is(err, fs.ErrNotExist, fs.ErrPermission, syscall.ELOOP) {
				return in, fileError(a.named, err)
			}
			// A link on the way may be absolute, and os.Root follows none such, wherever it leads.
			end, e := filepath.EvalSymlinks(path)
			if e != nil {
				return nil, fileError(a.named, e)
			}
			if rel, below = inside(a.real, end); !below {
				return nil, errNotAllowed
			}
			in, err = root.OpenFile(rel, readOnly, 0)
			return in, fileError(a.named, err)
		}
	}
	return nil, errNotAllowed
}

// inside returns a path relative to a folder that contains it.
func inside(folder, path string) (rel string, ok bool) {
	rel, err := filepath.Rel(folder, path)
	return rel, err == nil && filepath.IsLocal(rel)
}

// fileError says what an error of opening or reading a file means; nil means no error.
func fileError(source string, err error) error {
	err = reasonIn(err)
	switch {
	case err == nil:
		return nil
	case is(err, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM):
		return &GoneError{source, err}
	case is(err, fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP):
		return &Error{Reason: FileMissing, Err: err}
	case is(err, syscall.EINVAL, syscall.ENAMETOOLONG):
		return &Error{Reason: BadURL, Err: err}
	}
	return &Error{Reason: FileUnreadable, Err: err}
}

// fileReader reads one file into memory of the budget.
type fileReader struct {
	f     *Fetcher
	ctx   context.Context
	mem   Memory
	start time.Time
}

// file reads an open file.
func (r *fileReader) file(in *os.File) (*Body, error) {
	fi, err := in.Stat()
	if err != nil {
		return nil, fileError(in.Name(), err)
	}
	if !fi.Mode().IsRegular() {
		return nil, &Error{Reason: NotImage, Err: errors.New("no regular file")}
	}
	return r.read(in, listed.File{Size: fi.Size(), Mtime: fi.ModTime().UnixNano()})
}

// mostHeaders is how many headers may come between the place of a member and its own; see package source.
const mostHeaders = 1000

// member reads a member of a tar by its place.
func (r *fileReader) member(file File) (*Body, error) {
	in, err := os.OpenFile(file.Source, readOnly, 0)
	if err != nil {
		return nil, &GoneError{file.Source, reasonIn(err)}
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return nil, &GoneError{file.Source, reasonIn(err)}
	}
	if file.Offset < 0 {
		return nil, &Error{Reason: FileMissing, Err: errors.New("the tar does not have the member any more")}
	}
	changed := func(err error) error {
		return &Error{Reason: FileUnreadable, Err: fmt.Errorf("%s has changed since it was imported: "+
			"give it to facescan run --images again (%w)", file.Source, err)}
	}
	t := tar.NewReader(io.NewSectionReader(in, file.Offset, max(0, fi.Size()-file.Offset)))
	for range mostHeaders {
		h, err := t.Next()
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, changed(err)
		}
		if h.Name == file.Name && h.Typeflag != tar.TypeXGlobalHeader {
			return r.read(t, listed.File{Size: h.Size, Mtime: h.ModTime.UnixNano(), Offset: file.Offset})
		}
	}
	return nil, changed(errors.New("the member is not in its place"))
}

// read reads to the end, at most MaxBytes.
func (r *fileReader) read(in io.Reader, seen listed.File) (*Body, error) {
	limit := r.f.o.MaxBytes
	if seen.Size > limit {
		return nil, &Error{Reason: TooLarge, Err: fmt.Errorf("%d bytes", seen.Size)}
	}
	if err := r.mem.Reserve(r.ctx, FirstMemory); err != nil {
		return nil, err
	}
	buf := &buffer{mem: r.mem, paid: FirstMemory, grow: func(n int64) error { return r.mem.Grow(r.ctx, n) }}
	err := buf.resize(min(seen.Size+1, limit)) // one more than it has shows its end
	if err == nil {
		err = context.Cause(r.ctx)
	}
	if err == nil {
		err = buf.fill(in, limit, func(err error) error {
			if err == io.EOF {
				return nil
			}
			return &Error{Reason: FileUnreadable, Bytes: int64(len(buf.b)), Err: reasonIn(err)}
		})
	}
	if err != nil {
		buf.free()
		return nil, err
	}
	took := time.Since(r.start)
	return &Body{Bytes: buf.b, First: took, Took: took, Seen: &seen, buf: buf}, nil
}
