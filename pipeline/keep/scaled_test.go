package keep

import (
	"image"
	"math"
	"reflect"
	"slices"
	"testing"

	"facescan/pipeline/decode"
	"facescan/store"
)

// TestScaled has faces in pictures of other sizes: what a face covers there is within its box, rounded
// outwards.
func TestScaled(t *testing.T) {
	box := func(x, y, width, height int) store.Face {
		return store.Face{X: x, Y: y, Width: width, Height: height}
	}
	for _, c := range []struct {
		name          string
		width, height int // of the picture; the image has 400x300
		face, want    store.Face
	}{
		{"the same size", 400, 300, box(10, 20, 30, 40), box(10, 20, 30, 40)},
		{"half", 200, 150, box(100, 60, 50, 40), box(50, 30, 25, 20)},
		{"half, odd sides", 200, 150, box(101, 61, 51, 41), box(50, 30, 26, 21)},
		{"not the same by width and height", 40, 60, box(100, 60, 50, 40), box(10, 12, 5, 8)},
		{"larger", 800, 900, box(100, 60, 50, 40), box(200, 180, 100, 120)},
		{"the whole image", 7, 5, box(0, 0, 400, 300), box(0, 0, 7, 5)},
		{"a pixel, a little larger", 401, 301, box(0, 0, 1, 1), box(0, 0, 2, 2)},
		{"a pixel of it", 7, 5, box(399, 299, 1, 1), box(6, 4, 1, 1)},
	} {
		got := scaled([]store.Face{c.face, c.face}, 400, 300, c.width, c.height)
		if want := []store.Face{c.want, c.want}; !slices.EqualFunc(got, want, func(a, b store.Face) bool {
			return a.X == b.X && a.Y == b.Y && a.Width == b.Width && a.Height == b.Height
		}) {
			t.Errorf("%s: %+v, want %+v", c.name, got[0], c.want)
		}
	}
}

// TestFit: no side is longer than asked, none is lost, and nothing grows.
func TestFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ width, height, side, w, h int }{
		{400, 300, 200, 200, 150}, {300, 400, 200, 150, 200}, {400, 300, 400, 400, 300},
		{400, 300, 401, 400, 300},
		{400, 300, 399, 399, 299}, {400, 1, 40, 40, 1}, {1, 400, 40, 1, 40}, {3, 2, 1, 1, 1},
		{1000, 15, 100, 100, 2},
		{1000, 14, 100, 100, 1},
	} {
		if w, h := fit(c.width, c.height, c.side); w != c.w || h != c.h {
			t.Errorf("%dx%d within %d: %dx%d, want %dx%d", c.width, c.height, c.side, w, h, c.w, c.h)
		}
	}
}

// TestInSize moves faces and landmarks with their picture, each direction by its own factor.
func TestInSize(t *testing.T) {
	t.Parallel()
	face := store.Face{X: 10, Y: 20, Width: 30, Height: 40, Score: 9, HasLandmarks: true,
		Landmarks: store.Landmarks{100, 100, 201, 201, 302, 302, 403, 403, 504, 504}}
	for _, c := range []struct {
		from, to image.Point
		want     store.Face
	}{
		{image.Pt(100, 100), image.Pt(100, 100), face},
		{image.Pt(100, 100), image.Pt(50, 25), store.Face{X: 5, Y: 5, Width: 15, Height: 10,
			Landmarks: store.Landmarks{50, 25, 101, 50, 151, 76, 202, 101, 252, 126}}},
		{image.Pt(100, 100), image.Pt(100, 50), store.Face{X: 10, Y: 10, Width: 30, Height: 20,
			Landmarks: store.Landmarks{100, 50, 201, 101, 302, 151, 403, 202, 504, 252}}},
		{image.Pt(100, 100), image.Pt(200, 300), store.Face{X: 20, Y: 60, Width: 60, Height: 120,
			Landmarks: store.Landmarks{200, 300, 402, 603, 604, 906, 806, 1209, 1008, 1512}}},
		{image.Pt(100, 100), image.Pt(1, 1), store.Face{X: 0, Y: 0, Width: 1, Height: 1,
			Landmarks: store.Landmarks{1, 1, 2, 2, 3, 3, 4, 4, 5, 5}}},
	} {
		c.want.Score, c.want.HasLandmarks = 9, true
		got := inSize([]store.Face{face}, c.from.X, c.from.Y, c.to.X, c.to.Y)
		if len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("from %v to %v: %+v, want %+v", c.from, c.to, got, c.want)
		}
	}
	for _, c := range []struct {
		from, length int
		by           float64
		n, lo, size  int
	}{{0, 100, 1, 100, 0, 100}, {99, 1, 0.1, 10, 9, 1}, {10, 1, 0.1, 10, 1, 1}, {15, 20, 0.1, 10, 2, 2},
		{95, 5, 0.1, 10, 9, 1}, {0, 105, 0.1, 10, 0, 10}} {
		if lo, size := stretch(c.from, c.length, c.by, c.n); lo != c.lo || size != c.size {
			t.Errorf("%+v: %d, %d", c, lo, size)
		}
	}
}

// TestInStored turns boxes and landmarks as the file is turned; a mirror makes the right eye and corner of
// the mouth the left ones.
func TestInStored(t *testing.T) {
	t.Parallel()
	const width, height = 240, 160
	face := store.Face{X: 30, Y: 60, Width: 50, Height: 40, Score: 9, HasLandmarks: true,
		Landmarks: store.Landmarks{401, 702, 603, 704, 505, 806, 407, 908, 609, 910}}
	for orientation := range 9 {
		got := inStored([]store.Face{face}, orientation, width, height)[0]
		if orientation < 2 {
			if !reflect.DeepEqual(got, face) {
				t.Errorf("orientation %d: %+v", orientation, got)
			}
			continue
		}
		b := decode.ToStored(decode.Box{X: 30, Y: 60, Width: 50, Height: 40}, orientation, width, height)
		want := store.Face{X: int(b.X), Y: int(b.Y), Width: int(b.Width), Height: int(b.Height), Score: 9,
			HasLandmarks: true}
		places := []int{0, 1, 2, 3, 4}
		if decode.Mirrors(orientation) {
			places = []int{1, 0, 2, 4, 3}
		}
		for i, to := range places {
			p := decode.ToStored(decode.Box{X: float64(face.Landmarks[2*i]) / 10,
				Y: float64(face.Landmarks[2*i+1]) / 10}, orientation, width, height)
			want.Landmarks[2*to] = int32(math.Round(10 * p.X))
			want.Landmarks[2*to+1] = int32(math.Round(10 * p.Y))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("orientation %d: %+v, want %+v", orientation, got, want)
		}
		face := face
		face.HasLandmarks, face.Landmarks = false, store.Landmarks{}
		if got := inStored([]store.Face{face}, orientation, width,
			height)[0]; got.Landmarks != face.Landmarks {
			t.Errorf("orientation %d: landmarks %v of a face without", orientation, got.Landmarks)
		}
	}
}
