package parts

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/sqlite"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listRows is how many rows the list has.
const listRows = 5

// newJob is a job of a list of rows, all of which are done, that takes the part of a node.
func newJob(t *testing.T, node store.Node, rows ...int64) store.Job {
	t.Helper()
	return newJobOf(t, node, listRows, rows...)
}

// newJobOf is one of a list of so many rows; -1 when nobody counted them.
func newJobOf(t *testing.T, node store.Node, total int64, rows ...int64) store.Job {
	t.Helper()
	return newJobOfURL(t, "x", node, total, rows...)
}

// newJobOfURL is one whose rows all have this URL.
func newJobOfURL(t *testing.T, url string, node store.Node, total int64, rows ...int64) store.Job {
	t.Helper()
	ctx := t.Context()
	job, err := sqlite.Create(ctx, filepath.Join(t.TempDir(), "job.db"))
	check(t, err)
	t.Cleanup(func() { check(t, job.Close()) })
	check(t, Bind(ctx, job, node))
	session, err := job.Join(ctx, pipeline.Self(), time.Minute)
	check(t, err)
	source, err := job.AddSource(ctx, store.Source{Name: "list.txt", Format: "txt"})
	check(t, err)
	lease, err := session.LeaseSource(ctx, source.Number)
	check(t, err)
	var bad []store.NewRow
	for _, id := range rows {
		bad = append(bad, store.NewRow{ID: id, URL: url, Bad: true})
	}
	check(t, session.Append(ctx, lease, bad, store.Position{Rows: total}, true, 10))
	check(t, session.Leave(ctx))
	return job
}

// TestBind: a job keeps the part that it was begun for, and a merge takes all rows.
func TestBind(t *testing.T) {
	ctx := t.Context()
	part := store.Node{I: 1, Of: 3}
	job := newJob(t, part, 1)
	check(t, Bind(ctx, job, part))
	for _, other := range []store.Node{{}, {I: 2, Of: 3}, {I: 1, Of: 2}} {
		err := Bind(ctx, job, other)
		if err == nil || !strings.Contains(err.Error(), `was begun with --node "1/3", not "`+other.String()+
			`"`) {
			t.Errorf("%v: %v", other, err)
		}
	}
	check(t, job.Set(ctx, map[string]string{store.MergeSetting: "done", store.NodeSetting: ""}))
	check(t, Bind(ctx, job, store.Node{}))
	var usage *pipeline.UsageError
	if err := Bind(ctx, job, part); !errors.As(err, &usage) ||
		!strings.Contains(err.Error(), "is a merge") {
		t.Errorf("a merge: %v", err)
	}
}

// TestManifest: a finished part is what its manifest says, until a row is changed.
func TestManifest(t *testing.T) {
	ctx := t.Context()
	whole := newJob(t, store.Node{}, 1, 2)
	check(t, WriteManifest(ctx, whole))
	if found, err := CheckManifest(ctx, whole); found || err != nil {
		t.Errorf("a job of all rows: %t, %v", found, err)
	}
	job := newJob(t, store.Node{I: 0, Of: 2}, 2, 4)
	if found, err := CheckManifest(ctx, job); found || err != nil {
		t.Errorf("before it is finished: %t, %v", found, err)
	}
	check(t, WriteManifest(ctx, job))
	if found, err := CheckManifest(ctx, job); !found || err != nil {
		t.Errorf("finished: %t, %v", found, err)
	}
	_, err := job.Retry(ctx, store.Selection{Reasons: []store.Reason{store.BadURL}})
	check(t, err)
	if found, err := CheckManifest(ctx, job); !found || err == nil ||
		!strings.Contains(err.Error(), "(2 rows, 0 ok, 0 failed, 0 faces, not 2 rows, 0 ok, 2 failed, 0 "+
			"faces): "+
			"it was changed since") {
		t.Errorf("changed: %t, %v", found, err)
	}
	check(t, RenewManifest(ctx, job)) // it has to go on first
	if _, err := CheckManifest(ctx, job); err == nil {
		t.Error("a part with pending rows has a new manifest")
	}
	check(t, job.Forget(ctx, []int64{2}, false))
	check(t, RenewManifest(ctx, job)) // also with the last row
	if _, err := CheckManifest(ctx, job); err == nil {
		t.Error("a part with a pending row has a new manifest")
	}
	if err := RenewManifest(ctx, unreadable{job, "counts"}); !errors.Is(err, errUnreadable) {
		t.Errorf("renewed although its rows cannot be counted: %v", err)
	}
	check(t, os.WriteFile(manifestPath(job), []byte("{"), 0o600))
	if found, err := CheckManifest(ctx, job); !found || err == nil {
		t.Errorf("damaged: %t, %v", found, err)
	}
	check(t, os.Remove(manifestPath(job)))
	check(t, os.Mkdir(manifestPath(job), 0o700))
	if err := WriteManifest(ctx, job); err == nil || !strings.Contains(err.Error(), "write the manifest: ") {
		t.Errorf("a folder in its place: %v", err)
	}
	if found, err := CheckManifest(ctx, job); found || err == nil {
		t.Errorf("a folder is a manifest: %t, %v", found, err)
	}
}

