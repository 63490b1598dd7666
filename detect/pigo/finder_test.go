package pigo

import (
	"context"
	"errors"
	"image"
	"math"
	"slices"
	"testing"

	"facescan/detect/detecttest/sample"
)

// failing is an engine whose call number n fails.
type failing struct {
	Engine
	n int
}

var errEngine = errors.New("the engine failed")

func (e *failing) Run(ctx context.Context, searches []Search) error {
	if e.n--; e.n == 0 {
		return errEngine
	}
	return e.Engine.Run(ctx, searches)
}

// TestFind finds the faces of each image of a batch, and passes the error of every call of the engine on.
func TestFind(t *testing.T) {
	c, err := Parse(Facefinder)
	must(t, err)
	blank := image.NewGray(image.Rect(0, 0, 200, 100))
	batch := []Image{{Luma: sample.Photo(t, 240), Scale: 1}, {Luma: blank, Scale: 1},
		{Luma: sample.Photo(t, 160), Scale: 1}}
	p := Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2}
	faces := map[int]int{}
	count := func(i int, fs []Face) { faces[i] = len(fs) }
	must(t, NewFinder(NewEngine(c)).Find(t.Context(), batch, p, count))
	if len(faces) != 3 || faces[0] == 0 || faces[1] != 0 || faces[2] == 0 {
		t.Errorf("faces by image: %v", faces)
	}
	calls := &failing{NewEngine(c), 1 << 30}
	must(t, NewFinder(calls).Find(t.Context(), batch, p, func(int, []Face) {}))
	for n := 1; n <= 1<<30-calls.n; n++ {
		err := NewFinder(&failing{NewEngine(c), n}).Find(t.Context(), batch, p, func(i int, _ []Face) {
			t.Errorf("call %d failed, and image %d has an answer", n, i)
		})
		if !errors.Is(err, errEngine) {
			t.Errorf("call %d failed: %v", n, err)
		}
	}
}

// TestFindNothing: an image that is too large has no face, and a search that is cancelled has no answer.
func TestFindNothing(t *testing.T) {
	c, err := Parse(Facefinder)
	must(t, err)
	f := NewFinder(NewEngine(c))
	p := Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2}
	// Without pixels, which are not read.
	vast := Image{Luma: &image.Gray{Rect: image.Rect(0, 0, 1<<15, 1<<14+1)}, Scale: 1}
	answers := 0
	batch := []Image{vast, {Luma: sample.Photo(t, 160), Scale: 1}}
	must(t, f.Find(t.Context(), batch, p, func(i int, faces []Face) {
		if answers++; (len(faces) > 0) != (i == 1) {
			t.Errorf("image %d has %d faces", i, len(faces))
		}
	}))
	if answers != 2 {
		t.Errorf("%d answers", answers)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Find(ctx, []Image{vast}, p, func(int, []Face) { t.Error("an answer") }); !errors.Is(err,
		context.Canceled) {
		t.Error(err)
	}
	oracle, err := NewOracle(Facefinder)
	must(t, err)
	if err := oracle.Run(ctx, make([]Search, 1)); !errors.Is(err, context.Canceled) {
		t.Error("pigo:", err)
	}
	if err := errors.Join(f.Close(), oracle.Close()); err != nil {
		t.Error(err)
	}
}

// TestPrepared: an image is smoothed below a scale of 1.5, and searched up to 2^29 pixels.
func TestPrepared(t *testing.T) {
	small := image.NewGray(image.Rect(0, 0, 30, 30))
	large := &image.Gray{Rect: image.Rect(0, 0, 1<<15, 1<<14)} // without pixels: they are not read yet
	vast := &image.Gray{Rect: image.Rect(0, 0, 1<<15, 1<<14+1)}
	for _, c := range []struct {
		luma  *image.Gray
		scale float64
		as    bool // searched as it is
		sides int  // of the image that is searched
	}{{small, 1, false, 60}, {small, 1.49, false, 60}, {small, 1.5, true, 60}, {large, 2, true, 3 << 14},
		{vast, 2, false, 0}} {
		var s scratch
		s.prepare([]Image{{Luma: c.luma, Scale: c.scale}}, Params{MinFace: 20, Shift: 0.1, Scale: 1.1})
		got := s.lumas[0]
		if (got == c.luma) != c.as || got.Rect.Dx()+got.Rect.Dy() != c.sides || len(s.passes) != 1 {
			t.Errorf("%v at %v is searched as %v, in %d passes", c.luma.Rect, c.scale, got.Rect, len(s.passes))
		}
	}
	for scale, want := range map[float64]int{4: 1, 1: 3, 3: 1, 1.5: 2} {
		if got := (Params{MinFace: 3}).passes(image.Pt(40, 30), scale)[0].MinSize; got != want {
			t.Errorf("a face of 3 pixels at %v: windows from %d, want %d", scale, got, want)
		}
	}
}

