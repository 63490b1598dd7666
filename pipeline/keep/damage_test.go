package keep

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"facescan/store/export"
)

// deadPart dies, and returns the path of the tar file that is left.
func deadPart(t testing.TB, k *Keeper) string {
	t.Helper()
	path := k.writer.parts[0].file.Name()
	die(t, k)
	return path
}

// overwrite writes bytes into a file.
func overwrite(t testing.TB, path string, at int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	_, err = f.WriteAt(b, at)
	ok(t, errors.Join(err, f.Close()))
}

// texts is a log into a buffer.
func texts(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// readable are those of some rows that are read as they were kept by keepFive.
func readable(k *Keeper, ids ...int64) (got []int64) {
	for _, id := range ids {
		if o, err := k.Read(row(id)); err == nil && bytes.Equal(o.Body, bodyOf(id)) {
			got = append(got, id)
		}
	}
	return got
}

func bodyOf(id int64) []byte { return bytes.Repeat([]byte{byte('a' + id)}, 2000) }

// keepFive keeps five rows that become done, and returns where they are.
func keepFive(w *work, k *Keeper) (at [6]entry) {
	for id := int64(1); id <= 5; id++ {
		w.keep(k, processed(bodyOf(id), "jpeg", nil, id))
		at[id], _ = k.writer.find(id)
	}
	return at
}

// TestTakeOverDamaged takes over the tar file of a process that died, damaged at one place: all rows that can
// be read stay, the file is whole again, and the log says what was lost.
func TestTakeOverDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		id   int64 // the row that is lost; negative if only its result beside the image is
		at   int64 // in its entry; from its end if negative
		with []byte
	}{
		"first header":       {1, 10, []byte{0x55}},
		"first file header":  {1, 2*block + 10, []byte{0x55}},
		"a header":           {2, 10, []byte{0x55}},
		"a note":             {2, block + 20, []byte{0}},
		"a file header":      {2, 2*block + 10, []byte{0x55}},
		"all headers":        {3, 0, make([]byte, 3*block)},
		"a header and more":  {3, 0, bytes.Repeat([]byte{0x55}, 3*block+1000)},
		"a body":             {4, 4 * block, []byte{0}},
		"the last header":    {5, 10, []byte{0x55}},
		"last file header":   {5, 2*block + 10, []byte{0x55}},
		"the last body":      {5, 4 * block, []byte{0}},
		"the header behind":  {-2, 0, []byte{0x55}},
		"the content behind": {-2, block, []byte{'x'}},
	} {
		for _, json := range []bool{false, true} {
			if c.id < 0 && !json {
				continue
			}
			t.Run(map[bool]string{false: name, true: name + ", with JSON"}[json], func(t *testing.T) {
				dir, w := t.TempDir(), newWork(t, 5)
				o := inForm(w.job, dir, Form{JSON: json})
				k := start(t, o)
				at := keepFive(w, k)
				part := deadPart(t, k)
				want := []int64{1, 2, 3, 4, 5}
				if c.id > 0 {
					want = slices.Delete(want, int(c.id)-1, int(c.id))
					overwrite(t, part, at[c.id].at+c.at, c.with...)
				} else {
					overwrite(t, part, at[-c.id].at+at[-c.id].size+c.at, c.with...)
				}
				var said bytes.Buffer
				o.Log = texts(&said)
				k = start(t, o)
				if got := readable(k, 1, 2, 3, 4, 5); !slices.Equal(got, want) {
					t.Errorf("rows %v, want %v", got, want)
				}
				if _, found := k.Find(c.id); found {
					t.Error("a row that is lost is found")
				}
				ok(t, k.Close())
				base := strings.TrimSuffix(filepath.Base(part), partSuffix)
				if text := said.String(); strings.Count(text, "level=WARN") != 1 ||
					!strings.Contains(text, base+".tar") || !strings.Contains(text, "bytes=") {
					t.Errorf("logged %q", text)
				}
				if left := leftOver(t, dir); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
				n := len(want)
				if json {
					n = 2*len(want) + min(int(c.id), 0)/2 // all but one have their results
				}
				if got := members(t, dir); len(got) != n {
					t.Errorf("%d files, want %d: %v", len(got), n, slices.Sorted(maps.Keys(got)))
				}
				f, err := OpenFiles(t.Context(), w.job, log())
				ok(t, err)
				ok(t, f.Forget(want))
				if left := files(t, dir); len(left) > 0 {
					t.Errorf("%d files after all rows were forgotten", len(left))
				}
			})
		}
	}
}

