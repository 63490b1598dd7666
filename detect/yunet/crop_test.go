package yunet

import (
	"image"
	"testing"
)

// TestCropEdges takes parts that reach over every edge of a picture: outside it is black, and what lies
// behind a row in memory is not part of it.
func TestCropEdges(t *testing.T) {
	whole := image.NewGray(image.Rect(0, 0, 20, 16))
	for i := range whole.Pix {
		whole.Pix[i] = 255 // also around the part that is the picture
	}
	from := whole.SubImage(image.Rect(4, 4, 12, 10)).(*image.Gray)
	for i := range 6 {
		for k := range 8 {
			from.Pix[i*from.Stride+k] = 100
		}
	}
	for _, c := range []struct{ x, y int }{{-3, -3}, {0, 0}, {4, 3}, {6, -1}, {-2, 4}} {
		to := image.NewGray(image.Rect(0, 0, 5, 5))
		crop(to, from, float64(c.x), float64(c.y), 1)
		for row := range 5 {
			for col := range 5 {
				want := uint8(0)
				if x, y := c.x+col, c.y+row; x >= 0 && x < 8 && y >= 0 && y < 6 {
					want = 100
				}
				if got := to.GrayAt(col, row).Y; got != want {
					t.Errorf("from %d,%d: pixel %d,%d is %d, want %d", c.x, c.y, col, row, got, want)
				}
			}
		}
	}
	to := image.NewGray(image.Rect(0, 0, 4, 4)) // half a pixel over each edge: the mean of inside and outside
	crop(to, from, 4.5, 2.5, 1)
	for i, want := range []uint8{100, 100, 100, 50} {
		if row, col := to.GrayAt(i, 0).Y, to.GrayAt(0, i).Y; row != want || col != want {
			t.Errorf("pixel %d along the edges is %d and %d, want %d", i, row, col, want)
		}
	}
}
