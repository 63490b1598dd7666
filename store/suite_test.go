package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest"
)

// TestSuite runs the tests of the suite that are about what is decided in package store: merges of jobs, and
// what becomes of rows that come twice, are retried or forgotten.
func TestSuite(t *testing.T) {
	storetest.Run(t, storetest.Target{
		Create: func(t testing.TB) string {
			path := filepath.Join(t.TempDir(), "list.facescan.db")
			j, err := sqlite.Create(context.Background(), path)
			if err == nil {
				err = j.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			return path
		},
		Open: func(ctx context.Context, path string) (store.Job, error) { return sqlite.Open(ctx, path) },
	}, "CommitTwice", "Forget", "ForgetURL", "ForgetMerge", "Merge", "MergeChooses", "MergeRefuses",
		"MergeCutOff", "MergeFill", "MergeOverlaps", "GroupEndMerge", "Retry", "RetryHost", "RetryOK",
		"Sources", "Shards", "Renew")
}
