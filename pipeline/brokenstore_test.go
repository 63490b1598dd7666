package pipeline

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
)

// errBroken is what a method of a broken store returns.
var errBroken = errors.New("the store is broken")

// brokenJob is a job one of whose methods fails, after some calls that do not.
type brokenJob struct {
	store.Job
	method string
	good   *int // calls that are left before; negative when one failed
}

// fails reports whether this call of a method does.
func (j brokenJob) fails(method string) bool {
	if j.method != method {
		return false
	}
	*j.good--
	return *j.good < 0
}

// orBroken is the error of a method that fails, or calls it.
func orBroken[T any](j brokenJob, method string, call func() (T, error)) (T, error) {
	if j.fails(method) {
		var none T
		return none, errBroken
	}
	return call()
}

func (j brokenJob) Settings(ctx context.Context) (map[string]string, error) {
	return orBroken(j, "Settings", func() (map[string]string, error) { return j.Job.Settings(ctx) })
}

func (j brokenJob) Sources(ctx context.Context) ([]store.Source, error) {
	return orBroken(j, "Sources", func() ([]store.Source, error) { return j.Job.Sources(ctx) })
}

func (j brokenJob) AddSources(ctx context.Context, all []store.Source) ([]store.Source, error) {
	return orBroken(j, "AddSources", func() ([]store.Source,
		error) {
		return j.Job.AddSources(ctx, all)
	})
}

func (j brokenJob) Counts(ctx context.Context) (store.Counts, error) {
	return orBroken(j, "Counts", func() (store.Counts, error) { return j.Job.Counts(ctx) })
}

func (j brokenJob) Retry(ctx context.Context, s store.Selection) (int64, error) {
	return orBroken(j, "Retry", func() (int64, error) { return j.Job.Retry(ctx, s) })
}

func (j brokenJob) SetFiles(ctx context.Context, files []store.FileRow) error {
	_, err := orBroken(j, "SetFiles", func() (int, error) { return 0, j.Job.SetFiles(ctx, files) })
	return err
}

func (j brokenJob) Prioritize(ctx context.Context, source, priority int) error {
	_, err := orBroken(j, "Prioritize", func() (int, error) {
		return 0, j.Job.Prioritize(ctx, source, priority)
	})
	return err
}

func (j brokenJob) Files(ctx context.Context, from, to int64) iter.Seq2[store.FileRow, error] {
	return orBrokenRows(j, "Files", j.Job.Files(ctx, from, to))
}

func (j brokenJob) Rows(ctx context.Context, from, to int64) iter.Seq2[store.Row, error] {
	return orBrokenRows(j, "Rows", j.Job.Rows(ctx, from, to))
}

func (j brokenJob) Ends(ctx context.Context, source int) iter.Seq2[store.GroupEnd, error] {
	return orBrokenRows(j, "Ends", j.Job.Ends(ctx, source))
}

func (j brokenJob) EndOf(ctx context.Context, source int, group string) (int64, error) {
	return orBroken(j, "EndOf", func() (int64, error) { return j.Job.EndOf(ctx, source, group) })
}

func orBrokenRows[T any](j brokenJob, method string, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	if !j.fails(method) {
		return rows
	}
	return func(yield func(T, error) bool) {
		var none T
		yield(none, errBroken)
	}
}

// brokenSession is a session one of whose methods fails, after it did what it does.
type brokenSession struct {
	store.Session
	method string
}

func (s brokenSession) fails(method string, err error) error {
	if s.method == method {
		return errors.Join(err, errBroken)
	}
	return err
}

func (s brokenSession) LeaseSource(ctx context.Context, source int) (store.SourceLease, error) {
	l, err := s.Session.LeaseSource(ctx, source)
	return l, s.fails("LeaseSource", err)
}

func (s brokenSession) LeaseSources(ctx context.Context, sources []int) ([]store.SourceLease, error) {
	l, err := s.Session.LeaseSources(ctx, sources)
	return l, s.fails("LeaseSources", err)
}

func (s brokenSession) ReleaseSource(ctx context.Context, l store.SourceLease) error {
	return s.fails("ReleaseSource", s.Session.ReleaseSource(ctx, l))
}

func (s brokenSession) ReleaseSources(ctx context.Context, all []store.SourceLease) error {
	return s.fails("ReleaseSources", s.Session.ReleaseSources(ctx, all))
}

