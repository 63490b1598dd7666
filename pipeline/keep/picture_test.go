package keep

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/store"
)

// near reports whether a picture has this colour, within JPEG's error.
func near(m image.Image, x, y int, want color.RGBA) bool {
	r, g, b, _ := m.At(x, y).RGBA()
	for i, v := range []uint32{r, g, b} {
		if d := int(v>>8) - int([]uint8{want.R, want.G, want.B}[i]); d < -12 || d > 12 {
			return false
		}
	}
	return true
}

func picture(t testing.TB, b []byte) image.Image {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(b))
	ok(t, err)
	return m
}

var twoFaces = []store.Face{{X: 40, Y: 30, Width: 40, Height: 40, Score: 20},
	{X: 150, Y: 0, Width: 50, Height: 50, Score: 9}}

// TestCrops cuts out faces with their margin, clipped to the picture, best first.
func TestCrops(t *testing.T) {
	dir := t.TempDir()
	k := start(t, Options{Job: newJob(t), Crops: dir, Margin: 0.25})
	body := drawn(t, "png", 200, 150, twoFaces...)
	if got := k.keep(t, processed(body, "png", twoFaces, 7, 1_000_007)); got != store.Crops {
		t.Errorf("outputs %v", got)
	}
	if got := k.keep(t, processed(body, "png", nil, 8)); got != store.Crops {
		t.Errorf("without faces: outputs %v", got)
	}
	ok(t, k.Close())
	got := files(t, dir)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names,
		[]string{"000/000007-1.jpg", "000/000007-2.jpg", "001/000/001000007-1.jpg",
			"001/000/001000007-2.jpg"}) {
		t.Fatalf("files %v", names)
	}
	best, second := picture(t, got["000/000007-1.jpg"]), picture(t, got["001/000/001000007-2.jpg"])
	if best.Bounds().Size() != image.Pt(60, 60) || second.Bounds().Size() != image.Pt(63, 63) {
		t.Errorf("sizes %v and %v", best.Bounds(), second.Bounds())
	}
	if !near(best, 30, 30, color.RGBA{255, 0, 0, 255}) || near(best, 3, 3, color.RGBA{255, 0, 0, 255}) ||
		!near(second, 40, 20, color.RGBA{255, 60, 0, 255}) {
		t.Error("what is in the crops is not the faces")
	}
}

// turned is a JPEG with an EXIF orientation.
func turned(body []byte, orientation uint16) []byte {
	exif := []byte("Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01")
	exif = append(binary.BigEndian.AppendUint16(exif, orientation), 0, 0, 0, 0, 0, 0)
	head := binary.BigEndian.AppendUint16([]byte{0xff, 0xd8, 0xff, 0xe1}, uint16(len(exif)+2))
	return slices.Concat(head, exif, body[2:])
}

// TestUpright has pictures upright, as boxes are, and without the metadata that the download had.
func TestUpright(t *testing.T) {
	crops, blurred := t.TempDir(), t.TempDir()
	k := start(t, Options{Job: newJob(t), Crops: crops, Blurred: blurred})
	stored := store.Face{X: 10, Y: 20, Width: 32, Height: 32}
	body := turned(drawn(t, "jpeg", 200, 100, stored), 6) // to be turned a quarter, clockwise
	upright := store.Face{X: 100 - 20 - 32, Y: 10, Width: 32, Height: 32, Score: 9}
	img := processed(body, "jpeg", []store.Face{upright}, 1)
	img.Result.Width, img.Result.Height = 100, 200
	if got := k.keep(t, img); got != store.Crops|store.Blurred {
		t.Errorf("outputs %v", got)
	}
	ok(t, k.Close())
	crop := files(t, crops)["000/000001-1.jpg"]
	if m := picture(t, crop); m.Bounds().Size() != image.Pt(32, 32) ||
		!near(m, 16, 16, color.RGBA{255, 0, 0, 255}) || !near(m, 4, 28, color.RGBA{255, 0, 0, 255}) {
		t.Error("the crop is not the face")
	}
	whole := files(t, blurred)["000/000001.jpg"]
	if m := picture(t, whole); m.Bounds().Size() != image.Pt(100, 200) {
		t.Errorf("the blurred picture is %v", m.Bounds())
	}
	for name, b := range map[string][]byte{"crop": crop, "blurred": whole} {
		if bytes.Contains(b, []byte("Exif")) {
			t.Errorf("the %s picture has metadata", name)
		}
	}
}

