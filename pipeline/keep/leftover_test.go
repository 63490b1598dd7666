package keep

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/draft"
)

// die has a keeper end as a kill ends it, with what it wrote in its files.
func die(t testing.TB, k *Keeper) {
	t.Helper()
	if k.writer != nil {
		for len(k.writer.parts) > 0 {
			ok(t, k.writer.parts[0].w.Flush())
			k.writer.drop(k.writer.parts[0])
		}
	}
	for _, f := range k.folders() {
		ok(t, f.lock.Close())
	}
}

// TestPicturesWait: pictures of rows that are done, which cannot get their names, wait for the next process,
// those in another folder get them.
func TestPicturesWait(t *testing.T) {
	w, dir := newWork(t, 1), t.TempDir()
	o := Options{Job: w.job, Crops: filepath.Join(dir, "crops"), Blurred: filepath.Join(dir, "blurred")}
	k := start(t, o)
	img := shot(t, 300, 2, 1)
	out, err := k.Keep(t.Context(), img)
	ok(t, err)
	results := resultsOf(img, out)
	ok(t, k.Stage(w.lease, results))
	w.commit(results)
	inTheWay := filepath.Join(o.Crops, "000")
	blocked(t, inTheWay)
	if err := k.Done(t.Context(), w.lease, results); err == nil {
		t.Error("crops have names below a file")
	}
	if n := len(files(t, o.Blurred)); n != 1 {
		t.Errorf("%d blurred pictures have names", n)
	}
	if err := k.Close(); err == nil {
		t.Error("crops have names below a file at the end")
	}
	another := start(t, o) // which can go on meanwhile
	ok(t, another.TakeOver())
	ok(t, another.Close())
	ok(t, os.Remove(inTheWay))
	ok(t, start(t, o).Close())
	if crops, left := len(files(t, o.Crops)), leftOver(t, o.Crops); crops != 2 || len(left) > 0 {
		t.Errorf("%d crops have names; left over: %v", crops, left)
	}
}

// TestKindsInOneFolder: of a process that died, what it wrote for one kind is finished by the next process
// that uses the folder for this kind, even if the folder is used for others, too.
func TestKindsInOneFolder(t *testing.T) {
	kinds := map[string]func(o *Options, dir string){
		ofBodies:  func(o *Options, dir string) { o.Bodies = dir },
		ofCrops:   func(o *Options, dir string) { o.Crops = dir },
		ofBlurred: func(o *Options, dir string) { o.Blurred = dir },
	}
	want := map[string]int{ofBodies: 2, ofCrops: 2, ofBlurred: 1} // a tar file has an index
	for one, first := range kinds {
		for other, second := range kinds {
			t.Run(one+" and "+other, func(t *testing.T) {
				w, dir := newWork(t, 1), t.TempDir()
				o := Options{Job: w.job}
				first(&o, dir)
				second(&o, dir)
				k := start(t, o)
				img := shot(t, 300, 2, 1)
				out, err := k.Keep(t.Context(), img)
				ok(t, err)
				ok(t, k.Stage(w.lease, resultsOf(img, out)))
				w.commit(resultsOf(img, out))
				die(t, k)
				for _, again := range []func(*Options, string){second, first} {
					o := Options{Job: w.job}
					again(&o, dir)
					ok(t, start(t, o).Close())
				}
				n := want[one]
				if other != one {
					n += want[other]
				}
				if got := files(t, dir); len(got) != n || got["000/000001-0.jpg"] != nil {
					t.Errorf("%d files, want %d", len(got), n)
				}
				if left := leftOver(t, dir); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
			})
		}
	}
}

// TestLeftByTheFirstRelease: its processes have names without a kind. What they left shows whose they are.
func TestLeftByTheFirstRelease(t *testing.T) {
	for _, c := range []struct {
		left string // in the hidden folder, beside the lock file
		by   []string
	}{{"a.tmp/1-1-1-1", []string{ofCrops, ofBlurred}}, {"a-0001.tar.part", []string{ofBodies}},
		{"", []string{ofBodies, ofCrops, ofBlurred}}} {
		for _, kind := range []string{ofBodies, ofCrops, ofBlurred} {
			dir := t.TempDir()
			path := filepath.Join(dir, hidden, c.left)
			ok(t, os.MkdirAll(filepath.Dir(path), draft.FolderMode))
			if c.left == "" {
				ok(t, os.MkdirAll(path, draft.FolderMode))
			} else {
				ok(t, os.WriteFile(path, nil, draft.FileMode))
			}
			ok(t, os.WriteFile(filepath.Join(dir, hidden, "a.lock"), nil, draft.FileMode))
			taken := false
			ok(t, dead(kind, dir, "", func(string) error { taken = true; return nil }))
			if taken != slices.Contains(c.by, kind) {
				t.Errorf("%q is taken over for %s: %t", c.left, kind, taken)
			}
		}
	}
}

