package estimate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/open"
)

// ErrInterrupted says that a trial ended before all its rows were done.
var ErrInterrupted = errors.New("interrupted")

// Try runs a job of the sample's rows, in a folder that is removed afterwards, and measures it.
func (s *Sample) Try(ctx context.Context, po pipeline.Options) (results []store.Result, run Run, err error) {
	dir, err := draft.CreateFolder(filepath.Join(os.TempDir(), "facescan-estimate"))
	if err != nil {
		return nil, run, err
	}
	defer dir.Discard()
	path := filepath.Join(dir.Name(), "sample.facescan.db")
	job, err := open.OrCreate(ctx, path)
	if err != nil {
		return nil, run, err
	}
	if err := job.Close(); err != nil {
		return nil, run, err
	}
	empty, err := os.Stat(path)
	if err != nil {
		return nil, run, err
	}
	if job, err = open.Existing(ctx, path); err != nil {
		return nil, run, err
	}
	rows := make([]store.NewRow, len(s.Drawn))
	for i, r := range s.Drawn {
		rows[i] = store.NewRow{ID: int64(i + 1), URL: r.URL, Bad: r.Bad}
	}
	stats := &pipeline.Stats{}
	begin := pipeline.ProcessTime()
	end, err := pipeline.Trial(ctx, job, rows, po, stats)
	used := pipeline.ProcessTime() - begin
	results, e := resultsOf(ctx, job, len(rows))
	if err = errors.Join(err, job.Close()); err != nil {
		return nil, run, err
	}
	if end == pipeline.Interrupted {
		return nil, run, ErrInterrupted
	}
	full, err := os.Stat(path)
	if err = errors.Join(e, err); err != nil {
		return nil, run, err
	}
	run = Run{Fetchers: po.Fetchers, Slow: po.Slow(), Workers: po.Workers, PerHost: po.PerHost,
		CPU: used, Database: full.Size() - empty.Size()}
	for _, stage := range stats.Snapshot().Stages {
		switch stage.Name {
		case "fetch":
			run.Fetching = stage.Took
		case "decode":
			run.Decoding = stage.Took
		case "detect":
			run.Detecting = stage.Took
		}
	}
	return results, run, nil
}

// resultsOf are the results of the rows 1 to n.
func resultsOf(ctx context.Context, job store.Job, n int) ([]store.Result, error) {
	results := make([]store.Result, 0, n)
	for r, err := range job.Results(ctx, 1, int64(n)+1) {
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	if len(results) != n {
		return nil, fmt.Errorf("of the %d rows of the sample %d have a result", n, len(results))
	}
	return results, nil
}
