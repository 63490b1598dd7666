package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// Single processes images one at a time, as a run does, without a job.
type Single struct {
	Fetcher  *fetch.Fetcher
	Detector detect.Detector
	Encoded  bool // the detector wants the bytes as downloaded
	Decode   decode.Options
	Retries  int
	MaxBytes int64
	Log      *slog.Logger
}

// Look fetches a URL, or reads a file, and processes it. The bytes are returned for drawing. The error is
// ours, not the image's: a file that is not there, a cancelled context.
func (s *Single) Look(ctx context.Context, name string, isURL bool) (store.Result, []byte, error) {
	t := &task{attempts: 1}
	read := s.read
	if isURL {
		read = s.fetch
	}
	if res, err := read(ctx, name, t); err != nil || res.Status != "" {
		return res, nil, err
	}
	bytes := t.body.Bytes
	budget := newBudget(math.MaxInt64, 0)
	p := processor{decode: s.Decode, detector: s.Detector, encoded: s.Encoded, keeps: true,
		pixels: budget.pixels, stats: &Stats{}, log: s.Log, decoding: func(int, int64) {}}
	p.open(1)
	defer p.close()
	res, err := p.process(ctx, t)
	if err != nil {
		return store.Result{}, nil, err
	}
	return *res, bytes, nil
}

// ErrUnreadable says that a file could not be opened or read, which says nothing about an image.
var ErrUnreadable = errors.New("cannot be read")

// read fills the task's body from a file, - being stdin; a result with a status is the outcome instead.
func (s *Single) read(_ context.Context, name string, t *task) (store.Result, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return store.Result{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		defer f.Close()
	}
	bytes, err := io.ReadAll(io.LimitReader(f, s.MaxBytes+1))
	if err != nil {
		return store.Result{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if int64(len(bytes)) > s.MaxBytes {
		return store.Result{Status: store.Failed, Reason: store.TooLarge}, nil
	}
	t.body = &fetch.Body{Bytes: bytes}
	return store.Result{}, nil
}

// fetch fills the task's body from a URL, likewise.
func (s *Single) fetch(ctx context.Context, url string, t *task) (store.Result, error) {
	budget := newBudget(math.MaxInt64, 0)
	for ; ; t.attempts++ {
		b, err := s.Fetcher.Fetch(ctx, url, &reservation{b: budget.bodies})
		if err == nil {
			t.body = b // left to the garbage collector: it is drawn later
			return store.Result{}, nil
		}
		var fe *fetch.Error
		if !errors.As(err, &fe) {
			return store.Result{}, err
		}
		retried := store.Reason(fe.Reason).Retried(fe.Status)
		wait := fetch.Backoff(t.attempts, fe.RetryAfter)
		switch {
		case retried && fe.Wait > 0: // the row was not asked for
			wait = fe.Wait
			t.attempts--
		case !retried || fe.Robots != fetch.NoRobots || t.attempts > s.Retries:
			return failure(t.attempts, fe), nil
		}
		if err := sleep(ctx, wait); err != nil {
			return store.Result{}, err
		}
	}
}