// TestManifestOfCredentials: a part whose URLs differ from those of its manifest in a password alone is
// another one, though no export shows passwords.
func TestManifestOfCredentials(t *testing.T) {
	ctx, node := t.Context(), store.Node{I: 0, Of: 2}
	one, two := newJobOfURL(t, "http://me:one@h.invalid/", node, listRows, 2),
		newJobOfURL(t, "http://me:two@h.invalid/", node, listRows, 2)
	check(t, WriteManifest(ctx, one))
	b, err := os.ReadFile(manifestPath(one))
	check(t, err)
	check(t, os.WriteFile(manifestPath(two), b, 0o600))
	if found, err := CheckManifest(ctx, two); !found || err == nil ||
		!strings.Contains(err.Error(), "(other results of 1 row, 0 ok, 1 failed, 0 faces)") {
		t.Errorf("%t, %v", found, err)
	}
}

// TestRenewManifest: a part that was changed on purpose is what its manifest says again.
func TestRenewManifest(t *testing.T) {
	ctx := t.Context()
	job := newJob(t, store.Node{I: 0, Of: 2}, 2, 4)
	check(t, RenewManifest(ctx, job))
	if found, err := CheckManifest(ctx, job); found || err != nil {
		t.Errorf("without a manifest: %t, %v", found, err)
	}
	check(t, WriteManifest(ctx, job))
	check(t, job.Forget(ctx, []int64{2}, false))
	if _, err := CheckManifest(ctx, job); err == nil ||
		!strings.Contains(err.Error(), "(other results of 2 rows, 0 ok, 2 failed, 0 faces)") {
		t.Errorf("changed: %v", err)
	}
	check(t, RenewManifest(ctx, job))
	if found, err := CheckManifest(ctx, job); !found || err != nil {
		t.Errorf("renewed: %t, %v", found, err)
	}
}