// TestBlurHides has the detector look at a photo with its faces blurred: it finds none where they were.
// Around them nothing is changed.
func TestBlurHides(t *testing.T) {
	body, err := os.ReadFile(filepath.Join("..", "..", "detect", "testdata", "faces.jpg"))
	ok(t, err)
	detector, err := detect.New(detect.Defaults(detect.Pigo))
	ok(t, err)
	defer detector.Close()
	look := func(body []byte) []store.Face {
		d := decode.New(decode.Options{MinFace: 20})
		defer d.Close()
		img, err := d.Decode(body)
		ok(t, err)
		answers, err := detector.Detect(context.Background(),
			[]detect.Image{{Luma: img.Luma, Scale: img.Scale}})
		ok(t, err)
		var out []store.Face
		for _, f := range answers[0].Faces {
			x, y, w, h, _ := detect.Place(f, img.Scale, img.Width, img.Height)
			out = append(out, store.Face{X: x, Y: y, Width: w, Height: h, Score: f.Score})
		}
		return out
	}
	faces := look(body)
	if len(faces) == 0 {
		t.Fatal("the photo has no face to begin with")
	}
	dir := t.TempDir()
	k := start(t, Options{Job: newJob(t), Blurred: dir})
	k.keep(t, processed(body, "jpeg", faces, 1))
	ok(t, k.Close())
	after := files(t, dir)["000/000001.jpg"]
	for _, f := range look(after) {
		box := image.Rect(f.X, f.Y, f.X+f.Width, f.Y+f.Height)
		for _, was := range faces {
			old := image.Rect(was.X, was.Y, was.X+was.Width, was.Y+was.Height)
			if in := box.Intersect(old); 4*in.Dx()*in.Dy() > old.Dx()*old.Dy() {
				t.Errorf("the face at %v is still found, at %v", old, box)
			}
		}
	}
	before, now := picture(t, body), picture(t, after)
	colours := map[color.Color]bool{}
	f := faces[0]
	for y := f.Y; y < f.Y+f.Height; y++ {
		for x := f.X; x < f.X+f.Width; x++ {
			r, g, b, _ := now.At(x, y).RGBA()
			colours[color.RGBA{uint8(r>>8) &^ 15, uint8(g>>8) &^ 15, uint8(b>>8) &^ 15, 255}] = true
		}
	}
	if len(colours) > 200 {
		t.Errorf("a blurred face of %dx%d has %d colours", f.Width, f.Height, len(colours))
	}
	r, g, b, _ := before.At(2, 2).RGBA()
	if !near(now, 2, 2, color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}) {
		t.Error("the picture has changed away from the faces")
	}
}

// TestProcessedAgain removes what an earlier result made and the new one does not have.
func TestProcessedAgain(t *testing.T) {
	crops, blurred, job := t.TempDir(), t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Crops: crops, Blurred: blurred})
	defer k.Close()
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	complete := func(id int64, faces []store.Face) {
		t.Helper()
		k.keep(t, processed(body, "jpeg", faces, id))
	}
	names := func(dir string) []string { return slices.Sorted(maps.Keys(files(t, dir))) }
	for id := int64(1); id <= 3; id++ {
		complete(id, twoFaces)
	}
	complete(1, twoFaces[:1])
	complete(2, nil)
	failed := []store.Result{{ID: 3, Status: store.Failed, Reason: store.Timeout, Time: now()},
		{ID: 4, Status: store.Failed, Time: now()}}
	ok(t, k.Stage(lease(), failed))
	ok(t, k.Done(t.Context(), lease(), failed))
	if got := names(crops); !slices.Equal(got, []string{"000/000001-1.jpg"}) {
		t.Errorf("crops %v", got)
	}
	if got := names(blurred); !slices.Equal(got, []string{"000/000001.jpg", "000/000002.jpg"}) {
		t.Errorf("blurred %v", got)
	}
}

