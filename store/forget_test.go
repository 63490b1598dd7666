package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"facescan/store/storetest/must"
)

// knownErased is what the first release to erase URLs left of http://a.example/1.
const knownErased = "forgotten:sha256:0001020304050607:" +
	"ec67a6241943e1570293fd69d1db8d840d0d4a3f697554ac0c95271ba6075f5b"

func TestEraser(t *testing.T) {
	t.Parallel()
	e := NewEraser()
	erased := e.Erase("http://a.example/1")
	if e.Erase("http://a.example/1") != erased || e.Erase(erased) != erased {
		t.Errorf("erased again it is another one than %s", erased)
	}
	if NewEraser().Erase("http://a.example/1") == erased {
		t.Error("two erasers have one salt")
	}
	const url, other = "http://a.example/1", "http://a.example/2"
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{url, url, true}, {url, other, false}, {knownErased, url, true}, {url, knownErased, true},
		{knownErased, other, false}, {other, knownErased, false}, {erased, knownErased, true},
		{erased, url, true}, {e.Erase(other), knownErased, true}, {erased, "", false},
	} {
		if SameURL(c.a, c.b) != c.same {
			t.Errorf("%s and %s are the same: %t", c.a, c.b, !c.same)
		}
	}
	hash := strings.TrimPrefix(knownErased, "forgotten:sha256:0001020304050607:")
	for _, text := range []string{"", url, "forgotten:sha256:", "forgotten:sha256:0001020304050607",
		"forgotten:sha256:0001020304050607" + hash, "forgotten:sha256:00010203040506:" + hash,
		"forgotten:sha256:000102030405060708:" + hash, "forgotten:sha256:000102030405060x:" + hash,
		knownErased + "0", knownErased[:len(knownErased)-1], " " + knownErased} {
		if IsErased(text) || KnownURL(text) != text {
			t.Errorf("%q is taken for a URL that was removed", text)
		}
	}
	if !IsErased(knownErased) || KnownURL(knownErased) != "" {
		t.Error("a URL that was removed is shown")
	}
}

func TestErasedSet(t *testing.T) {
	t.Parallel()
	var set ErasedSet
	set.Add("http://a.example/0") // it was not removed
	if set != nil || set.Has("http://a.example/0") {
		t.Errorf("the set is %v", set)
	}
	e := NewEraser()
	for _, url := range []string{knownErased, e.Erase("http://a.example/2"), e.Erase("http://a.example/3")} {
		set.Add(url)
	}
	for url, has := range map[string]bool{"http://a.example/1": true, "http://a.example/2": true,
		"http://a.example/3": true, "http://a.example/4": false, "": false} {
		if set.Has(url) != has {
			t.Errorf("%s is in the set: %t", url, !has)
		}
	}
}

// TestOutlasts: a row that was forgotten outlasts one that was not, and without its URL one that has it.
func TestOutlasts(t *testing.T) {
	t.Parallel()
	row := func(url string, r Reason) *MergedRow {
		return &MergedRow{Row: Row{URL: url}, Result: &Result{Status: Failed, Reason: r}}
	}
	known, forgotten, erased := row("u", Timeout), row("u", Forgotten), row(knownErased, Forgotten)
	pending := &MergedRow{Row: Row{URL: "u"}}
	for _, c := range []struct {
		a, b *MergedRow
		want bool
	}{
		{forgotten, known, true}, {forgotten, pending, true}, {known, forgotten, false},
		{pending, forgotten, false}, {known, pending, false}, {forgotten, forgotten, false},
		{erased, forgotten, true}, {forgotten, erased, false}, {erased, erased, false}, {erased, known, true},
	} {
		if c.a.Outlasts(c.b) != c.want {
			t.Errorf("%+v outlasts %+v: %t", c.a, c.b, !c.want)
		}
	}
}

// listing is a job with these rows and results, of which one cannot be read.
type listing struct {
	Job
	rows                    []Row
	results                 []Result
	brokenRow, brokenResult int64
}

var errUnreadable = errors.New("unreadable")

func yieldAll[T any](all []T, broken int64, id func(T) int64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if id(v) == broken {
				yield(v, errUnreadable)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (l *listing) Rows(context.Context, int64, int64) iter.Seq2[Row, error] {
	return yieldAll(l.rows, l.brokenRow, func(r Row) int64 { return r.ID })
}

func (l *listing) Results(context.Context, int64, int64) iter.Seq2[Result, error] {
	return yieldAll(l.results, l.brokenResult, func(r Result) int64 { return r.ID })
}

// TestPendingRows: rows come in while results are read, so that some of these are of rows that were not.
func TestPendingRows(t *testing.T) {
	t.Parallel()
	j := &listing{rows: []Row{{ID: 1}, {ID: 2, URL: "u"}, {ID: 4}, {ID: 6}, {ID: 7}},
		results: resultsOf(-1, 0, 1, 3, 5, 6, 9), brokenRow: -2, brokenResult: -2}
	pending := func() (ids []int64, err error) {
		for r, err := range PendingRows(t.Context(), j, 0, 10) {
			if err != nil {
				return ids, err
			}
			ids = append(ids, r.ID)
		}
		return ids, nil
	}
	if ids := must.Get(pending())(t); !slices.Equal(ids, []int64{2, 4, 7}) {
		t.Errorf("pending are %v", ids)
	}
	for r := range PendingRows(t.Context(), j, 0, 10) {
		if r.ID != 2 {
			t.Fatalf("row %d comes after a break", r.ID)
		}
		break
	}
	for _, broken := range []struct{ row, result int64 }{{1, -2}, {4, -2}, {7, -2}, {-2, -1}, {-2, 0},
		{-2, 3},
		{-2, 5}, {-2, 9}} {
		j.brokenRow, j.brokenResult = broken.row, broken.result
		if before, err := pending(); err != errUnreadable || !slices.Equal(before,
			[]int64{2, 4, 7}[:len(before)]) {
			t.Errorf("with %+v broken: %v, %v", broken, before, err)
		}
	}
}