// TestBrokenStore: each method of the store fails in turn, and the import returns that error, instead of
// ending as if it were complete.
func TestBrokenStore(t *testing.T) {
	priority := 3
	list := func(i *imports) []source.Spec { return []source.Spec{i.list("a.txt", lines(0, 3))} }
	known := func(i *imports) []source.Spec {
		specs := list(i)
		i.read(specs...)
		i.im.Priority = &priority
		return specs
	}
	lists := func(i *imports) []source.Spec { return append(list(i), i.list("b.txt", lines(9, 2))) }
	folder := func(i *imports) []source.Spec {
		dir := filepath.Join(i.dir, "album")
		if err := os.Mkdir(dir, 0o755); err != nil {
			i.Fatal(err)
		}
		specs := []source.Spec{{Path: dir, Format: source.Folder}}
		put := func(name, text string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				i.Fatal(err)
			}
		}
		put("a.png", "a")
		put("b.png", "b")
		i.read(specs...)
		i.done(1)
		i.done(2)
		if err := i.job.Forget(i.Context(), []int64{2}, true); err != nil {
			i.Fatal(err)
		}
		put("a.png", "changed")
		put("c.png", "new")
		return specs
	}
	for _, c := range []struct {
		what    string
		begin   func(*imports) []source.Spec
		job     []string // methods
		session []string
	}{
		{"a list", list, []string{"Settings", "AddSources"}, []string{"LeaseSource", "ReleaseSource"}},
		{"a priority", known, []string{"Prioritize"}, nil},
		{"lists", lists, nil, []string{"LeaseSources", "ReleaseSources"}},
		{"a folder", folder, []string{"Sources", "Files", "Counts", "Rows", "Retry", "SetFiles"}, nil},
		{"what a merge lacks", func(i *imports) []source.Spec {
			spec := i.halfMerged(lines(0, 10))
			spec.Path = filepath.Join(i.dir, "moved.txt")
			i.list("moved.txt", lines(0, 10))
			return []source.Spec{spec}
		}, []string{"Sources"}, nil},
	} {
		for _, watch := range []bool{false, true} {
			if watch && c.what == "lists" { // those that are watched are read one by one
				continue
			}
			for _, method := range append(c.job, c.session...) {
				for call := 0; ; call++ {
					i := newImports(t)
					specs := c.begin(i)
					left := call
					i.im.Job = brokenJob{i.job, method, &left}
					i.im.Session = brokenSession{i.im.Session, method}
					ctx, stop := context.WithTimeout(t.Context(), time.Minute)
					do := func() error { return i.im.Import(ctx, specs) }
					if watch {
						all := func() ([]source.Spec, error) { return specs, nil }
						do = func() error { return i.im.Watch(ctx, specs, all) }
					}
					err := do()
					stop()
					onJob := slices.Contains(c.job, method)
					if onJob && left >= 0 && call > 0 && err == nil {
						break // it is called less often
					}
					if !errors.Is(err, errBroken) {
						t.Errorf("%s, watched %v, call %d of %s fails: %v", c.what, watch, call, method, err)
					}
					if watch || !onJob || err == nil {
						break
					}
				}
			}
		}
	}
}

// done commits a result of a row.
func (i *imports) done(id int64) {
	i.Helper()
	ls, err := i.im.Session.ClaimAll(i.Context(), 1000)
	if err != nil || len(ls) != 1 {
		i.Fatal(ls, err)
	}
	r := store.Result{ID: id, Status: store.OK, Format: "png", Width: 1, Height: 1, Time: time.Now(),
		Detector: store.NoDetector}
	batch := store.Batch{Lease: ls[0], Results: []store.Result{r}, Release: true}
	if lost, err := i.im.Session.CommitAll(i.Context(), []store.Batch{batch}); err != nil || len(lost) > 0 {
		i.Fatal(lost, err)
	}
}

// TestVerifyOfABrokenStore: what cannot be read is an error, not a sound job.
func TestVerifyOfABrokenStore(t *testing.T) {
	i := newImports(t)
	spec := i.list("a.csv", "url,album\nhttp://a.invalid/1,x\n$END,x\nhttp://a.invalid/2,y\n$END,z\n")
	spec.GroupColumn, spec.GroupEnd = "album", "$END"
	i.read(spec)
	all, err := i.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spec.GroupEnd = "$END"
	more := all[0]
	for _, method := range []string{"Rows", "Ends"} {
		err := VerifySource(t.Context(), brokenJob{i.job, method, new(int)}, more, spec, nil,
			func(store.Problem) {})
		if !errors.Is(err, errBroken) {
			t.Errorf("%s fails: %v", method, err)
		}
	}
	other := i.list("b.csv", "url,album\nhttp://a.invalid/1,x\n$END,w\nhttp://a.invalid/2,y\n$END,z\n")
	other.GroupColumn, other.GroupEnd = "album", "$END"
	err = VerifySource(t.Context(), brokenJob{i.job, "EndOf", new(int)}, more, other, nil,
		func(store.Problem) {})
	if !errors.Is(err, errBroken) {
		t.Errorf("EndOf fails: %v", err)
	}
	if err := VerifyImages(t.Context(), brokenJob{i.job, "Rows", new(int)}, more,
		func(store.Problem) {}); !errors.Is(err,
		errBroken) {
		t.Errorf("rows of a folder: %v", err)
	}
}
