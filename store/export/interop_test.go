//go:build interop

package export

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// TestInterop has pyarrow, pandas, duckdb and pycocotools read every format, of every kind of rows, plain and
// compressed. FACESCAN_PYTHON is an interpreter that has them; make test-interop makes one.
func TestInterop(t *testing.T) {
	python := os.Getenv("FACESCAN_PYTHON")
	if python == "" {
		t.Fatal("FACESCAN_PYTHON names no interpreter: run make test-interop")
	}
	rows := results(2000)
	for _, r := range some {
		r.ID += 5000
		rows = append(rows, r)
	}
	// What the lists of users have, and what readers guess wrong: numbers that are text, quotes, line ends,
	// nothing.
	odd := []string{"plain", "007", "a, \"b\"\nc", "", "é 写真 \U0001f600", " blanks ", "1e5", "true",
		"2026-01-01", "NULL", "back\\slash", "'"}
	kept := slices.Clone(rows)
	for i := range kept {
		kept[i].Group = odd[i%len(odd)]
		kept[i].Kept = []string{odd[i%len(odd)], odd[(i/7)%len(odd)]}[:1+(i+1)%2]
		if i%3 > 0 { // among them hashes that look like numbers
			bits := []uint64{0, 0x0123456789012345, 0x1e50000000000000, 0xfedcba9876543210}[i%4]
			kept[i].Hashes = store.Hashes{SHA256: store.SHA256(strings.Repeat("\x01\x23\xff\x00", 8)),
				PHash: store.NewPHash(bits)}
		}
		kept[i].FinalURL = []string{"", "https://u:p@b.example/x"}[i%2]
	}
	sources := []Source{{Name: "/lists/a, b.csv", Kept: []string{"album", "a \"note\""}},
		{Name: "/lists/b.csv", Kept: []string{"album"}}}
	every := []string{"id", "url", "boxes", "faces", "source", "row", "group", "class", "attempts",
		"final_url", "partial", "detector", "confidence", "sha256", "phash", "album", "a \"note\""}
	groups := make([]store.Group, 500)
	for i := range groups {
		n := int64(i)
		at := time.UnixMilli(1_770_000_000_000 + 1234*n)
		groups[i] = store.Group{Source: i % 2, Name: fmt.Sprintf("%s %d", odd[i%len(odd)], i), Images: 9 * n,
			OK: 5 * n, Failed: 4 * n, Faces: 3 * n, ImagesWithFaces: n,
			LargestFace: i % 3 * 50, First: at, Last: at.Add(time.Hour), Revision: 1 + n%2, Sequence: n}
	}
	dir := t.TempDir()
	for name, o := range map[string]Options{"images": {}, "faces": {Rows: "faces"},
		"kept": {Columns: every, Sources: sources}, "groups": {Rows: "groups", Sources: sources}} {
		for _, as := range []string{"csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "jsonl.zst", "parquet"} {
			path := filepath.Join(dir, name+"."+as)
			o.Format, _, _ = strings.Cut(as, ".")
			switch name {
			case "kept":
				writeTo(t, path, o, slices.Values(kept), Writer.Write)
			case "groups":
				writeTo(t, path, o, slices.Values(groups), Writer.WriteGroup)
			default:
				writeTo(t, path, o, slices.Values(rows), Writer.Write)
			}
		}
	}
	writeTo(t, filepath.Join(dir, "images.json"), Options{Format: "coco"}, slices.Values(rows), Writer.Write)

	out, err := exec.Command(python, "testdata/interop.py", dir).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// writeTo makes a file as the command does.
func writeTo[T any](t *testing.T, path string, o Options, records iter.Seq[T], write func(Writer, T) error) {
	t.Helper()
	f := must.Get(Create(path))(t)
	defer f.Discard()
	w := must.Get(New(f, o))(t)
	for r := range records {
		must.OK(t, write(w, r))
	}
	must.OK(t, w.Close())
	must.OK(t, f.Close())
}
