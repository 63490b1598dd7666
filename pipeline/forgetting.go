package pipeline

import (
	"context"
	"fmt"
	"log/slog"

	"facescan/store"
)

// checkForgetting refuses to work on a job while another process deletes rows from it (package forget). The
// run has joined the job by then: the other process either sees it, or is seen here.
func checkForgetting(ctx context.Context, job store.Job, log *slog.Logger) error {
	settings, err := job.Settings(ctx)
	if err != nil || settings[store.ForgetSetting] == "" {
		return err
	}
	counts, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	for _, o := range counts.Owners {
		if o.Alive && o.ID == settings[store.ForgetSetting] {
			return fmt.Errorf("process %d on %s is deleting rows of %s (facescan forget): wait for its "+
				"end, then "+
				"run the same command again", o.PID, o.Host, job.Path())
		}
	}
	log.Warn("facescan forget was interrupted on this job: some of what it was to delete is still there; " +
		"run the same forget command again")
	return nil
}
