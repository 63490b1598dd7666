package yunet

import (
	"image"
	"math"
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

// TestCropScaled: a pixel of the square lies on a straight line between its neighbours;
// from 1.25 pixels on it is the mean of four such places.
func TestCropScaled(t *testing.T) {
	from := image.NewGray(image.Rect(0, 0, 64, 48))
	for i := range from.Pix {
		from.Pix[i] = uint8(i * i >> 2)
	}
	at := func(x, y float64) float64 { // of a place, where the centres of pixels lie at halves
		u, v := math.Floor(x-0.5), math.Floor(y-0.5)
		du, dv := x-0.5-u, y-0.5-v
		p := func(i, j float64) float64 { return float64(from.GrayAt(int(u+i), int(v+j)).Y) }
		return (p(0, 0)*(1-du)+p(1, 0)*du)*(1-dv) + (p(0, 1)*(1-du)+p(1, 1)*du)*dv
	}
	for _, c := range []struct {
		x, y, unit float64
		places     int
	}{{3, 5, 1, 1}, {3.25, 5.5, 1.25, 1}, {3, 5, 1.5, 2}, {2.5, 1.75, 2, 2}, {10, 8, 0.5, 1}, {-3, -2, 3,
		2}} {
		to := image.NewGray(image.Rect(0, 0, 16, 12))
		crop(to, from, c.x, c.y, c.unit)
		for row := range 12 {
			for col := range 16 {
				sum := 0.0
				for i := range c.places {
					for j := range c.places {
						sum += at(c.x+(float64(col)+(float64(j)+0.5)/float64(c.places))*c.unit,
							c.y+(float64(row)+(float64(i)+0.5)/float64(c.places))*c.unit)
					}
				}
				// All places are whole 256ths of a pixel, so that the mean is exact.
				want := math.Floor(sum/float64(c.places*c.places) + 0.5)
				if got := float64(to.GrayAt(col, row).Y); got != want {
					t.Fatalf("%+v: pixel %d,%d is %v, want %v", c, col, row, got, want)
				}
			}
		}
	}
}

// TestLevelOfCloseup: a large candidate is searched in a smaller picture.
func TestLevelOfCloseup(t *testing.T) {
	plain := func(side int, v uint8) *image.Gray {
		m := image.NewGray(image.Rect(0, 0, side, side))
		for i := range m.Pix {
			m.Pix[i] = v
		}
		return m
	}
	c := newCloseup()
	levels := []level{{plain(900, 10), 1}, {plain(300, 100), 3}, {plain(100, 200), 9}}
	for _, f := range []struct {
		side float64
		want uint8
	}{{40, 10}, {2*closeFace - 1, 10}, {2 * closeFace, 10}, {2*closeFace + 1, 100}, {6 * closeFace, 100},
		{6*closeFace + 1, 200}} {
		c.score(Face{X: 450 - f.side/2, Y: 450 - f.side/2, Width: f.side, Height: f.side, Score: 0.5}, levels)
		if got := c.square.GrayAt(closeSide/2, closeSide/2).Y; got != f.want {
			t.Errorf("a face of %v pixels is seen at %d, want %d", f.side, got, f.want)
		}
	}
}
