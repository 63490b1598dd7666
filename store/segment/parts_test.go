package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// sameName says that lists of one name are the same.
func sameName(a, b store.Source) bool { return a.Name == b.Name }

// TestListsOfOneName publishes two lists that are called the same: they are two parts, and a job takes in the
// segments of its own.
func TestListsOfOneName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here, elsewhere := newWriter(t, dir), newWriter(t, dir)
	elsewhere.Place = func(name string) string { return "/elsewhere" + name }
	want := map[string]int{"/list": 3, "/elsewhere/list": 5}
	for range 2 { // several segments of each
		here.do(3, 1)
		must.OK(t, here.Publish(t.Context()))
		elsewhere.do(5, 2)
		must.OK(t, elsewhere.Publish(t.Context()))
	}
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), sameName))(t)
	defer parts.Close()
	if len(parts.Jobs) != 2 {
		t.Fatalf("%d parts", len(parts.Jobs))
	}
	for _, job := range parts.Jobs {
		sound(t, job)
		sources := must.Get(job.Sources(t.Context()))(t)
		if done := len(versions(t, job)); len(sources) != 1 || done != 2*want[sources[0].Name] {
			t.Errorf("a part has %d rows of %+v", done, sources)
		}
		if job.Path() != filepath.Join(dir, "list") || job.(publishedPart).Input() != dir {
			t.Errorf("a part is called %s, of %s", job.Path(), job.(publishedPart).Input())
		}
	}

	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	p := publisherOf(job, dir)
	p.Match = func(_ context.Context, s store.Source) (string, bool, error) {
		return "list", s.Name == "/elsewhere/list", nil
	}
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	if got, want := versions(t, job), versions(t, elsewhere.Job); len(got) != 10 || got[1] != want[1] {
		t.Errorf("took in %v, and published was %v", got, want)
	}
}

// TestOtherSecondList has segments whose first list is the job's, and whose second one is not.
func TestOtherSecondList(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	must.Get(w.Job.AddSource(t.Context(), store.Source{Name: "/second", Format: "txt"}))(t)
	w.do(3, 1)
	must.OK(t, w.Publish(t.Context()))
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	p := publisherOf(job, dir)
	p.Match = func(_ context.Context, s store.Source) (string, bool, error) {
		return s.Name, s.Name == "/list", nil
	}
	want := fmt.Sprintf("publish to %s: its segments are of another list that is called list too (/second): "+
		"publish this one to a folder of its own, with --publish %s-2", dir, dir)
	if err := p.Start(t.Context()); err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
	for _, n := range []int{1, 2} { // of the calls that fail
		calls := 0
		p.Match = func(_ context.Context, s store.Source) (string, bool, error) {
			if calls++; calls == n {
				return "", false, errFailing
			}
			return s.Name, true, nil
		}
		if err := p.Start(t.Context()); !errors.Is(err, errFailing) {
			t.Errorf("match fails at call %d: %v", n, err)
		}
	}
}

// TestSegmentWithoutLists publishes a job before it has a list; its settings are those of the part.
func TestSegmentWithoutLists(t *testing.T) {
	dir := t.TempDir()
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	must.OK(t, job.Set(t.Context(), map[string]string{"detector": "yunet"}))
	p := publisherOf(job, dir)
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	must.OK(t, p.Publish(t.Context()))
	if got := published(t, dir); len(got) != 0 {
		t.Errorf("a job without a list has the rows %v", got)
	}
	empty := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer empty.Close()
	other := publisherOf(empty, dir)
	must.OK(t, other.Start(t.Context()))
	other.Close()
	if got := must.Get(empty.Settings(t.Context()))(t)["detector"]; got != "yunet" {
		t.Errorf("a job that takes it in has the detector %q", got)
	}
	w := newWriter(t, dir)
	w.do(7, 1)
	must.OK(t, w.Publish(t.Context()))
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), sameName))(t)
	defer parts.Close()
	if len(parts.Jobs) != 1 || len(versions(t, parts.Jobs[0])) != 7 {
		t.Errorf("%d parts, the first with %v", len(parts.Jobs), versions(t, parts.Jobs[0]))
	}
}

// TestOpenPartsRefuses has folders that hold no part, and no room for one.
func TestOpenPartsRefuses(t *testing.T) {
	dir, beside := t.TempDir(), filepath.Join(t.TempDir(), "x")
	if _, err := OpenParts(t.Context(), dir, beside, anyList); err == nil || err.Error() != dir+
		": there are no segments in this folder, as facescan run --publish makes them" {
		t.Errorf("an empty folder: %v", err)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := OpenParts(t.Context(), missing, beside, anyList); !errors.Is(err, fs.ErrNotExist) ||
		!strings.HasPrefix(err.Error(), missing+": ") {
		t.Errorf("no folder: %v", err)
	}
	if left := must.Get(os.ReadDir(filepath.Dir(beside)))(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	w := newWriter(t, dir)
	w.do(1, 1)
	must.OK(t, w.Publish(t.Context()))
	if _, err := OpenParts(t.Context(), dir, filepath.Join(missing, "x"), anyList); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("no folder for what is put together: %v", err)
	}
}

// TestURLsDiffer has two segments say different URLs of one row.
func TestURLsDiffer(t *testing.T) {
	dir := t.TempDir()
	a, b := newWriter(t, dir), newWriterOf(t, dir, rowCount, "http://other/")
	for _, w := range []*writer{a, b} {
		w.do(1, 1)
		must.OK(t, w.Publish(t.Context()))
	}
	_, err := OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList)
	if err == nil || !strings.Contains(err.Error(), "row 1 is \"http://other/1\" in one segment, "+
		"\"http://h/1\" in another") {
		t.Error(err)
	}
}

