package storetest

import (
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testFiles has rows that are files: what they look like is kept with them, read back, and replaced.
func testFiles(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "list", 3, 10) // whose rows are not files
	source := must.Get(b.AddSource(ctx(t), store.Source{Name: "/photos", Format: "folder"}))(b)
	l := b.leaseSource(s, source.Number)
	const n = 5000 // several pages
	add := rows(1, 1, n)
	for i := range add {
		add[i].File = &store.File{Size: int64(i), Mtime: -1 << 62, Offset: int64(i) << 40}
	}
	b.ok(s.Append(ctx(t), l, add, store.Position{Line: n}, true, 100))

	read := func(from, to int64) []store.FileRow { return must.All(b, b.open().Files(ctx(t), from, to)) }
	first := store.FirstOf(1)
	want := make([]store.FileRow, n)
	for i, r := range add {
		want[i] = store.FileRow{ID: r.ID, URL: r.URL, File: *r.File}
	}
	var lists []store.FileRow
	for id := range int64(3) {
		lists = append(lists, store.FileRow{ID: id + 1, URL: urlOf(id + 1)})
	}
	b.equal(read(first, 1<<62), want)
	b.equal(read(first+7, first+9), want[6:8])
	b.equal(read(0, first+2), append(lists, want[0]))

	// What is replaced is there, and only that.
	for i := range 3 {
		want[i].File = store.File{Size: 1 << 50, Mtime: int64(i), Offset: 512}
	}
	b.ok(b.SetFiles(ctx(t), want[:3]))
	b.ok(b.SetFiles(ctx(t), nil))
	b.equal(read(first, 1<<62), want)

	// Done rows say so, with their reason; a retry of some ids puts just those back.
	b.work(s, func(id int64) store.Result {
		if id%2 == 0 {
			return failed(store.FileMissing)(id)
		}
		return ok(id)
	})
	for i := range want {
		want[i].Done = true
		if want[i].ID%2 == 0 {
			want[i].Reason = store.FileMissing
		}
	}
	b.equal(read(first, 1<<62), want)
	back := b.retry(store.Selection{Reasons: store.Reasons(""), OK: true,
		IDs: []int64{2, first + 1, first + 2, first + 150, 1 << 50}})
	b.equal(back, int64(4))
	for _, i := range []int{0, 1, 149} {
		want[i].Done, want[i].Reason = false, ""
	}
	b.equal(read(first, 1<<62), want)
	b.equal(b.retry(store.Selection{Reasons: store.Reasons(""), OK: true, IDs: []int64{}}), int64(0))
	b.equal(b.counts().Pending, int64(4))

	// A row that is forgotten stays, without its file.
	b.ok(b.Forget(ctx(t), []int64{first + 1, first + 2}, false))
	for i := range 2 {
		want[i].File, want[i].Done, want[i].Reason = store.File{}, true, store.Forgotten
	}
	b.equal(read(first, 1<<62), want)
}
