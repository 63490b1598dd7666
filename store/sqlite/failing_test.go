package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/must"
)

// failing has a statement fail, as on a broken disk: those of the readers with errFailing, and those of the
// writer as statements that SQLite does not allow.
type failing struct {
	*job
	storetest.FailingStatement
	prepared int // statements of the writer that are counted
}

var errFailing = errors.New("the disk is gone")

func failingJob(t *testing.T, j *job) *failing {
	f := &failing{job: j}
	f.Is, f.Begin = f.is, f.begin
	j.readers = failingReaders{j.readers, f}
	must.OK(t, j.writer.conn.Raw(func(c any) error {
		c.(*sqlite3.SQLiteConn).RegisterAuthorizer(f.authorize)
		return nil
	}))
	return f
}

// is reports whether an error is that of a statement that failed.
func (f *failing) is(err error) bool {
	return errors.Is(err, errFailing) || isCode(err, sqlite3.ErrAuth) ||
		strings.Contains(err.Error(), "not authorized to use function")
}

// begin has all statements of a call prepared again.
func (f *failing) begin() {
	for text, s := range f.writer.stmts {
		_ = s.Close()
		delete(f.writer.stmts, text)
	}
	f.prepared = 0
}

// authorize is called several times for a statement that is prepared.
func (f *failing) authorize(op int, what, _, _ string) int {
	if len(f.writer.stmts) < f.prepared || op == sqlite3.SQLITE_TRANSACTION && what == "ROLLBACK" {
		return sqlite3.SQLITE_OK
	}
	f.prepared = len(f.writer.stmts) + 1
	if f.Fails() {
		return sqlite3.SQLITE_DENY
	}
	return sqlite3.SQLITE_OK
}

type failingReaders struct {
	readers
	*failing
}

func (r failingReaders) Close() error { return r.readers.Close() }

func (r failingReaders) view(ctx context.Context, names *strings.Replacer, f func(tx) error) error {
	return r.readers.view(ctx, names, func(t tx) error {
		if r.Fails() {
			return errFailing
		}
		t.q = failingReader{t.q, r.failing}
		return f(t)
	})
}

type failingReader struct {
	querier
	*failing
}

func (r failingReader) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if r.Fails() {
		return nil, errFailing
	}
	return r.querier.QueryContext(ctx, text, args...)
}

// failures has the statements of a job fail.
func failures(t *testing.T, j *job) storetest.Failures {
	f := failingJob(t, j)
	return storetest.Failures{Job: f, FailingStatement: &f.FailingStatement,
		Die: func(s store.Session) { must.OK(t, s.(*session).file.Close()) }}
}

// TestFailuresAreSeen has each statement fail of all that is done to a job.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	j := must.Get(Open(t.Context(), target.Create(t)))(t).(*job)
	defer j.Close()
	f := failures(t, j)
	f.Test(t)
}

// TestFailuresAreSeenInPlace does that for a job in a user's table, whose rows change meanwhile.
func TestFailuresAreSeenInPlace(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path, db := users(t, `CREATE TABLE p (id INTEGER PRIMARY KEY, url TEXT, done INTEGER, album TEXT);
		WITH RECURSIVE n(i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
		INSERT INTO p SELECT i, 'http://a.example/' || i, i % 10 = 0, 'a' || i / 10 FROM n;
		CREATE TRIGGER marked AFTER UPDATE OF done ON p BEGIN SELECT 1; END;`)
	f := failures(t, inPlace(t, path, TableOptions{Table: "p", Group: "album"}))
	change := func(text string) { t.Helper(); must.Get(db.Exec(text))(t) }
	s := must.Get(f.Join(ctx, store.Owner{}, time.Hour))(t)
	defer s.Leave(ctx)
	l := must.Get(s.LeaseSource(ctx, 0))(t)
	adopt := func(what string) {
		t.Helper()
		for next, more := int64(math.MinInt64), true; more; {
			f.Each(t, what, func() error {
				n, m, err := s.(store.Adopter).Adopt(ctx, l, next, 10)
				if err == nil {
					defer func() { next, more = n, m }()
				}
				return err
			})
		}
		if found := storetest.Problems(t, f.Job, true); len(found) > 0 {
			t.Errorf("after %s: %v", what, found)
		}
	}
	adopt("adopt")
	f.Each(t, "grown", func() error { _, err := s.(store.Adopter).Grown(ctx); return err })
	finish(t, s)
	change("UPDATE p SET done = 0 WHERE id IN (12, 40)")
	change("DELETE FROM p WHERE id IN (14, 35)")
	change("UPDATE p SET done = 1 WHERE id = 61")
	change("INSERT INTO p VALUES (3, 'http://a.example/3', 0, 'a0'), (4, 'http://a.example/4', 0, NULL), " +
		"(70, 'http://a.example/70', 0, 'a7')")
	adopt("adopt again")
	change("UPDATE p SET album = 'b' WHERE id = 40")
	var leases []store.Lease
	f.Each(t, "claim", func() (err error) { leases, err = s.ClaimAll(ctx, 3); return err })
	pending := must.Get(s.PendingAll(ctx, leases))(t)
	for i, l := range leases {
		var results []store.Result
		for _, r := range pending[i] {
			results = append(results, benchResult(r.ID, 1))
		}
		f.Each(t, "commit", func() error { return s.Commit(ctx, l, results) })
	}
	f.Each(t, "retry", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, IDs: []int64{15, 16}})
		return err
	})
	f.Each(t, "forget", func() error { return f.Forget(ctx, []int64{15, 16, 17, 18}, false) })
	f.Read(t, "a1")
	f.Each(t, "expunge", func() error { _, err := f.Expunge(ctx); return err })
	if found := storetest.Problems(t, f.Job, true); len(found) > 0 {
		t.Error(found)
	}
}
