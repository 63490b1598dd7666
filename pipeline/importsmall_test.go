package pipeline

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/sqlite"
)

// smallLists are many small lists, a .gz of more rows than a small list has among them.
type smallLists struct {
	*testing.T
	specs []source.Spec
	path  string // of the job
	want  map[int64]string
}

const longRows = 2*smallRows + 1

func newSmallLists(t *testing.T, n int) *smallLists {
	t.Helper()
	dir := t.TempDir()
	s := &smallLists{T: t, path: filepath.Join(dir, "job.db"), want: map[int64]string{}}
	for i := range n {
		rows, path := 1+i%3, filepath.Join(dir, fmt.Sprintf("%d.txt", i))
		if i == n/2 {
			rows, path = longRows, path+".gz"
		}
		f, err := os.Create(path)
		s.ok(err)
		w := io.WriteCloser(f)
		if rows == longRows {
			w = gzip.NewWriter(f)
		}
		_, err = io.WriteString(w, lines(1, rows))
		s.ok(errors.Join(err, w.Close()))
		f.Close()
		for id := 1; id <= rows; id++ {
			s.want[int64(i)<<store.SourceShift+int64(id)] = fmt.Sprintf("http://a.invalid/%d", id)
		}
		s.specs = append(s.specs, source.Spec{Path: path, Format: "txt"})
	}
	job, err := sqlite.Create(t.Context(), s.path)
	s.ok(err)
	s.ok(job.Close())
	return s
}

func (s *smallLists) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// importer is one of a process that works on the job; its leases last so long.
func (s *smallLists) importer(ttl time.Duration) *Importer {
	s.Helper()
	job, err := sqlite.Open(s.Context(), s.path)
	s.ok(err)
	s.Cleanup(func() { job.Close() })
	session, err := job.Join(s.Context(), Self(), ttl)
	s.ok(err)
	return &Importer{Job: job, Session: session, ShardSize: 100, LeaseTTL: ttl,
		Log: slog.New(slog.DiscardHandler)}
}

// check fails unless the job has each row once, and all lists to their ends.
func (s *smallLists) check() {
	s.Helper()
	job, err := sqlite.Open(s.Context(), s.path)
	s.ok(err)
	defer job.Close()
	n := 0
	for r, err := range job.Rows(s.Context(), 0, math.MaxInt64) {
		s.ok(err)
		if n++; s.want[r.ID] != r.URL {
			s.Errorf("row %d is %q, want %q", r.ID, r.URL, s.want[r.ID])
		}
	}
	if n != len(s.want) {
		s.Errorf("%d rows, want %d", n, len(s.want))
	}
	sources, err := job.Sources(s.Context())
	s.ok(err)
	for i, list := range sources {
		if !list.Complete || list.Position.Line == 0 || list.Name != filepath.Base(s.specs[i].Path) {
			s.Errorf("%+v", list)
		}
	}
	s.ok(job.Verify(s.Context(), store.VerifyOptions{}, func(p store.Problem) { s.Errorf("%+v", p) }))
}

// TestSmallListsTogether imports small lists by three processes at once, and again.
func TestSmallListsTogether(t *testing.T) {
	s := newSmallLists(t, 3*mostGroup/2)
	var all sync.WaitGroup
	for range 3 {
		im := s.importer(time.Minute)
		all.Go(func() {
			if err := im.Import(t.Context(), s.specs); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.check()
	im := s.importer(time.Minute)
	added := int64(0)
	im.Imported = func(_ string, rows int64, _ float64) { added += rows }
	s.ok(im.Import(t.Context(), s.specs))
	if added != 0 {
		t.Errorf("%d rows were added once more", added)
	}
	s.check()
}

// overtaken is a session that is held up before it first appends, until another process has imported
// everything.
type overtaken struct {
	store.Session
	once  sync.Once
	other func()
	lost  bool
}

func (o *overtaken) AppendAll(ctx context.Context, all []store.Addition, shardSize int) error {
	o.once.Do(o.other)
	err := o.Session.AppendAll(ctx, all, shardSize)
	o.lost = o.lost || errors.Is(err, store.ErrLeaseLost)
	return err
}

// TestSmallListsLeaseLost has the leases of a group run out before it is written: another process imports the
// lists meanwhile, and what this one has read is not added once more.
func TestSmallListsLeaseLost(t *testing.T) {
	s := newSmallLists(t, 60)
	slow, fast := s.importer(300*time.Millisecond), s.importer(time.Minute)
	held := &overtaken{Session: slow.Session, other: func() {
		if err := fast.Import(t.Context(), s.specs); err != nil {
			t.Error(err)
		}
	}}
	slow.Session, slow.LeaseTTL = held, time.Minute // so that it is sure of its leases
	s.ok(slow.Import(t.Context(), s.specs))
	if !held.lost {
		t.Error("no lease was lost")
	}
	s.check()
}
