package estimate

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/store"
	"facescan/store/sqlite"
)

// TestTry runs a sample of an image and of what needs no network, and leaves nothing behind.
func TestTry(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := fetch.New(fetch.Options{Timeout: 10 * time.Second, MaxBytes: 1 << 20, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var body bytes.Buffer
	if err := png.Encode(&body, image.NewGray(image.Rect(0, 0, 64, 48))); err != nil {
		t.Fatal(err)
	}
	server := fetchtest.New(map[string][]byte{"a.png": body.Bytes()}, 0)
	defer server.Close()
	detector, err := detect.New(detect.Defaults(detect.Default))
	if err != nil {
		t.Fatal(err)
	}
	defer detector.Close()
	s := &Sample{Drawn: []Row{{URL: "no URL", Bad: true}, {URL: "ftp://h.invalid/x"},
		{URL: server.URL + "/f/a.png"}}}
	po := pipeline.Options{Fetcher: f, Fetchers: 2, Workers: 1, Memory: 64 << 20, ShardSize: 100,
		LeaseTTL: 30e9, PerHost: 2, Detector: detector, Decode: decode.Options{MaxPixels: 1e6},
		Log: slog.New(slog.DiscardHandler)}
	results, run, err := s.Try(t.Context(), po)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 || results[0].Reason != store.BadURL || results[1].Reason != store.BadURL ||
		results[1].ID != 2 || results[2].Status != store.OK || results[2].Width != 64 {
		t.Errorf("%+v", results)
	}
	if run.Fetchers != 2 || run.Slow != po.Slow() || run.Workers != 1 || run.PerHost != 2 || run.CPU <= 0 ||
		run.CPU > time.Minute || run.Database < 0 || run.Database > 1<<16 || run.Fetching <= 0 ||
		run.Decoding <= 0 || run.Detecting <= 0 {
		t.Errorf("%+v", run)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if _, _, err := s.Try(over, po); !errors.Is(err, context.Canceled) {
		t.Errorf("of a context that is over: %v", err)
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

// TestResultsOf: results that are missing or cannot be read are an error, and no shorter sample.
func TestResultsOf(t *testing.T) {
	t.Parallel()
	job, err := sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := "of the 3 rows of the sample 0 have a result"
	if _, err := resultsOf(t.Context(), job, 3); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := job.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := resultsOf(t.Context(), job, 3); err == nil || err.Error() == want {
		t.Errorf("of a job that is closed: %v", err)
	}
}
