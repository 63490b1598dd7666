package cmd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"facescan/store"
	"facescan/store/export"
)

// guardOutput refuses to write over the job or one of its lists, under whatever name.
func guardOutput(path string, job store.Job, sources []export.Source) error {
	out, err := os.Stat(path)
	if err != nil {
		return nil // nothing there to harm
	}
	taken := []string{job.Path(), job.Path() + "-wal", job.Path() + "-shm"}
	for _, s := range sources {
		name := s.Name
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(job.Path()), name)
		}
		taken = append(taken, name)
	}
	for _, name := range taken {
		if st, err := os.Stat(name); err == nil && os.SameFile(st, out) {
			return usagef("%s belongs to the job (%s); name another file for the output", path, name)
		}
	}
	return nil
}

// writeBeside writes a file under another name and renames it when it is whole and on the disk, so that its name
// never stands for half an output.
func writeBeside(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), f.Chmod(0o644), f.Sync()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
