package estimate

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"facescan/pipeline"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// TestTry runs a sample that needs no network, and leaves nothing behind.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := fetch.New(fetch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &Sample{Drawn: []Row{{URL: "no URL", Bad: true}, {URL: "ftp://h.invalid/x"}}}
	po := pipeline.Options{Fetcher: f, Fetchers: 2, Workers: 1, Memory: 64 << 20, ShardSize: 100, LeaseTTL: 30e9,
		PerHost: 2, Log: slog.New(slog.DiscardHandler)}
	results, run, err := s.Try(t.Context(), po)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[0].Reason != store.BadURL || results[1].Reason != store.BadURL ||
		results[1].ID != 2 {
		t.Errorf("%+v", results)
	}
	if run.Fetchers != 2 || run.Workers != 1 || run.PerHost != 2 || run.CPU <= 0 || run.Database < 0 {
		t.Errorf("%+v", run)
	}
	drained, stop := context.WithCancel(t.Context())
	stop()
	po.Drain = drained.Done()
	if _, _, err := s.Try(t.Context(), po); !errors.Is(err, ErrInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "nowhere"))
	if _, _, err := s.Try(t.Context(), po); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a temporary folder: %v", err)
	}
}
