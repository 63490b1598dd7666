package storetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// publishing is a job whose changes are noted.
type publishing struct {
	*bench
	store.Publishable
	last int64 // note that was read
}

// publish begins to note what changes in a job; false if its kind cannot be published, as its target says.
func (b *bench) publish() (p *publishing, can bool) {
	b.Helper()
	of, can := b.Job.(store.Publishable)
	b.equal(can, b.target.Publishes)
	if can {
		b.ok(of.NoteChanges(ctx(b.T), false))
	}
	return &publishing{b, of, 0}, can
}

// changes reads what changed since it was called last, at most so many notes at a time.
func (p *publishing) changes(limit int) (all []store.MergedRow) {
	p.Helper()
	for {
		rows, last, err := p.Changes(ctx(p.T), p.last, limit)
		p.ok(err)
		if len(rows) > limit {
			p.Fatalf("%d rows of %d notes", len(rows), limit)
		}
		if last == p.last {
			p.equal(len(rows), 0)
			return all
		}
		all, p.last = append(all, rows...), last
	}
}

// changed holds some rows to be what has changed since, as they are now. There may be several notes of a row.
func (p *publishing) changed(ids ...int64) {
	p.Helper()
	noted := map[int64]bool{}
	for _, m := range p.changes(3) {
		noted[m.ID] = true
		if m.End {
			p.equal(must.Get(p.EndOf(ctx(p.T), 0, m.Group))(p), m.ID)
			continue
		}
		row := must.All(p.T, p.Rows(ctx(p.T), m.ID, m.ID+1))[0]
		p.equal(m.Row, row)
		var now *store.Result
		for _, r := range must.All(p.T, p.Results(ctx(p.T), m.ID, m.ID+1)) {
			now = &r
		}
		p.equal(m.Result, now)
	}
	p.equal(slices.Sorted(maps.Keys(noted)), slices.Compact(slices.Sorted(slices.Values(ids))))
}

// testPublish: each row that becomes done or pending is noted, until that is said to be published.
func testPublish(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	list := albumRows(1, 20, 0, 1)
	b.ok(s.Append(ctx(t), l, list[:10], store.Position{Line: 10}, false, 5))
	before := b.claim(s, 3)
	b.complete(s, before, each(span(1, 2), ok)...)
	p, can := b.publish()
	if !can {
		return
	}
	p.changed()
	bad := store.NewRow{ID: 11, Bad: true}
	b.ok(s.Append(ctx(t), l, []store.NewRow{bad, {ID: 12, URL: urlOf(12), Group: "album1"},
		{ID: 13, End: true, Group: "album1"}, {ID: 14, End: true, Group: "album2"}}, store.Position{Line: 14},
		false, 5))
	p.changed(11, 13, 14)
	held := b.claim(s, 5)
	done := ids(b.pending(s, held))[:4]
	b.complete(s, held, each(done, wholeResult)...)
	p.changed(done...)
	b.equal(b.retry(store.Selection{OK: true, IDs: []int64{1, done[0]}}), int64(2))
	p.changed(1, done[0])
	b.ok(b.Forget(ctx(t), []int64{2, 9}, true))
	p.changed(2, 9)
	p.changed()

	// What is published is not noted any more; what changes meanwhile still is.
	published := p.last
	b.equal(b.retry(store.Selection{OK: true, IDs: done[1:2]}), int64(1))
	b.ok(p.DropChanges(ctx(t), published, map[string]string{"published": "1"}))
	b.equal(b.settings()["published"], "1")
	p.last = 0
	p.changed(done[1])
	b.ok(p.DropChanges(ctx(t), p.last, nil))
	b.ok(p.DropChanges(ctx(t), p.last+100, nil))
	p.last = 0
	p.changed()
	b.ok(p.NoteChanges(ctx(t), false)) // again: nothing is lost, and nothing noted
	p.changed()
	b.work(s, ok)
	b.ok(p.DropChanges(ctx(t), 1<<40, nil))
	b.ok(p.NoteChanges(ctx(t), true))
	all := []int64{13, 14}
	for _, r := range b.results() {
		all = append(all, r.ID)
	}
	p.changed(all...)

	// What is published of a list is of no other one.
	b.fill(s, "other", 2, 1)
	for source, want := range [][]int64{span(1, 14), span(store.FirstOf(1)+1,
		store.FirstOf(1)+2)} {
		var got []int64
		for _, r := range must.All(b, p.Published(ctx(t), source)) {
			got = append(got, r.ID)
		}
		b.equal(got, want)
	}
}

// testPublishMany notes what is done in more than one transaction.
func testPublishMany(t *testing.T, target Target) {
	b, s := joined(t, target)
	p, can := b.publish()
	if !can {
		return
	}
	const n = 50_001
	list := rows(0, 1, n)
	for i := range list {
		list[i].Bad = true
	}
	b.ok(s.Append(ctx(t), b.source(s, "list"), list, store.Position{}, true, 10_000))
	b.ok(p.DropChanges(ctx(t), 1<<40, nil))
	b.ok(p.NoteChanges(ctx(t), true))
	all, _, err := p.Changes(ctx(t), 0, 2*n)
	b.ok(err)
	b.equal(len(all), n)
	b.equal([]int64{all[0].ID, all[n-1].ID}, []int64{1, n})
}

