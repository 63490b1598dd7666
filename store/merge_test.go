package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// list is what a job has read of a list: to a line, where it counted so many rows; -1 when it did not.
func list(line, counted int64, complete bool) store.Source {
	return store.Source{Name: "list", Complete: complete, Position: store.Position{Line: line, Rows: counted}}
}

// part makes a job that has rows with these ids of a list; those that are odd are done.
func part(t *testing.T, settings map[string]string, s store.Source, ids ...int64) store.Job {
	t.Helper()
	ctx := t.Context()
	j := must.Get(sqlite.Open(ctx, create(t)))(t)
	t.Cleanup(func() { must.OK(t, j.Close()) })
	must.OK(t, j.Set(ctx, settings))
	must.Get(j.AddSource(ctx, s))(t)
	session := must.Get(j.Join(ctx, store.Owner{}, time.Hour))(t)
	var rows []store.NewRow
	for _, id := range ids {
		rows = append(rows, store.NewRow{ID: id, URL: fmt.Sprint("http://a/", id), Bad: id%2 == 1})
	}
	l := must.Get(session.LeaseSource(ctx, 0))(t)
	must.OK(t, session.Append(ctx, l, rows, s.Position, s.Complete, 10))
	must.OK(t, session.Leave(ctx))
	return j
}

// node is a part's setting, old that of a merge by the first release, which did not say of which parts.
func node(part string) map[string]string { return map[string]string{store.NodeSetting: part} }

var old = map[string]string{store.MergeSetting: "done"}

func sameName(a, b store.Source) bool { return a.Name == b.Name }

func mergeOptions() store.MergeOptions {
	return store.MergeOptions{Same: sameName, MayBeSame: sameName, ShardSize: 10,
		SourceName: func(_ store.Job, s store.Source) string { return s.Name }}
}

// TestMergePositions: jobs must have read their list to the same line, unless one of them has only some of
// its rows; the merged one has read what the one has that read most.
func TestMergePositions(t *testing.T) {
	t.Parallel()
	type in struct {
		line int64
		old  bool
	}
	for _, c := range []struct {
		in   []in
		want int64 // 0 when they are refused
	}{
		{[]in{{7, false}, {7, false}}, 7}, {[]in{{7, false}, {5, false}}, 0}, {[]in{{5, false}, {7, false}},
			0},
		{[]in{{5, true}, {7, false}}, 7}, {[]in{{7, true}, {5, false}}, 7}, {[]in{{7, false}, {5, true}}, 7},
		{[]in{{5, false}, {7, true}}, 7}, {[]in{{5, true}, {7, true}}, 7}, {[]in{{7, true}, {5, true}}, 7},
		{[]in{{5, true}, {6, true}, {7, false}}, 7}, {[]in{{5, true}, {7, false}, {6, false}}, 0},
		{[]in{{5, false}, {7, true}, {7, false}}, 7}, {[]in{{5, false}, {7, true}, {6, false}}, 0},
		{[]in{{5, true}, {7, false}, {6, true}}, 7},
	} {
		var jobs []store.Job
		for _, i := range c.in {
			if i.old {
				jobs = append(jobs, part(t, old, list(i.line, -1, false), 1))
			} else {
				jobs = append(jobs, part(t, node("0/2"), list(i.line, -1, true), 2))
			}
		}
		out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
		err := store.Merge(t.Context(), out, jobs, mergeOptions())
		sources := must.Get(out.Sources(t.Context()))(t)
		switch {
		case c.want == 0:
			if err == nil || !strings.Contains(err.Error(),
				"the list grew; run them all again, then merge") ||
				len(sources) > 0 {
				t.Errorf("%v: %v, with %d sources", c.in, err, len(sources))
			}
		case err != nil || sources[0].Position.Line != c.want:
			t.Errorf("%v: %v, %+v", c.in, err, sources)
		}
		must.OK(t, out.Close())
	}
	// Who cannot say more than whether two lists are the same says just that.
	o := mergeOptions()
	jobs := []store.Job{part(t, old, list(5, -1, false)), part(t, nil, list(7, -1, true))}
	for _, maybe := range []func(a, b store.Source) bool{nil, func(a, b store.Source) bool { return false }} {
		out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
		o.MayBeSame = maybe
		if err := store.Merge(t.Context(), out, jobs, o); err == nil || !strings.Contains(err.Error(),
			jobs[1].Path()+" has read 7 lines of list, another job 5: the list grew") {
			t.Error(err)
		}
		must.OK(t, out.Close())
	}
}

