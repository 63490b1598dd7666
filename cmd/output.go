package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"

	"facescan/store"
	"facescan/store/export"
)

// guardOutput refuses to write over the job, one of its lists, or what the command line names as such, under
// any name. A list can stand for a job that has not begun to import it.
func guardOutput(path string, job store.Job, sources []export.Source, named ...string) error {
	out, err := os.Stat(path)
	if err != nil {
		return nil // nothing there to harm
	}
	taken := append(named, job.Path(), job.Path()+"-wal", job.Path()+"-shm")
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

// writeFile writes a small file beside its place and puts it there when it is on the disk.
func writeFile(path string, b []byte) error {
	f, err := export.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Discard()
		return err
	}
	return f.Close()
}

// checksum is the SHA-256 of a job's CSV.
func checksum(ctx context.Context, job store.Job) (string, error) {
	h := sha256.New()
	w, err := export.New(h, export.Options{Credentials: true})
	if err != nil {
		return "", err
	}
	for r, err := range job.Results(ctx, 0, math.MaxInt64) {
		if err != nil {
			return "", err
		}
		if err := w.Write(r); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
