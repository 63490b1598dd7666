package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"facescan/pipeline"
	"facescan/pipeline/keep/keeptest"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newJob(t testing.TB) store.Job {
	t.Helper()
	job, err := sqlite.Create(context.Background(), filepath.Join(t.TempDir(), "job.db"))
	ok(t, err)
	t.Cleanup(func() { ok(t, job.Close()) })
	return job
}

// start opens a keeper, to be closed after the test unless it is before.
func start(t testing.TB, o Options) *Keeper {
	t.Helper()
	if o.Log == nil {
		o.Log = log()
	}
	k, err := Open(context.Background(), o)
	ok(t, err)
	if k == nil {
		t.Fatal("nothing to keep")
	}
	return k
}

// drawn is a picture with a square of its own colour where each face is, as the file of a format.
func drawn(t testing.TB, format string, width, height int, faces ...store.Face) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(x * 7), uint8(y * 5), uint8(x ^ y), 255})
		}
	}
	for i, f := range faces {
		for y := f.Y; y < f.Y+f.Height; y++ {
			for x := f.X; x < f.X+f.Width; x++ {
				m.Set(x, y, color.RGBA{255, uint8(60 * i), 0, 255})
			}
		}
	}
	var b bytes.Buffer
	if format == "png" {
		ok(t, png.Encode(&b, m))
	} else {
		ok(t, jpeg.Encode(&b, m, &jpeg.Options{Quality: 95}))
	}
	return b.Bytes()
}

func row(id int64) store.Row {
	return store.Row{ID: id, URL: fmt.Sprintf("http://user:secret@host/%d.jpg", id)}
}

func free(int64) (func(), error) { return func() {}, nil }

// processed is an image of the rows with these ids.
func processed(body []byte, format string, faces []store.Face, ids ...int64) pipeline.Processed {
	img := pipeline.Processed{Original: pipeline.Original{Body: body, Status: 200,
		FinalURL: "http://elsewhere/x"}, Room: free,
		Result: &store.Result{Status: store.OK, Format: format, Faces: faces, Detector: "test/1",
			Time: now()}}
	if c, _, err := image.DecodeConfig(bytes.NewReader(body)); err == nil {
		img.Result.Width, img.Result.Height = c.Width, c.Height
	}
	for _, id := range ids {
		img.Rows = append(img.Rows, row(id))
		img.Generations = append(img.Generations, 1)
	}
	return img
}

var clock atomic.Int64

// now is another time with every call, as precise as stores are.
func now() time.Time { return time.UnixMilli(1_700_000_000_000 + clock.Add(1)) }

// lease is a lease that holds for long.
func lease() store.Lease { return store.Lease{Generation: 1, Expires: time.Now().Add(time.Hour)} }

// resultsOf are the results of an image's rows.
func resultsOf(img pipeline.Processed, out []store.Outputs) (results []store.Result) {
	for i, row := range img.Rows {
		r := *img.Result
		r.ID, r.URL, r.Outputs = row.ID, row.URL, out[i]
		results = append(results, r)
	}
	return results
}

// keep keeps an image up to the end, and holds all its rows to having the same outputs, which it returns. The
// job itself does not hear of it.
func (k *Keeper) keep(t testing.TB, img pipeline.Processed) store.Outputs {
	t.Helper()
	out, err := k.Keep(context.Background(), img)
	ok(t, err)
	ok(t, k.Stage(lease(), resultsOf(img, out)))
	ok(t, k.Done(context.Background(), lease(), resultsOf(img, out)))
	for _, o := range out {
		if o != out[0] || len(out) != len(img.Rows) {
			t.Fatalf("outputs %v of %d rows", out, len(img.Rows))
		}
	}
	return out[0]
}

// members are all that the tar files of a folder hold, by name; a name that is there twice is an error.
func members(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, entries := range keeptest.Tars(t, dir) {
		for _, e := range entries {
			if _, twice := out[e.Name]; twice {
				t.Errorf("%s is there twice", e.Name)
			}
			out[e.Name] = string(e.Content)
		}
	}
	return out
}

// files are all files below a folder but the hidden ones, by path.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == hidden {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			out[rel], err = os.ReadFile(path)
		}
		return err
	}))
	return out
}

