package storetest

import (
	"fmt"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testTally compares every sum with one over the results, on more rows than any page has.
func testTally(t *testing.T, target Target) {
	b, s := joined(t, target)
	for _, source := range []string{"first", "second"} {
		l := b.source(s, source)
		var all []store.NewRow
		for i := range 3000 {
			id := int64(l.Source)<<store.SourceShift + int64(i+1)
			row := store.NewRow{ID: id, URL: fmt.Sprintf("http://u:p@Host%d.example:8%d/%d.jpg", id%7, id%2,
				id), Group: fmt.Sprintf("g%d", id/1000)}
			switch id % 50 {
			case 1:
				row.URL, row.Group = "no url", ""
			case 2:
				row.Group = "Ünï 'quoted'"
			}
			all = append(all, row)
		}
		b.ok(s.Append(ctx(t), l, all, store.Position{}, true, 500))
	}
	l := b.claim(s, 100) // some rows stay pending
	b.work(s, func(id int64) store.Result {
		switch id % 11 {
		case 3:
			return failed(store.Timeout)(id)
		case 4:
			r := failed(store.BadImage)(id)
			r.Format, r.Bytes, r.SHA256 = "webp", 77, store.SHA256(strings.Repeat("x", 32))
			return r
		case 5:
			r := ok(id)
			r.SHA256 = store.SHA256(strings.Repeat(string(rune('a'+id%5)), 32))
			return r
		}
		return ok(id)
	})
	b.release(s, l)
	results := b.results()
	for _, by := range store.Keys {
		type value struct {
			source int
			text   string
		}
		got, want := map[value]store.Tally{}, map[value]store.Tally{}
		sum := func(in map[value]store.Tally, n store.Tally) {
			k := value{n.Source, n.Value}
			n.Add(in[k])
			in[k] = n
		}
		for _, n := range must.All(b, b.Tally(ctx(t), by)) {
			sum(got, n)
		}
		for _, r := range results {
			n := store.Tally{Rows: 1, Faces: int64(len(r.Faces)),
				ImagesWithFaces: min(1, int64(len(r.Faces))), Bytes: r.Bytes}
			if r.Status == store.OK {
				n.OK = 1
			}
			switch by {
			case store.ByHost:
				n.Value = strings.ToLower(store.HostOf(r.URL))
			case store.ByReason:
				n.Value = string(r.Reason)
			case store.ByFormat:
				n.Value = r.Format
			case store.ByGroup:
				n.Source, n.Value = r.Source, r.Group
			case store.BySHA256:
				n.Value = r.SHA256.String()
			}
			sum(want, n)
		}
		if len(want) < 3 {
			t.Fatalf("by %s there are %d values only", by, len(want))
		}
		b.equal(got, want)
	}
	for range b.Tally(ctx(t), store.ByHost) {
		break // which must leave nothing behind
	}
}

// testSize: a job with more rows takes more room.
func testSize(t *testing.T, target Target) {
	b, s := joined(t, target)
	size := func() int64 {
		data, log, err := b.Size(ctx(t))
		b.ok(err)
		if data < 0 || log < 0 {
			t.Fatalf("%d and %d bytes", data, log)
		}
		return data + log
	}
	before := size()
	b.fill(s, "list", 5000, 1000)
	b.work(s, ok)
	if after := size(); after < before+5000*20 {
		t.Errorf("%d bytes without rows, %d with 5000", before, after)
	}
}
