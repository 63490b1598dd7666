package parts

import (
	"errors"
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
	ctx := t.Context()
	job, err := sqlite.Create(ctx, filepath.Join(t.TempDir(), "job.db"))
	check(t, err)
	t.Cleanup(func() { check(t, job.Close()) })
	check(t, Settle(ctx, job, node))
	session, err := job.Join(ctx, pipeline.Self(), time.Minute)
	check(t, err)
	source, err := job.AddSource(ctx, store.Source{Name: "list.txt", Format: "txt"})
	check(t, err)
	lease, err := session.LeaseSource(ctx, source.Number)
	check(t, err)
	var bad []store.NewRow
	for _, id := range rows {
		bad = append(bad, store.NewRow{ID: id, URL: "x", Bad: true})
	}
	check(t, session.Append(ctx, lease, bad, store.Position{Rows: listRows}, true, 10))
	check(t, session.Leave(ctx))
	return job
}

// TestSettle: a job keeps the part that it was begun for, and a merge takes all rows.
func TestSettle(t *testing.T) {
	ctx := t.Context()
	part := store.Node{I: 1, Of: 3}
	job := newJob(t, part, 1)
	check(t, Settle(ctx, job, part))
	for _, other := range []store.Node{{}, {I: 2, Of: 3}, {I: 1, Of: 2}} {
		err := Settle(ctx, job, other)
		if err == nil || !strings.Contains(err.Error(), `was begun with --node "1/3", not "`+other.String()+
			`"`) {
			t.Errorf("%v: %v", other, err)
		}
	}
	check(t, job.Set(ctx, map[string]string{store.MergeSetting: "done", store.NodeSetting: ""}))
	check(t, Settle(ctx, job, store.Node{}))
	var usage *pipeline.UsageError
	if err := Settle(ctx, job, part); !errors.As(err, &usage) ||
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
		!strings.Contains(err.Error(), "it was changed since") {
		t.Errorf("changed: %t, %v", found, err)
	}
	check(t, RenewManifest(ctx, job)) // it has to go on first
	if _, err := CheckManifest(ctx, job); err == nil {
		t.Error("a part with pending rows has a new manifest")
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
	if _, err := CheckManifest(ctx, job); err == nil {
		t.Error("a folder is a manifest")
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

// TestMissingRows merges one of two parts: how many rows the other has is known from the list's length.
func TestMissingRows(t *testing.T) {
	ctx := t.Context()
	part := newJob(t, store.Node{I: 0, Of: 2}, 2, 4)
	out, err := sqlite.Create(ctx, filepath.Join(t.TempDir(), "out.db"))
	check(t, err)
	defer out.Close()
	check(t, store.Merge(ctx, out, []store.Job{part}, store.MergeOptions{
		ShardSize: 10, Same: pipeline.SameList, MayBeSame: pipeline.MayBeSameList,
		SourceName: func(_ store.Job, s store.Source) string { return s.Name },
	}))
	texts, err := Lacks(ctx, out)
	check(t, err)
	if len(texts) != 1 || !strings.Contains(texts[0],
		": 3 rows of list.txt are missing; merge the other parts too") ||
		!strings.Contains(texts[0], "process the missing rows: facescan run ") {
		t.Errorf("%q", texts)
	}
}
