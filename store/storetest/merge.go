package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"facescan/store"
)

// mergeOptions take lists of one name for the same.
func mergeOptions() store.MergeOptions {
	return store.MergeOptions{Same: func(a, b store.Source) bool { return a.Name == b.Name }, ShardSize: 700,
		SourceName: func(_ store.Job, s store.Source) string { return s.Name }}
}

// node makes the job that took the rows with id mod n = i of a list, as far as result has one for them.
func node(t *testing.T, target Target, i, n, rowCount int64, result func(id int64) *store.Result) *bench {
	t.Helper()
	b, s := joined(t, target)
	end := store.Position{Offset: 77 * rowCount, Line: rowCount, Rows: rowCount, Mark: []byte{9}}
	b.ok(s.Append(ctx(t), b.source(s, "list"), albumRows(1, rowCount, i, n), end, true, 100))
	b.ok(b.Set(ctx(t), map[string]string{store.NodeSetting: store.Node{I: int(i), Of: int(n)}.String(),
		"min-face": "20", store.HashSetting: []string{"sha256", "none", "phash"}[i%3],
		store.FolderSetting + "keep:" + fmt.Sprint(i): "/kept"}))
	b.workSome(s, result)
	b.ok(s.Leave(ctx(t)))
	return b
}

// albumRows are the rows from one id to another with id mod n = i of the list that node makes jobs of.
func albumRows(from, to, i, n int64) (rows []store.NewRow) {
	for id := from; id <= to; id++ {
		if id%n == i {
			rows = append(rows, store.NewRow{ID: id, URL: urlOf(id), Group: fmt.Sprint("album", id%4),
				Kept: []string{fmt.Sprint(id), ""}, Hash: checksumOf(id), Bad: id%50 == 49})
		}
	}
	return rows
}

// hasAlbums holds the job to have all n rows of that list.
func (b *bench) hasAlbums(n int64) {
	b.Helper()
	var want []store.Row
	for _, r := range albumRows(1, n, 0, 1) {
		want = append(want, store.Row{ID: r.ID, URL: r.URL, Group: r.Group, Kept: r.Kept, Hash: r.Hash})
	}
	b.equal(b.rows(), want)
}

// workSome claims everything that is free, and commits a result for each row that has one.
func (b *bench) workSome(s store.Session, result func(id int64) *store.Result) {
	b.Helper()
	for l := range b.claims(s, 1000) {
		var results []store.Result
		for _, r := range b.pending(s, l) {
			if r := result(r.ID); r != nil {
				results = append(results, *r)
			}
		}
		b.commit(s, l, results...)
	}
}

// merge merges jobs into this one, and verifies it.
func (b *bench) merge(in ...store.Job) {
	b.Helper()
	b.ok(store.Merge(ctx(b.T), b.Job, in, mergeOptions()))
	b.verify()
}

// checksumOf is what a list says of the bytes of a row's image; of some rows nothing.
func checksumOf(id int64) string {
	if id%3 == 0 {
		return ""
	}
	return fmt.Sprintf("%032x", id)
}

func some(r store.Result) *store.Result { return &r }

// always is for rows that all have a result.
func always(result func(id int64) store.Result) func(id int64) *store.Result {
	return func(id int64) *store.Result { return some(result(id)) }
}

// mixed leaves a tenth of the rows pending and lets another tenth fail.
func mixed(id int64) *store.Result {
	switch id % 10 {
	case 3:
		return nil
	case 4:
		return some(failed(store.Timeout)(id))
	}
	return some(ok(id))
}

