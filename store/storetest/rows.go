package storetest

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"facescan/store"
	"facescan/store/storetest/must"
)

func testSettings(t *testing.T, target Target) {
	b := start(t, target)
	b.ok(b.Set(ctx(t), map[string]string{"min-face": "20", "shift": "0.1"}))
	b.ok(b.Set(ctx(t), map[string]string{"min-face": "40", "": "empty key", "ünï": "'quoted' \"twice\""}))
	b.equal(must.Get(b.open().Settings(ctx(t)))(b), map[string]string{"min-face": "40", "shift": "0.1",
		"": "empty key", "ünï": "'quoted' \"twice\""})
}

func testSources(t *testing.T, target Target) {
	b := start(t, target)
	add := func(s store.Source) store.Source { return must.Get(b.AddSource(ctx(t), s))(b) }
	first := add(store.Source{Name: "/a.txt", Format: "txt", Options: `{"x":1}`})
	b.equal(add(store.Source{Name: "/b.csv", Format: "csv"}).Number, 1)
	b.equal(add(store.Source{Name: "/a.txt", Format: "ignored"}), first)
	b.equal(must.Get(b.open().Sources(ctx(t)))(b), []store.Source{
		{Name: "/a.txt", Format: "txt", Options: `{"x":1}`}, {Number: 1, Name: "/b.csv", Format: "csv"}})
	b.equal(b.counts().ImportIncomplete, []string{"/a.txt", "/b.csv"})
}

func testSourceLease(t *testing.T, target Target) {
	b, one, two := shared(t, target)
	l := b.source(one, "list")
	b.is(errOf(two.LeaseSource(ctx(t), 0)), store.ErrHeld)
	p := store.Position{Offset: 1 << 40, Line: 77, Mark: []byte{0, 1, 255}}
	b.ok(one.Append(ctx(t), l, rows(0, 1, 3), p, false, 10))
	renewed := must.Get(one.RenewSource(ctx(t), l))(b)
	if !renewed.Expires.After(time.Now()) {
		t.Errorf("a renewed lease ended at %s", renewed.Expires)
	}
	src := b.sources()
	if first := b.counts().Owners[0].ID; src[0].Importer == "" || src[0].Importer != first {
		t.Errorf("importer %q, want %q", src[0].Importer, first)
	}
	b.ok(one.ReleaseSource(ctx(t), renewed))
	next := b.leaseSource(two, 0)
	b.equal(next.Position, p)
	b.is(errOf(one.RenewSource(ctx(t), renewed)), store.ErrLeaseLost)
	b.is(one.Append(ctx(t), renewed, rows(0, 4, 1), store.Position{}, true, 10), store.ErrLeaseLost)
	b.ok(one.ReleaseSource(ctx(t), renewed)) // of another's: no effect
	b.ok(two.ReleaseSource(ctx(t), next))
	newer := b.leaseSource(two, 0)
	b.is(errOf(two.RenewSource(ctx(t), next)), store.ErrLeaseLost) // of an older generation
	b.ok(two.ReleaseSource(ctx(t), next))                          // the same: no effect
	b.is(two.Append(ctx(t), next, rows(0, 4, 1), p, true, 10), store.ErrLeaseLost)
	b.ok(two.Append(ctx(t), newer, rows(0, 4, 1), p, true, 10))
	b.equal(b.counts().Total, int64(4))
}

func testAppend(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	batch := rows(0, 1, 2500)
	batch[7].Bad, batch[7].URL = true, "" // a broken record
	batch[9].URL = "no url, 'quoted', ünï\x01\"\\"
	batch[11].URL = strings.Repeat("x", 100_000)
	b.ok(s.Append(ctx(t), l, batch, store.Position{Offset: 5}, false, 1000))
	b.ok(s.Append(ctx(t), l, nil, store.Position{Offset: 6}, true, 1000)) // an end without rows
	b.equal(b.counts().ImportIncomplete, []string(nil))
	more := []store.NewRow{{ID: 5000, URL: "after a gap"},
		{ID: 1<<store.SourceShift - 1, URL: "the last id there can be"}}
	b.ok(s.Append(ctx(t), l, more, store.Position{Offset: 9}, false, 1000)) // the list grew
	c := b.counts()
	b.equal(c.ImportIncomplete, []string{"list"})
	b.equal([]int64{c.Total, c.Done, c.Pending, c.Failures[store.BadURL]}, []int64{2502, 1, 2501, 1})
	for at, r := range b.rows() {
		want := append(batch, more...)[at]
		if r.ID != want.ID || r.URL != want.URL {
			t.Fatalf("row %d is %d %.50q, want %d %.50q", at, r.ID, r.URL, want.ID, want.URL)
		}
	}
	b.equal(len(b.rows()), 2502)
	src := b.sources()
	b.equal([]int64{src[0].Rows, src[0].Position.Offset}, []int64{2502, 9})
	bad := b.results()
	b.equal([]any{len(bad), bad[0].ID, bad[0].Reason}, []any{1, int64(8), store.BadURL})
}