// TestThumbnails: the sample does not depend on the order, the processes, or repeated rows.
func TestThumbnails(t *testing.T) {
	const n, rows = 9, 100
	with, without := drawn(t, "jpeg", 400, 300, twoFaces...), drawn(t, "jpeg", 50, 150)
	var first []store.Thumbnail
	for _, order := range []func(i int) int64{
		func(i int) int64 { return int64(i + 1) },
		func(i int) int64 { return int64(rows - i) },
		func(i int) int64 { return int64(i*77%rows + 1) },
	} {
		job := newJob(t)
		keepers := []*Keeper{start(t, Options{Job: job, Thumbnails: n}),
			start(t, Options{Job: job, Thumbnails: n})}
		for i := range rows + rows/4 { // some come twice
			id := order(i % rows)
			img := processed(without, "jpeg", nil, id)
			if id%3 == 0 {
				img = processed(with, "jpeg", twoFaces, id)
			}
			if got := keepers[i%2].keep(t, img); got != 0 {
				t.Fatalf("outputs %v", got)
			}
			if i == rows/2 { // a restart
				ok(t, keepers[0].Close())
				keepers[0] = start(t, Options{Job: job, Thumbnails: n})
			}
		}
		for _, k := range keepers {
			ok(t, k.Close())
		}
		got, err := job.Samples(t.Context())
		ok(t, err)
		faces := 0
		for _, th := range got {
			if th.Faces {
				faces++
			}
			if th.Faces != (th.ID%3 == 0) || th.Rank != rank(th.ID) {
				t.Errorf("row %d: faces %v, rank %d", th.ID, th.Faces, th.Rank)
			}
			want := image.Pt(50, 150)
			if th.Faces {
				want = image.Pt(thumbSide, 240)
			}
			if m := picture(t, th.JPEG); m.Bounds().Size() != want || th.Faces &&
				!near(m, 48, 40, color.RGBA{255, 0, 0, 255}) {
				t.Errorf("row %d: a picture of %v", th.ID, m.Bounds())
			}
		}
		if len(got) != n || faces != 5 {
			t.Errorf("%d thumbnails, %d with faces", len(got), faces)
		}
		if first == nil {
			first = got
		}
		if !slices.EqualFunc(got, first, func(a, b store.Thumbnail) bool { return a.ID == b.ID }) {
			t.Errorf("another sample: %d %v", len(got), got[0].ID)
		}
	}
}

// TestShrink has every new pixel be the mean of the old ones below it, those at its edges in part.
func TestShrink(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 30, 12))
	for y := range 12 {
		for x := range 30 {
			m.SetRGBA(x, y, color.RGBA{255, uint8(8 * x), uint8(20 * y), 255})
		}
	}
	// mean is that of a shade that rises by step, over the i-th of n parts of old pixels.
	mean := func(i, old, n int, step float64) (sum float64) {
		width := float64(old) / float64(n)
		for at := range old {
			from, to := max(float64(at), float64(i)*width), min(float64(at+1), float64(i+1)*width)
			sum += max(0, to-from) / width * step * float64(at)
		}
		return sum
	}
	for _, size := range []image.Point{{30, 12}, {15, 6}, {20, 8}, {7, 5}, {1, 1}} {
		small := shrink(m, size.X, size.Y)
		for y := range size.Y {
			for x := range size.X {
				got, wantG, wantB := small.RGBAAt(x, y), mean(x, 30, size.X, 8), mean(y, 12, size.Y, 20)
				if got.R != 255 || got.A != 255 || math.Abs(float64(got.G)-wantG) > 0.6 ||
					math.Abs(float64(got.B)-wantB) > 0.6 {
					t.Fatalf("%v: at %d,%d %v, want %.1f and %.1f", size, x, y, got, wantG, wantB)
				}
			}
		}
	}
}