// publishedRows are the rows of a job as they are published, with their end records.
func (b *bench) publishedRows(number int64) (all []store.PublishedRow) {
	b.Helper()
	j := b.Job.(store.Publishable)
	for r, err := range j.Published(ctx(b.T), 0) {
		b.ok(err)
		r.Publication = number
		all = append(all, r)
	}
	return all
}

// testTakeIn takes in what another job published: it replaces what the job has, but not what the job has to
// publish itself.
func testTakeIn(t *testing.T, target Target) {
	b, s := joined(t, target)
	if _, can := b.publish(); !can {
		return
	}
	const n = 2300 // several pages
	l := b.source(s, "list")
	list := albumRows(1, n, 0, 1)
	for album := range int64(4) {
		list = append(list, store.NewRow{ID: n + 1 + album, End: true, Group: fmt.Sprint("album", album)})
	}
	end := store.Position{Line: n + 4, Rows: n, Mark: []byte{3}}
	b.ok(s.Append(ctx(t), l, list, end, false, 400))
	for range 4 {
		c := b.claim(s, 400)
		b.complete(s, c, each(ids(b.pending(s, c)), narrow)...)
	}
	first := b.publishedRows(5)
	b.equal(len(first), n+4)

	to, other := joined(t, target)
	into, _ := to.publish()
	src := must.Get(to.AddSource(ctx(t), store.Source{Name: "list"}))(to)
	takeIn := func(rows []store.PublishedRow) error {
		return into.TakeIn(ctx(t), src.Number, rows, end, false, 400)
	}
	b.ok(takeIn(first[:1000]))
	b.ok(takeIn(first[1000:]))
	to.equal(to.results(), b.results())
	to.equal(to.rows(), b.rows())
	to.equal(to.publishedRows(5), first)
	to.equal(to.sources()[0].Position, end)
	to.equal(groupSums(to), groupSums(b))
	into.changed() // it is published already
	to.verify()

	// The same again changes nothing, nor does nothing.
	changes := to.frontier(0, 0).Changes
	b.ok(takeIn(first))
	b.ok(takeIn(nil))
	to.equal(to.frontier(0, 0).Changes, changes)
	to.equal(must.All(to.T, into.Published(ctx(t), 0)), first)

	// What the job did itself stays, what others did replaces the rest: results, pending rows, forgotten
	// ones.
	own := to.claim(other, 20)
	mine := ids(to.pending(other, own))
	to.complete(other, own, each(mine, failed(store.TLS))...)
	for c := range b.claims(s, 400) {
		b.complete(s, c, each(ids(b.pending(s, c)), ok)...)
	}
	b.retry(store.Selection{OK: true, IDs: []int64{1, 2}})
	b.ok(b.Forget(ctx(t), []int64{3, mine[1]}, true))
	b.ok(to.Forget(ctx(t), []int64{4}, true))
	into.changed(append(slices.Clone(mine), 4)...)
	b.ok(takeIn(b.publishedRows(6)))
	to.verify()
	theirs := map[int64]store.Result{}
	for _, r := range b.results() {
		theirs[r.ID] = r
	}
	for _, r := range to.results() {
		switch {
		case r.ID == 4:
			to.equal(r.Reason, store.Forgotten)
		case slices.Contains(mine, r.ID) && r.ID != mine[1]:
			to.equal(r.Reason, store.TLS)
		default:
			to.equal(r, theirs[r.ID])
		}
		delete(theirs, r.ID)
	}
	to.equal(len(theirs), 0)
	into.changed(4) // forgotten here, and not where it was published
	for r, err := range into.Published(ctx(t), 0) {
		to.ok(err)
		if want := int64(6); r.Publication != want && (r.ID != 4 && !slices.Contains(mine, r.ID) ||
			r.Publication != 5 && r.Publication != 0) {
			t.Errorf("row %d is of publication %d", r.ID, r.Publication)
		}
	}

	was := to.counts()
	wrong := first[0]
	wrong.URL = "http://other.example/"
	to.fails(takeIn([]store.PublishedRow{wrong}))
	wrong = first[1]
	result := *wrong.Result
	result.Detector = ""
	wrong.Result = &result
	to.fails(takeIn([]store.PublishedRow{wrong}))
	to.fails(into.TakeIn(ctx(t), 7, first[:1], end, false, 400))
	now := to.counts()
	now.Owners, was.Owners = nil, nil
	to.equal(now, was)
}

// narrow is a whole result of any row.
func narrow(id int64) store.Result {
	r := wholeResult(id)
	for i := range r.Faces {
		r.Faces[i].Width = 20
	}
	return r
}

// groupSums are the finished groups of a job, without when they were finished.
func groupSums(b *bench) map[string]store.Group {
	b.Helper()
	all := b.groups()
	for name, g := range all {
		g.Sequence, g.Revision = 0, 0
		all[name] = g
	}
	return all
}