// TestMergeIsComplete when it has all rows of the list: as many as were counted, or, where nobody counted
// them, those of all parts.
func TestMergeIsComplete(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		counted  int64
		a, b     string
		complete bool
		parts    string
	}{
		{3, "0/2", "1/2", true, "0/2,1/2"}, {4, "0/2", "1/2", false, "0/2,1/2"},
		{2, "0/2", "1/2", true, "0/2,1/2"}, {-1, "0/2", "1/2", true, "0/2,1/2"},
		{-1, "0/3", "1/3", false, "0/3,1/3"}, {3, "0/3", "1/3", true, "0/3,1/3"},
	} {
		out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
		must.OK(t, store.Merge(t.Context(), out, []store.Job{part(t, node(c.a), list(9, c.counted, true), 2),
			part(t, node(c.b), list(9, c.counted, true), 1, 3)}, mergeOptions()))
		s := must.Get(out.Sources(t.Context()))(t)[0]
		settings := must.Get(out.Settings(t.Context()))(t)
		if s.Complete != c.complete || s.Rows != 3 || settings[store.MergePartsSetting] != c.parts {
			t.Errorf("%+v: %+v of the parts %s", c, s, settings[store.MergePartsSetting])
		}
		must.OK(t, out.Close())
	}
	out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
	empty := part(t, node("0/2"), list(9, 0, true))
	must.OK(t, store.Merge(t.Context(), out, []store.Job{empty}, mergeOptions()))
	if s := must.Get(out.Sources(t.Context()))(t)[0]; !s.Complete {
		t.Errorf("a list without rows: %+v", s)
	}
	must.OK(t, out.Close())
}

// TestMergeOtherRows: jobs that have different URLs of a row are refused, with lists of any name.
func TestMergeOtherRows(t *testing.T) {
	t.Parallel()
	a := part(t, nil, list(9, 1, true), 2)
	b := part(t, nil, list(9, 1, true))
	out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
	defer out.Close()
	must.OK(t, b.Absorb(t.Context(), 0, []store.MergedRow{{Row: store.Row{ID: 2, URL: "http://b/"}}},
		list(9, 1, true).Position, true, 10))
	err := store.Merge(t.Context(), out, []store.Job{a, b}, mergeOptions())
	if err == nil || err.Error() != `row 2 is "http://a/2" in one job, "http://b/" in another` {
		t.Error(err)
	}
}

// called is a job that goes by another name, and perhaps is put together of what is in a folder.
type called struct {
	store.Job
	path string
}

func (c called) Path() string { return c.path }

type folder struct {
	called
	input string
}

func (f folder) Input() string { return f.input }

// TestMergeInputs: the jobs that were merged are named so that they can be opened from anywhere, each once.
func TestMergeInputs(t *testing.T) {
	t.Parallel()
	j := part(t, nil, list(9, 1, true), 1)
	out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
	defer out.Close()
	must.OK(t, store.Merge(t.Context(), out, []store.Job{called{j, "a.db"}, called{j, "postgres://h/x"},
		folder{called{j, "/tmp/copy"}, "parts"}, called{j, "a.db"}, called{j, "/b.db"}}, mergeOptions()))
	var want []string
	for _, name := range []string{"a.db", "parts", "/b.db"} {
		want = append(want, must.Get(filepath.Abs(name))(t))
	}
	want = []string{want[0], "postgres://h/x", want[1], want[2]}
	inputs, unfinished := store.UnfinishedMerge(must.Get(out.Settings(t.Context()))(t))
	if diff := cmp.Diff(want, inputs); diff != "" || unfinished {
		t.Errorf("unfinished %t, %s", unfinished, diff)
	}
}

