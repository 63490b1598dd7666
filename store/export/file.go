package export

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"facescan/store/draft"
)

// File is an output file. It is written beside its path and renamed when it is closed. What is not a regular
// file, such as /dev/null or a pipe, is written directly.
type File struct {
	io.Writer
	draft  *draft.Draft   // nil when written in place
	f      *os.File       // the draft's, or the one in place
	finish []func() error // of the layers, from the top
}

// linked follows the symbolic links of a path, also to where nothing is yet: what they lead to is written,
// and they stay.
func linked(path string) (string, error) {
	for range 40 { // as many as the kernel follows
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // it is not a link
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
}

// Create starts a file, compressed if its name ends in .gz or .zst.
func Create(path string) (*File, error) {
	out := &File{}
	var err error
	fi, statErr := os.Stat(path)
	switch {
	case statErr == nil && fi.IsDir():
		err = fmt.Errorf("%s is a folder; name a file", path)
	case statErr == nil && !fi.Mode().IsRegular():
		out.f, err = os.OpenFile(path, os.O_WRONLY, 0)
	case statErr == nil || errors.Is(statErr, fs.ErrNotExist):
		var target string
		if target, err = linked(path); err == nil {
			out.draft, err = draft.Create(target)
		}
		if err == nil {
			out.f = out.draft.File
		}
	default:
		err = statErr
	}
	if err != nil {
		return nil, err
	}
	out.Writer = out.f
	w := bufio.NewWriterSize(out.f, 64<<10) // compressors write little by little, encoders do not
	if c, err := compress(w, path); err != nil {
		out.Discard()
		return nil, err
	} else if c != nil {
		out.Writer, out.finish = c, []func() error{c.Close, w.Flush}
	}
	return out, nil
}

// compress returns the compressor that a name asks for, nil for none.
func compress(w io.Writer, path string) (io.WriteCloser, error) {
	switch {
	case strings.HasSuffix(strings.ToLower(path), ".gz"):
		return gzip.NewWriterLevel(w, gzip.DefaultCompression)
	case strings.HasSuffix(strings.ToLower(path), ".zst"):
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return nil, nil
}

// Close finishes the file and renames it to its path; after an error, the path is as it was before.
func (f *File) Close() error {
	for _, finish := range f.finish {
		if err := finish(); err != nil {
			f.Discard()
			return err
		}
	}
	if f.draft == nil {
		return f.f.Close()
	}
	return f.draft.Place()
}

// Discard removes what was written.
func (f *File) Discard() {
	if f.draft == nil {
		_ = f.f.Close()
		return
	}
	f.draft.Discard()
}
