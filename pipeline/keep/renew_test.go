package keep

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/draft"
)

// rescanned keeps a row once more, as it is read for a rescan: with other faces.
func (w *work) rescanned(k *Keeper, id int64, faces ...store.Face) {
	w.Helper()
	o, err := k.Read(row(id))
	ok(w, err)
	_, err = w.job.Retry(w.Context(), store.Selection{OK: true})
	ok(w, err)
	img := processed(o.Body, "jpeg", faces, id)
	img.Original, img.Kept, img.Result.Attempts = o, true, 0
	w.keep(k, img)
}

// TestRenewed: a row that is rescanned has its new result beside its image, and no old one, in whichever
// order the processes began that wrote them.
func TestRenewed(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 4)
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	elder := start(t, inForm(w.job, dir, form))
	defer elder.Close()
	k := start(t, inForm(w.job, dir, form))
	for id := int64(1); id <= 4; id++ {
		w.keep(k, processed(body, "jpeg", nil, id))
	}
	ok(t, k.Close())
	before := pairs(t, dir)
	if len(before) != 4 || *before[2].result.Faces != 0 {
		t.Fatalf("%d pairs, %+v", len(before), before[2].result)
	}
	elder.rescan()
	w.rescanned(elder, 2, twoFaces...)
	if o, err := elder.Read(row(2)); err != nil || !bytes.Equal(o.Body, body) {
		t.Errorf("%d bytes, %v", len(o.Body), err)
	}
	watcher := start(t, Options{Job: w.job}) // has the old file open
	defer watcher.Close()
	if _, found := watcher.Find(3); !found {
		t.Error("row 3 is not found")
	}
	ok(t, elder.Close())
	after := pairs(t, dir)
	if len(after) != 4 || *after[2].result.Faces != 2 || *after[3].result.Faces != 0 {
		t.Errorf("%d pairs, %+v", len(after), after[2].result)
	}
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	for id := int64(1); id <= 4; id++ {
		if o, err := watcher.Read(row(id)); err != nil || !bytes.Equal(o.Body, body) {
			t.Errorf("row %d: %d bytes, %v", id, len(o.Body), err)
		}
	}

	// Again, all rows: nothing of the earlier files is left.
	k = start(t, inForm(w.job, dir, form))
	for id := int64(1); id <= 4; id++ {
		w.rescanned(k, id, twoFaces[0])
	}
	ok(t, k.Close())
	if after = pairs(t, dir); len(after) != 4 || *after[2].result.Faces != 1 || *after[4].result.Faces != 1 {
		t.Errorf("%d pairs, %+v", len(after), after[2].result)
	}
	if tars, err := filepath.Glob(filepath.Join(dir, "*.tar")); err != nil || len(tars) != 1 {
		t.Errorf("%v, %v", tars, err)
	}
	for id := int64(1); id <= 4; id++ {
		if _, err := watcher.Read(row(id)); err != nil {
			t.Errorf("row %d: %v", id, err)
		}
	}
}

