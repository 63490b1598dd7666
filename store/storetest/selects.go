package storetest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/export"
	"facescan/store/storetest/must"
)

// filters are conditions on what testSelect fills a job with.
var filters = []string{
	"faces > 0", "faces = 0", "faces IS NULL", "NOT faces > 0", "status = 'failed'",
	"status != 'ok' OR faces = 2", "reason IN ('timeout', 'bad_image')", "reason NOT IN ('timeout')",
	"reason IS NULL", "http_status BETWEEN 200 AND 299", "http_status NOT BETWEEN 1 AND faces",
	"http_status IS NULL", "url LIKE '%_7.jpg'", "url LIKE 'HTTP%'", "url NOT LIKE '%[a]*?%'",
	"url LIKE '%\\%'", "upper(url) LIKE 'HTTP://%'", "lower(url) = url", "url < 'http://host3'",
	"url >= 'Ü'", "length(url) > 30", "length(url) = 7", "url = 'it''s'", "url = ''",
	"format = 'jpeg' AND width * height > 300000", "width + height - 1 > 1000", "width / (faces - 1) > 0",
	"1 / 0 = 1", "-width < -500", "id > 1099511627776", "id = 5.0", "id IN (1, 2, 3.0)",
	"\"group\" = 'Ünï ''quoted'''", "group IS NULL", "attempts >= 2", "final_url IS NOT NULL",
	"partial = 1", "bytes / 3 >= 33.5", "bytes * 1e300 * 1e300 > 1", "1e-300 * 1e-300 * bytes = 0",
	"'x' = 'x'", "2 > 3", "url = '''; DROP TABLE results; --'", "url != '{urls} $1 ?'",
	"length(lower(upper(url))) = length(url)", "sha256 IS NULL", "phash IS NOT NULL AND sha256 IS NULL",
	"sha256 = '" + strings.Repeat("61", 32) + "'", "phash LIKE '%f00000000'", "phash >= '8'",
	"length(phash) = 16",
}

// selectable is a job with results of every sort.
func selectable(t *testing.T, target Target) *bench {
	t.Helper()
	b, s := joined(t, target)
	odd := []string{"it's", "", "é\n", "a%b_c", "*?[a]", "no url\\", "Ünï", "'; DROP TABLE results; --",
		"{urls} $1 ?"}
	for _, name := range []string{"first", "second"} {
		l := b.source(s, name)
		var all []store.NewRow
		for i := range 3000 {
			row := store.NewRow{ID: int64(l.Source)<<store.SourceShift + int64(i+1),
				URL:   fmt.Sprintf("http://host%d.example/%d_%d.jpg", i%7, i, i%9),
				Group: fmt.Sprint("g", i/1000)}
			if i%13 == 1 {
				row.URL, row.Group = odd[i/13%len(odd)], []string{"", "Ünï 'quoted'"}[i%2]
			}
			all = append(all, row)
		}
		b.ok(s.Append(ctx(t), l, all, store.Position{}, true, 500))
	}
	b.work(s, func(id int64) store.Result {
		switch id % 10 {
		case 3:
			return failed(store.Timeout)(id)
		case 4:
			r := failed(store.BadImage)(id)
			r.HTTPStatus, r.Format, r.Width, r.Height, r.Bytes = 200, "webp", int(id%900), 7, 77
			return r
		}
		r := ok(id)
		r.Format, r.Width, r.Height, r.Bytes, r.Attempts, r.Partial = "jpeg", 400+int(id%400), 600, id%500,
			1+int(id%3), id%17 == 0
		if id%5 == 0 {
			r.FinalURL = "http://b.example/"
		}
		if id%4 > 0 {
			r.PHash = store.NewPHash(uint64(id) << 32)
		}
		if id%6 > 0 {
			r.SHA256 = store.SHA256(strings.Repeat(string(rune('a'+id%3)), 32))
		}
		r.Faces = r.Faces[:0]
		for i := range int(id % 3) {
			r.Faces = append(r.Faces, store.Face{X: i, Y: i, Width: 20, Height: 20, Score: float64(20 - i)})
		}
		return r
	})
	return b
}

// testSelect compares what a store selects with what the same filter lets through of all that it has: what it
// excludes is excluded rightly, and it reads no more than it has to.
func testSelect(t *testing.T, target Target) {
	b := selectable(t, target)
	results := b.results()
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() string { return "(" + filters[rng.IntN(len(filters))] + ")" }
	all := slices.Clone(filters)
	for range 60 {
		all = append(all, pick()+[]string{" AND ", " OR ",
			" AND NOT "}[rng.IntN(3)]+pick()+[]string{" OR NOT ", " AND "}[rng.IntN(2)]+pick())
	}
	passed := 0
	for _, where := range all {
		f, err := export.ParseFilter(where, export.Options{})
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		var got, want []int64
		for r, err := range b.Select(ctx(t), store.Query{From: 2, To: math.MaxInt64, Where: f}) {
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			got = append(got, r.ID)
			if f.Match(r) && len(r.Faces) != int(r.ID%3) && r.Status == store.OK {
				t.Fatalf("%s: row %d has %d faces", where, r.ID, len(r.Faces))
			}
		}
		for _, r := range results {
			if r.ID >= 2 && f.Match(r) {
				want = append(want, r.ID)
			}
		}
		passed += len(want)
		if !slices.Equal(got, want) {
			// Numbers that are too large for a database are left to who asks.
			if !slices.Contains([]int{len(results) - 1}, len(got)) {
				t.Errorf("%s: %d rows are selected, %d pass", where, len(got), len(want))
			}
			t.Logf("%s is not translated", where)
		}
	}
	if passed < 20_000 {
		t.Errorf("only %d rows pass all filters together", passed)
	}
	// What the store does not have is left to who asks, too.
	f := must.Get(export.ParseFilter("confidence > 0.5", export.Options{}))(b)
	b.equal(len(must.All(b, b.Select(ctx(t), store.Query{To: math.MaxInt64, Where: f}))), len(results))
	// A column of the list is not one of the job, even with the same name.
	f = must.Get(export.ParseFilter("took = '0'",
		export.Options{Sources: []export.Source{{Kept: []string{"took"}}}}))(b)
	b.equal(len(must.All(b, b.Select(ctx(t), store.Query{To: math.MaxInt64, Where: f}))), len(results))
	// Brief results are the same ones, without what they are not to have.
	brief := must.All(b, b.Select(ctx(t), store.Query{To: math.MaxInt64, Brief: true}))
	full := slices.Clone(results)
	for i, r := range full {
		full[i] = briefly(r)
	}
	b.equal(brief, full)
}

// briefly is what a brief result has.
func briefly(r store.Result) store.Result {
	return store.Result{ID: r.ID, URL: r.URL, Source: r.Source, Status: r.Status, Reason: r.Reason,
		HTTPStatus: r.HTTPStatus, Format: r.Format, Width: r.Width, Height: r.Height, Bytes: r.Bytes,
		Detector: r.Detector, Faces: r.Faces}
}
