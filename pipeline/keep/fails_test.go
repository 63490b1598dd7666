package keep

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/store"
)

// blocked puts a file where a folder was, so that nothing below it can be opened, made or removed.
func blocked(t testing.TB, dir string) {
	t.Helper()
	ok(t, os.RemoveAll(dir))
	ok(t, os.WriteFile(dir, nil, 0o600))
}

// TestDiskFails: an error of the disk is returned from the step in which it comes, and what cannot be trusted
// afterwards is not written to.
func TestDiskFails(t *testing.T) {
	stage := func(f *folder) func(testing.TB) { return func(t testing.TB) { blocked(t, f.stage()) } }
	private := func(f *folder) func(testing.TB) { return func(t testing.TB) { blocked(t, f.private("")) } }
	closed := func(k *Keeper) func(testing.TB) {
		return func(t testing.TB) { ok(t, k.writer.parts[0].file.Close()) }
	}
	for name, c := range map[string]struct {
		breakIt func(k *Keeper) func(testing.TB)
		at      string // the step before which it breaks
		again   bool   // the next image fails, too
	}{
		"no new tar":       {func(k *Keeper) func(testing.TB) { return private(k.bodies) }, "keep", true},
		"no crops":         {func(k *Keeper) func(testing.TB) { return private(k.crops) }, "keep", true},
		"no blurred":       {func(k *Keeper) func(testing.TB) { return private(k.blurred) }, "keep", true},
		"no tar to sync":   {closed, "stage", true},
		"no crops to sync": {func(k *Keeper) func(testing.TB) { return stage(k.crops) }, "stage", true},
		"no picture to sync": {func(k *Keeper) func(testing.TB) { return stage(k.blurred) }, "stage",
			true},
		"no crops to place": {func(k *Keeper) func(testing.TB) { return stage(k.crops) }, "done", true},
		"no picture to place": {func(k *Keeper) func(testing.TB) { return stage(k.blurred) }, "done",
			true},
		"no folder for crops": {func(k *Keeper) func(testing.TB) {
			return func(t testing.TB) { blocked(t, filepath.Join(k.crops.dir, "000")) }
		}, "done", true},
		"no crops to drop":    {func(k *Keeper) func(testing.TB) { return stage(k.crops) }, "drop", true},
		"no tar to seal":      {closed, "done", true},
		"no tar to cut":       {closed, "drop", true},
		"no crops to repair":  {func(k *Keeper) func(testing.TB) { return stage(k.crops) }, "close", true},
		"no notes to look at": {func(k *Keeper) func(testing.TB) { return private(k.bodies) }, "close", true},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newWork(t, 2), t.TempDir()
			k := start(t, Options{Job: w.job, Bodies: filepath.Join(dir, "kept"), TarSize: 1,
				Crops: filepath.Join(dir, "crops"), Blurred: filepath.Join(dir, "blurred")})
			var out []store.Outputs
			img := shot(t, 300, 2, 1)
			steps := map[string]func() error{
				"keep":  func() (err error) { out, err = k.Keep(t.Context(), img); return err },
				"stage": func() error { return k.Stage(w.lease, resultsOf(img, out)) },
				"done":  func() error { return k.Done(t.Context(), w.lease, resultsOf(img, out)) },
				"drop":  func() error { return k.Drop([]int64{1}) },
				"close": k.Close,
			}
			order := []string{"keep", "stage", "done"}
			if c.at == "drop" || c.at == "close" {
				order = []string{"keep", "stage", c.at}
			}
			for _, step := range order {
				if step == c.at {
					c.breakIt(k)(t)
					if err := steps[step](); err == nil {
						t.Errorf("%s did not fail", step)
					}
					break
				}
				ok(t, steps[step]())
			}
			if c.at != "close" {
				_ = k.Close()
			}
		})
	}
}