func testMerge(t *testing.T, target Target) {
	const n = 12_000
	nodes := make([]store.Job, 3)
	var each [3]store.Counts
	for i := range int64(3) {
		b := node(t, target, i, 3, n, mixed)
		nodes[i], each[i] = b.Job, b.counts()
	}
	out := start(t, target)
	out.merge(nodes[2], nodes[0])
	c := out.counts()
	out.equal([]int64{c.Total, c.Done, int64(len(c.ImportIncomplete))},
		[]int64{each[0].Total + each[2].Total, each[0].Done + each[2].Done, 1})
	// Interrupted, and begun again, with a job named twice.
	stopped, stop := context.WithCancel(ctx(t))
	defer stop()
	o := mergeOptions()
	o.Merged = func(int64) { stop() }
	out.is(store.Merge(stopped, out.Job, nodes, o), context.Canceled)
	set := out.settings()
	inputs, unfinished := store.UnfinishedMerge(set)
	out.equal([]any{len(inputs), unfinished}, []any{3, true})
	out.equal(set[store.MergePartsSetting], "2/3,0/3") // of the merge before
	delete(set, store.MergeInputsSetting)
	delete(set, store.MergePartsSetting)
	out.equal(set, map[string]string{"min-face": "20", store.MergeSetting: "unfinished",
		store.HashSetting: "phash,sha256",
		"folder:keep:0":   "/kept", "folder:keep:1": "/kept", "folder:keep:2": "/kept"})
	out.verify()
	var taken int64
	o.Merged = func(rows int64) { taken += rows }
	for range 2 {
		taken = 0
		out.ok(store.Merge(ctx(t), out.open(), append(nodes, nodes[1]), o))
		out.equal(taken, int64(n))
		out.verify()
		c := out.counts()
		out.equal([]int64{c.Total, c.Done, c.OK, c.Faces, c.Failures[store.Timeout],
			int64(len(c.ImportIncomplete))}, []int64{n, each[0].Done + each[1].Done + each[2].Done,
			each[0].OK + each[1].OK + each[2].OK,
			each[0].Faces + each[1].Faces + each[2].Faces, n / 10, 0})
	}
	out.hasAlbums(n)
	src := out.sources()
	out.equal([]any{src[0].Position, src[0].Rows, src[0].Complete},
		[]any{store.Position{Offset: 77 * n, Line: n, Rows: n, Mark: []byte{9}}, int64(n), true})
	// what is pending can be done here
	out.equal(int64(len(out.work(out.join(out.Job, longTTL), ok))), n-c.Done-each[1].Done)
}

func testMergeChooses(t *testing.T, target Target) {
	detected := func(by string, status store.Status) *store.Result {
		r := ok(1)
		r.Detector = by
		if status == store.Failed {
			r = failed(store.Reason(by))(1)
		}
		return &r
	}
	okA, okB := detected("a", store.OK), detected("b", store.OK)
	tls, reset := detected("tls", store.Failed), detected("reset", store.Failed)
	for i, c := range []struct{ out, first, second, want *store.Result }{
		{nil, nil, nil, nil}, {nil, nil, tls, tls}, {nil, tls, nil, tls}, {nil, tls, reset, tls},
		{nil, tls, okA, okA}, {nil, okA, tls, okA},
		{nil, okA, okB, okA}, {tls, nil, reset, tls}, {tls, okB, okA, okB}, {okA, okB, okB, okA},
		{okA, tls, nil, okA}, {tls, nil, nil, tls},
	} {
		job := func(r *store.Result) store.Job {
			return node(t, target, 0, 1, 1, func(int64) *store.Result { return r }).Job
		}
		out := start(t, target)
		if c.out != nil {
			out.merge(job(c.out))
		}
		out.merge(job(c.first), job(c.second))
		got := out.results()
		if c.want == nil {
			out.equal(len(got), 0)
			continue
		}
		if len(got) != 1 || got[0].Detector != c.want.Detector || got[0].Reason != c.want.Reason ||
			len(got[0].Faces) != len(c.want.Faces) {
			t.Errorf("case %d: got %+v, want %+v", i, got, *c.want)
		}
	}
}

func testMergeRefuses(t *testing.T, target Target) {
	good := node(t, target, 0, 2, 100, mixed)
	merged := start(t, target)
	merged.merge(good.Job)
	change := func(f func(b *bench)) store.Job {
		b := node(t, target, 1, 2, 100, mixed)
		f(b)
		return b.Job
	}
	half := start(t, target)
	half.ok(half.Set(ctx(t), map[string]string{store.MergeSetting: "unfinished"}))
	for name, in := range map[string]store.Job{
		"another flag": change(func(b *bench) {
			b.ok(b.Set(ctx(t), map[string]string{"min-face": "40"}))
		}),
		"one more source":     change(func(b *bench) { b.fill(b.join(b.Job, longTTL), "another", 1, 1) }),
		"an unfinished merge": half.Job,
		"a list that grew":    node(t, target, 1, 2, 200, mixed).Job,
		"no list at all":      start(t, target).Job,
		"an unfinished import": change(func(b *bench) {
			s := b.join(b.Job, longTTL)
			l := b.leaseSource(s, 0)
			b.ok(s.Append(ctx(t), l, nil, l.Position, false, 10))
		}),
	} {
		for _, out := range []*bench{merged, start(t, target)} {
			before := out.counts()
			if err := store.Merge(ctx(t), out.Job, []store.Job{good.Job, in}, mergeOptions()); err == nil {
				t.Errorf("%s: merged", name)
			}
			out.equal(out.counts(), before)
		}
	}
	o := mergeOptions()
	o.Same = func(a, b store.Source) bool { return false }
	merged.fails(store.Merge(ctx(t), merged.Job, []store.Job{good.Job}, o))
	// into a job of its own
	merged.fails(store.Merge(ctx(t), good.Job, []store.Job{merged.Job}, mergeOptions()))
	merged.fails(store.Merge(ctx(t), merged.Job, nil, mergeOptions()))
	other := []store.MergedRow{{Row: store.Row{ID: 2, URL: "http://elsewhere.example/"}}}
	merged.fails(merged.Absorb(ctx(t), 0, other, store.Position{}, true, 10))
	merged.fails(merged.Absorb(ctx(t), 0, []store.MergedRow{{Row: store.Row{ID: 1 << store.SourceShift}}},
		store.Position{}, true, 10))
	merged.fails(merged.Absorb(ctx(t), 7, other, store.Position{}, true, 10))
}

