package store_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest"
	"facescan/store/storetest/must"
)

func create(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "list.facescan.db")
	must.OK(t, must.Get(sqlite.Create(context.Background(), path))(t).Close())
	return path
}

// TestSuite runs the tests of the suite that are about what is decided in package store: merges of jobs, and
// what becomes of rows that come twice, are retried or forgotten.
func TestSuite(t *testing.T) {
	storetest.Run(t, storetest.Target{
		Create: create,
		Open:   func(ctx context.Context, path string) (store.Job, error) { return sqlite.Open(ctx, path) },
	}, "SourceLease", "CommitRefuses", "CommitTwice", "LostLease", "Files", "Forget", "ForgetURL",
		"ForgetMerge", "Merge", "MergeChooses", "MergeRefuses", "MergeCutOff", "MergeFill",
		"MergeOverlaps", "GroupEndMerge", "Retry", "RetryHost", "RetryOK",
		"Sources", "Shards", "Renew")
}

// TestMergedSettings: a merge has the settings of its jobs, without those that are each job's own; all
// folders and hashes; and says what it was made of.
func TestMergedSettings(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	open := func(settings map[string]string) store.Job {
		j := must.Get(sqlite.Open(ctx, create(t)))(t)
		t.Cleanup(func() { must.OK(t, j.Close()) })
		if settings == nil {
			return j
		}
		settings["detector"] = "x"
		must.OK(t, j.Set(ctx, settings))
		must.Get(j.AddSource(ctx, store.Source{Name: "list"}))(t)
		s := must.Get(j.Join(ctx, store.Owner{}, time.Hour))(t)
		l := must.Get(s.LeaseSource(ctx, 0))(t)
		must.OK(t, s.Append(ctx, l, nil, store.Position{Line: 3, Rows: 3}, true, 10))
		must.OK(t, s.Leave(ctx))
		return j
	}
	a := open(map[string]string{store.NodeSetting: "0/3", store.RunFlagsSetting: `["--timeout"]`,
		store.FolderSetting + "keep:1": "/a", store.OutputSetting + "o": "5", store.PublishSetting + "p": "1",
		store.HashSetting: "sha256", store.FailedBeforeSetting: "y", store.ForgetSetting: "me"})
	b := open(map[string]string{store.NodeSetting: "1/3", store.RunFlagsSetting: `["--retries"]`,
		store.FolderSetting + "keep:2": "/b", store.HashSetting: "phash,sha256"})
	c := open(map[string]string{store.NodeSetting: "1/3", store.HashSetting: store.NoHashes})
	out := open(nil)
	same := func(a, b store.Source) bool { return a.Name == b.Name }
	o := store.MergeOptions{Same: same, MayBeSame: same, ShardSize: 10,
		SourceName: func(_ store.Job, s store.Source) string { return s.Name }}
	for range 2 { // it can be repeated
		must.OK(t, store.Merge(ctx, out, []store.Job{a, b, c}, o))
		want := map[string]string{"detector": "x", store.RunFlagsSetting: `["--timeout"]`,
			store.FolderSetting + "keep:1": "/a", store.FolderSetting + "keep:2": "/b",
			store.HashSetting: "phash,sha256", store.MergeSetting: "done", store.MergePartsSetting: "0/3,1/3",
			store.MergeInputsSetting: `["` + a.Path() + `","` + b.Path() + `","` + c.Path() + `"]`}
		if diff := cmp.Diff(want, must.Get(out.Settings(ctx))(t)); diff != "" {
			t.Fatal(diff)
		}
	}
	// One hash, of one of the jobs, is a hash of the merge.
	one := open(nil)
	f := open(map[string]string{store.NodeSetting: "2/3", store.HashSetting: "sha256"})
	must.OK(t, store.Merge(ctx, one, []store.Job{c, f}, o))
	if got := must.Get(one.Settings(ctx))(t)[store.HashSetting]; got != "sha256" {
		t.Errorf("the hashes are %q", got)
	}
	// What the merge says of its parts must be readable.
	must.OK(t, one.Set(ctx, map[string]string{store.MergePartsSetting: "x"}))
	if err := store.Merge(ctx, one, []store.Job{c, f}, o); err == nil ||
		!strings.HasPrefix(err.Error(), "merge: "+one.Path()+": ") {
		t.Errorf("with parts that cannot be read: %v", err)
	}
	// Jobs may differ in what a merge leaves out, and in nothing else; the message names what is different.
	d := open(map[string]string{"flags": `{"min_face":20}`, "shape": "round"})
	err := store.Merge(ctx, out, []store.Job{a, d}, o)
	if err == nil || !strings.Contains(err.Error(), "before it: shape is round, not unset; rescan") {
		t.Error(err)
	}
	e := open(map[string]string{"flags": `{"min_face":20}`})
	err = store.Merge(ctx, out, []store.Job{a, e}, o)
	if err == nil || !strings.Contains(err.Error(),
		`before it: flags is {"min_face":20}, not unset; rescan`) {
		t.Error(err)
	}
}
