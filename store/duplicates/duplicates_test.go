package duplicates_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
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

// TestManyPairs has more similar pairs than are kept in memory.
func TestManyPairs(t *testing.T) {
	const pairs = 10_500
	job := hashed{results: math.MaxInt}
	rng := rand.New(rand.NewPCG(1, pairs))
	const first = 1001
	for id := int64(first); id < first+2*pairs; id += 2 {
		hash := rng.Uint64()
		job.hashes = append(job.hashes, store.HashedRow{ID: id,
			Hashes: store.Hashes{PHash: store.NewPHash(hash)}},
			store.HashedRow{ID: id + 1, Hashes: store.Hashes{PHash: store.NewPHash(hash ^ 1)}})
	}
	groups := must.Get(duplicates.Find(t.Context(), &job, 1))(t)
	all := must.All(t, groups.All())
	must.OK(t, groups.Close())
	for i, d := range all {
		if d.First != int64(first+i&^1) || d.ID != int64(first+i) || d.Distance != i&1 {
			t.Fatalf("picture %d is row %d in the group of row %d, at %d", i, d.ID, d.First, d.Distance)
		}
	}
	if len(all) != 2*pairs || groups.Pictures != 2*pairs {
		t.Errorf("%d of %d pictures are in groups, want %d", len(all), groups.Pictures, 2*pairs)
	}
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

// hashed is a job that has some hashes, and of which reading can fail.
type hashed struct {
	hashes  []store.HashedRow
	reading error // at the end of the hashes
	results int   // pages of results that can be read
}

var errReading = errors.New("the disk is gone")

func (j *hashed) Hashes(context.Context, int64, int64) iter.Seq2[store.HashedRow, error] {
	return func(yield func(store.HashedRow, error) bool) {
		for _, r := range j.hashes {
			if !yield(r, nil) {
				return
			}
		}
		if j.reading != nil {
			yield(store.HashedRow{}, j.reading)
		}
	}
}

func (j *hashed) ResultsOf(_ context.Context, ids []int64) (all []store.Result, err error) {
	if j.results--; j.results < 0 {
		return nil, errReading
	}
	for _, id := range ids {
		if id != gone {
			all = append(all, store.Result{ID: id})
		}
	}
	return all, nil
}

// gone is a row whose result went after its hash was read.
const gone = 70

// TestGroups has pictures with one of the hashes or both, equal and similar ones, and chains of these.
func TestGroups(t *testing.T) {
	row := func(id int64, sha256 string, phash ...uint64) store.HashedRow {
		r := store.HashedRow{ID: id}
		if sha256 != "" {
			r.SHA256 = store.SHA256(strings.Repeat(sha256, 32))
		}
		if len(phash) > 0 {
			r.PHash = store.NewPHash(phash[0])
		}
		return r
	}
	const far = 0xffff_0000_ffff_0000
	for name, c := range map[string]struct {
		hashes []store.HashedRow
		want   string // first-id-distance of each picture
	}{
		"none": {nil, ""},
		"nothing alike": {[]store.HashedRow{row(1, "a"), row(2, "b"), row(3, "c", 0), row(4, "d", far)},
			""},
		"bytes alone": {[]store.HashedRow{row(1, "a"), row(2, "b"), row(3, "a")}, "1-1-0 1-3-0"},
		"bytes of a hash": {[]store.HashedRow{row(1, "a"), row(2, "a", 7), row(3, "", 7)},
			"1-1-0 1-2-0 1-3-0"},
		"equal hashes": {[]store.HashedRow{row(5, "", far), row(9, "b", far)}, "5-5-0 5-9-0"},
		"within":       {[]store.HashedRow{row(1, "", 0), row(2, "", 0xf)}, "1-1-0 1-2-4"},
		"beyond":       {[]store.HashedRow{row(1, "", 0), row(2, "", 0x1f)}, ""},
		"the last bit": {[]store.HashedRow{row(1, "", 0), row(2, "", 1<<63)}, "1-1-0 1-2-1"},
		"the lowest first": {[]store.HashedRow{row(1, "", 0), row(2, "", 1), row(3, "", 3)},
			"1-1-0 1-2-1 1-3-2"},
		"a chain": {[]store.HashedRow{row(1, "", 0), row(2, "", 0xf), row(3, "", 0xff)},
			"1-1-0 1-2-4 2-2-0 2-3-4"},
		"a result that went": {[]store.HashedRow{row(1, "", 0), row(gone, "", 0), row(71, "", 0)},
			"1-1-0 1-71-0"},
	} {
		groups, err := duplicates.Find(t.Context(), &hashed{hashes: c.hashes, results: 9}, 4)
		must.OK(t, err)
		var got []string
		for _, d := range must.All(t, groups.All()) {
			got = append(got, fmt.Sprintf("%d-%d-%d", d.First, d.ID, d.Distance))
		}
		if strings.Join(got, " ") != c.want || groups.Pictures != int64(len(c.hashes)) {
			t.Errorf("%s: %s of %d pictures, want %s", name, got, groups.Pictures, c.want)
		}
		must.OK(t, groups.Close())
	}
}

// TestFailedReadingIsSeen has the hashes fail, and each page of the results: groups that lack some pictures
// are not taken for all.
func TestFailedReadingIsSeen(t *testing.T) {
	var hashes []store.HashedRow
	for id := range int64(4500) { // three pages of results
		hashes = append(hashes, store.HashedRow{ID: id + 1000,
			Hashes: store.Hashes{PHash: store.NewPHash(7)}})
	}
	_, err := duplicates.Find(t.Context(), &hashed{hashes: hashes, reading: errReading}, 4)
	if !errors.Is(err, errReading) {
		t.Errorf("hashes that cannot be read: %v", err)
	}
	for pages, want := range []int{0, 2000, 4000, 4500} {
		groups := must.Get(duplicates.Find(t.Context(), &hashed{hashes: hashes, results: pages}, 4))(t)
		n, failed := 0, 0
		for _, err := range groups.All() {
			switch {
			case err == nil:
				n++
			case errors.Is(err, errReading):
				failed++
			default:
				t.Error(err)
			}
		}
		if n != want || failed != min(1, 4500-want) {
			t.Errorf("with %d pages: %d pictures, %d failures", pages, n, failed)
		}
		for _, stop := range []int{1, 2000, 2001, 4500} { // after so many
			some := must.Get(duplicates.Find(t.Context(), &hashed{hashes: hashes, results: 9}, 4))(t)
			n := 0
			for _, err := range some.All() {
				must.OK(t, err)
				if n++; n == stop {
					break
				}
			}
			must.OK(t, some.Close())
		}
		must.OK(t, groups.Close())
	}
}
