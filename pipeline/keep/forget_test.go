package keep

import (
	"bytes"
	"image/color"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
)

// TestForgetFiles deletes what is kept of some rows, in every form: the bytes or smaller picture, the result
// beside it, crops, the blurred picture. Other rows keep theirs. It is refused while a process lives.
func TestForgetFiles(t *testing.T) {
	for _, form := range []Form{{}, {JSON: true}, {Size: 90, Quality: 80, JSON: true},
		{Size: 90, Quality: 80}} {
		dir, w := t.TempDir(), newWork(t, 4)
		o := inForm(w.job, filepath.Join(dir, "kept"), form)
		o.Crops, o.Blurred = filepath.Join(dir, "crops"), filepath.Join(dir, "blurred")
		k := start(t, o)
		for id := int64(1); id <= 2; id++ {
			w.keep(k, judged(drawn(t, "png", 200, 150, twoFaces...), "png", twoFaces, id))
		}
		shared := judged(drawn(t, "png", 210, 150, twoFaces...), "png", twoFaces, 3, 4)
		shared.Rows[1].URL = row(3).URL
		w.keep(k, shared)
		log := slog.New(slog.DiscardHandler)
		if _, err := OpenFiles(t.Context(), w.job, log); err == nil ||
			!strings.Contains(err.Error(), "stop it first") {
			t.Errorf("%+v: beside a process: %v", form, err)
		}
		ok(t, k.Close())
		for _, ids := range [][]int64{{2, 3}, {2, 3}, {5}} { // again does no harm
			f, err := OpenFiles(t.Context(), w.job, log)
			ok(t, err)
			if len(f.Missing) > 0 {
				t.Errorf("%+v: missing %v", form, f.Missing)
			}
			ok(t, f.Forget(ids))
		}
		left := members(t, o.Bodies)
		for _, folder := range []string{o.Crops, o.Blurred} {
			for name, b := range files(t, folder) {
				left[filepath.Base(folder)+"/"+name] = string(b)
			}
		}
		perRow := 1 + 2 + 1
		if form.JSON {
			perRow++
		}
		if len(left) != 2*perRow {
			t.Errorf("%+v: %d files of two rows", form, len(left))
		}
		for name := range left {
			if strings.Contains(name, "000002") || strings.Contains(name, "000003") {
				t.Errorf("%+v: %s is still there", form, name)
			}
		}
		for name, b := range files(t, dir) {
			for _, url := range []string{"host/2.jpg", `"id":2,`, `"id":3,`} {
				if bytes.Contains(b, []byte(url)) {
					t.Errorf("%+v: %q is in %s", form, url, name)
				}
			}
		}
		k = start(t, Options{Job: w.job})
		if o, err := k.Read(row(1)); err != nil || len(o.Body) == 0 {
			t.Errorf("%+v: row 1 is not read: %v", form, err)
		}
		if o, err := k.Read(store.Row{ID: 4, URL: row(3).URL}); err != nil || len(o.Body) == 0 {
			t.Errorf("%+v: row 4 is not read: %v", form, err)
		}
		ok(t, k.Close())
		ok(t, os.RemoveAll(o.Crops))
		f, err := OpenFiles(t.Context(), w.job, log)
		if err != nil || len(f.Missing) != 1 || f.Missing[0] != o.Crops {
			t.Errorf("%+v: missing %v, %v", form, f, err)
		}
	}
}

// TestFillFromSmaller makes thumbnails of rows that are done from what is kept of them, bytes and smaller
// pictures: the face that is blurred there is where it is.
func TestFillFromSmaller(t *testing.T) {
	face := store.Face{X: 600, Y: 300, Width: 300, Height: 300, Score: 9}
	for _, form := range []Form{{}, {Size: 400, Quality: 90}} {
		w, dir := newWork(t, 3), t.TempDir()
		k := start(t, inForm(w.job, dir, form))
		body := drawn(t, "jpeg", 1200, 900, face)
		w.keep(k, judged(body, "jpeg", []store.Face{face}, 1))
		w.keep(k, judged(body, "jpeg", nil, 2))
		ok(t, k.Close())
		k = start(t, Options{Job: w.job, Thumbnails: 6, BlurFaces: true})
		made, lacking, err := k.FillThumbnails(t.Context())
		if err != nil || made != 2 || lacking != 0 {
			t.Errorf("%+v: %d made, %d lacking, %v", form, made, lacking, err)
		}
		if made, _, err := k.FillThumbnails(t.Context()); err != nil || made != 0 {
			t.Errorf("%+v: %d made again, %v", form, made, err)
		}
		ok(t, k.Close())
		samples, err := w.job.Samples(t.Context())
		ok(t, err)
		if len(samples) != 2 {
			t.Fatalf("%+v: %d thumbnails", form, len(samples))
		}
		m := picture(t, samples[0].JPEG)
		if x, y := m.Bounds().Dx()*5/8, m.Bounds().Dy()/2; !samples[0].Faces ||
			!near(m, x, y, color.RGBA{255, 0, 0, 255}) {
			t.Errorf("%+v: at %d,%d %v", form, x, y, m.At(x, y))
		}
	}
}
