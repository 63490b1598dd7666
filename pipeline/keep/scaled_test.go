package keep

import (
	"slices"
	"testing"

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
