package cmd

import (
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