// TestSumParts counts each row of lists once, with what is known of how many there are.
func TestSumParts(t *testing.T) {
	t.Parallel()
	all := []int64{1, 2, 3, 4, 5, 6}
	odd, even := []int64{1, 3, 5}, []int64{2, 4, 6}
	whole := part(t, nil, list(9, 6, true), all...)
	half := part(t, node("1/2"), list(9, 6, true), odd...)
	other := part(t, node("0/2"), list(9, 6, true), even...)
	reading := part(t, node("1/2"), list(5, 3, false), 1, 3)
	uncounted := part(t, node("0/2"), list(9, -1, true), even...)
	merged := part(t, map[string]string{store.MergeSetting: "done", store.MergePartsSetting: "1/2"},
		list(9, 6, false), odd...)
	for what, c := range map[string]struct {
		jobs           []store.Job
		rows, done     int64
		known, reading bool
	}{
		"one":                    {[]store.Job{whole}, 6, 3, true, false},
		"halves":                 {[]store.Job{half, other}, 6, 3, true, false},
		"the same twice":         {[]store.Job{half, half}, 6, 3, true, false},
		"all, and half of it":    {[]store.Job{whole, half}, 6, 3, true, false},
		"one that reads":         {[]store.Job{reading}, 3, 2, true, true},
		"one that reads, first":  {[]store.Job{reading, other}, 6, 2, true, false},
		"one that reads, second": {[]store.Job{other, reading}, 6, 2, true, false},
		"uncounted":              {[]store.Job{uncounted}, -1, 0, false, false},
		"uncounted, first":       {[]store.Job{uncounted, half}, 6, 3, true, false},
		"uncounted, second":      {[]store.Job{half, uncounted}, 6, 3, true, false},
		"a merge of one part":    {[]store.Job{merged}, 6, 3, true, true},
		"it, and its part":       {[]store.Job{merged, half}, 6, 3, true, false},
		"it, and another part":   {[]store.Job{merged, other}, 6, 3, true, false},
		"none":                   {nil, 0, 0, true, true},
	} {
		sum, err := store.SumParts(t.Context(), c.jobs, sameName)
		if err != nil || sum.Rows != c.rows || sum.Done != c.done || sum.Known != c.known ||
			sum.Reading != c.reading || len(sum.Each) != len(c.jobs) {
			t.Errorf("%s: %+v, %v; want %d done of %d, known %t, reading %t", what, sum, err, c.done, c.rows,
				c.known, c.reading)
		}
	}
	never := func(a, b store.Source) bool { return false }
	_, err := store.SumParts(t.Context(), []store.Job{half, other}, never)
	if want := other.Path() + " was made from another list than " + half.Path() + ": list"; err == nil ||
		err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, settings := range []map[string]string{node("x"), {store.MergeSetting: "done",
		store.MergePartsSetting: "2/2"}} {
		bad := part(t, settings, list(9, 6, false))
		out := must.Get(sqlite.Open(t.Context(), create(t)))(t)
		_, sumErr := store.SumParts(t.Context(), []store.Job{bad}, sameName)
		mergeErr := store.Merge(t.Context(), out, []store.Job{bad}, mergeOptions())
		for _, err := range []error{sumErr, mergeErr} {
			if err == nil || !strings.Contains(err.Error(), bad.Path()+": the part") {
				t.Errorf("%v: %v", settings, err)
			}
		}
		must.OK(t, out.Close())
	}
}

// unreadable is a job of which the n-th thing that is read cannot be.
type unreadable struct {
	store.Job
	n int
}

var errUnreadable = errors.New("the disk is gone")

func (u *unreadable) fails() error {
	if u.n--; u.n == 0 {
		return errUnreadable
	}
	return nil
}

func readAll[T any](u *unreadable, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range all {
			if err := errors.Join(err, u.fails()); !yield(v, err) || err != nil {
				return
			}
		}
		if err := u.fails(); err != nil {
			var none T
			yield(none, err)
		}
	}
}

func (u *unreadable) Settings(ctx context.Context) (map[string]string, error) {
	settings, err := u.Job.Settings(ctx)
	return settings, errors.Join(err, u.fails())
}

func (u *unreadable) Sources(ctx context.Context) ([]store.Source, error) {
	sources, err := u.Job.Sources(ctx)
	return sources, errors.Join(err, u.fails())
}

func (u *unreadable) Counts(ctx context.Context) (store.Counts, error) {
	counts, err := u.Job.Counts(ctx)
	return counts, errors.Join(err, u.fails())
}

func (u *unreadable) Rows(ctx context.Context, from, to int64) iter.Seq2[store.Row, error] {
	return readAll(u, u.Job.Rows(ctx, from, to))
}

func (u *unreadable) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	return readAll(u, u.Job.Results(ctx, from, to))
}

func (u *unreadable) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	return readAll(u, u.Job.Select(ctx, q))
}

func (u *unreadable) Ends(ctx context.Context, source int) iter.Seq2[store.GroupEnd, error] {
	return readAll(u, u.Job.Ends(ctx, source))
}

// TestUnreadable has each reading of a job fail, one after the other, and each reader must return that.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	a := part(t, node("1/2"), list(9, 6, true), 1, 3, 5)
	u := &unreadable{Job: part(t, node("0/2"), list(9, 6, true), 2, 4, 7)}
	out := &unreadable{}
	for _, c := range []struct {
		what  string
		of    *unreadable
		times int // it reads at least
		read  func() error
	}{
		{"merge", u, 9, func() error {
			return store.Merge(t.Context(), out.Job, []store.Job{a, u}, mergeOptions())
		}},
		{"merge into it", out, 3, func() error {
			return store.Merge(t.Context(), out, []store.Job{a}, mergeOptions())
		}},
		{"sum", u, 10, func() error {
			_, err := store.SumParts(t.Context(), []store.Job{u, u, a}, sameName)
			return err
		}},
	} {
		for n := 1; ; n++ {
			out.Job = must.Get(sqlite.Open(t.Context(), create(t)))(t)
			c.of.n = n
			err := c.read()
			must.OK(t, out.Job.Close())
			if c.of.n > 0 { // all was read
				must.OK(t, err)
				if n <= c.times {
					t.Errorf("%s: it reads %d times", c.what, n-1)
				}
				break
			}
			if !errors.Is(err, errUnreadable) {
				t.Errorf("%s: reading %d fails with %v", c.what, n, err)
			}
		}
	}
}
