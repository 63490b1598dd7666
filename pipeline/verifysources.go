package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"facescan/pipeline/source"
	"facescan/store"
)

// VerifySources compares the rows of a job with its lists, folders and tars. It calls absent for each that
// cannot be compared, with the reason.
func VerifySources(ctx context.Context, job store.Job, absent func(name, why string),
	report func(store.Problem)) error {
	sources, err := job.Sources(ctx)
	if err != nil {
		return err
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if s.Format == store.TableFormat {
			continue // the table is the list
		}
		if IsStdin(s) {
			absent(s.Name, "came from stdin")
			continue
		}
		var spec source.Spec
		if err := json.Unmarshal([]byte(s.Options), &spec); err != nil {
			return fmt.Errorf("the options of source %s: %w", s.Name, err)
		}
		spec.Path = SourcePath(job.Path(), s.Name)
		info, err := os.Stat(spec.Path)
		switch {
		case source.HasImages(s.Format):
			if err != nil {
				absent(s.Name, "is not there")
			}
			err = VerifyImages(ctx, job, s, report)
		case err == nil && !info.Mode().IsRegular():
			// a device or a pipe, in a job file of a stranger: it may never end
			absent(s.Name, "is not a regular file")
		default:
			if err = VerifySource(ctx, job, s, spec, settings, report); errors.Is(err, fs.ErrNotExist) {
				absent(s.Name, "is not there")
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
