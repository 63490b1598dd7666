package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fileurl"
)

// namesOf are the names of rows below a folder, with the sizes of their files.
func namesOf(rows []Row, dir string) (names []string, sizes []int64) {
	for _, r := range rows {
		names = append(names, strings.TrimPrefix(r.URL, fileurl.Of(dir)+"/"))
		sizes = append(sizes, r.File.Size)
	}
	return names, sizes
}

// TestFolderThatIsWritten: files that were just written are left for the next time, where files still come.
func TestFolderThatIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{"new.jpg": 0, "old.jpg": time.Hour,
		"future.jpg": -time.Hour, "edge.jpg": sameTime} {
		path := filepath.Join(dir, name)
		write(t, path, name)
		if at := time.Now().Add(-age); age != 0 {
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	for growing, want := range map[bool]string{false: "edge.jpg future.jpg new.jpg old.jpg",
		true: "edge.jpg future.jpg old.jpg"} {
		for {
			now := time.Now()
			if err := os.Chtimes(filepath.Join(dir, "new.jpg"), now, now); err != nil {
				t.Fatal(err)
			}
			rows, passed := readImages(t, Spec{Path: dir, Format: Folder, Growing: growing}, 2)
			if time.Since(now) > sameTime { // it is not new any more
				continue
			}
			names, _ := namesOf(rows, dir)
			if got := strings.Join(names, " "); got != want || passed.Other != 0 {
				t.Errorf("growing %v: %s, passed over %+v; want %s", growing, got, passed, want)
			}
			break
		}
	}
}

// TestFolderThatChanges while it is searched: what has gone meanwhile, or is not a file any more, gives no row.
func TestFolderThatChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a.jpg", "b.jpg", "c.jpg", "d/x.jpg", "e/x.jpg", "f/x.jpg", "g.jpg"} {
		write(t, in(name), "text")
	}
	r, err := OpenImages(t.Context(), Spec{Path: dir, Format: Folder})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"b.jpg", "c.jpg", "d", "e", "f"} {
		if err := os.RemoveAll(in(name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, in("c.jpg/inner.jpg"), "text") // a folder now
	write(t, in("e"), "text")               // a file now
	other := t.TempDir()
	write(t, filepath.Join(other, "y.jpg"), "text")
	if err := os.Symlink(other, in("f")); err != nil {
		t.Fatal(err)
	}
	rows, err := readAll(r, 1)
	names, sizes := namesOf(rows, dir)
	if err != nil || strings.Join(names, " ") != "a.jpg g.jpg" || r.Passed() != (Passed{Other: 1}) ||
		sizes[0] != 4 {
		t.Errorf("%v, %d, %v, passed over %+v", names, sizes, err, r.Passed())
	}
	if p := r.Position(); p.Line != 2 || r.Progress() != 0 {
		t.Errorf("%+v, progress %v", p, r.Progress())
	}

	// A file that cannot be looked at is a row, and one whose URL would be too long is passed over.
	f := &folder{}
	if file, is := f.stat(filepath.Join(dir, "a.jpg", "x.jpg")); !is || file.Size != -1 {
		t.Errorf("a file below a file: %+v, %v", file, is)
	}
	var n numbered
	var row Row
	for length, want := range map[int]bool{MaxURL: true, MaxURL + 1: false} {
		n = numbered{}
		if got := n.take(&row, strings.Repeat("x", length), File{Size: 7}); got != want ||
			(n.passed.Other == 0) != want || want && (row.ID != 1 || row.File.Size != 7) {
			t.Errorf("a URL of %d bytes: %v, %+v, %+v", length, got, n, row)
		}
	}
}

// TestLargeFolder has more files than are read at a time.
func TestLargeFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for n := range 6 {
		f := &folder{ctx: t.Context(), root: dir, atOnce: 2}
		l, err := f.list(dir + "/")
		if err != nil || len(l.names) != n || !slices.IsSorted(l.names) {
			t.Errorf("%q, %v; want %d names", l.names, err, n)
		}
		write(t, filepath.Join(dir, fmt.Sprintf("%d.jpg", n)), "")
	}
}