// TestUnreadableIndex: a tar file whose index cannot be read hides no other, and is there once it can.
func TestUnreadableIndex(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 5)
	k := start(t, Options{Job: w.job, Bodies: dir, TarSize: 1})
	for id := int64(1); id <= 5; id++ {
		w.keep(k, processed([]byte(fmt.Sprint("body ", id)), "jpeg", nil, id))
	}
	ok(t, k.Close())
	tars, err := filesLike(dir, "*.tar")
	ok(t, err)
	index := strings.TrimSuffix(tars[2], ".tar") + ".idx"
	ok(t, os.Rename(index, index+".away"))
	ok(t, os.Mkdir(index, draft.FolderMode))
	temp := filepath.Join(dir, hidden, "idx.part")
	if err := writeIndex(strings.TrimSuffix(index, ".idx"), temp, nil); err == nil {
		t.Error("an index took a folder's place")
	}
	if _, err := os.Stat(temp); !os.IsNotExist(err) {
		t.Errorf("an index that could not be written is left: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	ok(t, os.Chtimes(dir, old, old)) // which is not read again while it is as it was
	k = start(t, Options{Job: w.job})
	defer k.Close()
	found := func() (ids []int64) {
		for id := int64(1); id <= 5; id++ {
			if _, is := k.Find(id); is {
				ids = append(ids, id)
			}
		}
		return ids
	}
	if ids := found(); !slices.Equal(ids, []int64{1, 2, 4, 5}) {
		t.Errorf("found are %v", ids)
	}
	ok(t, os.Remove(index))
	ok(t, os.Rename(index+".away", index))
	ok(t, os.Chtimes(dir, old, old))
	k.rescan() // it is not tried for a while
	if ids := found(); len(ids) != 4 {
		t.Errorf("found are %v", ids)
	}
	for base := range k.archive.dirs[0].failed {
		k.archive.dirs[0].failed[base] = time.Now().Add(-tryAgain)
	}
	k.rescan()
	if ids := found(); len(ids) != 5 {
		t.Errorf("found are %v", ids)
	}
}

// TestTakeOverBeforeRescan: what a process that died kept of rows stays when the rows are put back after it
// was taken over.
func TestTakeOverBeforeRescan(t *testing.T) {
	w, dir := newWork(t, 3), t.TempDir()
	k := start(t, Options{Job: w.job, Bodies: dir})
	for id := int64(1); id <= 3; id++ {
		w.keep(k, processed(bytes.Repeat([]byte{byte(id)}, 2000), "jpeg", nil, id))
	}
	die(t, k)
	inTheWay := filepath.Join(dir, k.bodies.name+"-0001.idx")
	ok(t, os.MkdirAll(filepath.Join(inTheWay, "stays"), draft.FolderMode))
	err := TakeOver(t.Context(), w.job, log())
	if err == nil || !strings.Contains(err.Error(), "--keep "+dir) {
		t.Errorf("taken over in spite of a folder in the way: %v", err)
	}
	ok(t, os.RemoveAll(inTheWay))
	ok(t, TakeOver(t.Context(), w.job, log()))
	_, err = w.job.Retry(t.Context(), store.Selection{OK: true})
	ok(t, err)
	k = start(t, Options{Job: w.job, Bodies: dir})
	defer k.Close()
	for id := int64(1); id <= 3; id++ {
		if o, err := k.Read(row(id)); err != nil || len(o.Body) != 2000 {
			t.Errorf("row %d: %d bytes, %v", id, len(o.Body), err)
		}
	}
}

// TestStartedTogether: a folder in which several processes began at once is there.
func TestStartedTogether(t *testing.T) {
	job, dir := newJob(t), filepath.Join(t.TempDir(), "kept")
	ok(t, start(t, Options{Job: job, Bodies: dir, Form: func(have *Form) (Form, error) {
		if have == nil { // another process is quicker
			ok(t, start(t, Options{Job: job, Bodies: dir}).Close())
		}
		return Form{}, nil
	}}).Close())
	files, err := OpenFiles(t.Context(), job, log())
	ok(t, err)
	if len(files.Missing) > 0 || len(files.folders) != 1 {
		t.Errorf("missing are %v of %d", files.Missing, len(files.folders))
	}

	// One that was moved away is not there, also when a new one has its place.
	ok(t, os.Rename(dir, dir+" elsewhere"))
	ok(t, start(t, Options{Job: job, Bodies: dir}).Close())
	files, err = OpenFiles(t.Context(), job, log())
	ok(t, err)
	if !slices.Equal(files.Missing, []string{dir}) || len(files.folders) != 1 {
		t.Errorf("missing are %v of %d", files.Missing, len(files.folders))
	}
}

// TestIndexWithoutFile: of a process that died between an index and its tar file, which nobody wants, nothing
// stays.
func TestIndexWithoutFile(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 1)
	k := start(t, Options{Job: w.job, Bodies: dir})
	_, err := k.Keep(t.Context(), processed([]byte("x"), "jpeg", nil, 1))
	ok(t, err)
	p := k.writer.parts[0]
	ok(t, writeIndex(filepath.Join(dir, p.base), k.bodies.private("idx.part"), p.entries))
	die(t, k)
	ok(t, start(t, Options{Job: w.job, Bodies: dir}).Close())
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != jobFile {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

// TestFindBesideUnreadable: a tar file that got another name is found by it, also beside one that cannot be
// read.
func TestFindBesideUnreadable(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 1)
	k := start(t, Options{Job: w.job, Bodies: dir})
	w.keep(k, processed([]byte("body"), "jpeg", nil, 1))
	ok(t, k.Close())
	k = start(t, Options{Job: w.job})
	defer k.Close()
	path := filepath.Join(dir, filepath.Base(k.archive.files[0].path))
	for _, suffix := range []string{".idx", ".tar"} {
		ok(t, os.Rename(path+suffix, path+"-renewed"+suffix))
	}
	ok(t, os.WriteFile(filepath.Join(dir, "a.tar"), nil, draft.FileMode))
	ok(t, os.Mkdir(filepath.Join(dir, "a.idx"), draft.FolderMode))
	if _, found := k.Find(1); !found {
		t.Error("row 1 is not found")
	}
}