// TestFullDisk: a disk that is full is told as such, and the tar file is not written to any more.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	ok(t, err)
	defer full.Close()
	w := newWork(t, 2)
	k := start(t, Options{Job: w.job, Bodies: t.TempDir()})
	img := processed([]byte("first"), "jpeg", nil, 1)
	out, err := k.Keep(t.Context(), img)
	ok(t, err)
	k.writer.parts[0].w.Reset(full)
	_, err = k.Keep(t.Context(), processed(make([]byte, 1<<20), "jpeg", nil, 2))
	if !errors.Is(err, store.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("kept: %v", err)
	}
	if again, err := k.Keep(t.Context(), img); !errors.Is(err, store.ErrFull) {
		t.Errorf("kept again: %v, %v", again, err)
	}
	if err := k.Stage(w.lease, resultsOf(img, out)); !errors.Is(err, store.ErrFull) {
		t.Errorf("staged: %v", err)
	}
	if err := k.Done(t.Context(), w.lease, resultsOf(img, out)); err != nil {
		t.Errorf("an error is told twice: %v", err)
	}
	if _, err := k.Read(row(1)); err == nil {
		t.Error("read from a disk that is full")
	}
	ok(t, k.Close()) // the same
}

// failing is a job whose named calls fail.
type failing struct {
	store.Job
	call string
}

var errAway = errors.New("the store is away")

func (f *failing) err(call string) error {
	if f.call == call {
		return errAway
	}
	return nil
}

func (f *failing) Settings(ctx context.Context) (map[string]string, error) {
	if err := f.err("settings"); err != nil {
		return nil, err
	}
	return f.Job.Settings(ctx)
}

func (f *failing) Set(ctx context.Context, settings map[string]string) error {
	if err := f.err("set"); err != nil {
		return err
	}
	return f.Job.Set(ctx, settings)
}

func (f *failing) Counts(ctx context.Context) (store.Counts, error) {
	if err := f.err("counts"); err != nil {
		return store.Counts{}, err
	}
	return f.Job.Counts(ctx)
}

func (f *failing) Samples(ctx context.Context) ([]store.Thumbnail, error) {
	if err := f.err("samples"); err != nil {
		return nil, err
	}
	return f.Job.Samples(ctx)
}

func (f *failing) Sample(ctx context.Context, th store.Thumbnail, most int) (int64, error) {
	if err := f.err("sample"); err != nil {
		return 0, err
	}
	return f.Job.Sample(ctx, th, most)
}

func (f *failing) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	if err := f.err("select"); err != nil {
		return func(yield func(store.Result, error) bool) { yield(store.Result{}, err) }
	}
	return f.Job.Select(ctx, q)
}

func (f *failing) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	if err := f.err("results"); err != nil {
		return func(yield func(store.Result, error) bool) { yield(store.Result{}, err) }
	}
	return f.Job.Results(ctx, from, to)
}

