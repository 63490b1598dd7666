package keep

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/pipeline/keep/keeptest"
	"facescan/store"
	"facescan/store/export"
)

// inForm are options to keep images in a form.
func inForm(job store.Job, dir string, f Form) Options {
	return Options{Job: job, Bodies: dir, Results: export.NewObject(nil),
		Form: func(*Form) (Form, error) { return f, nil }}
}

// object is the result beside a kept image.
type object struct {
	ID            int64
	URL           string
	Format        string
	Width, Height int
	Bytes         int64
	Partial       int
	Faces         *int
	Boxes         [][5]float64
	Stored        struct {
		File, Format  string
		Width, Height int
		Boxes         [][5]float64
		Landmarks     [][10]float64
	}
}

// pair is an image with the result beside it.
type pair struct {
	name   string
	body   []byte
	result object
}

// pairs are the images of a folder with their results. Each result comes right behind its image.
func pairs(t testing.TB, dir string) map[int64]pair {
	t.Helper()
	out := map[int64]pair{}
	for _, p := range keeptest.Pairs(t, dir) {
		got := pair{name: p.Name, body: p.Image}
		if err := json.Unmarshal(p.Result, &got.result); err != nil {
			t.Errorf("beside %s: %v\n%s", p.Name, err, p.Result)
		}
		id := got.result.ID
		if _, twice := out[id]; twice {
			t.Errorf("row %d is there twice", id)
		}
		out[id] = got
	}
	return out
}

// TestResults has the result of each row beside its image, with its own id and URL, and the bytes for each
// row that shared a download, since programs that read streams of tar leave links out.
func TestResults(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, inForm(job, dir, Form{JSON: true}))
	body := drawn(t, "png", 200, 150, twoFaces...)
	img := processed(body, "png", twoFaces, 1, 2)
	img.Rows[1].URL = "http://host/a \"quoted\" \xff name.png"
	k.keep(t, img)
	none := processed(body, "png", nil, 3)
	none.Result.Detector = store.NoDetector
	k.keep(t, none)
	for _, r := range []store.Row{img.Rows[0], img.Rows[1], none.Rows[0]} {
		if o, err := k.Read(r); err != nil || !bytes.Equal(o.Body, body) || o.MadeOf != nil {
			t.Errorf("row %d, before its file is complete: %d bytes, %v", r.ID, len(o.Body), err)
		}
	}
	ok(t, k.Close())
	got := pairs(t, dir)
	if len(got) != 3 {
		t.Fatalf("%d pairs", len(got))
	}
	want := [][5]float64{{40, 30, 40, 40, 20}, {150, 0, 50, 50, 9}}
	for id, p := range got {
		r := p.result
		if !bytes.Equal(p.body, body) || r.Stored.File != p.name || p.name != export.KeptOf(id, "png") ||
			r.Stored.Format != "png" || r.Width != 200 || r.Height != 150 || r.Stored.Width != 200 ||
			r.Stored.Height != 150 {
			t.Errorf("row %d: %d bytes, %+v", id, len(p.body), r)
		}
		if id == 3 && (r.Faces != nil || r.Boxes != nil || r.Stored.Boxes != nil) {
			t.Errorf("faces of an image that no detector looked at: %+v", r)
		}
		if id < 3 && (*r.Faces != 2 || !slices.Equal(r.Boxes, want) || !slices.Equal(r.Stored.Boxes, want)) {
			t.Errorf("row %d: %+v", id, r)
		}
	}
	if got[1].result.URL != "http://user:***@host/1.jpg" ||
		got[2].result.URL != "http://host/a \"quoted\" \ufffd name.png" {
		t.Errorf("URLs %q and %q", got[1].result.URL, got[2].result.URL)
	}

	k = start(t, Options{Job: job})
	defer k.Close()
	for _, r := range []store.Row{img.Rows[0], img.Rows[1], none.Rows[0]} {
		if o, err := k.Read(r); err != nil || !bytes.Equal(o.Body, body) {
			t.Errorf("row %d: %d bytes, %v", r.ID, len(o.Body), err)
		}
	}
}

// TestResultsCut cuts the file of a process that died at every byte: rows that are done have their image and
// their result, and others have neither.
func TestResultsCut(t *testing.T) {
	dir, w := t.TempDir(), newWork(t, 3)
	k := start(t, inForm(w.job, dir, Form{JSON: true}))
	defer k.Close()
	body := drawn(t, "jpeg", 30, 20)
	w.keep(k, processed(body, "jpeg", nil, 1))
	w.keep(k, processed(body, "jpeg", nil, 2))
	img := processed(body, "jpeg", nil, 3) // of which no commit is known
	out, err := k.Keep(t.Context(), img)
	ok(t, err)
	ok(t, k.Stage(lease(), resultsOf(img, out)))
	p := k.writer.parts[0]
	ends := map[int64]int64{1: p.entries[1].at, 2: p.entries[2].at}
	for cut := int64(0); cut <= p.size; cut += 113 {
		copied := copyDead(t, dir)
		ok(t, os.Truncate(filepath.Join(copied, hidden, filepath.Base(p.file.Name())), cut))
		ok(t, start(t, inForm(w.job, copied, Form{JSON: true})).Close())
		// A row that is done was synced whole, so the file is never cut within it.
		if cut < ends[1] || cut > ends[1] && cut < ends[2] {
			continue
		}
		got := pairs(t, copied)
		for id, end := range ends {
			if _, found := got[id]; found != (cut >= end) {
				t.Errorf("cut at %d: row %d is there: %v", cut, id, found)
			}
		}
		if _, found := got[3]; found {
			t.Errorf("cut at %d: row 3 is there, which is pending", cut)
		}
	}
}

