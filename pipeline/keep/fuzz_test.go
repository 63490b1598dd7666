package keep

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"facescan/store/export"
)

// sample is a tar file that a keeper wrote, whole.
func sample(t testing.TB) []byte {
	dir := t.TempDir()
	w := newWriter(&folder{dir: dir, name: "sample"}, 0, func() {},
		func([]group) (func(entry, note) bool, error) {
			return func(entry, note) bool { return true }, nil
		})
	ok(t, os.Mkdir(filepath.Join(dir, hidden), 0o755))
	it := func(id int64, format, result string, facts note) (i item) {
		i = item{name: export.KeptOf(id, format), note: facts}
		i.note.ID, i.note.URL = id, row(id).URL
		if result != "" {
			i.json = []byte(result)
		}
		return i
	}
	body := []byte("body")
	facts := note{Status: 200, FinalURL: "http://x/", CRC32C: crc32.Checksum(body, castagnoli)}
	ok(t, w.add([]item{it(1, "jpeg", "", facts), it(2, "jpeg", "", note{})}, body))
	ok(t, w.add([]item{it(4, "jpeg", `{"id":4}`, facts), it(5, "jpeg", `{"id":5}`, note{})}, body))
	body = bytes.Repeat([]byte("long"), 300)
	ok(t, w.add([]item{it(3, "png", "", note{CRC32C: crc32.Checksum(body, castagnoli)})}, body))
	ok(t, w.close())
	b, err := os.ReadFile(filepath.Join(dir, "sample-0001.tar"))
	ok(t, err)
	return b
}

// TestWalk lists the entries of a tar file in their order, up to where it is cut or damaged.
func TestWalk(t *testing.T) {
	whole := sample(t)
	type place struct {
		id, at, size int64
		body         string
	}
	list := func(b []byte) (places []place, end int64) {
		path := filepath.Join(t.TempDir(), "x")
		ok(t, os.WriteFile(path, b, 0o644))
		file, err := os.Open(path)
		ok(t, err)
		defer file.Close()
		groups, end, err := walk(file)
		ok(t, err)
		for _, e := range entriesOf(groups) {
			o, _, err := parse(b[e.at : e.at+e.size])
			ok(t, err)
			places = append(places, place{e.id, e.at, e.size, string(o.Body)})
		}
		return places, end
	}
	long := strings.Repeat("long", 300)
	all, end := list(whole)
	want := []place{{1, 0, 2048, "body"}, {2, 0, 2048, "body"}, {4, 3584, 2048, "body"},
		{5, 6656, 2048, "body"}, {3, 9728, 3072, long}}
	if !slices.Equal(all, want) || end != 12_800 || len(whole) != 12_800+trailer {
		t.Errorf("%v to %d of %d, want %v", all, end, len(whole), want)
	}
	for _, c := range []struct {
		at    int // the first byte that is another one
		n     int // or where the file is cut, if negative
		want  int // entries
		ended int64
	}{
		{1539, 1, 0, 0}, {0, -2047, 0, 0}, {0, -2048, 1, 2048}, {0, -3583, 1, 2048}, {0, -3584, 2, 3584},
		{0, -5632, 3, 5632}, {0, -6655, 3, 5632}, {0, -6656, 3, 6656}, {6144, 1, 3, 5632},
		{0, -12_799, 4, 9728}, {0, -12_800, 5, 12_800}, {11_300, 1, 4, 9728}, {12_800, 1, 5, 12_800},
	} {
		b := slices.Clone(whole)
		if c.n < 0 {
			b = b[:-c.n]
		} else {
			b[c.at] ^= 0xff
		}
		got, ended := list(b)
		if !slices.Equal(got, want[:c.want]) || ended != c.ended {
			t.Errorf("%+v: %d entries to %d", c, len(got), ended)
		}
	}
}

