package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"facescan/store"
)

// shelf is a Keeper in memory.
type shelf struct {
	mu      sync.Mutex
	bodies  map[int64]Original
	synced  map[int64]bool // kept and synced
	done    []int64
	dropped int
	fail    error // of Keep
	broken  bool  // what is kept cannot be read
}

func newShelf() *shelf { return &shelf{bodies: map[int64]Original{}, synced: map[int64]bool{}} }

func (s *shelf) Find(id int64) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.bodies[id]
	return int64(len(o.Body)), ok
}

func (s *shelf) Read(row store.Row) (Original, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return Original{}, errors.New("damaged")
	}
	return s.bodies[row.ID], nil
}

func (s *shelf) Keep(_ context.Context, img Processed) ([]store.Outputs, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	out := make([]store.Outputs, len(img.Rows))
	for i, row := range img.Rows {
		if img.Body == nil || len(img.Result.Faces) != 1 || img.Generations[i] == 0 ||
			img.Result.Time.IsZero() {
			return nil, fmt.Errorf("row %d: %d bytes, %d faces", row.ID, len(img.Body), len(img.Result.Faces))
		}
		s.bodies[row.ID] = Original{Body: slices.Clone(img.Body), Status: img.Status}
		out[i] = store.Outputs(row.ID)
	}
	return out, nil
}

func (s *shelf) Stage(l store.Lease, results []store.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		if r.ID < l.Lo || r.ID > l.Hi {
			return fmt.Errorf("row %d under the lease of %d to %d", r.ID, l.Lo, l.Hi)
		}
		s.synced[r.ID] = true
	}
	return nil
}

func (s *shelf) Drop(ids []int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		delete(s.bodies, id)
	}
	s.dropped += len(ids)
	return nil
}

func (s *shelf) Done(_ context.Context, _ store.Lease, results []store.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		if r.Status == store.OK && !s.synced[r.ID] {
			return fmt.Errorf("row %d is done before it was synced", r.ID)
		}
		s.done = append(s.done, r.ID)
	}
	return nil
}

func (s *shelf) TakeOver() error { return nil }

// TestKeeper keeps what is processed, durable before it is done, and reads it instead of downloading it. Rows
// that share a download each have their own outputs.
func TestKeeper(t *testing.T) {
	b := newBench(t, two, "/i/0/a.png", "/i/1/b.png", "/status/404/c", "/i/1/b.png", "/html/d")
	s := newShelf()
	b.opts.Keeper = s
	b.want(Finished, "ok", "ok", "failed http_4xx", "ok", "failed not_image")
	if len(s.bodies) != 3 || len(s.done) != 5 {
		t.Errorf("%d bodies, done %v", len(s.bodies), s.done)
	}
	for r, err := range b.job.Results(t.Context(), 0, math.MaxInt64) {
		if err != nil || r.Status == store.OK && r.Outputs != store.Outputs(r.ID) {
			t.Errorf("row %d: outputs %v, %v", r.ID, r.Outputs, err)
		}
	}
	before := b.server.Total()
	if n, err := b.job.Retry(t.Context(), store.Selection{OK: true}); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	b.want(Finished, "ok", "ok", "failed http_4xx", "ok", "failed not_image")
	if n := b.server.Total(); n != before {
		t.Errorf("%d rows were downloaded that are kept", n-before)
	}
	for r, err := range b.job.Results(t.Context(), 0, 2) {
		if err != nil || r.HTTPStatus != 200 || r.Attempts != 0 || r.Bytes == 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	s.broken = true
	if _, err := b.job.Retry(t.Context(), store.Selection{OK: true}); err != nil {
		t.Fatal(err)
	}
	b.want(Finished, "ok", "ok", "failed http_4xx", "ok", "failed not_image")
	if n := b.server.Total(); n == before {
		t.Error("what could not be read was not downloaded")
	}
}

// TestKeeperFails ends the run with the cause, and spends no row on it.
func TestKeeperFails(t *testing.T) {
	var paths []string
	for i := range 60 {
		paths = append(paths, fmt.Sprintf("/i/%d/a.png", i))
	}
	b := newBench(t, two, paths...)
	s := newShelf()
	s.fail = fmt.Errorf("no room: %w", store.ErrFull)
	b.opts.Keeper = s
	if _, err := b.run(); !errors.Is(err, store.ErrFull) {
		t.Fatalf("ended with %v", err)
	}
	if out := b.outcomes(); len(out) != 0 {
		t.Errorf("rows were done: %v", out)
	}
	s.fail = nil
	if end, err := b.run(); err != nil || end != Finished || len(s.bodies) != 60 {
		t.Errorf("then: %v, %v, %d bodies", end, err, len(s.bodies))
	}
}
