package keep

import (
	"bytes"
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

// TestRenewedInPartOfTwo does so when two processes have kept rows once more: the replacement that is there
// already lacks the old entries of one of them alone.
func TestRenewedInPartOfTwo(t *testing.T) {
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	form := Form{JSON: true}
	for range 10 { // in the order of a map's keys
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