// TestLacks names what is missing in merges, and the command that brings it.
func TestLacks(t *testing.T) {
	ctx := t.Context()
	job := newJob(t, store.Node{}, 1)
	if texts, err := Lacks(ctx, job); err != nil || texts != nil {
		t.Errorf("no merge: %q, %v", texts, err)
	}
	check(t, CheckWhole(ctx, job))
	for _, c := range []struct{ inputs, command string }{
		{`["a b.db","c.db"]`, " 'a b.db' c.db"}, {"", " IN…"},
	} {
		check(t, job.Set(ctx, map[string]string{store.MergeSetting: "unfinished",
			store.MergeInputsSetting: c.inputs}))
		want := "interrupted: rows are missing; repeat it: facescan merge " + job.Path() + c.command
		texts, err := Lacks(ctx, job)
		if err != nil || len(texts) != 1 || !strings.HasSuffix(texts[0], want) {
			t.Errorf("%q, %v; want %s", texts, err, want)
		}
		if err := CheckWhole(ctx, job); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// TestMissingRows merges parts: how many rows are missing is known from the list's length, if that is known.
func TestMissingRows(t *testing.T) {
	ctx := t.Context()
	even, odd := newJob(t, store.Node{I: 0, Of: 2}, 2, 4), newJob(t, store.Node{I: 1, Of: 2}, 1, 3, 5)
	most := newJob(t, store.Node{I: 1, Of: 2}, 1, 3)
	uncounted := newJobOf(t, store.Node{I: 0, Of: 2}, -1, 2, 4)
	if texts, err := Lacks(ctx, even); err != nil || texts != nil {
		t.Errorf("a part: %q, %v", texts, err)
	}
	for _, c := range []struct {
		what  string
		parts []store.Job
		lacks string
	}{
		{"one of two", []store.Job{even}, ": 3 rows of list.txt are missing; merge the other parts too"},
		{"all but one row", []store.Job{even, most},
			": 1 row of list.txt is missing; merge the other parts too"},
		{"both", []store.Job{even, odd}, ""},
		{"one of an earlier release", []store.Job{uncounted},
			": rows of list.txt are missing, how many is not known"},
	} {
		out, err := sqlite.Create(ctx, filepath.Join(t.TempDir(), "out.db"))
		check(t, err)
		check(t, store.Merge(ctx, out, c.parts, store.MergeOptions{
			ShardSize: 10, Same: pipeline.SameList, MayBeSame: pipeline.MayBeSameList,
			SourceName: func(_ store.Job, s store.Source) string { return s.Name },
		}))
		texts, err := Lacks(ctx, out)
		check(t, err)
		if len(texts) > 1 || (len(texts) == 0) != (c.lacks == "") || len(texts) == 1 &&
			(!strings.Contains(texts[0], c.lacks) ||
				!strings.Contains(texts[0], "process the missing rows: facescan run ")) {
			t.Errorf("%s: %q", c.what, texts)
		}
		check(t, out.Close())
	}
}

// unreadable is a job one of whose parts cannot be read.
type unreadable struct {
	store.Job
	part string
}

var errUnreadable = errors.New("unreadable")

func (u unreadable) Settings(ctx context.Context) (map[string]string, error) {
	if u.part == "settings" {
		return nil, errUnreadable
	}
	return u.Job.Settings(ctx)
}

func (u unreadable) Sources(ctx context.Context) ([]store.Source, error) {
	if u.part == "sources" {
		return nil, errUnreadable
	}
	return u.Job.Sources(ctx)
}

func (u unreadable) Counts(ctx context.Context) (store.Counts, error) {
	if u.part == "counts" {
		return store.Counts{}, errUnreadable
	}
	return u.Job.Counts(ctx)
}

func (u unreadable) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	if u.part == "results" {
		return func(yield func(store.Result, error) bool) { yield(store.Result{}, errUnreadable) }
	}
	return u.Job.Results(ctx, from, to)
}

// TestUnreadable: a job that cannot be read has no manifest, and does not pass for what its manifest says.
func TestUnreadable(t *testing.T) {
	job := newJob(t, store.Node{I: 0, Of: 2}, 2, 4)
	check(t, WriteManifest(t.Context(), job))
	for _, part := range []string{"settings", "counts", "results"} {
		u := unreadable{job, part}
		if found, err := CheckManifest(t.Context(), u); !found || !errors.Is(err, errUnreadable) {
			t.Errorf("%s: checked: %t, %v", part, found, err)
		}
		if err := WriteManifest(t.Context(), u); !errors.Is(err, errUnreadable) {
			t.Errorf("%s: written: %v", part, err)
		}
	}
	settle := func(ctx context.Context, j store.Job) error { return Bind(ctx, j, store.Node{}) }
	lacks := func(ctx context.Context, j store.Job) error { _, err := Lacks(ctx, j); return err }
	check(t, job.Set(t.Context(), map[string]string{store.MergeSetting: "done"}))
	for i, c := range []struct {
		part string
		do   func(context.Context, store.Job) error
	}{
		{"settings", settle}, {"settings", CheckWhole}, {"settings", lacks}, {"sources", settle},
		{"sources", lacks},
	} {
		if err := c.do(t.Context(), unreadable{job, c.part}); !errors.Is(err, errUnreadable) {
			t.Errorf("%d, %s: %v", i, c.part, err)
		}
	}
}