// TestParamsMemory: two copies of an image, and with a tilt two with the border that turned windows need.
func TestParamsMemory(t *testing.T) {
	for _, c := range []struct {
		angles        []float64
		width, height int
		want          int64
	}{
		{nil, 500, 375, 2 * 500 * 375}, {[]float64{0, 360}, 500, 375, 2 * 500 * 375},
		{[]float64{45}, 500, 375, 500*375 + 2*(500+160)*(375+160)},
		{[]float64{-11.25}, 375, 500, 500*375 + 2*(500+160)*(375+160)},
	} {
		if got := (Params{Angles: c.angles}).Memory(c.width, c.height); got != c.want {
			t.Errorf("%dx%d with angles %v: %d bytes, want %d", c.width, c.height, c.angles, got, c.want)
		}
	}
}

// TestRefinement: of faces that the first pass is uncertain of, this is what the version of these answers
// finds. A change that gives others needs another Version.
func TestRefinement(t *testing.T) {
	type photo struct {
		width   int
		degrees float64
		scale   float64
		angles  []float64
		found   []Face
	}
	photos := []photo{
		{60, 28, 1, nil, []Face{{7.998, 19.596, 42.350, 53.863}}},
		{60, 36, 1, nil, nil},
		{100, 32, 1, nil, []Face{{12.057, 32.147, 71.274, 32.362}}},
		{100, 36, 1, nil, []Face{{11.560, 32.628, 70.588, 11.605}}},
		{140, 32, 1, nil, []Face{{17.618, 45.742, 98.188, 35.451}}},
		{200, 32, 1, nil, []Face{{26.473, 66.712, 137.453, 28.449}}},
		{300, 32, 1, nil, []Face{{37.490, 98.573, 208.134, 28.665}}},
		{120, 28, 2, nil, []Face{{9.904, 37.184, 88.893, 15.056}}},
		{120, 32, 2, nil, []Face{{14.716, 39.005, 84.807, 34.258}}},
		{140, 62, 1, []float64{33.75}, []Face{{22.984, 45.239, 98.767, 59.644}}},
		{140, 58, 1, []float64{22.5, 45}, []Face{{22.516, 44.501, 100.488, 215.886}}},
	}
	c, err := Parse(Facefinder)
	must(t, err)
	oracle, err := NewOracle(Facefinder)
	must(t, err)
	for name, e := range map[string]Engine{"native": NewEngine(c), "pigo": oracle} {
		f := NewFinder(e)
		for _, ph := range photos {
			img := Image{Luma: sample.Tilted(sample.Photo(t, ph.width), ph.degrees), Scale: ph.scale}
			p := Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2, Angles: ph.angles}
			must(t, f.Find(t.Context(), []Image{img}, p, func(_ int, got []Face) {
				if !slices.EqualFunc(got, ph.found, near) {
					t.Errorf("%s: %d pixels wide, tilted by %v degrees: %.3f, want %.3f", name, ph.width,
						ph.degrees, got, ph.found)
				}
			}))
		}
	}
}

// near compares as exactly as processors agree on sums of floating-point numbers.
func near(a, b Face) bool {
	return max(math.Abs(a.X-b.X), math.Abs(a.Y-b.Y), math.Abs(a.Side-b.Side),
		math.Abs(a.Score-b.Score)) < 1e-2
}