// TestTakeOverDamagedLinks: a row that shares the body of another is lost with it, or alone, and never gets
// the body that is before the damage.
func TestTakeOverDamagedLinks(t *testing.T) {
	for name, c := range map[string]struct {
		link int64 // the link that is damaged; 0 is the body
		want []int64
	}{"body": {0, []int64{1, 5}}, "link": {1, []int64{1, 2, 4, 5}}, "last link": {2, []int64{1, 2, 3, 5}}} {
		dir, w := t.TempDir(), newWork(t, 5)
		k := start(t, Options{Job: w.job, Bodies: dir})
		w.keep(k, processed([]byte("first"), "jpeg", nil, 1))
		w.keep(k, processed([]byte("shared"), "jpeg", nil, 2, 3, 4))
		at, _ := k.writer.find(2)
		w.keep(k, processed([]byte("last"), "jpeg", nil, 5))
		place := at.at
		if c.link > 0 {
			place += at.size + (c.link-1)*3*block
		}
		overwrite(t, deadPart(t, k), place+10, 0x55)
		k = start(t, Options{Job: w.job, Bodies: dir})
		var got []int64
		for id := int64(1); id <= 5; id++ {
			r, want := row(id), "shared"
			switch id {
			case 1:
				want = "first"
			case 3, 4:
				r.URL = row(2).URL // the note with the facts is the first one's
			case 5:
				want = "last"
			}
			if _, found := k.Find(id); !found {
				continue
			}
			o, err := k.Read(r)
			if err != nil || string(o.Body) != want {
				t.Errorf("%s: row %d reads as %q, %v", name, id, o.Body, err)
			}
			got = append(got, id)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: rows %v, want %v", name, got, c.want)
		}
		ok(t, k.Close())
		members(t, dir)
	}
}

// TestSalvage: behind damage, only what is verified is taken for an entry, and a result only for that of its
// image.
func TestSalvage(t *testing.T) {
	const headers = 3 * block
	made := func(id int64, result string, body []byte) []byte {
		it := item{name: export.KeptOf(id, "png"),
			note: note{ID: id, URL: row(id).URL, CRC32C: crc32.Checksum(body, castagnoli)}}
		if result != "" {
			it.json = []byte(result)
		}
		parts, _, err := pack([]item{it}, body)
		ok(t, err)
		return slices.Concat(parts...)
	}
	damaged := func(b []byte, at ...int) []byte {
		for _, i := range at {
			b[i] ^= 0x55
		}
		return b
	}
	plain := func(id int64) []byte { return made(id, "", bytes.Repeat([]byte("body"), 500)) }
	other := made(9, "", []byte("x"))
	wrong := damaged(slices.Clone(other), headers)
	for name, c := range map[string]struct {
		entries [][]byte
		verify  int64
		want    []int64
		results int
		lost    int
	}{
		"an entry in a damaged body": {[][]byte{plain(1),
			damaged(made(2, "", slices.Concat(other, other)), headers), plain(3)}, 1 << 20, []int64{1, 3}, 0,
			headers + 2*len(other)},
		"a wrong entry behind a damaged header": {[][]byte{plain(1), damaged(made(2, "", wrong), 2*block+10),
			plain(3)}, 0, []int64{1, 3}, 0, headers + len(wrong)},
		"a header with a wrong size": {[][]byte{plain(1), made(2, "", make([]byte, 8*block))[:5*block],
			plain(3), plain(4)}, 1 << 20, []int64{1, 3, 4}, 0, 5 * block},
		"a result behind two damages": {[][]byte{damaged(made(1, "{}", []byte("x")), headers+2*block),
			damaged(made(2, "{}", []byte("x")), headers), made(3, "{}", []byte("x"))}, 1 << 20,
			[]int64{1, 3}, 1, headers + 5*block},
	} {
		path := filepath.Join(t.TempDir(), "x")
		ok(t, os.WriteFile(path, slices.Concat(c.entries...), 0o600))
		f, err := os.Open(path)
		ok(t, err)
		groups, _, lost, err := salvage(f, c.verify)
		ok(t, errors.Join(err, f.Close()))
		var got []int64
		results := 0
		for _, g := range groups {
			got = append(got, g.items[0].note.ID)
			if g.json > 0 {
				results++
			}
		}
		if !slices.Equal(got, c.want) || results != c.results || lost != int64(c.lost) {
			t.Errorf("%s: rows %v, %d results, %d bytes lost; want %v, %d, %d", name, got, results, lost,
				c.want, c.results, c.lost)
		}
	}
}