// TestThumbnailsBlurred has no face left in a small picture, but leaves the large one for others as it is.
func TestThumbnailsBlurred(t *testing.T) {
	job, crops := newJob(t), t.TempDir()
	striped := func(f store.Face) []byte { // the face is fine stripes
		m := image.NewRGBA(image.Rect(0, 0, 200, 150))
		for y := f.Y; y < f.Y+f.Height; y++ {
			for x := f.X; x < f.X+f.Width; x++ {
				m.Set(x, y, color.Gray{uint8(x % 2 * 255)})
			}
		}
		var b bytes.Buffer
		ok(t, jpeg.Encode(&b, m, &jpeg.Options{Quality: 100}))
		return b.Bytes()
	}
	k := start(t, Options{Job: job, Thumbnails: 1, BlurFaces: true, Blurred: t.TempDir(), Crops: crops})
	k.keep(t, processed(striped(twoFaces[0]), "jpeg", twoFaces[:1], 1))
	ok(t, k.Close())
	got, err := job.Samples(t.Context())
	ok(t, err)
	contrast := func(m image.Image, x, y int) float64 {
		a, _, _, _ := m.At(x, y).RGBA()
		b, _, _, _ := m.At(x+1, y).RGBA()
		return math.Abs(float64(a)-float64(b)) / 257
	}
	if c := contrast(picture(t, got[0].JPEG), 60, 50); c > 20 {
		t.Errorf("a contrast of %.0f in a blurred thumbnail", c)
	}
	if c := contrast(picture(t, files(t, crops)["000/000001-1.jpg"]), 20, 20); c < 60 {
		t.Errorf("a contrast of %.0f in a crop", c)
	}
	again, err := Blur(striped(twoFaces[0]), []store.Face{{X: 80, Y: 60, Width: 80, Height: 80}}, 400, 300,
		DefaultBlurMargin)
	ok(t, err)
	if c := contrast(picture(t, again), 60, 50); c > 20 {
		t.Errorf("a contrast of %.0f after Blur", c)
	}
}

// TestTogether keeps everything from many goroutines at once.
func TestTogether(t *testing.T) {
	bodies, crops, blurred, job := t.TempDir(), t.TempDir(), t.TempDir(), newJob(t)
	k := start(t, Options{Job: job, Bodies: bodies, TarSize: 100_000, Crops: crops, Blurred: blurred,
		Thumbnails: 10})
	body := drawn(t, "jpeg", 200, 150, twoFaces...)
	const workers, each = 4, 20
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := int64(w*each + i + 1)
				img := processed(body, "jpeg", twoFaces, id)
				out, err := k.Keep(context.Background(), img)
				if err == nil && out[0] != store.KeptBody|store.Crops|store.Blurred {
					err = fmt.Errorf("row %d: outputs %v", id, out)
				}
				if err == nil {
					err = k.Stage(lease(), resultsOf(img, out))
				}
				if err == nil {
					err = k.Done(context.Background(), lease(), resultsOf(img, out))
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	ok(t, k.Close())
	if a, b, c := len(members(t, bodies)), len(files(t, crops)), len(files(t, blurred)); a != workers*each ||
		b != 2*a || c != a {
		t.Errorf("%d bodies, %d crops, %d blurred", a, b, c)
	}
}

// Ranks are the outputs of SplitMix64, halved: another version of the program must draw the same sample.
func TestRank(t *testing.T) {
	step := uint64(0x9e3779b97f4a7c15)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if got := rank(int64(uint64(i) * step)); got != int64(want>>1) {
			t.Errorf("rank %d is %x, want %x", i, got, want>>1)
		}
	}
}
