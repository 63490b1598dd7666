package source

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"facescan/pipeline/fileurl"
)

// readImages reads all rows, so many at a time.
func readImages(t testing.TB, s Spec, atOnce int) ([]Row, Passed) {
	t.Helper()
	r, err := OpenImages(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := readAll(r, atOnce)
	if err != nil {
		t.Fatal(err)
	}
	return rows, r.Passed()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFolderIsInByteOrder makes trees of names that sort differently in their folders than as whole paths.
func TestFolderIsInByteOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		part := rapid.StringOfN(rapid.SampledFrom([]rune("ab-.! \x7f#%é")), 1, 4, -1)
		var want []string
		for range rapid.IntRange(1, 30).Draw(rt, "files") {
			parts := rapid.SliceOfN(part, 1, 4).Draw(rt, "path")
			name := strings.Join(parts, "/") + rapid.SampledFrom([]string{".jpg", "/x.png", ".PNG",
				".txt"}).Draw(rt, "end")
			path := dir + "/" + name
			if os.MkdirAll(filepath.Dir(path), 0o700) != nil { // a file has that name
				continue
			}
			if f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				f.Close()
			}
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			rel := strings.TrimPrefix(path, dir)
			if !strings.Contains(rel, "/.") && d.Type().IsRegular() &&
				slices.Contains([]string{".jpg", ".png"}, strings.ToLower(filepath.Ext(path))) {
				want = append(want, path)
			}
			return err
		})
		if err != nil {
			rt.Fatal(err)
		}
		slices.Sort(want) // as bytes
		rows, _ := readImages(t, Spec{Path: dir, Format: Folder}, rapid.IntRange(1, 9).Draw(rt, "at once"))
		var got []string
		for i, r := range rows {
			path, member, ok := fileurl.Split(r.URL)
			if !ok || member != "" || r.ID != int64(i+1) {
				rt.Fatalf("row %d is %d, %s", i, r.ID, r.URL)
			}
			got = append(got, path)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got  %q\nwant %q", got, want)
		}
	})
}

func TestFolderTakesImagesOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a.jpg", "b.JPEG", "c.jpe", "d.jfif", "e.png", "f.gif", "g.webp", "h.bmp",
		"i.tif", "j.tiff", "k.avif", "l.heic", "m.Heif", "sub.jpg/n.png", "bad\xff\n#.png"} {
		write(t, filepath.Join(dir, name), name)
	}
	for _, name := range []string{".a.jpg", ".sub/a.jpg", "jpg", "a.jpg.txt", "a.psd", "thumbs.db"} {
		write(t, filepath.Join(dir, name), name)
	}
	for link, to := range map[string]string{"link.jpg": "a.jpg", "up": "..", "self": "."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.jpg"), 0o600); err != nil {
		t.Fatal(err)
	}
	rows, passed := readImages(t, Spec{Path: dir, Format: Folder}, 4)
	if len(rows) != 15 || passed.Other != 5 || passed.Folders != 0 {
		t.Errorf("%d rows, passed over %+v", len(rows), passed)
	}
	first, err := os.Stat(filepath.Join(dir, "a.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	if got := rows[0].File; got.Size != 5 || got.Mtime != first.ModTime().UnixNano() {
		t.Errorf("the first file looks like %+v", got)
	}

	// One that is just written is left while the folder is watched.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "a.jpg"), old, old); err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "e.png"), soon, soon); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		now := time.Now()
		if name := filepath.Base(r.URL); name != "a.jpg" && name != "e.png" {
			path, _, _ := fileurl.Split(r.URL)
			if err := os.Chtimes(path, now, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rows, _ = readImages(t, Spec{Path: dir, Format: Folder, Growing: true}, 4); len(rows) != 2 {
		t.Errorf("of 13 files that were just written and 2 others %d are rows", len(rows))
	}
}

// tarOf makes a tar; each member's text is its name.
func tarOf(t testing.TB, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		text := ""
		if h.Typeflag == tar.TypeReg {
			text = "text of " + h.Name
			h.Size = int64(len(text))
		}
		if h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode, h.ModTime = 0o600, time.Unix(1e9, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "t #.tar")
	write(t, path, b.String())
	return path
}

func TestTar(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("d/", 300) + "long.jpg"
	path := tarOf(t, tar.Header{Typeflag: tar.TypeXGlobalHeader,
		PAXRecords: map[string]string{"comment": "c"}},
		tar.Header{Name: "z.jpg"}, tar.Header{Name: "dir/", Typeflag: tar.TypeDir}, tar.Header{Name: "a.jpg"},
		tar.Header{Name: "a.json"}, tar.Header{Name: "./a b#%.PNG"}, tar.Header{Name: ".hidden/x.jpg"},
		tar.Header{Name: "l.jpg", Linkname: "a.jpg", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "h.jpg", Linkname: "a.jpg", Typeflag: tar.TypeLink},
		tar.Header{Name: "../up.jpg"}, tar.Header{Name: "/abs.jpg"}, tar.Header{Name: "bad\xff\n.jpg"},
		tar.Header{Name: long}, tar.Header{Name: "a.jpg"}, tar.Header{Name: "fifo.jpg",
			Typeflag: tar.TypeFifo})
	rows, passed := readImages(t, Spec{Path: path, Format: Tar}, 2)
	var names []string
	for _, r := range rows {
		file, name, ok := fileurl.Split(r.URL)
		if !ok || file != path {
			t.Fatalf("%s is not a member of %s", r.URL, path)
		}
		names = append(names, name)
		// The offset alone leads to the member.
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		in := tar.NewReader(io.NewSectionReader(f, r.File.Offset, 1<<40))
		h, err := in.Next()
		if err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			h, err = in.Next()
		}
		text, _ := io.ReadAll(in)
		f.Close()
		if err != nil || h.Name != name || string(text) != "text of "+name ||
			r.File.Size != int64(len(text)) {
			t.Errorf("at %d is %v, %q, not %s (%v)", r.File.Offset, h, text, name, err)
		}
	}
	want := []string{"../up.jpg", "./a b#%.PNG", "/abs.jpg", "a.jpg", "bad\xff\n.jpg", long, "z.jpg"}
	if !slices.Equal(names, want) || passed.Other != 2 {
		t.Errorf("names %q, passed over %+v", names, passed)
	}
}

// TestCheckOfDamagedTar: a tar whose first headers cannot be read is an error, not a tar without images.
func TestCheckOfDamagedTar(t *testing.T) {
	t.Parallel()
	path := tarOf(t, tar.Header{Name: "a.txt"}, tar.Header{Name: strings.Repeat("c", 300) + ".jpg"})
	if err := os.Truncate(path, 1600); err != nil {
		t.Fatal(err)
	}
	err := Check(t.Context(), &Spec{Path: path, Format: Tar})
	if err == nil || !strings.Contains(err.Error(), path+" cannot be read beyond byte 1024: ") {
		t.Errorf("error %v", err)
	}
}

// TestTarThatIsCut gives the images before the end, and then an error that says what to do.
func TestTarThatIsCut(t *testing.T) {
	t.Parallel()
	path := tarOf(t, tar.Header{Name: "b.jpg"}, tar.Header{Name: "a.jpg"},
		tar.Header{Name: strings.Repeat("c", 300) + ".jpg"})
	if err := os.Truncate(path, 2600); err != nil {
		t.Fatal(err)
	}
	r, err := OpenImages(context.Background(), Spec{Path: path, Format: Tar})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	chunk := make([]Row, 5)
	n, err := r.Next(chunk)
	if n != 2 || err != nil {
		t.Fatalf("%d rows, %v", n, err)
	}
	if _, err = r.Next(chunk); err == nil || !strings.Contains(err.Error(), "replace the file by a whole "+
		"one") {
		t.Errorf("error %v", err)
	}
}

func TestExpandImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("one/a.jpg"), "x")
	write(t, in("one/sub/a.jpg"), "x")
	write(t, in("two/a.jpg"), "x")
	write(t, in("text.tar"), strings.Repeat("no tar\n", 1000))
	write(t, in("empty.tar"), "")
	write(t, in("x.tar.gz"), "\x1f\x8b\x08")
	write(t, in("x.gz"), "\x1f\x8b\x08")
	write(t, in("x.tzst"), "\x28\xb5\x2f\xfd")
	write(t, in("zeros"), strings.Repeat("\x00", 2*tarBlock-1))
	write(t, in("nothing.tar"), strings.Repeat("\x00", 2*tarBlock))
	if err := syscall.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, in("x.zip"), "PK\x03\x04")
	write(t, in("x.db"), "SQLite format 3\x00"+strings.Repeat("\x00", 100))
	write(t, in("x.png"), "\x89PNG\r\n\x1a\n"+strings.Repeat("\x00", 100))
	if err := os.Rename(tarOf(t, tar.Header{Name: "a.jpg"}), in("x.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(in("two"), in("zwei")); err != nil {
		t.Fatal(err)
	}
	specs, err := ExpandImages([]string{in("one"), in("two") + "/", in("zwei"), in("one/../one"), in("x.ta?"),
		in("two"), in("nothing.tar")}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []Spec{{Path: in("one"), Format: Folder}, {Path: in("two"), Format: Folder}, {Path: in("x.tar"),
		Format: Tar}, {Path: in("nothing.tar"), Format: Tar}}
	if fmt.Sprint(specs) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", specs, want)
	}
	for arg, says := range map[string]string{"-": "standard input", in("text.tar"): "neither a folder nor " +
		"a tar",
		in("empty.tar"): "neither a folder nor a tar",
		in("x.tar.gz"):  "unpack it first (gunzip -k " + in("x.tar.gz") + "), then give " + in("x.tar"),
		in("x.gz"):      "unpack it first (gunzip -k " + in("x.gz") + "), then give that",
		in("x.tzst"):    "unpack it first (zstd -d " + in("x.tzst") + "), then give that",
		in("x.zip"):     "(unzip " + in("x.zip") + " -d FOLDER), then give the folder",
		in("x.db"):      "is a database or a job, not a folder or tar file: give --images a folder",
		in("x.png"): "find the faces in it: facescan detect " +
			in("x.png"), in("pipe"): "nor a regular file",
		in("zeros"): "neither a folder nor a tar",
		in("none*"): "no folder or tar file matches"} {
		_, err := ExpandImages([]string{arg}, false)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", arg, err)
		}
	}
	if _, err := ExpandImages([]string{in("absent")}, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	for _, args := range [][]string{{in("one"), in("one/sub")}, {in("one/sub"), in("one")}} {
		if _, err := ExpandImages(args, false); err == nil || !strings.Contains(err.Error(), "is in") {
			t.Errorf("a folder in another one: %v", err)
		}
	}
}

