package storetest

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// Failures has each statement fail that a call to a job runs, as on a broken disk or connection.
type Failures struct {
	store.Job
	*FailingStatement
	// Die has the process of a session die, as far as others can see.
	Die func(s store.Session)
}

// FailingStatement chooses which statement of a call fails. The job asks Fails before each.
type FailingStatement struct {
	// Is reports whether an error is that of the statement that failed.
	Is func(err error) bool
	// Begin is called before each call; optional.
	Begin func()

	left int // statements until one fails; 0 when none does
}

// Fails counts a statement, and reports whether it is the one to fail.
func (f *FailingStatement) Fails() bool {
	if f.left == 0 {
		return false
	}
	f.left--
	return f.left == 0
}

// Each makes a call with its first statement failing, then the second, until none fails any more: each
// failure has to be the call's error, and to leave nothing that keeps the call from succeeding later.
func (f *FailingStatement) Each(t *testing.T, what string, call func() error) {
	t.Helper()
	for n := 1; ; n++ {
		if f.Begin != nil {
			f.Begin()
		}
		f.left = n
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
		if err == nil || !f.Is(err) {
			t.Fatalf("%s: statement %d failed, and the error is %v", what, n, err)
		}
	}
}

// Without makes a call, within one of Each, of which no statement fails.
func (f *FailingStatement) Without(t *testing.T, call func() error) {
	t.Helper()
	left := f.left
	f.left = 0
	must.OK(t, call())
	f.left = left
}

// sound holds the job to every invariant.
func (f *Failures) sound(t *testing.T, after string) {
	t.Helper()
	f.Without(t, func() error {
		if found := Problems(t, f.Job, true); len(found) > 0 {
			t.Errorf("after %s: %v", after, found)
		}
		return nil
	})
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

// Read reads a job in all ways there are; group is one that it has.
func (f *Failures) Read(t *testing.T, group string) {
	t.Helper()
	ctx, one := t.Context(), func(what string, read func() error) { t.Helper(); f.Each(t, what, read) }
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

// Test has each statement fail of all that is done to a job.
func (f *Failures) Test(t *testing.T) {
	ctx := t.Context()
	f.Each(t, "set", func() error { return f.Set(ctx, map[string]string{"a": "1", "b": "2"}) })
	f.Each(t, "add sources", func() error {
		_, err := f.AddSources(ctx, []store.Source{{Name: "list"}, {Name: "other"}})
		return err
	})
	var s, dying store.Session
	join := func(id string) func() error {
		return func() (err error) { s, err = f.Join(ctx, store.Owner{ID: id}, time.Hour); return err }
	}
	f.Each(t, "join", join("dying"))
	dying = s
	f.Each(t, "join", join("me"))
	var imports []store.SourceLease
	f.Each(t, "lease sources", func() (err error) {
		imports, err = s.LeaseSources(ctx, []int{0, 1})
		return err
	})
	f.Each(t, "renew an import", func() error { _, err := s.RenewSource(ctx, imports[0]); return err })
	list := rows(0, 1, 40)
	for i := range list {
		list[i].Group = fmt.Sprint("g", i/10)
	}
	list[4].Bad, list[7].File = true, &store.File{Size: 1}
	list[39] = store.NewRow{ID: 40, End: true, Group: "g0"}
	end := store.Position{Line: 60, Rows: 60}
	f.Each(t, "append", func() error {
		return s.AppendAll(ctx, []store.Addition{{Lease: imports[0], Rows: list, Position: end},
			{Lease: imports[1], Rows: rows(1, 1, 30), Position: end, Complete: true},
		}, 10)
	})
	f.Each(t, "append more", func() error {
		return s.Append(ctx, imports[0], rows(0, 41, 5), end, false, 20)
	})
	f.Each(t, "fill", func() error {
		return s.Fill(ctx, imports[0], append(rows(0, 39, 2), rows(0, 46, 10)...), end, true, 10)
	})
	f.sound(t, "the import")

	// A process dies with a shard and a row in a decoder.
	must.Get(dying.Claim(ctx, 5))(t)
	dying.Decoding(0, 2)
	f.Die(dying)
	var leases []store.Lease
	for range 3 {
		var some []store.Lease
		f.Each(t, "claim", func() (err error) { some, err = claimSoon(t, s, 25); return err })
		leases = append(leases, some...)
	}
	if len(leases) < 3 {
		t.Fatalf("claimed are %+v", leases)
	}
	f.Each(t, "suspects", func() error { _, err := s.Suspects(ctx); return err })
	f.Each(t, "pending", func() error { _, err := s.Pending(ctx, leases[0], 0, 9); return err })
	var pending [][]store.Row
	f.Each(t, "all pending", func() (err error) { pending, err = s.PendingAll(ctx, leases); return err })
	var batches []store.Batch
	for i, rows := range pending {
		b := store.Batch{Lease: leases[i], Release: i > 0}
		for n, r := range rows {
			b.Results = append(b.Results, everything(r.ID, n))
		}
		batches = append(batches, b)
	}
	f.Each(t, "commit", func() error { _, err := s.CommitAll(ctx, batches); return err })
	f.Each(t, "renew", func() error { _, err := s.Renew(ctx, leases[:1]); return err })
	f.Each(t, "release", func() error { return s.Release(ctx, leases[:1]) })
	f.Each(t, "report", func() error { return s.Report(ctx, store.Progress{Rate: 1}) })
	f.sound(t, "a commit")
	f.Each(t, "claim again", func() (err error) { leases, err = claimSoon(t, s, 1); return err })
	f.Each(t, "sample", func() error {
		_, err := f.Sample(ctx, store.Thumbnail{ID: 2, Faces: true, JPEG: []byte{1}}, 1)
		return err
	})
	f.Each(t, "set files", func() error { return f.SetFiles(ctx, []store.FileRow{{ID: 2}, {ID: 3}}) })
	f.Each(t, "pause", func() error { return f.Pause(ctx, 1, true) })
	f.Each(t, "prioritize", func() error { return f.Prioritize(ctx, 1, 2) })
	f.Read(t, "g0")

	p, publishes := f.Job.(store.Publishable)
	if publishes {
		f.Each(t, "note changes", func() error { return p.NoteChanges(ctx, true) })
	}
	f.Each(t, "retry", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, Host: "host1.example"})
		return err
	})
	f.Each(t, "retry rows", func() error {
		_, err := f.Retry(ctx, store.Selection{OK: true, IDs: []int64{6, 8}})
		return err
	})
	f.sound(t, "a retry")
	erased := store.NewEraser()
	merged := []store.MergedRow{{Row: store.Row{ID: 2, URL: list[1].URL}, Result: some(everything(2, 1))},
		{Row: store.Row{ID: 4, URL: erased.Erase(list[3].URL)}, Result: some(store.Result{ID: 4,
			Status: store.Failed, Reason: store.Forgotten})},
		{Row: store.Row{ID: 50, URL: rows(0, 50, 1)[0].URL}, Result: some(everything(50, 2))},
		{Row: store.Row{ID: 58, URL: "u", Group: "g9"}}, {Row: store.Row{ID: 59, URL: "u", Group: "g9"},
			Result: some(everything(59, 1))}, {Row: store.Row{ID: 60, Group: "g9"}, End: true}}
	f.Each(t, "absorb", func() error { return f.Absorb(ctx, 0, merged, end, true, 10) })
	f.sound(t, "absorb")
	f.Each(t, "forget", func() error { return f.Forget(ctx, []int64{1, 2, 3, 58, 59}, true) })
	f.sound(t, "forget")
	if publishes {
		f.publish(t, p, list, end)
	}
	f.Each(t, "release imports", func() error { return s.ReleaseSources(ctx, imports) })
	f.Each(t, "expunge", func() error { _, err := f.Expunge(ctx); return err })
	f.Each(t, "leave", func() error {
		f.Without(t, join(""))
		return s.Leave(ctx)
	})
	f.sound(t, "all")
}

