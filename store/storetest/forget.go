package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// forgettable makes a job of 30 done and 5 pending rows, three to a group, with everything that a result and
// a job can have of them.
func forgettable(t *testing.T, target Target) (*bench, store.Session) {
	t.Helper()
	b, s := joined(t, target)
	l := b.source(s, "list")
	all := rows(0, 1, 35)
	for i := range all {
		all[i].Group, all[i].Kept = fmt.Sprint("album ", i/3), []string{fmt.Sprint("kept ", i), "x"}
	}
	b.ok(s.Append(ctx(t), l, all, store.Position{Line: 35, Mark: []byte{7}}, true, 7))
	b.ok(s.ReleaseSource(ctx(t), l))
	for b.counts().Done < 30 {
		l := b.claim(s, 7)
		done := slices.DeleteFunc(ids(b.pending(s, l)), func(id int64) bool { return id > 30 })
		b.complete(s, l, each(done, wholeResult)...)
	}
	for _, id := range span(1, 30) {
		thumbnail := store.Thumbnail{ID: id, Rank: id, Faces: true, JPEG: []byte{0xff, byte(id)}}
		must.Get(b.Sample(ctx(t), thumbnail, 100))(b)
	}
	return b, s
}

// wholeResult is a result with faces, candidates, landmarks and files, or for each tenth row a failure.
func wholeResult(id int64) store.Result {
	if id%10 == 0 {
		return failed(store.Timeout)(id)
	}
	r := ok(id)
	r.HTTPStatus, r.FinalURL, r.Partial = 200, fmt.Sprint("https://final.example/", id), true
	r.Outputs = store.KeptBody | store.Crops | store.Blurred
	r.Faces = []store.Face{{X: 1, Y: 2, Width: 20 + int(id), Height: 20, Score: 0.9, Confidence: 0.5,
		HasLandmarks: true, Landmarks: store.Landmarks{10, 20, 30, 40}}}
	r.Candidates = []store.Face{{X: 3, Y: 4, Width: 9, Height: 9, Score: 0.5, Confidence: 0.25}}
	return r
}

// forgotten holds rows to have nothing but what a forgotten row has.
func (b *bench) forgotten(url bool, rows ...int64) {
	b.Helper()
	seen := 0
	for _, r := range b.results() {
		if !slices.Contains(rows, r.ID) {
			if r.Reason == store.Forgotten {
				b.Errorf("row %d was forgotten, too", r.ID)
			}
			continue
		}
		seen++
		want := store.Result{ID: r.ID, Status: store.Failed, Reason: store.Forgotten, Time: r.Time}
		want.URL, want.Source, want.Group, want.Kept = r.URL, r.Source, r.Group, r.Kept
		if !reflect.DeepEqual(r, want) {
			b.Errorf("of row %d is left: %+v", r.ID, r)
		}
		if time.Since(r.Time) > time.Hour || (r.URL == "") != url || (r.Group == "") != url ||
			(r.Kept == nil) != url {
			b.Errorf("row %d is %+v", r.ID, r)
		}
	}
	b.equal(seen, len(rows))
	for _, s := range must.Get(b.Samples(ctx(b.T)))(b) {
		if slices.Contains(rows, s.ID) {
			b.Errorf("row %d still has a thumbnail", s.ID)
		}
	}
	b.verify()
}

// testForget deletes what is known of rows that are ok, failed, pending or not there.
func testForget(t *testing.T, target Target) {
	b, s := forgettable(t, target)
	before, frontier := b.groups(), b.frontier(0, 0)
	b.ok(b.Forget(ctx(t), nil, false))
	b.ok(b.Forget(ctx(t), []int64{2, 10, 11, 33, 77}, false))
	b.forgotten(false, 2, 10, 11, 33)
	c := b.counts()
	b.equal([]int64{c.Total, c.Done, c.Pending, c.OK, c.Faces, c.ImagesWithFaces, c.Failures[store.Forgotten],
		c.Failures[store.Timeout]}, []int64{35, 31, 4, 25, 25, 25, 4, 2})
	if f := b.frontier(0, 0); f.Changes <= frontier.Changes {
		t.Errorf("outputs do not notice it: %+v, then %+v", frontier, f)
	}
	after := b.groups()["0/album 0"] // its rows are 1, 2 and 3
	was := before["0/album 0"]
	b.equal([]int64{after.Images, after.OK, after.Failed, after.Faces, after.Revision - was.Revision},
		[]int64{3, 2, 1, 2, 1})
	b.equal([]int64{was.Images, was.OK, was.Failed, was.Faces}, []int64{3, 3, 0, 3})

	// Again: nothing changes. A process that had the row in work cannot bring it back.
	results, changes := b.results(), b.frontier(0, 0).Changes
	b.ok(b.Forget(ctx(t), []int64{2, 33}, false))
	b.equal(b.results(), results)
	b.equal(b.frontier(0, 0).Changes, changes)
	l := b.claim(s, 100)
	b.commit(s, l, ok(max(33, l.Lo)))
	b.forgotten(false, 2, 10, 11, 33)

	b.equal(b.retry(store.Selection{Reasons: store.Reasons(store.Transient), OK: true,
		Except: []string{"test/1"}}), int64(2))
	b.forgotten(false, 2, 10, 11, 33)
	b.equal(b.retry(because(store.Forgotten)), int64(4)) // as was asked for
	t.Log(must.Get(b.Expunge(ctx(t)))(b))
}