func testAppendRefuses(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	b.ok(s.Append(ctx(t), l, rows(0, 5, 5), store.Position{Line: 9}, false, 10))
	for name, batch := range map[string][]store.NewRow{
		"an id twice":             rows(0, 9, 2),
		"an id below":             rows(0, 1, 1),
		"not ascending":           {{ID: 20}, {ID: 19}},
		"another source's":        rows(1, 1, 1),
		"half in another source":  append(rows(0, 20, 1), rows(1, 1, 1)...),
		"the next source's base":  {{ID: 1 << store.SourceShift}},
		"zero":                    {{ID: 0}},
		"negative":                {{ID: -3}},
		"a good one, then a twin": {{ID: 30}, {ID: 31}, {ID: 31}},
	} {
		if err := s.Append(ctx(t), l, batch, store.Position{Line: 99}, true, 10); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	b.fails(s.Append(ctx(t), l, rows(0, 50, 1), store.Position{}, true, 0))
	src := b.sources()
	b.equal([]any{src[0].Rows, src[0].Position.Line, src[0].Complete}, []any{int64(5), int64(9), false})
}

func testShards(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	b.ok(s.Append(ctx(t), l, rows(0, 1, 25), store.Position{}, false, 10))
	b.equal(b.counts().Shards, store.ShardCounts{Total: 3, Free: 3})
	b.ok(s.Append(ctx(t), l, rows(0, 30, 3), store.Position{}, false, 10)) // the last shard has room
	b.equal(b.counts().Shards, store.ShardCounts{Total: 3, Free: 3})
	held := b.claim(s, 10)
	b.equal([]int64{held.Lo, held.Hi, held.Pending}, []int64{1, 10, 10})
	for range 2 {
		b.claim(s, 10)
	}
	b.ok(s.Append(ctx(t), l, rows(0, 40, 1), store.Position{}, false, 10)) // it is leased: a new one
	b.equal(b.counts().Shards, store.ShardCounts{Total: 4, Free: 1, Leased: 3})
	last := b.claim(s, 10)
	b.equal([]int64{last.Lo, last.Hi, last.Pending}, []int64{33, 40, 1})
	b.complete(s, last, ok(40))
	b.equal(b.counts().Shards, store.ShardCounts{Total: 4, Done: 1, Leased: 3})
	b.ok(s.Append(ctx(t), l, rows(0, 41, 2), store.Position{}, true, 10)) // done, but not full
	b.equal(b.claim(s, 10).Pending, int64(2))
}

func testClaimCuts(t *testing.T, target Target) {
	b, s := filled(t, target, 1000, 1000)
	l := b.claim(s, 100)
	b.equal([]int64{l.Lo, l.Hi, l.Pending}, []int64{1, 100, 100})
	m := b.claim(s, 50)
	b.equal([]int64{m.Lo, m.Hi, m.Pending}, []int64{101, 150, 50})
	b.verify()
	b.commit(s, l, each(span(1, 60), ok)...)
	b.release(s, l, m)
	l = b.claim(s, 33) // pending rows count, not done ones
	b.equal([]any{l.Pending, ids(b.pending(s, l))}, []any{int64(33), span(61, 93)})
	if l.Generation == m.Generation {
		t.Error("two leases have one generation")
	}
	b.fails(errOf(s.Claim(ctx(t), 0)))
}

func testClaimJoins(t *testing.T, target Target) {
	b, s := filled(t, target, 2000, 10)
	b.work(s, func(id int64) store.Result {
		if id%10 == 0 {
			return failed(store.Timeout)(id)
		}
		return ok(id)
	})
	b.retry(because(store.Timeout))
	l := b.claim(s, 40) // one row a shard: many shards make a lease
	if l.Pending < 32 {
		t.Errorf("a claim of 40 among 200 sparse rows has %d", l.Pending)
	}
	b.verify()
	b.release(s, l)
	b.equal(len(b.work(s, ok)), 200)
	b.fill(s, "cut small", 2000, 10) // and asked for in large pieces, as after another --shard-size
	l = b.claim(s, 400)
	b.equal([]int64{l.Pending, l.Hi - l.Lo + 1}, []int64{400, 400})
}

func testClaimSharesTheEnd(t *testing.T, target Target) {
	b, s := joined(t, target)
	for range 3 {
		b.join(b.Job, longTTL)
	}
	b.fill(s, "list", 1600, 1600)
	left := int64(1600)
	for l := range b.claims(s, 100_000) {
		if l.Pending > max(64, 1600/4) {
			t.Errorf("a claim of one of four owners took %d rows of %d", l.Pending, left)
		}
		left -= l.Pending
	}
	b.equal(left, int64(0))
}

func testClaimGoesRound(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "big", 10_000, 1000)
	b.claim(s, 100)
	b.claim(s, 100)
	b.fill(s, "small", 300, 1000)
	var seen []int
	for range 4 {
		seen = append(seen, b.claim(s, 100).Source)
	}
	b.equal(seen, []int{1, 0, 1, 0}) // a new source is next, then both in turn
}