// TestRenewedByTheDead: what a process that died kept once more replaces what was there, too, when the next
// process leaves the folder.
func TestRenewedByTheDead(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 2)
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	k := start(t, inForm(w.job, dir, form))
	w.keep(k, processed(body, "jpeg", nil, 1))
	w.keep(k, processed(body, "jpeg", nil, 2))
	ok(t, k.Close())
	k = start(t, inForm(w.job, dir, form))
	w.rescanned(k, 1, twoFaces...)
	ok(t, k.bodies.lock.Close())                                                // as when it is killed
	ok(t, os.WriteFile(k.bodies.private("0"+renewSuffix), nil, draft.FileMode)) // of one that left no more
	defer k.writer.drop(k.writer.parts[0])
	reader := start(t, Options{Job: w.job})
	if o, err := reader.Read(row(1)); err != nil || !bytes.Equal(o.Body, body) {
		t.Errorf("%d bytes, %v", len(o.Body), err)
	}
	ok(t, reader.Close())
	ok(t, start(t, inForm(w.job, dir, form)).Close())
	got := pairs(t, dir)
	if len(got) != 2 || *got[1].result.Faces != 2 || *got[2].result.Faces != 0 {
		t.Errorf("%d pairs, %+v", len(got), got[1].result)
	}
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestRenewedBeside: what a process that lives keeps once more is left to it, and to the next one if it dies.
func TestRenewedBeside(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 2)
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	k := start(t, inForm(w.job, dir, form))
	w.keep(k, processed(body, "jpeg", nil, 1))
	w.keep(k, processed(body, "jpeg", nil, 2))
	ok(t, k.Close())
	other, k := start(t, inForm(w.job, dir, form)), start(t, inForm(w.job, dir, form))
	w.rescanned(other, 1, twoFaces...)
	w.rescanned(k, 2, twoFaces...)
	ok(t, k.Close())
	note := other.bodies.name + renewSuffix
	if left := leftOver(t, dir); !slices.Contains(left, note) {
		t.Errorf("of a process that lives there is %v, without its note", left)
	}
	ok(t, other.Close())
	if got := pairs(t, dir); len(got) != 2 || *got[1].result.Faces != 2 || *got[2].result.Faces != 2 {
		t.Errorf("%d pairs, %+v", len(got), got[1].result)
	}
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestRenewedInPart repeats the removal of old entries after a death between its steps: the new file has its
// name, and the old one is still there.
func TestRenewedInPart(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 3)
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	k := start(t, inForm(w.job, dir, form))
	for id := int64(1); id <= 3; id++ {
		w.keep(k, processed(body, "jpeg", nil, id))
	}
	ok(t, k.Close())
	old := files(t, dir)
	k = start(t, inForm(w.job, dir, form))
	w.rescanned(k, 2, twoFaces...)
	ok(t, k.Close())
	for name, b := range old {
		ok(t, os.WriteFile(filepath.Join(dir, name), b, draft.FileMode))
	}
	ok(t, os.WriteFile(k.bodies.private(k.bodies.name+renewSuffix), nil, draft.FileMode))
	ok(t, start(t, inForm(w.job, dir, form)).Close())
	if got := pairs(t, dir); len(got) != 3 || *got[2].result.Faces != 2 || *got[3].result.Faces != 0 {
		t.Errorf("%d pairs, %+v", len(got), got[2].result)
	}
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestRenewedInPartOfTwo dies at the same point when two processes have kept rows once more: the new file
// lacks the old entries of one of them alone.
func TestRenewedInPartOfTwo(t *testing.T) {
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	for range 10 { // the order of removal is a map's, and differs
		dir, w := t.TempDir(), newWork(t, 8)
		k := start(t, inForm(w.job, dir, form))
		for id := int64(1); id <= 8; id++ {
			w.keep(k, processed(body, "jpeg", nil, id))
		}
		ok(t, k.Close())
		there := files(t, dir)
		second, first := start(t, inForm(w.job, dir, form)), start(t, inForm(w.job, dir, form))
		w.rescanned(first, 8, twoFaces...)
		ok(t, first.Close())
		maps.Copy(there, files(t, dir))
		for id := int64(5); id <= 7; id++ {
			w.rescanned(second, id, twoFaces...)
		}
		ok(t, second.Close())
		for name := range files(t, dir) {
			if strings.Contains(name, "-renewed2") {
				ok(t, os.Remove(filepath.Join(dir, name)))
			}
		}
		for name, b := range there {
			ok(t, os.WriteFile(filepath.Join(dir, name), b, draft.FileMode))
		}
		for _, k := range []*Keeper{first, second} {
			ok(t, os.WriteFile(k.bodies.private(k.bodies.name+renewSuffix), nil, draft.FileMode))
		}
		ok(t, start(t, inForm(w.job, dir, form)).Close())
		got := pairs(t, dir)
		for id := int64(1); id <= 8; id++ {
			if want := map[bool]int{true: 2}[id >= 5]; got[id].name == "" || *got[id].result.Faces != want {
				t.Fatalf("row %d: %+v, want %d faces", id, got[id].result, want)
			}
		}
		if left := leftOver(t, dir); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}

// TestRenewedAnywhere dies at every step of three processes that remove the old entries of rows, some of
// which two of them kept. The next process does the rest: each row is there once, with its last result,
// unless it was forgotten meanwhile.
func TestRenewedAnywhere(t *testing.T) {
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	for _, forgotten := range [][]int64{nil, {2, 9}, {1, 3, 4, 5, 6, 7, 8}} {
		for reached, step := true, 0; reached; step++ {
			dir, w := t.TempDir(), newWork(t, 9)
			o := inForm(w.job, dir, Form{JSON: true})
			o.TarSize = 30_000 // two rows, about
			k := start(t, o)
			for id := int64(1); id <= 9; id++ {
				w.keep(k, processed(body, "jpeg", nil, id))
			}
			ok(t, k.Close())
			all := []*Keeper{start(t, o), start(t, o), start(t, o)}
			for _, again := range []struct{ by, id int64 }{{0, 1}, {0, 5}, {1, 2}, {1, 5}, {2, 9}, {2, 5},
				{2, 1}} {
				k := all[again.by]
				k.rescan()
				w.rescanned(k, again.id, twoFaces...)
			}
			reached = w.removeOldUntil(all, dir, step)
			for _, k := range all {
				ok(t, k.bodies.lock.Close())
			}
			if forgotten != nil {
				f, err := OpenFiles(t.Context(), w.job, log())
				ok(t, err)
				ok(t, f.Forget(forgotten))
			}
			ok(t, start(t, o).Close())
			got := pairs(t, dir)
			for id := int64(1); id <= 9; id++ {
				p, there := got[id]
				if there == slices.Contains(forgotten, id) {
					t.Errorf("step %d, without %v: row %d is there: %t", step, forgotten, id, there)
				}
				want := map[bool]int{true: 2}[slices.Contains([]int64{1, 2, 5, 9}, id)]
				if there && *p.result.Faces != want {
					t.Errorf("step %d: row %d has %d faces, want %d", step, id, *p.result.Faces, want)
				}
			}
			if left := leftOver(t, dir); len(left) > 0 {
				t.Errorf("step %d: left over: %v", step, left)
			}
			now := files(t, dir)
			for name := range now {
				if base, is := strings.CutSuffix(name, ".idx"); is && now[base+".tar"] == nil {
					t.Errorf("step %d: %s has no tar file", step, name)
				}
			}
			if t.Failed() {
				return
			}
		}
	}
}

// removeOldUntil seals the files of some processes and removes the old entries of their rows, one process
// after the other. Then it sets the folder back to what it was after so many steps, each of which gives one
// file its name or removes one. It reports whether there are more.
func (w *work) removeOldUntil(all []*Keeper, dir string, steps int) (more bool) {
	w.Helper()
	for _, k := range all {
		ok(w, k.writer.close())
	}
	now := files(w, dir)
	states := []map[string][]byte{maps.Clone(now)}
	notes := []int{0} // how many processes have removed theirs
	for i, k := range all {
		ok(w, k.removeOld())
		after := files(w, dir)
		step := func(name string) {
			if now[name] = after[name]; now[name] == nil {
				delete(now, name)
			}
			states, notes = append(states, maps.Clone(now)), append(notes, i)
		}
		for _, name := range slices.Sorted(maps.Keys(now)) {
			base, is := strings.CutSuffix(name, ".tar")
			if !is || after[name] != nil {
				continue
			}
			if to := renewedName(base); after[to+".tar"] != nil {
				step(to + ".idx")
				step(to + ".tar")
			}
			step(base + ".idx")
			step(name)
		}
		if !maps.EqualFunc(now, after, bytes.Equal) {
			w.Fatalf("after %v there is %v", slices.Sorted(maps.Keys(now)), slices.Sorted(maps.Keys(after)))
		}
	}
	for name := range now {
		ok(w, os.Remove(filepath.Join(dir, name)))
	}
	steps = min(steps, len(states)-1)
	for name, b := range states[steps] {
		ok(w, os.WriteFile(filepath.Join(dir, name), b, draft.FileMode))
	}
	for _, k := range all[notes[steps]:] {
		ok(w, os.WriteFile(k.bodies.private(k.bodies.name+renewSuffix), nil, draft.FileMode))
	}
	return steps < len(states)-1
}

// TestRenewedBesideDamage: a tar file that is damaged is not rewritten. What can be read of it stays
// readable, and its old result of a row that was kept once more stays, too.
func TestRenewedBesideDamage(t *testing.T) {
	picture := func(id int64) []byte { return drawn(t, "jpeg", 200, 150+int(id), twoFaces...) }
	header := func(b []byte) int { return bytes.Index(b, []byte("000/000001.json")) }
	content := func(b []byte) int { return bytes.Index(b, picture(2)) + 1000 }
	for name, c := range map[string]struct {
		at    func([]byte) int
		lost  []int64
		again int64
	}{"a header": {header, nil, 4}, "a picture": {content, []int64{2}, 1}} {
		t.Run(name, func(t *testing.T) {
			dir, w := t.TempDir(), newWork(t, 4)
			var said bytes.Buffer
			o := inForm(w.job, dir, Form{JSON: true})
			o.Log = slog.New(slog.NewTextHandler(&said, nil))
			k := start(t, o)
			for id := int64(1); id <= 4; id++ {
				w.keep(k, processed(picture(id), "jpeg", nil, id))
			}
			ok(t, k.Close())
			path := filepath.Join(dir, k.bodies.name+"-0001.tar")
			b, err := os.ReadFile(path)
			ok(t, err)
			b[c.at(b)] ^= 1
			ok(t, os.WriteFile(path, b, draft.FileMode))
			k = start(t, o)
			w.rescanned(k, c.again, twoFaces...)
			ok(t, k.Close())
			if left := leftOver(t, dir); !slices.Equal(left, []string{k.bodies.name + renewSuffix}) {
				t.Errorf("the next process does not try again: %v", left)
			}
			if !strings.Contains(said.String(), "old results stay in a tar file") ||
				!strings.Contains(said.String(), "it is damaged at or before byte") ||
				!strings.Contains(said.String(), path) {
				t.Errorf("said %s", &said)
			}
			k = start(t, o)
			for id := int64(1); id <= 4; id++ {
				if _, err := k.Read(row(id)); (err != nil) != slices.Contains(c.lost, id) {
					t.Errorf("row %d: %v", id, err)
				}
			}
			ok(t, k.Close())
			// Once the damaged file is gone there is nothing to do.
			ok(t, removeTar(strings.TrimSuffix(path, ".tar")))
			ok(t, start(t, o).Close())
			if left := leftOver(t, dir); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// TestRenewedDamaged: where the entry that was kept last is damaged, the one before it stays.
func TestRenewedDamaged(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 1)
	o := inForm(w.job, dir, Form{JSON: true})
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	k := start(t, o)
	w.keep(k, processed(body, "jpeg", nil, 1))
	ok(t, k.Close())
	k = start(t, o)
	w.rescanned(k, 1, twoFaces...)
	ok(t, k.writer.close())
	path := filepath.Join(dir, k.bodies.name+"-0001.tar")
	b, err := os.ReadFile(path)
	ok(t, err)
	b[bytes.Index(b, body)+1000] ^= 1
	ok(t, os.WriteFile(path, b, draft.FileMode))
	ok(t, k.Close())
	k = start(t, o)
	defer k.Close()
	if o, err := k.Read(row(1)); err != nil || !bytes.Equal(o.Body, body) {
		t.Errorf("%d bytes, %v", len(o.Body), err)
	}
}

// TestRenewedTwice: a process that kept a row in two of its files, of which another one removes one, ends
// without an error.
func TestRenewedTwice(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 1)
	o := inForm(w.job, dir, Form{JSON: true})
	o.TarSize = 1
	k, other := start(t, o), start(t, o)
	w.keep(k, processed(drawn(t, "jpeg", 200, 150, twoFaces...), "jpeg", nil, 1))
	k.rescan()
	w.rescanned(k, 1, twoFaces[0])
	other.rescan()
	w.rescanned(other, 1, twoFaces...)
	ok(t, k.Close())
	ok(t, other.Close())
	if got := pairs(t, dir); len(got) != 1 || *got[1].result.Faces != 2 {
		t.Errorf("%d pairs, %+v", len(got), got[1].result)
	}
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestForgetAfterAFailure: a replacement that failed leaves nothing that forget would not find.
func TestForgetAfterAFailure(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 2)
	o := inForm(w.job, dir, Form{JSON: true})
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	k := start(t, o)
	w.keep(k, processed(body, "jpeg", nil, 1))
	w.keep(k, processed(body, "jpeg", nil, 2))
	ok(t, k.Close())
	inTheWay := k.bodies.private(k.bodies.name + "-0001-renewed.idx.part")
	k = start(t, o)
	w.rescanned(k, 2, twoFaces...)
	ok(t, os.MkdirAll(filepath.Join(inTheWay, "stays"), draft.FolderMode))
	if err := k.Close(); err == nil {
		t.Fatal("it could write a file whose name is a folder's")
	}
	ok(t, os.RemoveAll(inTheWay))
	if left := leftOver(t, dir); !slices.Equal(left, []string{k.bodies.name + renewSuffix}) {
		t.Errorf("left over: %v", left)
	}
	// as a process that was killed leaves it
	ok(t, os.WriteFile(k.bodies.private("9-0"+partSuffix+compactSuffix), body, draft.FileMode))
	f, err := OpenFiles(t.Context(), w.job, log())
	ok(t, err)
	ok(t, f.Forget([]int64{1, 2}))
	if left := leftOver(t, dir); !slices.Equal(left, []string{k.bodies.name + renewSuffix}) ||
		len(files(t, dir)) > 0 {
		t.Errorf("left over: %v and %d files", left, len(files(t, dir)))
	}
}

// TestKeptElsewhere: what is kept in a folder of another form is kept again, if it can be made of that.
func TestKeptElsewhere(t *testing.T) {
	body := drawn(t, "png", 400, 300)
	small := func(size int) Form { return Form{Size: size, Quality: 90} }
	for _, c := range []struct {
		first, second Form
		want          bool
	}{{Form{}, small(200), true}, {Form{}, Form{JSON: true}, true}, {small(200), small(100), true},
		{small(100), small(200), false}, {small(100), Form{}, false}, {small(100), Form{JSON: true}, false},
		{small(400), small(500), true}, {small(200), Form{Size: 200, Quality: 90, JSON: true}, true}} {
		w, dir := newWork(t, 1), t.TempDir()
		k := start(t, inForm(w.job, t.TempDir(), c.first))
		w.keep(k, processed(body, "png", nil, 1))
		ok(t, k.Close())
		k = start(t, inForm(w.job, dir, c.second))
		w.rescanned(k, 1)
		ok(t, k.Close())
		if got := len(members(t, dir)) > 0; got != c.want {
			t.Errorf("%+v after %+v: kept again %v", c.second, c.first, got)
		}
		r, _, err := resultOf(t.Context(), w.job, 1)
		made := store.KeptBody
		if c.first.Size+c.second.Size > 0 {
			made |= store.KeptJPEG
		}
		if err != nil || r.Outputs != made {
			t.Errorf("%+v after %+v: outputs %b, %v", c.second, c.first, r.Outputs, err)
		}
	}
}

// TestTarGoesLast: a process that finds no index knows that the tar file was replaced, so that goes first.
func TestTarGoesLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	ok(t, os.WriteFile(path+".idx", nil, draft.FileMode))
	ok(t, os.MkdirAll(filepath.Join(path+".tar", "stays"), draft.FolderMode))
	err := removeTar(path)
	if _, gone := os.Stat(path + ".idx"); err == nil || !os.IsNotExist(gone) {
		t.Errorf("removed: %v; the index: %v", err, gone)
	}
}

// TestRenewedName: the name of a tar file that is replaced again and again does not grow.
func TestRenewedName(t *testing.T) {
	t.Parallel()
	name := "20260101-a-0001"
	for i := range 300 {
		name = renewedName(name)
		want := "20260101-a-0001-renewed"
		if i > 0 {
			want += strconv.Itoa(i + 1)
		}
		if name != want {
			t.Fatalf("%s, want %s", name, want)
		}
	}
}
