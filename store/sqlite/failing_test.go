package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/must"
)

// failing has the n-th statement of a call fail, as on a broken disk: those of the readers with errFailing,
// and those of the writer as statements that SQLite does not allow.
type failing struct {
	*job
	left     int // statements until one fails; 0 when none does
	prepared int // statements of the writer that are counted
}

var errFailing = errors.New("the disk is gone")

func failingJob(t *testing.T, j *job) *failing {
	f := &failing{job: j}
	j.readers = failingReaders{j.readers, f}
	must.OK(t, j.writer.conn.Raw(func(c any) error {
		c.(*sqlite3.SQLiteConn).RegisterAuthorizer(f.authorize)
		return nil
	}))
	return f
}

func (f *failing) fails() bool {
	if f.left <= 0 {
		return false
	}
	f.left--
	return f.left == 0
}

// authorize is called several times for a statement that is prepared. All that a call runs are prepared anew.
func (f *failing) authorize(op int, what, _, _ string) int {
	if len(f.writer.stmts) < f.prepared || op == sqlite3.SQLITE_TRANSACTION && what == "ROLLBACK" {
		return sqlite3.SQLITE_OK
	}
	f.prepared = len(f.writer.stmts) + 1
	if f.fails() {
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
		if r.fails() {
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
	if r.fails() {
		return nil, errFailing
	}
	return r.querier.QueryContext(ctx, text, args...)
}

// each makes a call with its first statement failing, then the second, until none fails any more: each
// failure is its error, and leaves nothing that keeps the call from succeeding later.
func (f *failing) each(t *testing.T, what string, call func() error) {
	t.Helper()
	for n := 1; ; n++ {
		for text, s := range f.writer.stmts {
			must.OK(t, s.Close())
			delete(f.writer.stmts, text)
		}
		f.prepared, f.left = 0, n
		err := call()
		if f.left > 0 {
			f.left = 0
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if n == 1 {
				t.Errorf("%s runs no statement", what)
			}
			return
		}
		if !errors.Is(err, errFailing) && !isCode(err, sqlite3.ErrAuth) &&
			(err == nil || !strings.Contains(err.Error(), "not authorized to use function")) {
			t.Fatalf("%s: statement %d failed, and the error is %v", what, n, err)
		}
	}
}

// sound holds the job to every invariant.
func (f *failing) sound(t *testing.T, after string) {
	t.Helper()
	if found := storetest.Problems(t, f.job, true); len(found) > 0 {
		t.Errorf("after %s: %v", after, found)
	}
}

// without makes a call of which no statement fails.
func (f *failing) without(t *testing.T, call func() error) {
	t.Helper()
	left := f.left
	f.left = 0
	must.OK(t, call())
	f.left = left
}

// drain reads a sequence to its end, or its error.
func drain[T any](all func(yield func(T, error) bool)) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// readings are all ways to read a job.
func (f *failing) readings(t *testing.T, group string) {
	ctx := t.Context()
	one := func(what string, read func() error) { t.Helper(); f.each(t, what, read) }
	one("settings", func() error { _, err := f.Settings(ctx); return err })
	one("sources", func() error { _, err := f.Sources(ctx); return err })
	one("detectors", func() error { _, err := f.Detectors(ctx); return err })
	one("counts", func() error { _, err := f.Counts(ctx); return err })
	one("samples", func() error { _, err := f.Samples(ctx); return err })
	one("results", func() error { return drain(f.Results(ctx, 0, math.MaxInt64)) })
	one("brief", func() error { return drain(f.Select(ctx, store.Query{To: math.MaxInt64, Brief: true})) })
	one("rows", func() error { return drain(f.Rows(ctx, 0, math.MaxInt64)) })
	one("files", func() error { return drain(f.Files(ctx, 0, math.MaxInt64)) })
	one("hashes", func() error { return drain(f.Hashes(ctx, 0, math.MaxInt64)) })
	one("results of", func() error { _, err := f.ResultsOf(ctx, []int64{2, 5}); return err })
	one("frontier", func() error { _, err := f.Frontier(ctx, 0, 0); return err })
	one("groups", func() error { return drain(f.Groups(ctx, 0)) })
	one("ends", func() error { return drain(f.Ends(ctx, 0)) })
	one("end of a group", func() error { _, err := f.EndOf(ctx, 0, group); return err })
	for _, by := range store.Keys {
		one("tally by "+string(by), func() error { return drain(f.Tally(ctx, by)) })
	}
	one("verify", func() error {
		return f.Verify(ctx, store.VerifyOptions{Deep: true}, func(p store.Problem) { t.Errorf("%+v", p) })
	})
}

// TestFailuresAreSeen has each statement fail of all that is done to a job.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	j := must.Get(Open(ctx, target.Create(t)))(t).(*job)
	defer j.Close()
	f := failingJob(t, j)
	f.each(t, "set", func() error { return f.Set(ctx, map[string]string{"a": "1", "b": "2"}) })
	f.each(t, "add sources", func() error {
		_, err := f.AddSources(ctx, []store.Source{{Name: "list"}, {Name: "other"}})
		return err
	})
	var s, dying store.Session
	join := func(id string) func() error {
		return func() (err error) { s, err = f.Join(ctx, store.Owner{ID: id}, time.Hour); return err }
	}
	f.each(t, "join", join("dying"))
	dying = s
	f.each(t, "join", join("me"))
	var imports []store.SourceLease
	f.each(t, "lease sources", func() (err error) {
		imports, err = s.LeaseSources(ctx, []int{0, 1})
		return err
	})
	f.each(t, "renew an import", func() error { _, err := s.RenewSource(ctx, imports[0]); return err })
	list := listRows(1, 40)
	for i := range list {
		list[i].Group = fmt.Sprint("g", i/10)
	}
	list[4].Bad, list[7].File = true, &store.File{Size: 1}
	list[39] = store.NewRow{ID: 40, End: true, Group: "g0"}
	end := store.Position{Line: 60, Rows: 60}
	f.each(t, "append", func() error {
		return s.AppendAll(ctx, []store.Addition{{Lease: imports[0], Rows: list, Position: end},
			{Lease: imports[1], Rows: listRows(1<<store.SourceShift+1, 30), Position: end, Complete: true},
		}, 10)
	})
	f.each(t, "append more", func() error {
		return s.Append(ctx, imports[0], listRows(41, 5), end, false, 20)
	})
	f.each(t, "fill", func() error {
		return s.Fill(ctx, imports[0], append(listRows(39, 2), listRows(46, 10)...), end, true, 10)
	})
	f.sound(t, "the import")

	// A process dies with a shard and a row in a decoder.
	must.Get(dying.Claim(ctx, 5))(t)
	dying.Decoding(0, 2)
	must.OK(t, dying.(*session).file.Close())
	var leases []store.Lease
	for range 3 {
		var some []store.Lease
		f.each(t, "claim", func() (err error) { some, err = s.ClaimAll(ctx, 25); return err })
		leases = append(leases, some...)
	}
	if s.Takeovers() != 1 || len(leases) < 3 {
		t.Fatalf("%d takeovers, leases %+v", s.Takeovers(), leases)
	}
	f.each(t, "suspects", func() error { _, err := s.Suspects(ctx); return err })
	f.each(t, "pending", func() error { _, err := s.Pending(ctx, leases[0], 0, 9); return err })
	var pending [][]store.Row
	f.each(t, "all pending", func() (err error) { pending, err = s.PendingAll(ctx, leases); return err })
	var batches []store.Batch
	for i, rows := range pending {
		b := store.Batch{Lease: leases[i], Release: i > 0}
		for n, r := range rows {
			b.Results = append(b.Results, whole(r.ID, n))
		}
		batches = append(batches, b)
	}
	f.each(t, "commit", func() error { _, err := s.CommitAll(ctx, batches); return err })
	f.each(t, "renew", func() error { _, err := s.Renew(ctx, leases[:1]); return err })
	f.each(t, "release", func() error { return s.Release(ctx, leases[:1]) })
	f.each(t, "report", func() error { return s.Report(ctx, store.Progress{Rate: 1}) })
	f.sound(t, "a commit")
	f.each(t, "claim again", func() (err error) { leases, err = s.ClaimAll(ctx, 1); return err })
	f.each(t, "sample", func() error {
		_, err := f.Sample(ctx, store.Thumbnail{ID: 2, Faces: true, JPEG: []byte{1}}, 1)
		return err
	})
	f.each(t, "set files", func() error { return f.SetFiles(ctx, []store.FileRow{{ID: 2}, {ID: 3}}) })
	f.each(t, "pause", func() error { return f.Pause(ctx, 1, true) })
	f.each(t, "prioritize", func() error { return f.Prioritize(ctx, 1, 2) })
	f.readings(t, "g0")

	f.each(t, "note changes", func() error { return f.NoteChanges(ctx, true) })
	f.each(t, "retry", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, Host: "host1.example"})
		return err
	})
	f.each(t, "retry rows", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, IDs: []int64{6, 8}})
		return err
	})
	f.sound(t, "a retry")
	erased := store.NewEraser()
	merged := []store.MergedRow{{Row: store.Row{ID: 2, URL: list[1].URL}, Result: some(whole(2, 1))},
		{Row: store.Row{ID: 4, URL: erased.Erase(list[3].URL)}, Result: some(store.Result{ID: 4,
			Status: store.Failed, Reason: store.Forgotten})},
		{Row: store.Row{ID: 50, URL: listRows(50, 1)[0].URL}, Result: some(whole(50, 2))},
		{Row: store.Row{ID: 58, URL: "u", Group: "g9"}}, {Row: store.Row{ID: 59, URL: "u", Group: "g9"},
			Result: some(whole(59, 1))}, {Row: store.Row{ID: 60, Group: "g9"}, End: true}}
	f.each(t, "absorb", func() error { return f.Absorb(ctx, 0, merged, end, true, 10) })
	f.sound(t, "absorb")
	f.each(t, "forget", func() error { return f.Forget(ctx, []int64{1, 2, 3, 58, 59}, true) })
	f.sound(t, "forget")
	f.each(t, "changes", func() error { _, _, err := f.Changes(ctx, 0, 100); return err })
	f.each(t, "drop changes", func() error {
		return f.DropChanges(ctx, 1<<40, map[string]string{"b": "3"})
	})
	published := []store.PublishedRow{
		{MergedRow: store.MergedRow{Row: store.Row{ID: 1, URL: list[0].URL}}, Publication: 3}, // forgotten
		{MergedRow: store.MergedRow{Row: store.Row{ID: 10, URL: list[9].URL}}, Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 11, URL: erased.Erase(list[10].URL)},
			Result: some(store.Result{ID: 11, Status: store.Failed, Reason: store.Forgotten})}, Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 61, URL: "u"}, Result: some(whole(61, 3))},
			Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 62, Group: "g8"}, End: true}, Publication: 3}}
	f.each(t, "take in", func() error { return f.TakeIn(ctx, 0, published, end, true, 10) })
	f.each(t, "published", func() error { return drain(f.Published(ctx, 0)) })
	f.sound(t, "take in")
	f.each(t, "release imports", func() error { return s.ReleaseSources(ctx, imports) })
	f.each(t, "expunge", func() error { _, err := f.Expunge(ctx); return err })
	f.each(t, "leave", func() error {
		f.without(t, join(""))
		return s.Leave(ctx)
	})
	f.sound(t, "all")
}

