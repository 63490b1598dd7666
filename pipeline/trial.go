package pipeline

import (
	"context"
	"fmt"
	"time"

	"facescan/store"
)

// Trial fetches and processes some rows as a run does, in a job that has no others: what an estimate rests
// on.
func Trial(ctx context.Context, job store.Job, rows []store.NewRow, o Options, stats *Stats) (End, error) {
	if err := fill(ctx, job, rows, o); err != nil {
		return Finished, fmt.Errorf("make the job of the sample: %w", err)
	}
	return Run(ctx, job, o, stats)
}

func fill(ctx context.Context, job store.Job, rows []store.NewRow, o Options) (err error) {
	session, err := job.Join(ctx, Self(), o.LeaseTTL)
	if err != nil {
		return err
	}
	defer func() {
		if e := session.Leave(context.WithoutCancel(ctx)); err == nil {
			err = e
		}
	}()
	source, err := job.AddSource(ctx, store.Source{Name: "sample", Format: "txt", Options: "{}"})
	if err != nil {
		return err
	}
	lease, err := session.LeaseSource(ctx, source.Number)
	if err != nil {
		return err
	}
	return session.Append(ctx, lease, rows, store.Position{}, true, o.ShardSize)
}

// ProcessTime is how long processors were busy with this process, to measure a trial.
func ProcessTime() time.Duration { return processTime() }