// leftOver lists what is in the hidden part of a folder besides the token.
func leftOver(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, hidden))
	ok(t, err)
	for _, e := range entries {
		if e.Name() != jobFile {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestBodies keeps bodies in tar files of some entries each, reads them with other programs, and reads them
// again as another process does.
func TestBodies(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Bodies: dir, TarSize: 20_000})
	want := map[string]string{}
	for id := int64(1); id <= 40; id++ {
		body := bytes.Repeat([]byte{byte(id)}, int(id*id))
		ids := []int64{id}
		if id%10 == 0 {
			ids = append(ids, 1000+id, 1<<store.SourceShift+id) // of the same URL
		}
		img := processed(body, "jpeg", nil, ids...)
		for i := range img.Rows {
			img.Rows[i].URL = row(id).URL
		}
		if got := k.keep(t, img); got != store.KeptBody {
			t.Fatalf("row %d: outputs %v", id, got)
		}
		for _, id := range ids {
			want[export.KeptOf(id, "jpeg")] = string(body)
		}
		if size, found := k.Find(id); !found || size < int64(len(body)) {
			t.Fatalf("row %d is not found at once: %d %v", id, size, found)
		}
		if o, err := k.Read(row(id)); err != nil || string(o.Body) != string(body) || o.Status != 200 ||
			o.FinalURL != "http://elsewhere/x" {
			t.Fatalf("row %d reads as %+v, %v", id, o, err)
		}
	}
	if _, found := k.Find(41); found {
		t.Error("a row is found that was never kept")
	}
	ok(t, k.Close())
	if left := leftOver(t, dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if got := members(t, dir); !maps.Equal(got, want) {
		t.Errorf("%d members, want %d", len(got), len(want))
	}

	// Another program extracts the same, and sees no password.
	tars, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	ok(t, err)
	if len(tars) < 3 {
		t.Errorf("%d tar files", len(tars))
	}
	extracted := t.TempDir()
	for _, path := range tars {
		if text, err := exec.Command("tar", "-xf", path, "-C", extracted).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v\n%s", err, text)
		}
		if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("secret")) ||
			!bytes.Contains(b, []byte("user:***@host")) {
			t.Errorf("%s: %v, or it shows a password", path, err)
		}
	}
	for name, b := range files(t, extracted) {
		if want[name] != string(b) {
			t.Errorf("%s was extracted as %d bytes, want %d", name, len(b), len(want[name]))
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("not extracted: %v", slices.Collect(maps.Keys(want)))
	}

	readsBack(t, job)
}

// readsBack reads what TestBodies kept: the job remembers the folder, and a run without it reads from there.
func readsBack(t *testing.T, job store.Job) {
	t.Helper()
	k := start(t, Options{Job: job})
	defer k.Close()
	for id := int64(1); id <= 40; id++ {
		if o, err := k.Read(row(id)); err != nil || int64(len(o.Body)) != id*id || id > 0 &&
			o.Body[0] != byte(id) {
			t.Errorf("row %d: %d bytes, %v", id, len(o.Body), err)
		}
	}
	duplicate := store.Row{ID: 1010, URL: row(10).URL}
	if o, err := k.Read(duplicate); err != nil || len(o.Body) != 100 {
		t.Errorf("a row that shared a download: %d bytes, %v", len(o.Body), err)
	}
	if _, err := k.Read(store.Row{ID: 7, URL: "http://host/another.jpg"}); err == nil {
		t.Error("the bytes of another URL were taken")
	}
	// What was read from where it is kept is not kept once more.
	img := processed([]byte{1}, "jpeg", nil, 1)
	img.Kept = true
	if got := k.keep(t, img); got != store.KeptBody {
		t.Errorf("outputs %v", got)
	}
}