// TestStoreFails: an error of the store ends what needs it, and is returned. What a process left unfinished
// is finished by the next one.
func TestStoreFails(t *testing.T) {
	image := shot(t, 300, 2, 1)
	open := func(w *work, o Options) error {
		o.Job, o.Log = w.job, log()
		k, err := Open(w.Context(), o)
		if err == nil && k != nil {
			ok(w, k.Close())
		}
		return err
	}
	for name, c := range map[string]struct {
		call string
		fill bool // thumbnails are made of what was kept
		do   func(w *work, j *failing, dir string) error
	}{
		"open": {"settings", false, func(w *work, _ *failing, _ string) error { return open(w, Options{}) }},
		"join": {"settings", false, func(w *work, _ *failing, dir string) error {
			return open(w, Options{Bodies: dir})
		}},
		"join again": {"set", false, func(w *work, _ *failing, dir string) error {
			return open(w, Options{Bodies: dir})
		}},
		"new folder": {"set", false, func(w *work, _ *failing, _ string) error {
			return open(w, Options{Bodies: w.TempDir()})
		}},
		"look at all": {"settings", false, func(w *work, j *failing, _ string) error {
			_, err := OpenFiles(w.Context(), j, log())
			return err
		}},
		"count":     {"counts", true, nil},
		"samples":   {"samples", true, nil},
		"rows":      {"select", true, nil},
		"one row":   {"results", true, nil},
		"thumbnail": {"sample", true, nil},
		"new thumbnail": {"sample", false, func(w *work, j *failing, _ string) error {
			k := start(w, Options{Job: j, Thumbnails: 2})
			_, err := k.Keep(w.Context(), image)
			return errors.Join(err, k.Close())
		}},
		"late crops": {"results", false, func(w *work, j *failing, _ string) error {
			k := start(w, Options{Job: j, Crops: w.TempDir()})
			out, err := k.Keep(w.Context(), image)
			ok(w, err)
			late := w.lease
			late.Expires = time.Now().Add(-time.Second)
			err = k.Done(w.Context(), late, resultsOf(image, out))
			j.call = ""
			ok(w, k.Close())
			return err
		}},
		"crops at the end": {"results", false, func(w *work, j *failing, _ string) error {
			k := start(w, Options{Job: j, Crops: w.TempDir()})
			_, err := k.Keep(w.Context(), image)
			ok(w, err)
			return k.Close()
		}},
		"bodies at the end": {"results", false, func(w *work, j *failing, _ string) error {
			dir := w.TempDir()
			k := start(w, Options{Job: j, Bodies: dir})
			_, err := k.Keep(w.Context(), image)
			ok(w, err)
			err = k.Close()
			if left := leftOver(w, dir); len(left) != 2 {
				w.Errorf("%v are left for the next process", left)
			}
			return err
		}},
		"bodies of the dead": {"results", false, func(w *work, j *failing, dir string) error {
			k := start(w, Options{Job: w.job, Bodies: dir})
			_, err := k.Keep(w.Context(), image)
			ok(w, err)
			ok(w, k.Stage(w.lease, nil))
			ok(w, k.bodies.lock.Close())
			k.writer.drop(k.writer.parts[0])
			err = open(&work{TB: w, job: j}, Options{Bodies: dir})
			ok(w, open(&work{TB: w, job: j}, Options{Crops: w.TempDir()})) // which only warns
			j.call = ""
			ok(w, open(w, Options{Bodies: dir}))
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newWork(t, 2), t.TempDir()
			k := start(t, Options{Job: w.job, Bodies: dir})
			w.keep(k, shot(t, 300, 1, 2))
			ok(t, k.Close())
			j := &failing{w.job, c.call}
			w.job = j
			var err error
			if c.fill {
				j.call = ""
				k := start(t, Options{Job: j, Thumbnails: 2})
				j.call = c.call
				_, _, err = k.FillThumbnails(t.Context())
				j.call = ""
				ok(t, k.Close())
			} else {
				err = c.do(w, j, dir)
			}
			if !errors.Is(err, errAway) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestNoRoom: an image whose pixels get no memory is not kept, and one that cannot be decoded has no
// pictures. All memory that was taken is given back.
func TestNoRoom(t *testing.T) {
	for name, c := range map[string]struct {
		cut   bool // the image
		room  error
		taken int
	}{"enough": {false, nil, 1}, "too little": {false, errAway, 0}, "damaged": {true, nil, 1}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k := start(t, Options{Job: newJob(t), Crops: filepath.Join(dir, "crops"),
				Blurred: filepath.Join(dir, "blurred")})
			img := shot(t, 300, 2, 1)
			if c.cut {
				img.Body = img.Body[:len(img.Body)/8]
			}
			taken, held := 0, 0
			img.Room = func(n int64) (func(), error) {
				if n < 300*100*4 {
					t.Errorf("room for %d bytes", n)
				}
				if c.room != nil {
					return nil, c.room
				}
				taken++
				held++
				return func() { held-- }, nil
			}
			out, err := k.Keep(t.Context(), img)
			if !errors.Is(err, c.room) || taken != c.taken || held != 0 {
				t.Errorf("%v; taken %d times, %d held", err, taken, held)
			}
			if want := store.Crops | store.Blurred; err == nil && (out[0] == want) == c.cut {
				t.Errorf("outputs %b", out[0])
			}
			ok(t, k.Close())
		})
	}
	// What is no image at all takes no memory.
	k := start(t, Options{Job: newJob(t), Blurred: t.TempDir()})
	img := processed([]byte(strings.Repeat("text", 99)), "jpeg", nil, 1)
	img.Room = func(int64) (func(), error) { return nil, errAway }
	if out, err := k.Keep(t.Context(), img); err != nil || out[0] != 0 {
		t.Errorf("outputs %b, %v", out, err)
	}
	ok(t, k.Close())
}