// TestTakeOverCut: an entry that a kill cut short is left out without a word.
func TestTakeOverCut(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 5)
	k := start(t, Options{Job: w.job, Bodies: dir})
	at := keepFive(w, k)
	die(t, k)
	for size := at[5].at; size < at[5].at+at[5].size; size += 101 {
		copied := copyDead(t, dir)
		parts, err := hiddenFiles(copied, "*"+partSuffix)
		ok(t, err)
		ok(t, os.Truncate(parts[0], size))
		var said bytes.Buffer
		k := start(t, Options{Job: w.job, Bodies: copied, Log: texts(&said)})
		if got := readable(k, 1, 2, 3, 4, 5); len(got) != 4 || said.Len() > 0 {
			t.Errorf("cut at %d: rows %v, logged %q", size, got, said.String())
		}
		ok(t, k.Close())
	}
}

// TestTakeOverDamagedFar: a body that was synced long ago is not verified unless the file is rewritten. If it
// is damaged then, it alone is left out.
func TestTakeOverDamagedFar(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 4)
	k := start(t, Options{Job: w.job, Bodies: dir})
	for id := int64(1); id <= 2; id++ {
		w.keep(k, processed(bodyOf(id), "jpeg", nil, id))
	}
	long := bytes.Repeat([]byte("x"), unsure)
	w.keep(k, processed(long, "jpeg", nil, 3))
	_, err := k.Keep(t.Context(), processed([]byte("not done"), "jpeg", nil, 4))
	ok(t, err)
	at, _ := k.writer.find(1)
	part := deadPart(t, k)
	overwrite(t, part, at.at+4*block, 0)

	f, err := os.OpenFile(part, os.O_RDWR, 0)
	ok(t, err)
	groups, size, err := walk(f)
	ok(t, err)
	_, _, _, err = compact(f, groups, size, func(e entry, _ note) bool { return e.id < 4 })
	if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), part+": the image at byte 0: ") {
		t.Errorf("rewritten: %v", err)
	}
	ok(t, f.Close())

	var said bytes.Buffer
	k = start(t, Options{Job: w.job, Bodies: dir, Log: texts(&said)})
	if got := readable(k, 1, 2); !slices.Equal(got, []int64{2}) ||
		!strings.Contains(said.String(), "bytes=3584") {
		t.Errorf("rows %v, logged %q", got, said.String())
	}
	if o, err := k.Read(row(3)); err != nil || !bytes.Equal(o.Body, long) {
		t.Errorf("the long one: %d bytes, %v", len(o.Body), err)
	}
	if _, found := k.Find(4); found {
		t.Error("a row that is not done was kept")
	}
	ok(t, k.Close())
}

// TestIndexOfDamaged rebuilds the index of a damaged tar file: it has all rows that can be read, and those
// whose damaged bodies are still there, which forget does not pass over.
func TestIndexOfDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		at      int64 // in the entry of row 2
		indexed []int64
	}{"header": {10, []int64{1, 3, 4, 5}}, "body": {4 * block, []int64{1, 2, 3, 4, 5}}} {
		dir, w := t.TempDir(), newWork(t, 5)
		k := start(t, Options{Job: w.job, Bodies: dir})
		at := keepFive(w, k)
		ok(t, k.Close())
		tars, err := filesLike(dir, "*.tar")
		ok(t, err)
		overwrite(t, tars[0], at[2].at+c.at, 0x55)
		index := strings.TrimSuffix(tars[0], ".tar") + ".idx"
		for _, id := range c.indexed {
			ok(t, os.Remove(index))
			before, err := os.ReadFile(tars[0])
			ok(t, err)
			f, err := OpenFiles(t.Context(), w.job, log())
			ok(t, err)
			if err := f.Forget([]int64{id}); !errors.Is(err, errDamaged) ||
				!strings.Contains(err.Error(), "remove it, with the file .idx beside it") {
				t.Errorf("%s: row %d was forgotten: %v", name, id, err)
			}
			if after, err := os.ReadFile(tars[0]); err != nil || !bytes.Equal(after, before) {
				t.Errorf("%s: %d bytes, %d before, %v", name, len(after), len(before), err)
			}
		}
		k = start(t, Options{Job: w.job})
		if got := readable(k, 1, 2, 3, 4, 5); !slices.Equal(got, []int64{1, 3, 4, 5}) {
			t.Errorf("%s: rows %v", name, got)
		}
		ok(t, k.Close())
	}
}

