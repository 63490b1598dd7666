package cmd

import (
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
