package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func resultsOf(ids ...int64) (out []Result) {
	for _, id := range ids {
		out = append(out, Result{ID: id})
	}
	return out
}

func TestHeldBatches(t *testing.T) {
	t.Parallel()
	batches := []Batch{{Lease: Lease{Shard: 1}}, {Lease: Lease{Shard: 2}, Release: true},
		{Lease: Lease{Shard: 3}, Release: true}, {Lease: Lease{Shard: 4}}}
	kept, lost, released := HeldBatches(batches, []bool{true, false, true, false})
	if diff := cmp.Diff([]Batch{batches[0], batches[2]}, kept); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(lost, []int{1, 3}) || !slices.Equal(released, []Lease{{Shard: 3}}) {
		t.Errorf("lost %v, released %v", lost, released)
	}
}

// TestKeepPending: of each pending row the first result counts, in whichever batch it is.
func TestKeepPending(t *testing.T) {
	t.Parallel()
	batches := []Batch{{Results: resultsOf(1, 2)}, {Results: resultsOf(3, 3, 4, 5, 4)},
		{Results: resultsOf(6)},
		{Results: resultsOf(2, 7)}}
	got := KeepPending(batches, []int64{1, 2, 3, 5, 4, 7, 8})
	want := []Batch{{Results: resultsOf(1, 2)}, {Results: resultsOf(3, 4, 5)}, {}, {Results: resultsOf(7)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if &got[0].Results[0] != &batches[0].Results[0] {
		t.Error("results that all count are copied")
	}
	if diff := cmp.Diff(resultsOf(3, 3, 4, 5, 4), batches[1].Results); diff != "" {
		t.Errorf("the batches that were given have changed: %s", diff)
	}
	if ids := ResultIDs(AllResults(got)); !slices.Equal(ids, []int64{1, 2, 3, 4, 5, 7}) {
		t.Errorf("rows %v", ids)
	}
}

// TestAll: what several additions or batches have is put together, in their order.
func TestAll(t *testing.T) {
	t.Parallel()
	var want []int64
	var additions []Addition
	var batches []Batch
	for n := range int64(4) {
		var rows, results []int64
		for _, r := range AllRows(additions) {
			rows = append(rows, r.ID)
		}
		results = ResultIDs(AllResults(batches))
		if !slices.Equal(rows, want) || !slices.Equal(results, want) {
			t.Errorf("of %d: rows %v, results %v", n, rows, results)
		}
		additions = append(additions, Addition{Rows: []NewRow{{ID: 2 * n}, {ID: 2*n + 1}}})
		batches = append(batches, Batch{Results: resultsOf(2*n, 2*n+1)})
		want = append(want, 2*n, 2*n+1)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	failure, failAt := errors.New("unreadable"), int64(-1)
	read := func(from int64) ([]int64, int64, bool, error) {
		if from == failAt {
			return nil, 0, true, failure
		}
		return []int64{from, from + 1}, from + 10, from < 20, nil
	}
	pages := Pages(0, read)
	for _, c := range []struct {
		failAt int64
		want   []int64
	}{{-1, []int64{0, 1, 10, 11, 20, 21}}, {10, []int64{0, 1}}, {-1, []int64{0, 1, 10, 11, 20, 21}}} {
		failAt = c.failAt
		var all []int64
		var failed error
		for v, err := range pages { // each iteration starts over
			if failed = err; err == nil {
				all = append(all, v)
			}
		}
		if !slices.Equal(all, c.want) || errors.Is(failed, failure) != (failAt >= 0) {
			t.Errorf("%v, %v", all, failed)
		}
	}
	for v := range pages {
		if v == 1 {
			break
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	seven, last := int64(7), int64(math.MaxInt64)
	for _, c := range []struct {
		last *int64
		from int64
		more bool
	}{{nil, 0, false}, {&seven, 8, true}, {&last, 0, false}} {
		if from, more := Next(c.last); from != c.from || more != c.more {
			t.Errorf("after %v: %d, %t", c.last, from, more)
		}
	}
}

// TestReopen: pages are searched to the end, rows by name are taken as they are, and each step's rest goes
// on.
func TestReopen(t *testing.T) {
	t.Parallel()
	pages := map[int64][]int64{math.MinInt64: {1, 2, 3}, 11: nil, 21: {25}}
	next := map[int64]int64{math.MinInt64: 10, 11: 20}
	var put []int64
	failAt := int64(0)
	failure := errors.New("no room")
	find := func(from int64) ([]int64, *int64, error) {
		ids, known := pages[from]
		if !known {
			t.Errorf("a page from %d", from)
		}
		if from == failAt {
			return nil, nil, failure
		}
		if last, more := next[from]; more {
			return ids, &last, nil
		}
		return ids, nil, nil
	}
	reopen := func(ids []int64) ([]int64, int, error) {
		if ids[0] == failAt {
			return nil, 5, failure
		}
		n := min(2, len(ids))
		put = append(put, ids[:n]...)
		return ids[n:], n, nil
	}
	for _, c := range []struct {
		s      Selection
		failAt int64
		put    []int64
		failed bool
	}{
		{s: Selection{OK: true}, put: []int64{1, 2, 3, 25}},
		{s: Selection{Reasons: []Reason{Timeout}}, put: []int64{1, 2, 3, 25}},
		{s: Selection{IDs: []int64{4}}},
		{s: Selection{OK: true, IDs: []int64{4, 5, 6}}, put: []int64{4, 5, 6}},
		{s: Selection{OK: true, IDs: []int64{}}},
		{s: Selection{OK: true}, failAt: 11, put: []int64{1, 2, 3}, failed: true},
		{s: Selection{OK: true}, failAt: 3, put: []int64{1, 2}, failed: true},
	} {
		put, failAt = nil, c.failAt
		n, err := c.s.Reopen(find, reopen)
		if !slices.Equal(put, c.put) || n != int64(len(put)) || errors.Is(err, failure) != c.failed {
			t.Errorf("%+v: %d rows, %v, %v", c.s, n, put, err)
		}
	}
}

func TestSelectionTakes(t *testing.T) {
	t.Parallel()
	erased := NewEraser().Erase("http://a.example/1")
	for _, c := range []struct {
		host, url string
		takes     bool
	}{{"", "http://a.example/1", true}, {"A.example", "http://a.EXAMPLE:80/1", true},
		{"b.example", "http://a.example/1", false}, {"", erased, false}} {
		if got := (Selection{Host: c.host}).Takes(c.url); got != c.takes {
			t.Errorf("host %q takes %s: %t", c.host, c.url, got)
		}
	}
}

func TestNumberSources(t *testing.T) {
	t.Parallel()
	found := []Source{{Number: 3, Name: "old", Rows: 7}}
	out, fresh := NumberSources([]Source{{Name: "a", Format: "csv", Options: "{}", Priority: 2, Rows: 9},
		{Name: "old"}, {Name: "b"}, {Name: "a", Format: "txt"}}, found, 5)
	a, b := Source{Number: 5, Name: "a", Format: "csv", Options: "{}", Priority: 2}, Source{Number: 6,
		Name: "b"}
	if diff := cmp.Diff([]Source{a, found[0], b, a}, out); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Source{a, b}, fresh); diff != "" {
		t.Error(diff)
	}
	names, err := SourceNames([]Source{{Name: "a", Priority: 20}, {Name: "b"}})
	if !slices.Equal(names, []string{"a", "b"}) || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := SourceNames([]Source{{Name: "a"}, {Priority: 21}}); err == nil {
		t.Error("a priority of 21 is not refused")
	}
}

func TestPartitionForgotten(t *testing.T) {
	t.Parallel()
	erased := NewEraser().Erase("u")
	have := map[int64]Existing{1: {URL: "u", Group: "g"}, 2: {URL: "u", Status: OK, Group: "g"},
		3: {URL: "u", Status: Failed, Forgotten: true, Group: "g"}, 4: {URL: erased, Status: Failed,
			Forgotten: true},
		5: {URL: "u", Status: Failed}}
	for _, url := range []bool{false, true} {
		p := PartitionForgotten([]int64{1, 2, 3, 4, 5, 6}, have, url)
		replaced, groups, gone := []int64{2, 5}, map[int64]string{1: "g", 2: "g", 5: ""}, []int64(nil)
		if url { // also of a row that was forgotten without
			replaced, groups = []int64{2, 3, 5}, map[int64]string{1: "", 2: "", 3: "", 5: ""}
			gone = []int64{1, 2, 3, 5}
		}
		var erasedIDs []int64
		for _, e := range p.Erased {
			erasedIDs = append(erasedIDs, e.ID)
			if !IsErased(e.URL) || !SameURL(e.URL, "u") {
				t.Errorf("row %d has the URL %s", e.ID, e.URL)
			}
		}
		ids := ResultIDs(p.Results)
		if !slices.Equal(p.Completed, []int64{1}) || !slices.Equal(p.Replaced, replaced) ||
			!slices.Equal(ids, append([]int64{1}, replaced...)) ||
			!slices.Equal(ForgottenIDs(p.Results), ids) ||
			!slices.Equal(erasedIDs, gone) || !cmp.Equal(p.Groups, groups) {
			t.Errorf("with url %t: %+v", url, p)
		}
	}
	if ids := ForgottenIDs(append(resultsOf(1), Result{ID: 2, Reason: Forgotten})); !slices.Equal(ids,
		[]int64{2}) {
		t.Errorf("forgotten are %v", ids)
	}
}

func TestVerifyWhole(t *testing.T) {
	t.Parallel()
	var did []string
	check := func(name string, err error) func() error {
		return func() error { did = append(did, name); return err }
	}
	failure := errors.New("unreadable")
	unchecked, failAt := int64(-1), int64(0)
	span := func(from int64) (int64, bool, int64, error) {
		did = append(did, fmt.Sprint(from))
		if from == failAt {
			return 0, true, 0, failure
		}
		return max(from, 0) + 5, from < 5, 2, nil
	}
	o := VerifyOptions{Unchecked: func(n int64) { unchecked = n }}
	least := fmt.Sprint(int64(math.MinInt64))
	if err := VerifyWhole(o, []func() error{check("a", nil), check("b", nil)}, span); err != nil ||
		!slices.Equal(did, []string{"a", "b", least, "5"}) || unchecked != 4 {
		t.Errorf("%v, did %v, %d unchecked", err, did, unchecked)
	}
	did, unchecked = nil, -1
	if err := VerifyWhole(o, []func() error{check("a", failure), check("b", nil)}, span); err != failure ||
		!slices.Equal(did, []string{"a"}) {
		t.Errorf("%v, did %v", err, did)
	}
	failAt, did = 5, nil
	if err := VerifyWhole(o, nil, span); err != failure || !slices.Equal(did, []string{least, "5"}) ||
		unchecked != -1 {
		t.Errorf("%v, did %v, %d unchecked", err, did, unchecked)
	}
	failAt = 0
	if err := VerifyWhole(VerifyOptions{}, nil, span); err != nil {
		t.Error(err)
	}
}

// TestVerifyResults: checksums come in pages, some results have none or no row, and one cannot be read.
func TestVerifyResults(t *testing.T) {
	t.Parallel()
	stored := resultsOf(1, 2, 3, 4, 5, 6, 7)
	var sums []ResultSum
	for i := range stored {
		sum := stored[i].Checksum()
		sums = append(sums, ResultSum{stored[i].ID, &sum})
	}
	sums[0].Sum, sums[5].Sum = nil, nil // of an earlier release
	stored[3].Bytes++                   // changed
	stored = slices.Delete(stored, 1, 2)
	page := func(lo, hi int64) (out []ResultSum, err error) {
		for _, s := range sums {
			if s.ID >= lo && s.ID <= hi && len(out) < 3 {
				out = append(out, s)
			}
		}
		return out, nil
	}
	broken, failure := int64(0), error(nil)
	read := func(from, to int64) (out []Result, err error) {
		for _, r := range stored {
			if r.ID >= from && r.ID <= to {
				out = append(out, r)
				if r.ID == broken {
					err = failure
				}
			}
		}
		return out, err
	}
	for _, c := range []struct {
		broken  int64
		failure error
		found   string
		failed  bool
	}{
		{0, nil, "4 not what was stored", false},
		{5, errHash, "4 not what was stored, 5 cannot be read: its hash is damaged", false},
		{6, fmt.Errorf("row 6: %w", errLandmarks), "4 not what was stored, 6 cannot be read: row 6: " +
			"packed landmarks are damaged", false},
		{3, errors.New("no disk"), "", true},
	} {
		broken, failure = c.broken, c.failure
		var found []string
		unchecked, err := VerifyResults(1, 7, 3, page, read, func(p Problem) {
			text := strings.NewReplacer("its result, or one of its faces, is ", "", "its result ",
				"").Replace(p.Text)
			found = append(found, fmt.Sprint(p.ID, " ", text))
		})
		if got := strings.Join(found, ", "); got != c.found || (err != nil) != c.failed || !c.failed &&
			unchecked != 2 {
			t.Errorf("with row %d broken: %s, %d unchecked, %v", c.broken, got, unchecked, err)
		}
	}
	if _, err := VerifyResults(1, 7, 3, func(int64, int64) ([]ResultSum, error) { return nil, errHash }, read,
		func(Problem) {}); err != errHash {
		t.Errorf("checksums that cannot be read: %v", err)
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	part := map[string]string{MergeSetting: "done"}
	for _, c := range []struct {
		settings map[string]string
		s        Source
		rows     int64
		known    bool
	}{
		{nil, Source{Position: Position{Rows: 9}, Rows: 4}, 0, true},
		{part, Source{Position: Position{Rows: 9}, Rows: 4}, 5, true},
		{part, Source{Position: Position{Rows: 9}, Rows: 4, Complete: true}, 0, true},
		{part, Source{Position: Position{Rows: 3}, Rows: 4}, 0, true},
		{part, Source{Position: Position{Rows: 0}}, 0, true},
		{part, Source{Position: Position{Rows: -1}, Rows: 4}, 0, false},
	} {
		if rows, known := Missing(c.settings, c.s); rows != c.rows || known != c.known {
			t.Errorf("%v %+v: %d rows, known %t", c.settings, c.s, rows, known)
		}
	}
}
