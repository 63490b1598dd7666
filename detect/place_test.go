package detect_test

import (
	"testing"

	"facescan/detect"
)

// TestPlaceTravelled: a face is placed alike whether it comes as it was found, or in full pixels as float32.
func TestPlaceTravelled(t *testing.T) {
	const side = 8192
	for n := 1; n <= 8; n++ {
		scale := 8 / float64(n)
		for i := range 200_000 {
			f := detect.Face{X: float64(i) / 256, Y: float64(7*i) / 256, Width: 30 + float64(i%999)/256,
				Height: 31}
			x, y, w, h, ok := detect.Place(f, scale, side, side)
			travel := func(v float64) float64 { return float64(float32(v*scale)) / scale }
			g := detect.Face{X: travel(f.X), Y: travel(f.Y), Width: travel(f.Width), Height: travel(f.Height)}
			x2, y2, w2, h2, ok2 := detect.Place(g, scale, side, side)
			if x != x2 || y != y2 || w != w2 || h != h2 || ok != ok2 {
				t.Fatalf("scale %v: %+v is at %d,%d %dx%d, and %d,%d %dx%d when it travelled", scale, f, x, y,
					w, h, x2, y2, w2, h2)
			}
		}
	}
}

// TestPlaceLandmarks: landmarks are rounded half up to tenths of a pixel, and are not clipped to the image.
func TestPlaceLandmarks(t *testing.T) {
	l := detect.Landmarks{{X: 1, Y: 2.25}, {X: -3.5, Y: 0.0625}, {X: 10.078125, Y: 1e9},
		{X: -1e9, Y: 0.03}, {}}
	for scale, want := range map[float64][10]int32{
		1: {10, 23, -35, 1, 101, 1 << 24 * 10, -1 << 24 * 10, 0, 0, 0},
		2: {20, 45, -70, 1, 202, 1 << 24 * 10, -1 << 24 * 10, 1, 0, 0},
	} {
		if got := detect.PlaceLandmarks(l, scale); got != want {
			t.Errorf("scale %v: %v, want %v", scale, got, want)
		}
	}
}

// TestPlaceAtEdges has faces of which less than a pixel lies in the image: they have a pixel, at that edge.
func TestPlaceAtEdges(t *testing.T) {
	for _, c := range []struct {
		face       detect.Face
		x, y, w, h int
	}{
		{detect.Face{X: -10, Y: 5, Width: 10.25, Height: 10}, 0, 5, 1, 10},
		{detect.Face{X: 5, Y: -10, Width: 10, Height: 10.75}, 5, 0, 10, 1},
		{detect.Face{X: 99.75, Y: 49.75, Width: 10, Height: 10}, 99, 49, 1, 1},
	} {
		x, y, w, h, ok := detect.Place(c.face, 1, 100, 50)
		if !ok || x != c.x || y != c.y || w != c.w || h != c.h {
			t.Errorf("%+v: %d,%d %dx%d %v, want %d,%d %dx%d", c.face, x, y, w, h, ok, c.x, c.y, c.w, c.h)
		}
	}
	for _, x := range []float64{-10, 100} {
		f := detect.Face{X: x, Y: 5, Width: 10, Height: 10}
		if _, _, _, _, ok := detect.Place(f, 1, 100, 50); ok {
			t.Errorf("%+v only touches the image", f)
		}
	}
}