// copyDead copies a folder as a crash of its processes would leave it: with unlocked lock files.
func copyDead(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	ok(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// TestCrashInTheMidst cuts the tar file of a process that died at every byte: whole entries stay, each once,
// nothing else.
func TestCrashInTheMidst(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 4)
	job := w.job
	k := start(t, Options{Job: job, Bodies: dir})
	defer k.Close()
	w.keep(k, processed([]byte("first"), "jpeg", nil, 1))
	shared := processed(bytes.Repeat([]byte("second"), 200), "png", nil, 2, 3)
	shared.Rows[1].URL = row(2).URL
	w.keep(k, shared)
	w.keep(k, processed([]byte("third"), "gif", nil, 4))
	part := k.writer.parts[0]
	size := part.size
	whole := map[int64]int64{} // from which length on a row is there
	for _, e := range part.entries {
		whole[e.id] = e.at + e.size
	}
	whole[3] = part.entries[3].at // its link is between the bytes and the next entry
	for cut := int64(0); cut <= size; cut += 61 {
		copied := copyDead(t, dir)
		parts, err := filepath.Glob(filepath.Join(copied, hidden, "*"+partSuffix))
		ok(t, err)
		ok(t, os.Truncate(parts[0], cut))
		successor := start(t, Options{Job: job, Bodies: copied})
		for id, length := range map[int64]int{1: 5, 2: 1200, 3: 1200, 4: 5} {
			r := row(id)
			if id == 3 {
				r.URL = row(2).URL
			}
			o, err := successor.Read(r)
			if (err == nil) != (cut >= whole[id]) || err == nil && len(o.Body) != length {
				t.Fatalf("cut at %d of %d: row %d, whole from %d on, has %d bytes, %v", cut, size, id,
					whole[id], len(o.Body), err)
			}
		}
		ok(t, successor.Close())
		members(t, copied) // are whole
		if left := leftOver(t, copied); len(left) > 0 {
			t.Fatalf("cut at %d: left over: %v", cut, left)
		}
	}
}

// TestPowerCut leaves zeros, or other bytes, where the disk had not yet been: such an entry is not taken in.
func TestPowerCut(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 2)
	job := w.job
	k := start(t, Options{Job: job, Bodies: dir})
	defer k.Close()
	w.keep(k, processed([]byte("first"), "jpeg", nil, 1))
	w.keep(k, processed(bytes.Repeat([]byte("second"), 2000), "jpeg", nil, 2))
	e := k.writer.parts[0].entries[1]
	for at := e.at; at < e.at+e.size; at += 1009 {
		copied := copyDead(t, dir)
		parts, err := filepath.Glob(filepath.Join(copied, hidden, "*"+partSuffix))
		ok(t, err)
		f, err := os.OpenFile(parts[0], os.O_RDWR, 0)
		ok(t, err)
		_, err = f.WriteAt(make([]byte, 300), at)
		ok(t, errors.Join(err, f.Close()))
		successor := start(t, Options{Job: job, Bodies: copied})
		if _, found := successor.Find(1); !found {
			t.Errorf("zeros at %d: row 1 is gone", at)
		}
		if o, err := successor.Read(row(2)); err == nil && string(o.Body) != strings.Repeat("second", 2000) {
			t.Errorf("zeros at %d: row 2 reads as %d bytes", at, len(o.Body))
		} else if _, found := successor.Find(2); found != (err == nil) {
			t.Errorf("zeros at %d: row 2 is found: %v, and read: %v", at, found, err)
		}
		ok(t, successor.Close())
	}
}

// TestDamage breaks what is sealed: damaged bodies are detected, indexes rebuilt.
func TestDamage(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Bodies: dir})
	for id := int64(1); id <= 9; id++ {
		k.keep(t, processed(bytes.Repeat([]byte{byte(id)}, 1000), "jpeg", nil, id))
	}
	e, _ := k.writer.find(5)
	ok(t, k.Close())
	tars, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	ok(t, err)
	f, err := os.OpenFile(tars[0], os.O_RDWR, 0)
	ok(t, err)
	_, err = f.WriteAt([]byte{99}, e.at+e.size-block)
	ok(t, errors.Join(err, f.Close()))
	index := strings.TrimSuffix(tars[0], ".tar") + ".idx"
	good, err := os.ReadFile(index)
	ok(t, err)
	for name, bad := range map[string][]byte{"gone": nil, "empty": {}, "cut": good[:40],
		"strange": bytes.Repeat([]byte{0xff}, len(good))} {
		ok(t, os.Remove(index))
		if bad != nil {
			ok(t, os.WriteFile(index, bad, 0o644))
		}
		k := start(t, Options{Job: job})
		for id := int64(1); id <= 4; id++ {
			if _, err := k.Read(row(id)); err != nil {
				t.Errorf("index %s: row %d: %v", name, id, err)
			}
		}
		if _, err := k.Read(row(5)); err == nil {
			t.Errorf("index %s: a damaged body was read", name)
		}
		ok(t, k.Close())
	}
	// A wrong index of the right form has us read elsewhere, or nowhere, but take nothing wrong for right.
	wrong := slices.Clone(good)
	for i := indexHead + 8; i < len(wrong); i += indexEntry {
		wrong[i+6] = 0x7f // offsets beyond the file
	}
	ok(t, os.WriteFile(index, wrong, 0o644))
	k = start(t, Options{Job: job})
	defer k.Close()
	if _, err := k.Read(row(1)); err == nil {
		t.Error("read beyond the file")
	}
}

// TestFolders belong to one job, or are refused.
func TestFolders(t *testing.T) {
	job := newJob(t)
	open := func(job store.Job, dir string) error {
		k, err := Open(context.Background(),
			Options{Job: job, Crops: dir, Log: log()})
		if err == nil {
			err = k.Close()
		}
		return err
	}
	mine := filepath.Join(t.TempDir(), "deep", "crops")
	for range 2 {
		ok(t, open(job, mine))
	}
	if err := open(newJob(t), mine); err == nil || !strings.Contains(err.Error(), "another job") {
		t.Errorf("another job's folder: %v", err)
	}
	full := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(full, "holiday.jpg"), nil, 0o644))
	if err := open(job, full); err == nil || !strings.Contains(err.Error(), "did not make") {
		t.Errorf("a folder of the user's: %v", err)
	}
	if err := open(job, filepath.Join(full, "holiday.jpg")); err == nil {
		t.Error("a file was taken for a folder")
	}
	// Two processes that begin at the same time agree.
	dir := t.TempDir()
	errs := make(chan error)
	for range 8 {
		go func() { errs <- open(job, dir) }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	// Without anything to keep or to read, Open returns nil; a missing folder is not an error.
	k, err := Open(context.Background(), Options{Job: newJob(t)})
	if k != nil || err != nil {
		t.Errorf("%v, %v", k, err)
	}
	gone := t.TempDir()
	k = start(t, Options{Job: job, Bodies: gone})
	ok(t, k.Close())
	ok(t, os.RemoveAll(gone))
	ok(t, open(job, mine))
}

