package storetest

import (
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testMergeFill has the rows of a part that was not merged come in from the list: just those, once, in
// several batches, some of them there already, and only under the import's lease.
func testMergeFill(t *testing.T, target Target) {
	const n = 3000
	var in []store.Job
	for _, i := range []int64{0, 1, 3} {
		in = append(in, node(t, target, i, 4, n, mixed).Job)
	}
	out := start(t, target)
	out.merge(in...)
	missing := func() (rows int64, parts string) {
		settings, list := out.settings(), out.sources()[0]
		rows, known := store.Missing(settings, list)
		out.equal(known, true)
		return rows, must.Get(store.Parts(settings, list))(out).String()
	}
	rows, parts := missing()
	out.equal([]any{rows, parts}, []any{int64(n / 4), "0/4,1/4,3/4"})
	before := out.counts()
	lost := func(from, to int64) []store.NewRow { return albumRows(from, to, 2, 4) }
	a := out.join(out.Job, longTTL)
	first := out.leaseSource(a, 0)
	end := first.Position
	out.equal(end, store.Position{Offset: 77 * n, Line: n, Rows: n, Mark: []byte{9}})
	out.ok(a.Fill(ctx(t), first, lost(1, 1000), end, false, 700))
	out.verify()
	out.ok(a.ReleaseSource(ctx(t), first))
	out.is(a.Fill(ctx(t), first, lost(1001, 2000), end, true, 700), store.ErrLeaseLost)
	rows, _ = missing()
	out.equal([]any{rows, len(out.groups())}, []any{int64(n/4 - 250), 0})

	// Another goes on from the start, while rows are worked on.
	b := out.join(out.Job, longTTL)
	shard := out.claim(b, 100)
	second := out.leaseSource(b, 0)
	out.ok(b.Fill(ctx(t), second, lost(1, 2000), end, false, 700))
	out.verify()
	out.ok(b.Fill(ctx(t), second, lost(2001, n), end, true, 700))
	out.ok(b.ReleaseSource(ctx(t), second))
	out.verify()
	out.release(b, shard)
	rows, _ = missing()
	c := out.counts()
	out.equal([]any{rows, c.Total, len(c.ImportIncomplete)}, []any{int64(0), int64(n), 0})
	bad := int64(0)
	for _, r := range lost(1, n) {
		if r.Bad {
			bad++
		}
	}
	out.equal([]int64{c.Done, c.Failures[store.BadURL]},
		[]int64{before.Done + bad, before.Failures[store.BadURL] + bad})
	out.equal(int64(len(out.work(b, ok))), n-c.Done)
	out.verify()
	out.hasAlbums(n)
	out.finishedAre(map[string]int64{"0/album0": 1, "0/album1": 1, "0/album2": 1, "0/album3": 1})
	out.ok(a.Leave(ctx(t)))
	out.ok(b.Leave(ctx(t)))
	// The part is found after all.
	out.merge(node(t, target, 2, 4, n, mixed).Job)
	out.equal(out.counts().ImportIncomplete, []string(nil))
}

// testMergeOverlaps merges parts of different numbers of parts: they are complete when together they are.
func testMergeOverlaps(t *testing.T, target Target) {
	const n = 400
	part := func(i, of int64) store.Job { return node(t, target, i, of, n, mixed).Job }
	quarter, half, other := part(0, 4), part(1, 2), part(2, 4)
	same := mergeOptions().Same
	sum, err := store.SumParts(ctx(t), []store.Job{quarter, half}, same)
	if err != nil || sum.Rows != n || !sum.Known || sum.Reading ||
		sum.Done != sum.Each[0].Counts.Done+sum.Each[1].Counts.Done {
		t.Errorf("disjoint parts: %+v, %v", sum, err)
	}
	out := start(t, target)
	for i, in := range [][]store.Job{{quarter, half}, {half}, {part(0, 8)}, {other}} {
		out.merge(in...)
		want := []string{"list"}
		if i == 3 {
			want = nil
		}
		out.equal(out.counts().ImportIncomplete, want)
	}
	whole := out.counts()
	out.equal(whole.Total, int64(n))
	// Counted over parts that overlap, and a merge of all.
	for _, jobs := range [][]store.Job{{quarter, half, other, part(0, 8)}, {out.Job, half}, {out.Job}} {
		sum, err := store.SumParts(ctx(t), jobs, same)
		if err != nil || sum.Rows != n || sum.Done != whole.Done {
			t.Errorf("%d parts: %+v, %v; want %d rows done", len(jobs), sum, err, whole.Done)
		}
	}
}
