package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/sqlite"
)

// stream is an import of a pipe, under way.
type stream struct {
	*testing.T
	job   store.Job
	im    *Importer
	to    *os.File // what is written here comes through the pipe
	stop  context.CancelFunc
	ended chan error
}

// openStream begins an import from a pipe. The lease that the store keeps lasts so long; how often the
// importer renews it is another matter.
func openStream(t *testing.T, as string, ttl, renewal time.Duration, set ...func(*Importer)) *stream {
	t.Helper()
	job, err := sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { job.Close() })
	session, err := job.Join(t.Context(), Self(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{T: t, job: job, ended: make(chan error, 1), im: &Importer{Job: job, Session: session,
		ShardSize: 100,
		LeaseTTL:  renewal, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	for _, f := range set {
		f(s.im)
	}
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.to = to
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.ended <- s.im.Import(ctx, []source.Spec{{Path: "-", Format: "txt", In: from, As: as}}) }()
	t.Cleanup(func() {
		stop()
		to.Close()
	})
	return s
}

func (s *stream) write(text string) {
	s.Helper()
	if _, err := s.to.WriteString(text); err != nil {
		s.Fatal(err)
	}
}

// lines are lines of a list, by their numbers.
func lines(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "http://a.invalid/%d\n", from+i)
	}
	return b.String()
}

// rows waits until the job has so many rows. More may come until the stream is closed.
func (s *stream) rows(n int64) {
	s.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c, err := s.job.Counts(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		if c.Total == n && len(c.ImportIncomplete) == 1 {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%d rows, want %d; incomplete: %q", c.Total, n, c.ImportIncomplete)
		}
	}
}

// until waits for something.
func (s *stream) until(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not: %s", what)
		}
	}
}

// urls are those of all rows, by id.
func (s *stream) urls() (ids []int64, urls string) {
	s.Helper()
	for r, err := range s.job.Rows(s.Context(), 0, 1<<store.SourceShift) {
		if err != nil {
			s.Fatal(err)
		}
		ids = append(ids, r.ID)
		urls += r.URL + "\n"
	}
	return ids, urls
}

// TestPipeIsTakenAtOnce writes as many lines as are asked of a reader at a time, and a part of another one,
// to a pipe that then gives nothing more: the whole lines are rows all the same.
func TestPipeIsTakenAtOnce(t *testing.T) {
	s := openStream(t, "", time.Minute, time.Minute)
	s.write("http://a.invalid/0\n")
	s.rows(1)
	s.write(lines(1, readRows) + "http://a.inva")
	s.rows(1 + readRows)
	s.write("lid/513\n")
	s.rows(2 + readRows)
	s.write("http://a.invalid/514") // is a row at the end of the list
	s.to.Close()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	if _, urls := s.urls(); urls != lines(0, 3+readRows) {
		t.Error("rows differ from the lines")
	}
}

// TestPipeKeepsItsLease writes nothing to a pipe for longer than its lease lasts: no other process takes the
// import over.
func TestPipeKeepsItsLease(t *testing.T) {
	const ttl = 4 * time.Second // a busy machine may be late to renew it
	s := openStream(t, "", ttl, time.Second)
	s.write(lines(0, 1))
	s.rows(1)
	other, err := s.job.Join(t.Context(), store.Owner{Host: "other", PID: 1}, ttl)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(ttl + time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := other.LeaseSource(t.Context(), 0); err == nil {
			t.Fatal("another process leased the import")
		}
	}
	s.write(lines(1, 1))
	s.rows(2)
}

// TestPipeDrains ends an import while lines of its pipe are unread: they are rows, but for the one that has
// no end.
func TestPipeDrains(t *testing.T) {
	s := openStream(t, "monday", time.Minute, time.Minute)
	s.write(lines(0, 1))
	s.rows(1)
	s.write(lines(1, 1000) + "http://a.inva")
	s.stop()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	if _, urls := s.urls(); urls != lines(0, 1001) {
		t.Errorf("%d of 1001 lines are rows", strings.Count(urls, "\n"))
	}
}