func testPriority(t *testing.T, target Target) {
	b, s := joined(t, target)
	must.Get(b.AddSource(ctx(t), store.Source{Name: "urgent", Priority: 2}))(b)
	b.fill(s, "urgent", 10_000, 1000)
	b.fill(s, "usual", 10_000, 1000)
	seen := map[int]int{}
	for range 50 {
		seen[b.claim(s, 100).Source]++
	}
	b.equal(seen, map[int]int{0: 40, 1: 10}) // 4 to 1
	b.ok(b.Prioritize(ctx(t), 1, 2))
	seen = map[int]int{}
	for range 20 {
		seen[b.claim(s, 100).Source]++
	}
	b.equal(seen, map[int]int{0: 10, 1: 10})
	src := b.sources()
	b.equal([]int{src[0].Priority, src[1].Priority}, []int{2, 2})
	b.fails(b.Prioritize(ctx(t), 0, 21))
	b.fails(b.Prioritize(ctx(t), 7, 1))
	b.fails(errOf(b.AddSource(ctx(t), store.Source{Name: "absurd", Priority: -21})))
}

func testPause(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 100, 100)
	b.fill(s, "second", 100, 100)
	l := b.claim(s, 10)
	b.ok(b.Pause(ctx(t), l.Source, true))
	b.complete(s, l, ok(l.Lo)) // what is leased goes on
	b.equal(b.counts().PausedPending, int64(99))
	b.equal(len(b.work(s, ok)), 100)
	c := b.counts()
	b.equal([]int64{c.PausedPending, c.Pending}, []int64{99, 99})
	src := b.sources()
	b.equal([]bool{src[0].Paused, src[1].Paused}, []bool{true, false})
	b.ok(b.Pause(ctx(t), l.Source, false))
	b.equal(len(b.work(s, ok)), 99)
	b.fails(b.Pause(ctx(t), 9, true))
}

func testPending(t *testing.T, target Target) {
	b, s := filled(t, target, 300, 100)
	b.release(s, b.claim(s, 100))
	l := b.claim(s, 100)
	b.commit(s, l, ok(2), ok(50))
	page := func(after int64, most int) []store.Row { return must.Get(s.Pending(ctx(t), l, after, most))(b) }
	b.equal(page(0, 3), []store.Row{{ID: 1, URL: urlOf(1)}, {ID: 3, URL: urlOf(3)}, {ID: 4, URL: urlOf(4)}})
	b.equal(ids(page(49, 1000)), span(51, l.Hi))
	b.equal(len(page(l.Hi, 1000)), 0)
}

