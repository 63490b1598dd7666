package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"facescan/store"
)

// TestSplit takes rows out of tasks in every way: those that pass and those that do not are each in one task,
// with their own leases, and the body stays with one that passes, if any does.
func TestSplit(t *testing.T) {
	for bits := range 1 << 5 {
		for n := 1; n <= 5; n++ {
			passes := func(r store.Row) bool { return bits>>r.ID&1 == 1 }
			var rows []*task
			for i := range n {
				rows = append(rows, &task{row: store.Row{ID: int64(i)}, lease: &leaseHandle{}, attempts: i})
			}
			leases := map[int64]*leaseHandle{}
			for _, r := range rows {
				leases[r.row.ID] = r.lease
			}
			body := rows[0]
			task := join(rows)
			rejected := task.split(passes)
			left := task.all()
			var out []string
			if rejected != nil && rejected != task {
				for _, r := range rejected.all() {
					if passes(r.row) {
						t.Errorf("%05b: row %d is rejected", bits, r.row.ID)
					}
					left = append(left, r)
				}
				if rejected == body {
					t.Errorf("%05b: the body is with the rejected", bits)
				}
				for _, r := range task.all() {
					if !passes(r.row) {
						t.Errorf("%05b: row %d is not rejected", bits, r.row.ID)
					}
				}
			}
			for _, r := range left {
				out = append(out, fmt.Sprint(r.row.ID))
				if leases[r.row.ID] != r.lease {
					t.Errorf("%05b: row %d has another's lease", bits, r.row.ID)
				}
			}
			slices.Sort(out)
			if len(slices.Compact(out)) != n {
				t.Errorf("%05b: rows %v of %d", bits, out, n)
			}
			passing := 0
			for i := range n {
				passing += bits >> i & 1
			}
			if (rejected == nil) != (passing == n) || (rejected == task) != (passing == 0) {
				t.Errorf("%05b: %d of %d rows pass", bits, passing, n)
			}
		}
	}
}

// TestParseHashes reads every list that there is, and refuses others.
func TestParseHashes(t *testing.T) {
	for _, text := range []string{"sha256", "phash", "sha256,phash", "none"} {
		if h, err := ParseHashes(text); err != nil || h.String() != text {
			t.Errorf("%q is %v (%v)", text, h, err)
		}
	}
	if h, err := ParseHashes(" phash, sha256"); err != nil || h.String() != "sha256,phash" {
		t.Errorf("%v (%v)", h, err)
	}
	for _, text := range []string{"", "md5", "sha256,", "none,phash", "sha256 phash", "SHA256"} {
		if h, err := ParseHashes(text); err == nil {
			t.Errorf("%q is %v", text, h)
		}
	}
}

// TestChooseHashes: a job computes the hashes that were given last, and says what its done rows lack of them.
func TestChooseHashes(t *testing.T) {
	b := newBench(t, two, "/f/a.png")
	choose := func(given *Hashes, want Hashes, missing string) {
		t.Helper()
		h, text, err := ChooseHashes(t.Context(), b.job, given)
		if err != nil || h != want || (text == "") != (missing == "") || !strings.Contains(text, missing) {
			t.Errorf("given %v: %v, %q, %v; want %v, %q", given, h, text, err, want, missing)
		}
	}
	choose(nil, Hashes{}, "")
	choose(&Hashes{SHA256: true}, Hashes{SHA256: true}, "") // nothing is done
	b.want(Finished, "ok")
	choose(nil, Hashes{SHA256: true}, "")
	choose(&Hashes{SHA256: true}, Hashes{SHA256: true}, "")
	choose(&Hashes{SHA256: true, PHash: true}, Hashes{SHA256: true, PHash: true},
		"1 image is done without phash; for a second pass, first type: facescan rescan ")
	choose(&Hashes{}, Hashes{}, "")
	choose(&Hashes{SHA256: true, PHash: true}, Hashes{SHA256: true, PHash: true}, "without sha256 and phash")
	choose(&Hashes{PHash: true}, Hashes{PHash: true}, "")
	choose(&Hashes{SHA256: true, PHash: true}, Hashes{SHA256: true, PHash: true}, "without sha256; for")
	for _, method := range []string{"Settings", "Counts"} {
		b.ok(b.job.Set(t.Context(), map[string]string{store.HashSetting: "sha256"}))
		given := &Hashes{PHash: true}
		_, _, err := ChooseHashes(t.Context(), brokenJob{b.job, method, new(int)}, given)
		if !errors.Is(err, errBroken) {
			t.Errorf("%s fails: %v", method, err)
		}
	}
	b.ok(b.job.Set(t.Context(), map[string]string{store.HashSetting: "md5"}))
	if _, _, err := ChooseHashes(t.Context(), b.job, nil); err == nil ||
		!strings.Contains(err.Error(), "md5") {
		t.Errorf("a setting that cannot be read: %v", err)
	}
}
