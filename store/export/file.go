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

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// File is an output file. It is written beside its place and takes it when it is closed, so that under its name
// there is never half of it. What is no file on a disk, such as /dev/null or a pipe, is written as it goes.
type File struct {
	io.Writer
	path, beside string // beside is empty when written in place
	f            *os.File
	finish       []func() error // of the layers, from the top
}

// Create begins a file. A name that ends in .gz or .zst gets what it says.
func Create(path string) (*File, error) {
	out := &File{path: path}
	var err error
	fi, statErr := os.Stat(path)
	switch {
	case statErr == nil && fi.IsDir():
		err = fmt.Errorf("%s is a folder; name a file", path)
	case statErr == nil && !fi.Mode().IsRegular():
		out.f, err = os.OpenFile(path, os.O_WRONLY, 0)
	case statErr == nil || errors.Is(statErr, fs.ErrNotExist):
		// The process id keeps two exports apart; what an interrupted one left is written over by chance or not.
		out.beside = filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.part", filepath.Base(path), os.Getpid()))
		out.f, err = os.OpenFile(out.beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
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

// Close finishes the file and puts it in its place; after an error there is none, or the one that was there before.
func (f *File) Close() error {
	for _, finish := range f.finish {
		if err := finish(); err != nil {
			f.Discard()
			return err
		}
	}
	if f.beside == "" {
		return f.f.Close()
	}
	err := f.f.Sync()
	if err != nil {
		f.Discard()
		return err
	}
	if err = f.f.Close(); err == nil {
		err = os.Rename(f.beside, f.path)
	}
	if err != nil {
		os.Remove(f.beside)
	}
	return err
}

// Discard gives up what was written.
func (f *File) Discard() {
	f.f.Close()
	if f.beside != "" {
		os.Remove(f.beside)
	}
}