func testCommit(t *testing.T, target Target) {
	b, s := filled(t, target, 250, 100)
	b.equal(len(b.work(s, ok)), 250)
	b.equal(b.results(), each(span(1, 250), func(id int64) store.Result {
		r := ok(id)
		r.URL = urlOf(id)
		return r
	}))
	b.is(errOf(s.Claim(ctx(t), 10)), store.ErrNoShard)
}

func testCommitRefuses(t *testing.T, target Target) {
	b, s := filled(t, target, 100, 50)
	l := b.claim(s, 40)
	change := func(f func(*store.Result)) store.Result {
		r := ok(8)
		f(&r)
		return r
	}
	for name, r := range map[string]store.Result{
		"a row outside the shard": ok(l.Hi + 1),
		"ok with a reason":        change(func(r *store.Result) { r.Reason = store.TLS }),
		"ok without a detector":   change(func(r *store.Result) { r.Detector = "" }),
		"failed for no reason":    change(func(r *store.Result) { r.Status, r.Faces = store.Failed, nil }),
		"failed for a new reason": failed("weather")(8),
		"failed with faces": change(func(r *store.Result) {
			r.Status, r.Reason = store.Failed, store.TLS
		}),
		"no status":           change(func(r *store.Result) { r.Status = "" }),
		"a face without area": change(func(r *store.Result) { r.Faces[0].Width = 0 }),
		"a face outside":      change(func(r *store.Result) { r.Faces[0].X = 490 }),
	} {
		if err := s.Commit(ctx(t), l, []store.Result{ok(5), r}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	b.equal(b.counts().Done, int64(0)) // all or nothing
}

func testCommitTwice(t *testing.T, target Target) {
	b, s := filled(t, target, 20, 20)
	l := b.claim(s, 20)
	b.commit(s, l, ok(1), ok(8))
	before := b.results()
	b.commit(s, l, failed(store.TLS)(8), failed(store.TLS)(1), ok(2), failed(store.TLS)(2))
	after := b.results()
	b.equal(len(after), 3)
	b.equal([]store.Result{after[0], after[2]}, before)
	b.equal(after[1].Status, store.OK)
	b.commit(s, l)
}

func testLostLease(t *testing.T, target Target) {
	b, one, two := shared(t, target)
	b.fill(one, "list", 30, 30)
	l := b.claim(one, 30)
	b.complete(one, l, ok(1))
	b.is(one.Commit(ctx(t), l, []store.Result{ok(2)}), store.ErrLeaseLost) // free
	m := b.claim(two, 30)
	b.is(one.Commit(ctx(t), l, []store.Result{ok(2)}), store.ErrLeaseLost) // another's
	b.equal(len(must.Get(one.Renew(ctx(t), []store.Lease{l}))(b)), 0)
	b.release(one, l) // of another's: no effect
	b.complete(two, m, ok(3))
	n := b.claim(one, 30)
	b.is(one.Commit(ctx(t), l, []store.Result{ok(2)}), store.ErrLeaseLost) // ours, under a newer lease
	b.equal(len(must.Get(one.Renew(ctx(t), []store.Lease{l}))(b)), 0)
	b.release(one, l) // of an older generation: no effect
	b.commit(one, n, ok(2))
	b.equal(b.counts().Done, int64(3))
}

func testRenew(t *testing.T, target Target) {
	b, s := filled(t, target, 100, 10)
	one, two, gone := b.claim(s, 10), b.claim(s, 10), b.claim(s, 10)
	b.release(s, gone)
	held := must.Get(s.Renew(ctx(t), []store.Lease{gone, two, one}))(b)
	got := map[int64]bool{}
	for _, l := range held {
		got[l.Shard] = true
		if l.Expires.Before(one.Expires) || time.Until(l.Expires) > longTTL*3/4 {
			t.Errorf("lease renewed to %s from now, before it was %s", time.Until(l.Expires),
				time.Until(one.Expires))
		}
	}
	b.equal(got, map[int64]bool{one.Shard: true, two.Shard: true})
}

func testResultFields(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 1, 10)
	l := b.source(s, "second")
	all := rows(1, 1, 6)
	all[0].Group, all[0].Kept = "album 'ü'", []string{"", "a,b", "\"quoted\"\n"}
	all[1].Group = "x"
	b.ok(s.Append(ctx(t), l, all, store.Position{}, true, 10))
	id := int64(1) << store.SourceShift
	at := time.Date(2024, 2, 29, 12, 0, 0, 123e6, time.UTC)
	want := []store.Result{
		{ID: id + 1, Status: store.OK, HTTPStatus: 200, Format: "webp", Width: 65535, Height: 3,
			Bytes: 1 << 33, Attempts: 2, FinalURL: "https://other.example/ü", Partial: true,
			Detector: "cascade/abc,shift=0.1", Took: 1234 * time.Millisecond, Time: at,
			Outputs: store.KeptBody | store.Crops | store.Blurred | store.KeptJPEG,
			Hashes: store.Hashes{SHA256: store.SHA256(strings.Repeat("\x00\xff\n'", 8)),
				PHash: "\x80\x00\x00\x00\x00\x00\x00\x01"},
			Faces: []store.Face{{X: 0, Y: 0, Width: 65535, Height: 3, Score: 1e300, Confidence: 0.123456789},
				{X: 65534, Y: 2, Width: 1, Height: 1, Score: -0.1}},
			Candidates: []store.Face{{X: 1 << 20, Y: 2, Width: 3, Height: 4, Score: 4.25, Confidence: 0.5},
				{X: 1, Y: 1, Width: 1, Height: 1, Score: -8}},
			URL: urlOf(id + 1), Source: 1, Group: "album 'ü'",
			Kept: []string{"", "a,b", "\"quoted\"\n"}},
		{ID: id + 2, Status: store.OK, HTTPStatus: 200, Detector: "cascade/other", Time: at,
			URL: urlOf(id + 2), Source: 1, Group: "x"},
		{ID: id + 3, Status: store.Failed, Reason: store.HTTP4xx, HTTPStatus: 404, Attempts: 1, Time: at,
			URL: urlOf(id + 3), Source: 1},
		{ID: id + 4, Status: store.Failed, Reason: store.BadImage, Format: "jpeg", Width: 9, Height: 9,
			Detector: "cascade/other", Time: at, URL: urlOf(id + 4), Source: 1},
		{ID: id + 5, Status: store.OK, Format: "jpeg", Width: 500, Height: 400, Detector: "network/1",
			Time: at, URL: urlOf(id + 5), Source: 1, Faces: []store.Face{
				{X: 10, Y: 20, Width: 30, Height: 40, Score: 0.9731, Confidence: 0.98, HasLandmarks: true,
					Landmarks: store.Landmarks{193, 356, 307, 356, 250, 432, 205, 512, 295, 512}},
				{X: 470, Y: 0, Width: 30, Height: 1, Score: 0.55, Confidence: 0.5, HasLandmarks: true,
					Landmarks: store.Landmarks{-1, 0, 5003, -77, 5000, 4000, 1, 2, 3, 4}}},
			Candidates: []store.Face{
				{X: 1, Y: 1, Width: 9, Height: 9, Score: 0.5, Confidence: 0.25, HasLandmarks: true,
					Landmarks: store.Landmarks{30, 40}},
				{X: 2, Y: 1, Width: 9, Height: 9, Score: 0.375, Confidence: 0.25, HasLandmarks: true,
					Landmarks: store.Landmarks{9: -5000}}}},
		{ID: id + 6, Status: store.OK, Format: "png", Width: 5, Height: 4, Detector: store.NoDetector,
			Time: at, URL: urlOf(id + 6), Source: 1, Hashes: store.Hashes{PHash: store.NewPHash(0)}},
	}
	setOthers(t, want)
	for {
		l := must.Get(s.Claim(ctx(t), 10))(b)
		if l.Source == 1 {
			b.commit(s, l, want...)
			break
		}
	}
	b.equal(b.results(), want)
	detectors := must.Get(b.Detectors(ctx(t)))(b)
	slices.Sort(detectors)
	b.equal(detectors, []string{"cascade/abc,shift=0.1", "cascade/other", "network/1", store.NoDetector})
}

// setOthers gives the first result a value in each field that is empty in all of them: a store that loses
// such a field would not be noticed.
func setOthers(t *testing.T, results []store.Result) {
	for f := range reflect.TypeFor[store.Result]().Fields() {
		if slices.ContainsFunc(results, func(r store.Result) bool {
			return !reflect.ValueOf(r).FieldByIndex(f.Index).IsZero()
		}) {
			continue
		}
		v := reflect.ValueOf(&results[0]).Elem().FieldByIndex(f.Index)
		switch {
		case f.Type == reflect.TypeFor[time.Duration]():
			v.SetInt(int64(101 * time.Millisecond))
		case v.CanInt():
			v.SetInt(101)
		case v.CanFloat():
			v.SetFloat(-0.1)
		case v.Kind() == reflect.String:
			v.SetString("ü, \"quoted\"")
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		default:
			t.Errorf("no result here has %s: set it in one", f.Name)
		}
	}
}

func testResultPages(t *testing.T, target Target) {
	b, s := filled(t, target, 4321, 1000)
	b.work(s, ok)
	for _, c := range [][2]int64{{0, 1 << 62}, {1, 4322}, {1000, 1001}, {17, 3017}, {5, 5}, {9, 3},
		{4000, 5000}, {-5, 2}} {
		want, got := span(max(1, c[0]), min(c[1], 4322)-1), []int64(nil)
		for _, r := range must.All(b, b.Results(ctx(t), c[0], c[1])) {
			got = append(got, r.ID)
			if d := cmp.Diff(ok(r.ID).Faces, r.Faces); d != "" {
				t.Fatalf("faces of row %d: %s", r.ID, d)
			}
		}
		b.equal(got, want)
	}
	for range b.Results(ctx(t), 0, 1<<62) {
		break // stopping early is not an error, and holds nothing
	}
	stopped, stop := context.WithCancel(ctx(t))
	defer stop()
	n := 0
	for _, err := range b.Results(stopped, 0, 1<<62) {
		if stop(); err != nil {
			b.is(err, context.Canceled)
			n = -1
		}
	}
	b.equal(n, -1)
}

func testRows(t *testing.T, target Target) {
	b, s := filled(t, target, 3333, 1000)
	l := b.claim(s, 10)
	b.commit(s, l, ok(l.Lo))
	for _, c := range [][2]int64{{0, 1 << 62}, {100, 2100}, {7, 7}} {
		want, got := span(max(1, c[0]), min(c[1], 3334)-1), []int64(nil)
		for _, r := range must.All(b, b.Rows(ctx(t), c[0], c[1])) {
			got = append(got, r.ID)
			if r.URL != urlOf(r.ID) {
				t.Fatalf("row %d is %q", r.ID, r.URL)
			}
		}
		b.equal(got, want)
	}
}

// testFinishedShards does shards in small claims, given back in another order: there are few when all is
// done.
func testFinishedShards(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "one", 3000, 500)
	b.fill(s, "two", 100, 500)
	for {
		var held []store.Lease
		for l := range b.claims(s, 100) {
			if held = append(held, l); len(held) == 3 {
				break
			}
		}
		if len(held) == 0 {
			break
		}
		slices.Reverse(held)
		for _, l := range held {
			b.complete(s, l, each(ids(b.pending(s, l)), ok)...)
		}
		b.verify()
	}
	b.equal(b.counts().Done, int64(3100))
	b.equal(b.counts().Shards.Total, int64(2))
	// A row that is opened again is found in the long shard.
	b.equal(b.retry(store.Selection{OK: true}), int64(3100))
	b.equal(len(b.work(s, ok)), 3100)
}

// Full is a result that has something in every column.
func Full(id int64) store.Result {
	face := func(x int, score float64) store.Face {
		return store.Face{X: x, Y: 2, Width: 30, Height: 40, Score: score, Confidence: 0.5,
			HasLandmarks: true, Landmarks: store.Landmarks{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	}
	return store.Result{ID: id, Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 60000, Attempts: 2, FinalURL: "http://elsewhere.example/a\xff\x00b", Partial: true,
		Detector: "test/1", Took: 12 * time.Millisecond,
		Time: time.UnixMilli(1_700_000_000_000), Outputs: store.KeptBody,
		Faces:      []store.Face{face(10, 0.9), face(20, 1.0/3)},
		Candidates: []store.Face{face(30, 0.3), face(40, 0.1)},
		Hashes: store.Hashes{SHA256: store.SHA256(strings.Repeat("\x00\xff", 16)),
			PHash: store.NewPHash(0xfedcba9876543210)}}
}