// TestNoImages has sources without an image, which are refused before there is a job.
func TestNoImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), "x")
	for _, s := range []Spec{{Path: dir, Format: Folder}, {Path: tarOf(t, tar.Header{Name: "a.txt"}),
		Format: Tar},
		{Path: tarOf(t), Format: Tar}} {
		var usage *UsageError
		if err := Check(context.Background(), &s); !errors.As(err, &usage) {
			t.Errorf("%s: %v", s.Path, err)
		}
		s.Growing = true
		if err := Check(context.Background(), &s); err != nil {
			t.Errorf("%s, which may get some: %v", s.Path, err)
		}
	}
}

func TestSearches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for folder, want := range map[string]bool{"": true, "/a": true, "/a/b": true, "/.a": false,
		"/a/.b/c": false,
		"-b":      false, "/..": false} {
		if Searches(dir, dir+folder) != want {
			t.Errorf("Searches(%q) is not %t", folder, want)
		}
	}
}

// TestSorter sorts in memory and on the disk.
func TestSorter(t *testing.T) {
	t.Parallel()
	for _, most := range []int{3, 150, 1000} { // each at once, some together, none
		rapid.Check(t, func(rt *rapid.T) {
			s := NewSorter(context.Background())
			defer s.Close()
			s.most = most
			keys := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("a/.\x00é\U0001F600")), 0, 3, -1),
				0, 20).Draw(rt, "keys")
			for i, k := range keys {
				if err := s.Add(k, []byte{byte(i)}); err != nil {
					rt.Fatal(err)
				}
			}
			if err := s.Sort(); err != nil {
				rt.Fatal(err)
			}
			sorted := slices.Sorted(slices.Values(keys))
			at := 1
			for at < len(keys) && sorted[at] != sorted[at-1] {
				at++
			}
			if key, is, err := s.Twice(); err != nil || is != (at < len(keys)) || is && key != sorted[at] {
				rt.Fatalf("%q is there twice: %t, of %q (%v)", key, is, sorted, err)
			}
			want := make([]byte, len(keys))
			for i := range want {
				want[i] = byte(i)
			}
			slices.SortStableFunc(want, func(a, b byte) int { return strings.Compare(keys[a], keys[b]) })
			for _, i := range want {
				key, data, more, err := s.Next()
				if err != nil || !more || key != keys[i] || data[0] != i {
					rt.Fatalf("got %q %v %t %v, want %q", key, data, more, err, keys[i])
				}
			}
			if _, _, more, err := s.Next(); more || err != nil {
				rt.Fatal("there is more", err)
			}
		})
	}
}