// testForgetURL removes URLs, groups and kept columns as well, at once and of rows that are forgotten
// already.
func testForgetURL(t *testing.T, target Target) {
	b, _ := forgettable(t, target)
	b.ok(b.Forget(ctx(t), []int64{4, 8}, false))
	b.ok(b.Forget(ctx(t), []int64{1, 2, 3, 4, 31}, true))
	b.ok(b.Forget(ctx(t), []int64{8}, true))
	b.forgotten(true, 1, 2, 3, 4, 8, 31)
	groups := b.groups()
	if _, there := groups["0/album 0"]; there {
		t.Error("a group without rows is still there")
	}
	g := groups["0/album 1"] // rows 4, 5 and 6, without 4
	b.equal([]int64{g.Images, g.OK, g.Failed, g.Faces}, []int64{2, 2, 0, 2})
	for _, r := range b.rows() {
		gone := slices.Contains([]int64{1, 2, 3, 4, 8, 31}, r.ID)
		if store.IsErased(r.URL) != gone || strings.Contains(r.URL, "host") == gone ||
			(r.Group == "") != gone || (r.Kept == nil) != gone {
			t.Errorf("row %d: %+v", r.ID, r)
		}
		if !store.SameURL(r.URL, urlOf(r.ID)) || store.SameURL(r.URL, urlOf(r.ID+1)) {
			t.Errorf("row %d: %s does not stand for its URL, or for another", r.ID, r.URL)
		}
	}
	// Without a URL nothing can be fetched again.
	b.equal(b.retry(because(store.Forgotten)), int64(0))
	results := b.results()
	b.ok(b.Forget(ctx(t), []int64{1, 2, 3, 4, 8, 31}, true))
	b.equal(b.results(), results)
}

// testForgetWorks forgets rows in any number of transactions, of several sources, while others work on them.
func testForgetWorks(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 12_000, 500)
	b.fill(s, "second", 300, 100)
	held := b.claim(s, 400)
	second := store.FirstOf(1)
	b.ok(b.Forget(ctx(t), append(span(1, 12_000), span(second+1, second+100)...), false))
	b.complete(s, held, each(span(held.Lo, held.Hi), ok)...)
	b.work(s, ok)
	for _, r := range b.results() {
		if is := r.Reason == store.Forgotten; is == (r.ID > second+100) {
			t.Fatalf("row %d is %s %s", r.ID, r.Status, r.Reason)
		}
	}
	b.equal(b.counts().Done, int64(12_300))
}

// testForgetMerge: a row that one job has forgotten is forgotten in what jobs are merged into, whichever
// comes first, and stays so.
func testForgetMerge(t *testing.T, target Target) {
	const n = 60
	whole := always(wholeResult)
	knows, forgot := node(t, target, 0, 1, n, whole), node(t, target, 0, 1, n, whole)
	forgot.ok(forgot.Forget(ctx(t), []int64{5, 6}, true))
	forgot.ok(forgot.Forget(ctx(t), []int64{7, 20}, false))
	check := func(out *bench) {
		t.Helper()
		var url, whole []int64
		for _, r := range out.results() {
			if r.Reason == store.Forgotten && r.URL == "" {
				url = append(url, r.ID)
			} else if r.Reason == store.Forgotten {
				whole = append(whole, r.ID)
			}
		}
		out.equal([][]int64{url, whole}, [][]int64{{5, 6}, {7, 20}})
		for _, r := range must.All(out, out.Rows(ctx(t), 5, 7)) {
			if !store.IsErased(r.URL) || r.Group != "" || r.Kept != nil {
				t.Errorf("of row %d is left: %+v", r.ID, r)
			}
		}
		g := out.groups()["0/album1"] // ids with remainder 1 of 4, without 5
		out.equal(g.Images, int64(n/4-1))
		for _, s := range must.Get(out.Samples(ctx(t)))(out) {
			if s.ID == 5 || s.ID == 7 {
				t.Errorf("row %d still has a thumbnail", s.ID)
			}
		}
		out.verify()
	}
	for _, order := range [][]store.Job{{knows.Job, forgot.Job}, {forgot.Job, knows.Job}} {
		out := start(t, target)
		out.merge(order...)
		check(out)
		out.merge(knows.Job)
		check(out)
	}
	out := start(t, target) // which has the rows, and pictures of them, before it learns
	out.merge(knows.Job)
	for _, id := range []int64{5, 7, 9} {
		must.Get(out.Sample(ctx(t), store.Thumbnail{ID: id, Rank: id, JPEG: []byte{1}}, 10))(out)
	}
	out.merge(forgot.Job)
	check(out)
	// The list itself brings none of them back.
	s := out.join(out.Job, longTTL)
	l := out.leaseSource(s, 0)
	var again []store.NewRow
	for id := int64(1); id <= n; id++ {
		again = append(again, store.NewRow{ID: id, URL: urlOf(id), Group: fmt.Sprint("album", id%4)})
	}
	out.ok(s.Fill(ctx(t), l, again, l.Position, true, 100))
	check(out)
	again[4].URL = "http://other.example/"
	out.fails(s.Fill(ctx(t), l, again, l.Position, true, 100))
}