// TestStoredFaces finds each face in the pixels of the file where the result says that it is, in
// every orientation, in bytes as downloaded and in smaller pictures.
func TestStoredFaces(t *testing.T) {
	for orientation := uint16(1); orientation <= 8; orientation++ {
		stored := store.Face{X: 30, Y: 60, Width: 60, Height: 30}
		body := turned(drawn(t, "jpeg", 240, 160, stored), orientation)
		width, height := 240, 160
		if orientation >= 5 {
			width, height = height, width
		}
		b := decode.ToUpright(decode.Box{X: 30, Y: 60, Width: 60, Height: 30}, int(orientation), 240, 160)
		upright := store.Face{X: int(b.X), Y: int(b.Y), Width: int(b.Width), Height: int(b.Height), Score: 9,
			HasLandmarks: true}
		eye := decode.ToUpright(decode.Box{X: 40, Y: 70}, int(orientation), 240, 160) // of the file
		right := 0
		if decode.Mirrors(int(orientation)) {
			right = 2 // the person's other one
		}
		upright.Landmarks[right], upright.Landmarks[right+1] = int32(10*eye.X), int32(10*eye.Y)
		for _, size := range []int{0, 120, 240, 999} {
			dir := t.TempDir()
			k := start(t, inForm(newJob(t), dir, Form{Size: size, Quality: 90, JSON: true}))
			img := processed(body, "jpeg", []store.Face{upright}, 1)
			img.Result.Width, img.Result.Height = width, height
			want := store.KeptBody
			if size > 0 && (size < 240 || orientation > 1) {
				want |= store.KeptJPEG
			}
			if got := k.keep(t, img); got != want {
				t.Errorf("orientation %d, size %d: outputs %b, want %b", orientation, size, got, want)
			}
			ok(t, k.Close())
			p := pairs(t, dir)[1]
			m, s := picture(t, p.body), p.result.Stored
			if m.Bounds().Size() != image.Pt(s.Width, s.Height) || len(s.Boxes) != 1 ||
				len(s.Landmarks) != 1 {
				t.Fatalf("orientation %d, size %d: a picture of %v, %+v", orientation, size, m.Bounds(), s)
			}
			if long := max(s.Width, s.Height); size > 0 && long != min(size, 240) {
				t.Errorf("orientation %d, size %d: %d pixels", orientation, size, long)
			}
			x, y, w, h := s.Boxes[0][0], s.Boxes[0][1], s.Boxes[0][2], s.Boxes[0][3]
			for _, at := range [][2]float64{{0.35, 0.35}, {0.65, 0.35}, {0.35, 0.65}, {0.65, 0.65}} {
				if px, py := int(x+w*at[0]), int(y+h*at[1]); !near(m, px, py, color.RGBA{255, 0, 0, 255}) {
					t.Errorf("orientation %d, size %d: no face at %d,%d", orientation, size, px, py)
				}
			}
			if near(m, int(x-w/8), int(y+h/2), color.RGBA{255, 0, 0, 255}) ||
				near(m, int(x+w/2), int(y+h+h/8), color.RGBA{255, 0, 0, 255}) {
				t.Errorf("orientation %d, size %d: the face is larger than its box", orientation, size)
			}
			if size == 0 {
				if l := s.Landmarks[0]; l[0] != 40 || l[1] != 70 {
					t.Errorf("orientation %d: an eye at %v", orientation, l)
				}
			}
			if p.result.Boxes[0] != [5]float64{b.X, b.Y, b.Width, b.Height, 9} || p.result.Width != width ||
				p.result.Height != height || p.result.Bytes != img.Result.Bytes {
				t.Errorf("orientation %d, size %d: %+v", orientation, size, p.result)
			}
		}
	}
}

