package duplicates_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/duplicates"
	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// filled is a job of n pictures with random hashes, of which so many are near an earlier one: the row that
// each of them is near, by its own.
func filled(t testing.TB, n, planted int) (job store.Job, near map[int64]int64) {
	ctx := context.Background()
	job = must.Get(sqlite.Create(ctx, filepath.Join(t.TempDir(), "job.db")))(t)
	t.Cleanup(func() { must.OK(t, job.Close()) })
	must.Get(job.AddSource(ctx, store.Source{Name: "list", Format: "txt"}))(t)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	hashes := make([]uint64, n)
	near = map[int64]int64{}
	for i := range hashes {
		hashes[i] = rng.Uint64()
	}
	for k := range planted {
		original, i := rng.IntN(n/2), n/2+k*(n/2/planted)
		hash := hashes[original]
		for _, bit := range rng.Perm(64)[:rng.IntN(5)] {
			hash ^= 1 << bit
		}
		hashes[i], near[int64(i+1)] = hash, int64(original+1)
	}
	var rows []store.MergedRow
	for i, hash := range hashes {
		id := int64(i + 1)
		r := store.Result{ID: id, Status: store.OK, Format: "jpeg", Width: 500, Height: 375, Bytes: 1000,
			Attempts: 1, Detector: "test/1", Time: time.UnixMilli(1_700_000_000_000)}
		r.PHash = store.NewPHash(hash)
		rows = append(rows, store.MergedRow{Row: store.Row{ID: id, URL: fmt.Sprint("http://a.example/", id)},
			Result: &r})
		if len(rows) == 10_000 || i == n-1 {
			must.OK(t, job.Absorb(ctx, 0, rows, store.Position{Line: id, Rows: id}, i == n-1, 100_000))
			rows = rows[:0]
		}
	}
	return job, near
}

// check holds the groups of a job to have all pairs that were planted.
func check(t testing.TB, job store.Job, near map[int64]int64) {
	groups := must.Get(duplicates.Find(context.Background(), job, 4))(t)
	found := map[int64]int64{}
	for _, d := range must.All(t, groups.All()) {
		if d.ID != d.First {
			found[d.ID] = d.First
		}
	}
	must.OK(t, groups.Close())
	for id, first := range near {
		if f, ok := found[id]; !ok || f > first {
			t.Errorf("row %d is near row %d, and in the group of %d", id, first, f)
		}
	}
	if len(found) > len(near)+5 {
		t.Errorf("%d pictures joined others, %d were planted", len(found), len(near))
	}
}

// TestPlanted: all near pairs among many hashes are found.
func TestPlanted(t *testing.T) {
	job, near := filled(t, 60_000, 300)
	check(t, job, near)
}

// TestFoldersAreRemoved: nothing is left of what was copied, whether the groups were found or not.
func TestFoldersAreRemoved(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	job, near := filled(t, 100, 3)
	check(t, job, near)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := duplicates.Find(ctx, job, 4); err == nil {
		t.Error("groups were found although the context had ended")
	}
	left := must.Get(os.ReadDir(temp))(t)
	for _, e := range left {
		if strings.HasPrefix(e.Name(), "facescan") {
			t.Errorf("%s is left", e.Name())
		}
	}
	t.Setenv("TMPDIR", filepath.Join(temp, "missing"))
	_, err := duplicates.Find(context.Background(), job, 4)
	if err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("without a folder: %v", err)
	}
}

// BenchmarkMillion finds 1,000 near pairs among a million hashes.
func BenchmarkMillion(b *testing.B) {
	job, near := filled(b, 1_000_000, 1000)
	for b.Loop() {
		check(b, job, near)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-of-Go")
}