// claimSoon claims shards. A server may hold for a moment what a call locked whose COMMIT failed.
func claimSoon(t *testing.T, s store.Session, rows int) (leases []store.Lease, err error) {
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		leases, err = s.ClaimAll(t.Context(), rows)
		if !errors.Is(err, store.ErrNoShard) || time.Now().After(end) {
			return leases, err
		}
	}
}

// publish publishes the job, whose rows are those of a list, and takes in what others did.
func (f *Failures) publish(t *testing.T, p store.Publishable, list []store.NewRow, end store.Position) {
	t.Helper()
	ctx, erased := t.Context(), store.NewEraser()
	f.Each(t, "changes", func() error { _, _, err := p.Changes(ctx, 0, 100); return err })
	f.Each(t, "drop changes", func() error {
		return p.DropChanges(ctx, 1<<40, map[string]string{"b": "3"})
	})
	published := []store.PublishedRow{
		{MergedRow: store.MergedRow{Row: store.Row{ID: 1, URL: list[0].URL}}, Publication: 3}, // forgotten
		{MergedRow: store.MergedRow{Row: store.Row{ID: 10, URL: list[9].URL}}, Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 11, URL: erased.Erase(list[10].URL)},
			Result: some(store.Result{ID: 11, Status: store.Failed,
				Reason: store.Forgotten})}, Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 61, URL: "u"}, Result: some(everything(61, 3))},
			Publication: 3},
		{MergedRow: store.MergedRow{Row: store.Row{ID: 62, Group: "g8"}, End: true}, Publication: 3}}
	f.Each(t, "take in", func() error { return p.TakeIn(ctx, 0, published, end, true, 10) })
	f.Each(t, "published", func() error { return drain(p.Published(ctx, 0)) })
	f.sound(t, "take in")
}

// everything is a result with all that a result can have.
func everything(id int64, faces int) store.Result {
	r := ok(0)
	r.ID = id
	for i := range faces {
		r.Faces = append(r.Faces, store.Face{X: i, Y: 2, Width: 20, Height: 20, Score: 9.5 - float64(i),
			HasLandmarks: true})
	}
	if faces > 0 {
		r.Candidates = []store.Face{{X: 1, Y: 1, Width: 9, Height: 9, Score: 0.5, HasLandmarks: true}}
	}
	r.SHA256, r.PHash = store.SHA256(strings.Repeat("s", 32)), store.NewPHash(uint64(id))
	return r
}
