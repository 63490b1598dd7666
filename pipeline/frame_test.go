package pipeline

import (
	"context"
	"errors"
	"image"
	"testing"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// corner is a detector that finds one face, a quarter of the luma with its landmarks in the middle, and notes
// what it was given.
type corner struct {
	scale float64
	luma  image.Point
}

func (c *corner) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	size := batch[0].Luma.Bounds().Size()
	c.scale, c.luma = batch[0].Scale, size
	f := detect.Face{Width: float64(size.X) / 2, Height: float64(size.Y) / 2, Score: 1, HasLandmarks: true}
	for i := range f.Landmarks {
		f.Landmarks[i] = detect.Point{X: float64(size.X) / 4, Y: float64(size.Y) / 4}
	}
	return []detect.Answer{{Faces: []detect.Face{f}}}, nil
}
func (c *corner) Fingerprint() string { return "corner/1" }
func (c *corner) Close() error        { return nil }

// TestSmallerPicture: of an image of which a smaller picture was kept the result is that of the image, with
// faces in its pixels, and a detector looks for faces that are as large in the image as --min-face says, as
// far as it can find them in the picture.
func TestSmallerPicture(t *testing.T) {
	for _, c := range []struct {
		name          string
		minFace       int
		width, height int // as downloaded; the picture has 200x150
		luma          image.Point
		scale         float64
	}{
		{"faces that a detector just finds", 20, 800, 600, image.Pt(200, 150), 1},
		{"as large in the picture as it needs", 80, 800, 600, image.Pt(200, 150), 4},
		{"larger", 160, 800, 600, image.Pt(100, 75), 8},
		{"the same size", 40, 200, 150, image.Pt(100, 75), 2},
		{"sides that were rounded", 20, 1333, 1003, image.Pt(200, 150), 1},
		{"no limit", 0, 800, 600, image.Pt(200, 150), 1},
	} {
		d := &corner{}
		p, _ := processorOf(d, decode.Options{MinFace: c.minFace})
		res, err := p.process(t.Context(), &task{body: &fetch.Body{Bytes: picture(200, 150), Status: 200},
			madeOf: &Downloaded{Format: "png", Width: c.width, Height: c.height, Bytes: 12345,
				Partial: true}})
		p.close()
		if err != nil {
			t.Fatal(err)
		}
		if d.scale != c.scale || d.luma != c.luma {
			t.Errorf("%s: luma of %v at scale %v, want %v at %v", c.name, d.luma, d.scale, c.luma, c.scale)
		}
		if res.Status != store.OK || res.Format != "png" || res.Width != c.width || res.Height != c.height ||
			res.Bytes != 12345 || !res.Partial || len(res.Faces) != 1 {
			t.Errorf("%s: %+v", c.name, res)
			continue
		}
		f := res.Faces[0]
		off := func(have, want int) bool { return have-want > 1 || want-have > 1 }
		if f.X != 0 || f.Y != 0 || off(f.Width, c.width/2) || off(f.Height, c.height/2) ||
			off(int(f.Landmarks[4]), 10*c.width/4) || off(int(f.Landmarks[5]), 10*c.height/4) {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// panics keeps by decoding, and dies of it.
type panics struct{ *shelf }

func (panics) Keep(context.Context, Processed) ([]store.Outputs, error) { panic("of an image") }

// TestKeepingDecodes: without a detector the Keeper is the first to decode, so it works in a decoder slot,
// where the row is noted.
func TestKeepingDecodes(t *testing.T) {
	var noted []int64
	p, _ := processorOf(nil, decode.Options{})
	defer p.close()
	p.decoding = func(_ int, id int64) { noted = append(noted, id) }
	s := &processStage{processor: p, keeper: newShelf(), activity: &activity{}}
	tk := &task{row: store.Row{ID: 7}, body: &fetch.Body{Bytes: picture(20, 20)}}
	img := Processed{Rows: []store.Row{{ID: 7}}, Generations: []int64{1},
		Result: &store.Result{Faces: make([]store.Face, 1)}, Original: Original{Body: tk.body.Bytes}}
	_, err := s.keepers(t.Context(), tk, img)
	if err == nil || len(noted) != 2 || noted[0] != 7 || noted[1] != 0 {
		t.Errorf("noted %v, %v", noted, err)
	}
	s.keeper = panics{newShelf()}
	var panicked *panicError
	if _, err := s.keepers(t.Context(), tk, img); !errors.As(err, &panicked) {
		t.Errorf("a Keeper that panics: %v", err)
	}
	tk.suspect = 1
	p.trial = func(context.Context, []byte) error { return errors.New("it crashes") }
	if out, err := s.keepers(t.Context(), tk, img); err != nil || len(out) != 1 || out[0] != 0 {
		t.Errorf("an image that crashes decoders: %v, %v", out, err)
	}
}