// FuzzWalk reads any bytes as a tar file: every entry that is listed is within it and reads, or is reported
// to be damaged.
func FuzzWalk(f *testing.F) {
	whole := sample(f)
	f.Add(whole)
	for _, at := range []int{0, 2048, 2560, 3584, 6144, 7000} {
		b := slices.Clone(whole)
		b[at] ^= 1
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x")
		ok(t, os.WriteFile(path, b, 0o644))
		file, err := os.Open(path)
		ok(t, err)
		defer file.Close()
		groups, end, err := walk(file)
		if err != nil {
			return
		}
		entries := entriesOf(groups)
		if end > int64(len(b)) {
			t.Fatalf("entries end at %d of %d", end, len(b))
		}
		for _, e := range entries {
			if e.at < 0 || e.size < 0 || e.at+e.size > end {
				t.Fatalf("entry %+v of %d bytes", e, end)
			}
			if o, _, err := parse(b[e.at : e.at+e.size]); err == nil && int64(len(o.Body)) > e.size {
				t.Fatalf("entry %+v has a body of %d bytes", e, len(o.Body))
			}
		}
		more, last, lost, err := salvage(file, int64(len(b)))
		if err != nil || last < end || last > int64(len(b)) || lost < 0 || lost > int64(len(b)) {
			t.Fatalf("whole entries end at %d, all at %d of %d; %d lost, %v", end, last, len(b), lost, err)
		}
		all := entriesOf(more)
		if len(all) < len(entries) || !slices.Equal(all[:len(entries)], entries) {
			t.Fatalf("%v, then %v", entries, all)
		}
		for _, e := range all {
			if _, _, err := parse(b[e.at : e.at+e.size]); err != nil {
				t.Fatalf("entry %+v: %v", e, err)
			}
		}
	})
}

// FuzzIndex reads any bytes as an index: nothing but entries, or an error, comes out.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	ok(f, writeIndex(filepath.Join(dir, "a"), filepath.Join(dir, "t"),
		[]entry{{3, 0, 512}, {1, 512, 1024}, {3, 2048, 1}}))
	good, err := os.ReadFile(filepath.Join(dir, "a.idx"))
	ok(f, err)
	f.Add(good, int64(3))
	f.Add([]byte(indexMagic+"\xff\xff\xff\xff\xff\xff\xff\xff"), int64(1))
	tar := sample(f)
	f.Fuzz(func(t *testing.T, b []byte, id int64) {
		dir := t.TempDir()
		ok(t, os.Mkdir(filepath.Join(dir, hidden), 0o755))
		ok(t, os.WriteFile(filepath.Join(dir, "a.tar"), tar, 0o644))
		ok(t, os.WriteFile(filepath.Join(dir, "a.idx"), b, 0o644))
		var l archive
		l.add(dir)
		ok(t, l.scan())
		for _, id := range []int64{id, 1, 2, 3, 4, 5} {
			for _, p := range l.find(id) {
				if p.id != id {
					t.Fatalf("found %d for %d", p.id, id)
				}
				if b, err := p.read(); err == nil && int64(len(b)) != p.size {
					t.Fatalf("read %d bytes of %d", len(b), p.size)
				}
			}
		}
	})
}

// TestFindsAll holds the search over many indexes to looking at every entry.
func TestFindsAll(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(outer.TempDir(), "")
		ok(outer, err)
		var all []entry
		var files []string
		for i := range rapid.IntRange(0, 12).Draw(t, "files") {
			var entries []entry
			for range rapid.IntRange(0, 9).Draw(t, "entries") {
				e := entry{rapid.Int64Range(-5, 40).Draw(t, "id"), int64(len(all)), int64(i)}
				entries, all = append(entries, e), append(all, e)
			}
			base := filepath.Join(dir, fmt.Sprintf("%04d", i))
			ok(outer, writeIndex(base, base+".temp", entries))
			ok(outer, os.WriteFile(base+".tar", nil, 0o644))
			files = append(files, base)
		}
		var l archive
		l.add(dir)
		ok(outer, l.scan())
		for id := int64(-6); id <= 41; id++ {
			var want []entry
			for _, e := range all {
				if e.id == id {
					want = append(want, e)
				}
			}
			slices.SortFunc(want, func(a, b entry) int { return cmp.Compare(b.at, a.at) })
			var got []entry
			for _, p := range l.find(id) {
				if p.file.path != files[p.size] {
					t.Fatalf("row %d in %s, want %s", id, p.file.path, files[p.size])
				}
				got = append(got, p.entry)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("row %d: %v, want %v", id, got, want)
			}
		}
	})
}