// whole is a result with all that a result can have.
func whole(id int64, faces int) store.Result {
	r := benchResult(id, faces)
	for i := range r.Faces {
		r.Faces[i].HasLandmarks = true
	}
	if faces > 0 {
		r.Candidates = []store.Face{{X: 1, Y: 1, Width: 9, Height: 9, Score: 0.5, HasLandmarks: true}}
	}
	r.SHA256, r.PHash = store.SHA256(strings.Repeat("s", 32)), store.NewPHash(uint64(id))
	return r
}

func some(r store.Result) *store.Result { return &r }

// TestFailuresAreSeenInPlace does that for a job in a user's table, whose rows change meanwhile.
func TestFailuresAreSeenInPlace(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path, db := users(t, `CREATE TABLE p (id INTEGER PRIMARY KEY, url TEXT, done INTEGER, album TEXT);
		WITH RECURSIVE n(i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
		INSERT INTO p SELECT i, 'http://a.example/' || i, i % 10 = 0, 'a' || i / 10 FROM n;
		CREATE TRIGGER marked AFTER UPDATE OF done ON p BEGIN SELECT 1; END;`)
	f := failingJob(t, inPlace(t, path, TableOptions{Table: "p", Group: "album"}))
	change := func(text string) { t.Helper(); must.Get(db.Exec(text))(t) }
	s := must.Get(f.Join(ctx, store.Owner{}, time.Hour))(t)
	defer s.Leave(ctx)
	l := must.Get(s.LeaseSource(ctx, 0))(t)
	adopt := func(what string) {
		t.Helper()
		for next, more := int64(math.MinInt64), true; more; {
			f.each(t, what, func() error {
				n, m, err := s.(store.Adopter).Adopt(ctx, l, next, 10)
				if err == nil {
					defer func() { next, more = n, m }()
				}
				return err
			})
		}
		f.sound(t, what)
	}
	adopt("adopt")
	f.each(t, "grown", func() error { _, err := s.(store.Adopter).Grown(ctx); return err })
	finish(t, s)
	change("UPDATE p SET done = 0 WHERE id IN (12, 40)")
	change("DELETE FROM p WHERE id IN (14, 35)")
	change("UPDATE p SET done = 1 WHERE id = 61")
	change("INSERT INTO p VALUES (3, 'http://a.example/3', 0, 'a0'), (4, 'http://a.example/4', 0, NULL), " +
		"(70, 'http://a.example/70', 0, 'a7')")
	adopt("adopt again")
	change("UPDATE p SET album = 'b' WHERE id = 40")
	var leases []store.Lease
	f.each(t, "claim", func() (err error) { leases, err = s.ClaimAll(ctx, 3); return err })
	pending := must.Get(s.PendingAll(ctx, leases))(t)
	for i, l := range leases {
		var results []store.Result
		for _, r := range pending[i] {
			results = append(results, whole(r.ID, 1))
		}
		f.each(t, "commit", func() error { return s.Commit(ctx, l, results) })
	}
	f.each(t, "retry", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, IDs: []int64{15, 16}})
		return err
	})
	f.each(t, "forget", func() error { return f.Forget(ctx, []int64{15, 16, 17, 18}, false) })
	f.readings(t, "a1")
	f.each(t, "expunge", func() error { _, err := f.Expunge(ctx); return err })
	f.sound(t, "all")
}