// TestSmall keeps all kinds of images as upright JPEGs: grey, on white where they are transparent, of an
// animation the first frame, what there is of a cut one; never larger than they were.
func TestSmall(t *testing.T) {
	red := color.RGBA{255, 0, 0, 255}
	grey := image.NewGray(image.Rect(0, 0, 300, 100))
	for i := range grey.Pix {
		grey.Pix[i] = 77
	}
	clear := image.NewNRGBA(image.Rect(0, 0, 300, 100))
	frames := &gif.GIF{Delay: []int{5, 5}}
	for _, c := range []color.Color{red, color.White} {
		m := image.NewPaletted(image.Rect(0, 0, 300, 100), color.Palette{c})
		frames.Image = append(frames.Image, m)
	}
	encoded := func(encode func(io.Writer) error) []byte {
		var b bytes.Buffer
		ok(t, encode(&b))
		return b.Bytes()
	}
	pngOf := func(m image.Image) []byte {
		return encoded(func(w io.Writer) error { return png.Encode(w, m) })
	}
	animation := encoded(func(w io.Writer) error { return gif.EncodeAll(w, frames) })
	greyJPEG := encoded(func(w io.Writer) error { return jpeg.Encode(w, grey, nil) })
	cut := drawn(t, "jpeg", 300, 100, store.Face{Width: 300, Height: 100})
	for name, c := range map[string]struct {
		body          []byte
		format        string
		width, height int
		size          int
		want          color.RGBA
		wide, high    int
		partial       bool
	}{
		"grey PNG":  {pngOf(grey), "png", 300, 100, 150, color.RGBA{77, 77, 77, 255}, 150, 50, false},
		"grey JPEG": {greyJPEG, "jpeg", 300, 100, 100, color.RGBA{77, 77, 77, 255}, 100, 33, false},
		"transparent": {pngOf(clear), "png", 300, 100, 150, color.RGBA{255, 255, 255, 255}, 150, 50,
			false},
		"animation": {animation, "gif", 300, 100, 30, red, 30, 10, false},
		"smaller than that": {pngOf(grey), "png", 300, 100, 1000, color.RGBA{77, 77, 77, 255}, 300, 100,
			false},
		"cut": {cut[:len(cut)-9], "jpeg", 300, 100, 300, red, 300, 100, true},
		"thin": {drawn(t, "png", 400, 2, store.Face{Width: 400, Height: 2}), "png", 400, 2, 40, red, 40, 1,
			false},
	} {
		dir, job := t.TempDir(), newJob(t)
		k := start(t, inForm(job, dir, Form{Size: c.size, Quality: 95, JSON: true}))
		img := processed(c.body, c.format, nil, 1)
		img.Result.Partial, img.Result.Bytes = c.partial, int64(len(c.body))
		if got := k.keep(t, img); got != store.KeptBody|store.KeptJPEG {
			t.Errorf("%s: outputs %b", name, got)
		}
		want := pipeline.Downloaded{Format: c.format, Width: c.width, Height: c.height,
			Bytes: int64(len(c.body)), Partial: c.partial}
		ok(t, k.Close())
		k = start(t, Options{Job: job})
		if o, err := k.Read(row(1)); err != nil || o.MadeOf == nil || *o.MadeOf != want {
			t.Errorf("%s: read as made of %+v, %v", name, o.MadeOf, err)
		}
		ok(t, k.Close())
		p := pairs(t, dir)[1]
		m := picture(t, p.body)
		if p.name != "000/000001.jpg" || m.Bounds().Size() != image.Pt(c.wide, c.high) ||
			!near(m, c.wide/2, c.high/2, c.want) {
			t.Errorf("%s: %s, %v, %v", name, p.name, m.Bounds(), m.At(c.wide/2, c.high/2))
		}
		if c.partial != (p.result.Partial == 1) || p.result.Format != c.format {
			t.Errorf("%s: %+v", name, p.result)
		}
	}
}

// TestFits leaves a JPEG that fits as it is.
func TestFits(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	k := start(t, inForm(job, dir, Form{Size: 200, Quality: 50}))
	body := drawn(t, "jpeg", 200, 150)
	if got := k.keep(t, processed(body, "jpeg", nil, 1)); got != store.KeptBody {
		t.Errorf("outputs %b", got)
	}
	ok(t, k.Close())
	if got := members(t, dir)["000/000001.jpg"]; got != string(body) {
		t.Errorf("%d bytes, want %d", len(got), len(body))
	}
}

// TestForms: a folder stays of one form, which is chosen when it is new.
func TestForms(t *testing.T) {
	dir, job := t.TempDir(), newJob(t)
	want := Form{Size: 77, Quality: 66, JSON: true}
	ok(t, start(t, inForm(job, dir, want)).Close())
	var had *Form
	o := Options{Job: job, Bodies: dir, Form: func(have *Form) (Form, error) {
		had = have
		return *have, nil
	}}
	k := start(t, o)
	if *had != want || k.bodies.form != want {
		t.Errorf("form %+v, chosen from %+v", k.bodies.form, had)
	}
	ok(t, k.Close())
	k = start(t, Options{Job: job, Bodies: dir})
	if k.bodies.form != want {
		t.Errorf("form %+v, without a choice", k.bodies.form)
	}
	ok(t, k.Close())
	o.Form = func(*Form) (Form, error) { return Form{}, errors.New("no") }
	if _, err := Open(t.Context(), o); err == nil || err.Error() != "--keep: no" {
		t.Errorf("a form that is refused: %v", err)
	}
	if is, err := token(dir); err != nil || len(is) != 16 {
		t.Errorf("token %q, %v", is, err)
	}
	cut := []byte(strings.Repeat("0", 16) + "\n{\"size")
	ok(t, os.WriteFile(filepath.Join(dir, hidden, jobFile), cut, 0o600))
	if _, err := formOf(dir); err == nil || !strings.Contains(err.Error(), "name another folder") {
		t.Errorf("a damaged form: %v", err)
	}
}