// TestWhere keeps what a filter lets through, row by row.
func TestWhere(t *testing.T) {
	where, err := export.ParseFilter("faces > 0 AND id != 3", export.Options{})
	ok(t, err)
	ok(t, CheckWhere(where))
	dir := t.TempDir()
	k := start(t, Options{Job: newJob(t), Bodies: dir, Where: where})
	one := []store.Face{{Width: 2, Height: 2, Score: 9}}
	if k.keep(t, processed([]byte("x"), "jpeg", nil, 1)) != 0 {
		t.Error("kept without a face")
	}
	img := processed([]byte("y"), "jpeg", one, 2, 3, 4)
	out, err := k.Keep(context.Background(), img)
	ok(t, err)
	ok(t, k.Done(t.Context(), lease(), resultsOf(img, out)))
	if !slices.Equal(out, []store.Outputs{store.KeptBody, 0, store.KeptBody}) {
		t.Errorf("outputs %v", out)
	}
	ok(t, k.Close())
	if got := slices.Sorted(maps.Keys(members(t, dir))); !slices.Equal(got,
		[]string{"000/000002.jpg", "000/000004.jpg"}) {
		t.Errorf("kept %v", got)
	}
	for _, column := range []string{"\"group\" = 'a'", "source = 'x'", "kept IS NULL", "row = 1"} {
		f, err := export.ParseFilter(column, export.Options{})
		ok(t, err)
		if CheckWhere(f) == nil {
			t.Errorf("%s is not known before a row is done", column)
		}
	}
}

// TestFewDescriptors reads rows of many tar files, from many goroutines, with few files open.
func TestFewDescriptors(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Bodies: dir, TarSize: 1})
	const n = 60
	for id := int64(1); id <= n; id++ {
		k.keep(t, processed([]byte(fmt.Sprint(id)), "jpeg", nil, id))
	}
	errs := make(chan error)
	for i := range 4 {
		go func() {
			for id := int64(1); id <= n; id++ {
				at := (id*int64(7*i+1) + int64(i)) % n
				o, err := k.Read(row(at + 1))
				if err == nil && string(o.Body) != fmt.Sprint(at+1) {
					err = fmt.Errorf("row %d reads as %q", at+1, o.Body)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 4 {
		ok(t, <-errs)
	}
	open := 0
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			open++
		}
	}
	if len(links) > 0 && (open == 0 || open > 2) { // its lock file is one
		t.Errorf("%d files are open", open)
	}
	ok(t, k.Close())
}

// TestSeenByOthers has a process find what another has sealed meanwhile, and what one that died left.
func TestSeenByOthers(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 3)
	job := w.job
	a := start(t, Options{Job: job, Bodies: dir})
	b := start(t, Options{Job: job, Bodies: dir})
	w.keep(a, processed([]byte("a"), "jpeg", nil, 1))
	ok(t, b.TakeOver())
	if _, found := b.Find(1); found {
		t.Error("a living process's file was taken")
	}
	ok(t, a.bodies.lock.Close()) // as when it is killed
	ok(t, b.TakeOver())
	if o, err := b.Read(row(1)); err != nil || string(o.Body) != "a" {
		t.Errorf("what the dead left: %q, %v", o.Body, err)
	}
	a.writer.drop(a.writer.parts[0])
	c := start(t, Options{Job: job, Bodies: dir})
	w.keep(c, processed([]byte("c"), "jpeg", nil, 2))
	ok(t, c.Close())
	ok(t, b.TakeOver())
	if _, found := b.Find(2); !found {
		t.Error("what was sealed is not seen")
	}
	b.archive.dirs[0].quiet = true // as if it had been quiet for long: times decide then
	d := start(t, Options{Job: job, Bodies: dir})
	w.keep(d, processed([]byte("d"), "jpeg", nil, 3))
	ok(t, d.Close())
	later := time.Now().Add(time.Minute)
	ok(t, os.Chtimes(dir, later, later))
	ok(t, b.TakeOver())
	if _, found := b.Find(3); !found {
		t.Error("what was sealed later is not seen")
	}
	ok(t, b.Close())
}

func log() *slog.Logger { return slog.New(slog.DiscardHandler) }