// TestForgetAnotherID: no checksum covers the id in an entry. If it is another one than in the index, the row
// is not taken for forgotten.
func TestForgetAnotherID(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 5)
	k := start(t, Options{Job: w.job, Bodies: dir})
	keepFive(w, k)
	ok(t, k.Close())
	tars, err := filesLike(dir, "*.tar")
	ok(t, err)
	b, err := os.ReadFile(tars[0])
	ok(t, err)
	overwrite(t, tars[0], int64(bytes.Index(b, []byte(`"id":4,`)))+5, '6')
	before := files(t, dir)
	f, err := OpenFiles(t.Context(), w.job, log())
	ok(t, err)
	for _, ids := range [][]int64{{4}, {3, 4}, {1, 2, 3, 4, 5}} {
		if err := f.Forget(ids); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), tars[0]) {
			t.Errorf("without %v: %v", ids, err)
		}
	}
	if !reflect.DeepEqual(files(t, dir), before) || len(leftOver(t, dir)) > 0 {
		t.Errorf("files are not the same; left over: %v", leftOver(t, dir))
	}
	ok(t, f.Forget([]int64{3})) // of which nothing is damaged
}

// TestUndecidedBehindDamage: rows of which the job must be asked are not taken for done when they are behind
// damage. The next process takes over what is done.
func TestUndecidedBehindDamage(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 5)
	k := start(t, Options{Job: w.job, Bodies: dir})
	w.keep(k, processed(bodyOf(1), "jpeg", nil, 1))
	for id := int64(2); id <= 5; id++ {
		img := processed(bodyOf(id), "jpeg", nil, id)
		out, err := k.Keep(t.Context(), img)
		ok(t, err)
		if id == 4 { // the answer to its commit did not arrive
			w.commit(resultsOf(img, out))
		}
	}
	p := k.writer.parts[0]
	ok(t, p.save())
	overwrite(t, p.file.Name(), p.byID[2].at+10, 0x55)
	if err := k.Close(); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), p.file.Name()) {
		t.Errorf("closed: %v", err)
	}
	k = start(t, Options{Job: w.job, Bodies: dir})
	if got := readable(k, 1, 2, 3, 4, 5); !slices.Equal(got, []int64{1, 4}) {
		t.Errorf("rows %v", got)
	}
	ok(t, k.Close())
}

// TestReadFails: an error of the disk is not taken for the end of a tar file.
func TestReadFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	ok(t, os.WriteFile(path, sample(t), 0o600))
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // each read fails
	ok(t, err)
	defer f.Close()
	var failed *fs.PathError
	if groups, _, err := walk(f); !errors.As(err, &failed) || len(groups) > 0 {
		t.Errorf("walked: %d groups, %v", len(groups), err)
	}
	if groups, _, lost, err := salvage(f, unsure); !errors.As(err, &failed) || len(groups) > 0 || lost > 0 {
		t.Errorf("salvaged: %d groups, %d bytes lost, %v", len(groups), lost, err)
	}
}

// TestTakeOverCutAround: the body of an entry that a kill cut short is not searched, since a stranger may
// have put an entry of another row into it.
func TestTakeOverCutAround(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 2)
	k := start(t, Options{Job: w.job, Bodies: dir})
	w.keep(k, processed(bodyOf(1), "jpeg", nil, 1))
	strange := []byte("another picture")
	parts, _, err := pack([]item{{name: export.KeptOf(1, "jpeg"), note: note{ID: 1, URL: shown(row(1).URL),
		CRC32C: crc32.Checksum(strange, castagnoli)}}}, strange)
	ok(t, err)
	_, err = k.Keep(t.Context(), processed(append(slices.Concat(parts...), make([]byte, 100_000)...), "jpeg",
		nil, 2))
	ok(t, err)
	second, _ := k.writer.find(2)
	part := deadPart(t, k)
	ok(t, os.Truncate(part, second.at+64<<10))
	var said bytes.Buffer
	k = start(t, Options{Job: w.job, Bodies: dir, Log: texts(&said)})
	defer k.Close()
	if o, err := k.Read(row(1)); err != nil || !bytes.Equal(o.Body, bodyOf(1)) || said.Len() > 0 {
		t.Errorf("row 1 is %.20q, %v; said %s", o.Body, err, &said)
	}
}