// TestSorterEnds: once its context has ended a sorter that uses the disk fails with that, at each step.
func TestSorterEnds(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"first", "add", "sort", "twice", "next", "through"} {
		ctx, cancel := context.WithCancel(t.Context())
		s := NewSorter(ctx)
		s.most = 1
		var err error
		step := func(name string, do func() error) {
			if name == at {
				cancel()
			}
			if err == nil {
				err = do()
			}
		}
		step("first", func() error { return s.Add("b", nil) })
		step("add", func() error { return s.Add("a", nil) })
		step("sort", s.Sort)
		step("twice", func() error { _, _, err := s.Twice(); return err })
		step("next", func() error { _, _, _, err := s.Next(); return err })
		if at == "through" {
			if err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "TMPDIR") {
			t.Errorf("ended before %s: %v", at, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("ended before %s: closed with %v", at, err)
		}
		cancel()
	}
	s := NewSorter(context.Background())
	if err := s.wrap(fs.ErrPermission); !errors.Is(err, fs.ErrPermission) ||
		!strings.HasSuffix(err.Error(), "; for another folder set TMPDIR") {
		t.Error(err)
	}
}

// FuzzTar reads damaged tars: never a crash, and every image is found again at its place.
func FuzzTar(f *testing.F) {
	whole, err := os.ReadFile(tarOf(f, tar.Header{Name: "b.jpg"}, tar.Header{Name: "a/" + strings.Repeat("é",
		100) + ".png"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:1500])
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x.tar")
		write(t, path, string(text))
		r, err := openTar(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		chunk := make([]Row, 16)
		last := ""
		for {
			n, err := r.Next(chunk)
			for _, row := range chunk[:n] {
				_, name, ok := fileurl.Split(row.URL)
				if !ok || name <= last {
					t.Fatalf("%q after %q", row.URL, last)
				}
				last = name
				in := tar.NewReader(io.NewSectionReader(r.file, row.File.Offset, 1<<40))
				for h, err := in.Next(); h == nil || h.Name != name; h, err = in.Next() {
					if err != nil && h == nil {
						t.Fatalf("%q is not at %d: %v", name, row.File.Offset, err)
					}
				}
			}
			if err != nil {
				return
			}
		}
	})
}

// TestSearchesLinks: a folder is searched through a link to it too, and one that is not there yet is found by
// its name; hidden folders and those outside are not searched.
func TestSearchesLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "gone")
	for _, c := range []struct {
		outer, folder string
		want          bool
	}{
		{dir, filepath.Join(dir, "a/b"), true}, {dir, dir, true}, {link, filepath.Join(dir, "a"), true},
		{gone, filepath.Join(gone, "a"), true}, {dir, filepath.Join(dir, ".a/b"), false},
		{dir, filepath.Dir(dir), false}, {gone, dir, false},
	} {
		if got := Searches(c.outer, c.folder); got != c.want {
			t.Errorf("%s in %s: %t", c.folder, c.outer, got)
		}
	}
}