// cutOff is a job whose n-th write is the last one: it fails, having been made or not.
type cutOff struct {
	store.Job
	writes int
	made   bool
}

var errCutOff = errors.New("killed")

func (c *cutOff) write(do func() error) error {
	if c.writes--; c.writes > 0 {
		return do()
	}
	if c.made {
		return errors.Join(do(), errCutOff)
	}
	return errCutOff
}

func (c *cutOff) Set(ctx context.Context, settings map[string]string) error {
	return c.write(func() error { return c.Job.Set(ctx, settings) })
}

func (c *cutOff) AddSource(ctx context.Context, s store.Source) (out store.Source, err error) {
	return out, c.write(func() error { out, err = c.Job.AddSource(ctx, s); return err })
}

func (c *cutOff) Absorb(ctx context.Context, source int, rows []store.MergedRow, p store.Position,
	complete bool, shardSize int) error {
	return c.write(func() error { return c.Job.Absorb(ctx, source, rows, p, complete, shardSize) })
}

// testMergeCutOff cuts a merge of jobs with two sources off at each of its writes: the job says that it is
// unfinished, another list is refused, and the same merge again makes of it what an undisturbed one does.
func testMergeCutOff(t *testing.T, target Target) {
	o := mergeOptions()
	o.Same = func(a, b store.Source) bool {
		return a.Position.Line == b.Position.Line && a.Position.Offset == b.Position.Offset
	}
	var in []store.Job
	for i := range int64(2) {
		b := node(t, target, i, 2, 100, mixed)
		s := b.join(b.Job, longTTL)
		b.fill(s, "second", 7, 3)
		b.ok(s.Leave(ctx(t)))
		in = append(in, b.Job)
	}
	other := node(t, target, 0, 2, 200, mixed)
	whole := start(t, target)
	whole.ok(store.Merge(ctx(t), whole.Job, in, o))
	for n, end := 1, false; !end; n++ {
		for _, made := range []bool{false, true} {
			out := start(t, target)
			cut := &cutOff{out.Job, n, made}
			err := store.Merge(ctx(t), cut, in, o)
			if err == nil {
				out.equal(cut.writes > 0, true) // no write failed, rather than an error that got lost
				end = true
				continue
			}
			out.is(err, errCutOff)
			settings := out.settings()
			_, unfinished := store.UnfinishedMerge(settings)
			// Before its first write and after its last one it is not unfinished.
			out.equal(unfinished, settings[store.MergeSetting] != "" &&
				settings[store.MergeSetting] != "done")
			out.verify()
			if sources, err := out.Sources(ctx(t)); err == nil && len(sources) > 0 &&
				sources[0].Position.Line > 0 {
				out.fails(store.Merge(ctx(t), out.Job, []store.Job{other.Job}, o))
			}
			out.ok(store.Merge(ctx(t), out.open(), in, o))
			out.verify()
			out.equal(out.results(), whole.results())
			got, want := out.counts(), whole.counts()
			out.equal([]any{got.Total, got.Done, got.ImportIncomplete},
				[]any{want.Total, want.Done, want.ImportIncomplete})
			sources := out.sources()
			out.equal([]any{len(sources), sources[1].Rows, sources[1].Complete}, []any{2, int64(7), true})
		}
		if n > 30 {
			t.Fatal("a merge of two sources has more than 30 writes")
		}
	}
}