// TestPipeOutlivesItsLease takes the lease of an import away, as another process may when this one stood
// still, and appends rows under it: those of this process come after them, each once.
func TestPipeOutlivesItsLease(t *testing.T) {
	s := openStream(t, "monday", time.Second, time.Hour)
	s.write(lines(0, 2))
	s.rows(2)
	other, err := s.job.Join(t.Context(), store.Owner{Host: "other", PID: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var lease store.SourceLease
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if lease, err = other.LeaseSource(t.Context(), 0); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	s.write(lines(3, 2)) // find the lease lost
	at := lease.Position
	at.Line, at.Offset, at.Rows = at.Line+1, at.Offset+10, at.Rows+1
	if err := other.Append(t.Context(), lease, []store.NewRow{{ID: 3, URL: "http://a.invalid/2"}}, at, false,
		100); err != nil {
		t.Fatal(err)
	}
	if err := other.ReleaseSource(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	s.rows(5)
	s.write(lines(5, 1))
	s.to.Close()
	if err := <-s.ended; err != nil {
		t.Fatal(err)
	}
	ids, urls := s.urls()
	if fmt.Sprint(ids) != "[1 2 3 4 5 6]" || urls != lines(0, 6) {
		t.Errorf("ids %v:\n%s", ids, urls)
	}
	all, err := s.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if p := all[0].Position; p.Line != 6 || p.Rows != 6 {
		t.Errorf("position %+v", p)
	}
}

// TestPipeWaits: a pipe is not read while the run is held, nor while more rows are pending than may be.
func TestPipeWaits(t *testing.T) {
	var holds atomic.Bool
	var held, asked, ahead atomic.Int64
	holds.Store(true)
	s := openStream(t, "", time.Minute, time.Minute, func(im *Importer) {
		im.Hold = func() bool {
			held.Add(1)
			return holds.Load()
		}
		im.Ahead = func() int64 {
			asked.Add(1)
			return ahead.Load()
		}
	})
	go s.to.WriteString(lines(0, pipeAhead))
	s.until("the run is held", func() bool { return held.Load() >= 3 })
	if c, err := s.job.Counts(t.Context()); err != nil || c.Total != 0 {
		t.Errorf("%d rows were read, %v", c.Total, err)
	}
	holds.Store(false)
	s.until("too many are pending", func() bool { return asked.Load() >= 3 })
	c, err := s.job.Counts(t.Context())
	if err != nil || c.Total < pipeAhead/4 || c.Total > pipeAhead/4+4*readRows {
		t.Errorf("%d rows were read, %v", c.Total, err)
	}
	ahead.Store(2 * pipeAhead)
	s.rows(pipeAhead)
}

// TestPipeFails: what was read before a list breaks is kept.
func TestPipeFails(t *testing.T) {
	i := newImports(t)
	broken := errors.New("the other end is gone")
	in := io.MultiReader(strings.NewReader(lines(0, 3)), iotest.ErrReader(broken))
	err := i.im.Import(t.Context(), []source.Spec{{Path: "-", Format: "txt", In: in}})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "read -") {
		t.Errorf("%v", err)
	}
	i.want("before it broke", "- 3 …")
}

// TestHolds: a pipe is left unread while the run says so, or while as many rows are pending as may be, which
// is asked after every so many rows.
func TestHolds(t *testing.T) {
	i := newImports(t)
	i.read(i.list("a.txt", lines(0, 6)))
	p := &pipe{}
	holds := func(when string, want bool) {
		t.Helper()
		if got, err := i.im.holds(t.Context(), p); got != want || err != nil {
			t.Errorf("%s: holds %t, %v", when, got, err)
		}
	}
	p.unasked = pipeAhead
	holds("without a limit", false)
	ahead := int64(5)
	i.im.Ahead = func() int64 { return ahead }
	holds("more are pending than may be", true)
	if p.unasked != pipeAhead {
		t.Error("it is not asked again at once")
	}
	ahead = 6
	holds("as many are pending as may be", false)
	ahead = 5
	holds("few rows since", false)
	p.unasked = pipeAhead/4 - 1
	holds("not enough rows since", false)
	p.unasked++
	holds("enough rows since", true)
	i.im.Hold = func() bool { return false }
	p.unasked = 0
	holds("the run does not hold it", false)
	i.im.Hold = func() bool { return true }
	holds("the run holds it", true)
	over, stop := context.WithCancel(t.Context())
	stop()
	if got, err := i.im.holds(over, p); got || err != nil {
		t.Errorf("at the end: %t, %v", got, err)
	}
	i.im.Hold, i.im.Job, p.unasked = nil, brokenJob{i.job, "Counts", new(int)}, pipeAhead
	if _, err := i.im.holds(t.Context(), p); !errors.Is(err, errBroken) {
		t.Errorf("rows that cannot be counted: %v", err)
	}
}

// TestPipeMoved: rows of a named stream go behind those that others appended meanwhile. Without a name they
// would be rows of another stream.
func TestPipeMoved(t *testing.T) {
	at := func(offset, line, rows int64) store.Position {
		return store.Position{Offset: offset, Line: line, Rows: rows}
	}
	p := &pipe{name: "monday", base: at(10, 2, 2), last: at(100, 20, 18), at: at(95, 19, 17)}
	p.batch.add(store.NewRow{ID: 21})
	p.batch.add(store.NewRow{ID: 22})
	if err := p.moved(p.last); err != nil || p.position().Line != 21 {
		t.Errorf("not moved: %v, %+v", err, p.position())
	}
	for _, now := range []store.Position{at(101, 20, 18), at(100, 21, 18)} {
		if err := p.moved(now); err == nil || !strings.Contains(err.Error(), "imported monday meanwhile") {
			t.Errorf("moved to %+v: %v", now, err)
		}
	}
	p.spec.As = "monday"
	if err := p.moved(at(130, 27, 23)); err != nil {
		t.Fatal(err)
	}
	got := p.position()
	if got.Offset != 135 || got.Line != 28 || got.Rows != 24 || p.batch.rows[0].ID != 28 ||
		p.batch.rows[1].ID != 29 {
		t.Errorf("%+v, %+v", got, p.batch.rows)
	}
	p.base.Rows = -1
	if got := p.position(); got.Rows != -1 {
		t.Errorf("rows that were not counted are %d", got.Rows)
	}
}