// TestForgottenStays has a row forgotten by one writer, and done by another that did not know and published
// later.
func TestForgottenStays(t *testing.T) {
	dir := t.TempDir()
	a, b := newWriter(t, dir), newWriter(t, dir)
	a.do(2, 1)
	must.OK(t, a.Publish(t.Context()))
	must.OK(t, a.Job.(store.Forgetter).Forget(t.Context(), []int64{1}, true))
	must.OK(t, a.Publish(t.Context()))
	b.do(2, 2)
	must.OK(t, b.Publish(t.Context()))
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
	defer parts.Close()
	for _, r := range must.All(t, parts.Jobs[0].Results(t.Context(), 0, 10)) {
		forgotten := r.Reason == store.Forgotten
		if forgotten != (r.ID == 1) || forgotten == strings.Contains(r.URL, "//h/") {
			t.Errorf("row %d is %s, and its URL %s", r.ID, r.Reason, r.URL)
		}
	}
	if got, want := versions(t, parts.Jobs[0]), map[int64]int{1: 0, 2: 2}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestManyRows publishes, puts together and takes in more rows than one transaction has.
func TestManyRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const n = 2*batchRows + 10
	w := newWriterOf(t, dir, n, "http://h/")
	must.OK(t, w.Job.Set(t.Context(), map[string]string{store.NodeSetting: "0/2"}))
	for len(w.do(n, 1)) > 0 {
	}
	must.OK(t, w.Publish(t.Context()))
	want := versions(t, w.Job)
	if got := published(t, dir); len(want) != n || !maps.Equal(got, want) {
		t.Errorf("%d rows are published, want %d of %d", len(got), len(want), n)
	}
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
	if got := must.Get(parts.Jobs[0].Settings(t.Context()))(t)[store.MergePartsSetting]; got != "0/2" {
		t.Errorf("the part is called %q", got)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := parts.Jobs[0].Counts(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("counted, although the context had ended: %v", err)
	}
	must.OK(t, parts.Close())
	files := must.Get(List(dir))(t)
	if len(files) != 1 {
		t.Fatalf("%d segments", len(files))
	}
	// A segment knows its list, and does not claim to have all rows of it.
	segment := must.Get(sqlite.OpenForReading(t.Context(), filepath.Join(dir, files[0].Name)))(t)
	defer segment.Close()
	if s := must.Get(segment.Sources(t.Context()))(t); len(s) != 1 || s[0].Complete ||
		s[0].Position.Line != n || s[0].Rows != n {
		t.Errorf("its lists are %+v", s)
	}
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	p := publisherOf(job, dir)
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	if got := versions(t, job); !maps.Equal(got, want) {
		t.Errorf("%d rows were taken in, want %d", len(got), n)
	}
}

// TestOtherParts finds segments of one list that are of another number of parts.
func TestOtherParts(t *testing.T) {
	dir := t.TempDir()
	const other = "list.node-2-of-3.00000001-00000000.segment.db"
	for _, name := range []string{"list.00000001-00000000.segment.db",
		"another.node-0-of-5.00000001-00000000.segment.db", other} {
		must.OK(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	for of, want := range map[int]string{3: "", 2: other, 4: other} {
		if got := OtherParts(dir, "list", of); got != want {
			t.Errorf("beside %d parts: %q, want %q", of, got, want)
		}
	}
	if got := OtherParts(filepath.Join(dir, "missing"), "list", 2); got != "" {
		t.Error(got)
	}
	for path, want := range map[string]bool{dir: true, filepath.Join(dir, other): false,
		filepath.Join(dir, "missing"): false} {
		if IsFolder(path) != want {
			t.Errorf("%s is a folder: %v", path, !want)
		}
	}
}

// TestGrownListIsDoneAgain: of a row that was published before its list grew, and again after that, the newer
// result counts, although the newer segment comes first.
func TestGrownListIsDoneAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriterOf(t, dir, 5, "http://h/")
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	lease := must.Get(w.session.LeaseSource(t.Context(), 0))(t)
	end := store.Position{Offset: 2, Line: 6, Rows: 6, Mark: []byte{2}}
	must.OK(t, w.session.Append(t.Context(), lease, []store.NewRow{{ID: 6, URL: "http://h/6"}}, end, true, 10))
	must.OK(t, w.session.ReleaseSource(t.Context(), lease))
	must.Get(w.Job.Retry(t.Context(), store.Selection{Reasons: []store.Reason{store.Timeout}}))(t)
	for len(w.do(6, 2)) > 0 {
	}
	must.OK(t, w.Publish(t.Context()))
	if got, want := published(t, dir), versions(t, w.Job); len(got) != 6 || !maps.Equal(got, want) {
		t.Errorf("%v are published, want %v", got, want)
	}
}