// TestFolderThatCannotBe: a root that is gone, or another thing, and a reader whose context ends.
func TestFolderThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "a.jpg"), "text")
	write(t, filepath.Join(dir, "file"), "text")
	var usage *UsageError
	for _, format := range []string{Folder, Tar} {
		path := filepath.Join(dir, map[string]string{Folder: "file", Tar: "a"}[format])
		_, err := OpenImages(t.Context(), Spec{Path: path, Format: format})
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), "any more: give the") {
			t.Errorf("%s: %v", format, err)
		}
	}
	for _, s := range []Spec{{Path: filepath.Join(dir, "none"), Format: Tar},
		{Path: filepath.Join(dir, "none"), Format: Folder}} {
		if err := Check(t.Context(), &s); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", s.Format, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	tarred := tarOf(t, tar.Header{Name: "a.jpg"})
	var readers []Images
	for _, s := range []Spec{{Path: dir, Format: Folder}, {Path: tarred, Format: Tar}} {
		r, err := OpenImages(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	cancel()
	for _, r := range readers {
		for range 2 {
			if n, err := r.Next(make([]Row, 3)); n != 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("%T, ended: %d rows, %v", r, n, err)
			}
		}
	}
	if _, err := OpenImages(ctx, Spec{Path: dir, Format: Folder}); !errors.Is(err, context.Canceled) ||
		!strings.Contains(err.Error(), "the folder "+dir+" cannot be read: ") {
		t.Errorf("ended before: %v", err)
	}
}

// TestImagesPosition: up to which id rows ascend is stored, and of a tar what shows that it has not changed.
func TestImagesPosition(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.jpg"), "text")
	path := tarOf(t, tar.Header{Name: "a.jpg"}, tar.Header{Name: "b.jpg"})
	opened := func(s Spec) Images {
		r, err := OpenImages(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r
	}
	for _, s := range []Spec{{Path: path, Format: Tar}, {Path: dir, Format: Folder}} {
		r := opened(s)
		if n, err := r.Next(make([]Row, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if up, err := Ascending(r.Position()); err != nil || up != 1 || r.Position().Line != 1 {
			t.Errorf("%s: after a row %+v, %d, %v", s.Format, r.Position(), up, err)
		}
		end, midst := r.At(9, 5, true), r.At(9, 5, false)
		if up, err := Ascending(end); end.Line != 9 || err != nil || up != 5 {
			t.Errorf("%s: %+v, ascending to %d, %v", s.Format, end, up, err)
		}
		if again := opened(s); again.Unchanged(end) != (s.Format == Tar) || again.Unchanged(midst) ||
			again.Unchanged(r.Position()) || again.Unchanged(Position{Mark: []byte("{")}) {
			t.Errorf("%s: unchanged %v, in the midst %v", s.Format, again.Unchanged(end),
				again.Unchanged(midst))
		}
		if s.Format == Tar {
			if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if opened(s).Unchanged(end) {
				t.Error("a tar with another time is unchanged")
			}
		}
	}
	if _, err := Ascending(Position{Mark: []byte("{")}); err == nil {
		t.Error("a damaged position was read")
	}
	for format, want := range map[string]bool{Folder: true, Tar: true, "txt": false, "": false} {
		if HasImages(format) != want {
			t.Errorf("%q has images: %v", format, !want)
		}
	}
}

// TestTarMembers: which members are images, and where their headers are.
func TestTarMembers(t *testing.T) {
	t.Parallel()
	path := tarOf(t, tar.Header{Name: "a.jpg"}, tar.Header{Name: "dir.jpg", Typeflag: tar.TypeDir},
		tar.Header{Name: "dev.jpg", Typeflag: tar.TypeChar}, tar.Header{Name: "b.jpg"},
		tar.Header{Name: "../.hidden.jpg"}, tar.Header{Name: "c.jpg"})
	rows, passed := readImages(t, Spec{Path: path, Format: Tar}, 3)
	var offsets []int64
	for _, r := range rows {
		offsets = append(offsets, r.File.Offset)
		if r.File.Mtime != 1e18 {
			t.Errorf("%s is of %d", r.URL, r.File.Mtime)
		}
	}
	// Each member with text takes two blocks, the others one.
	if len(offsets) != 3 || offsets[0] != 0 || offsets[1] != 4*tarBlock || offsets[2] != 8*tarBlock ||
		passed != (Passed{Other: 1}) {
		t.Errorf("offsets %d, passed over %+v", offsets, passed)
	}
	// Whole blocks, and parts of one.
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var want []int64
	for i, size := range []int{0, 1, 511, 512, 513, 1024} {
		want = append(want, int64(b.Len()))
		h := tar.Header{Name: fmt.Sprintf("%d.jpg", i), Size: int64(size), Mode: 0o600, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	blocks := filepath.Join(t.TempDir(), "t.tar")
	write(t, blocks, b.String())
	rows, _ = readImages(t, Spec{Path: blocks, Format: Tar}, 9)
	for i, r := range rows {
		if r.File.Offset != want[i] {
			t.Errorf("member %d is at %d, want %d", i, r.File.Offset, want[i])
		}
	}
	for kind, want := range map[byte]int64{tar.TypeReg: 700, tar.TypeGNUSparse: 700, 'X': 700,
		tar.TypeLink:    0,
		tar.TypeSymlink: 0, tar.TypeChar: 0, tar.TypeBlock: 0, tar.TypeDir: 0, tar.TypeFifo: 0} {
		if got := dataSize(&tar.Header{Typeflag: kind, Size: 700}); got != want {
			t.Errorf("a member of kind %q has %d bytes, want %d", kind, got, want)
		}
	}
	for want, h := range map[bool]*tar.Header{
		true:  {PAXRecords: map[string]string{"a": "b", "GNU.sparse.map": "1"}},
		false: {PAXRecords: map[string]string{"GNU.other": "1"}},
	} {
		if isSparse(h) != want {
			t.Errorf("%v is sparse: %v", h.PAXRecords, !want)
		}
	}
	if !isSparse(&tar.Header{Typeflag: tar.TypeGNUSparse}) {
		t.Error("a sparse member is none")
	}
}
