package yunet

import (
	"math"
	"testing"

	"facescan/detect/detecttest/sample"
)

// TestAnswers: this is what this version finds: small faces and large ones, upright and tilted,
// sure ones and some that are searched twice. A change that gives others needs another Version.
func TestAnswers(t *testing.T) {
	f := NewFinder()
	for _, c := range []struct {
		width   int
		degrees float64
		scale   float64
		p       Params
		faces   int
		best    Face    // without its landmarks
		points  float64 // their weighted sum
	}{
		{60, 0, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.5}, 1,
			Face{X: 10.1119, Y: 13.6181, Width: 37.7599, Height: 48.8634, Score: 0.914876}, 2400.963},
		{60, 0, 1, Params{MinFace: 10, IoU: 0.3, Floor: 0.3}, 1,
			Face{X: 10.9061, Y: 13.6574, Width: 38.3942, Height: 50.7333, Score: 0.920000}, 2538.522},
		{120, 0, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.5}, 1,
			Face{X: 22.6668, Y: 27.3105, Width: 78.2927, Height: 105.9853, Score: 0.920562}, 5184.174},
		{120, 0, 2, Params{MinFace: 20, IoU: 0.3, Floor: 0.3}, 1,
			Face{X: 25.6103, Y: 29.7264, Width: 71.5412, Height: 99.3845, Score: 0.927208}, 5074.697},
		{120, 0, 2, Params{MinFace: 40, IoU: 0.3, Floor: 0.3}, 1,
			Face{X: 22.6668, Y: 27.3105, Width: 78.2927, Height: 105.9853, Score: 0.920562}, 5184.174},
		{120, 40, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.1}, 1,
			Face{X: 13.4150, Y: 18.0124, Width: 98.9721, Height: 115.4430, Score: 0.877545}, 5261.753},
		{240, 50, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.1}, 1,
			Face{X: 28.1743, Y: 52.8368, Width: 180.0843, Height: 185.6343, Score: 0.856254}, 10692.811},
		{240, 78, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.2}, 1,
			Face{X: 89.9944, Y: 89.5446, Width: 96.3119, Height: 133.0044, Score: 0.679664}, 11120.229},
		{320, 0, 1, Params{MinFace: 20, IoU: 1, Floor: 0.6}, 1,
			Face{X: 64.3162, Y: 76.3770, Width: 190.3918, Height: 268.5025, Score: 0.939269}, 13829.777},
		{320, 0, 1, Params{MinFace: 20, MaxFace: 200, IoU: 0.3, Floor: 0.1}, 0,
			Face{}, 0},
		{320, 0, 1.6, Params{MinFace: 20, MaxFace: 440, IoU: 0.3, Floor: 0.1}, 1,
			Face{X: 67.8687, Y: 80.5141, Width: 185.2824, Height: 269.0726, Score: 0.945789}, 13775.235},
		{900, 84, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.2}, 1,
			Face{X: 128.9853, Y: 301.2375, Width: 689.2203, Height: 589.2595, Score: 0.224296}, 40680.666},
		{1400, 0, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.05}, 2,
			Face{X: 264.7242, Y: 355.8350, Width: 867.4597, Height: 1141.0910, Score: 0.943688}, 59845.073},
		{1400, 90, 1, Params{MinFace: 20, IoU: 0.3, Floor: 0.2}, 2,
			Face{X: 217.7349, Y: 417.6710, Width: 924.6915, Height: 883.1346, Score: 0.223899}, 55125.007},
		{1400, 48, 1, Params{MinFace: 300, IoU: 0.3, Floor: 0.05}, 5,
			Face{X: 116.1288, Y: 301.8306, Width: 1120.6060, Height: 1140.1837, Score: 0.866818}, 62919.084},
		{1400, 48, 1, Params{MinFace: 750, IoU: 0.3, Floor: 0.05}, 5,
			Face{X: 116.1288, Y: 301.8306, Width: 1120.6060, Height: 1140.1837, Score: 0.866818}, 62919.084},
		{1400, 48, 1, Params{MinFace: 20, MaxFace: 750, IoU: 0.3, Floor: 0.02}, 7,
			Face{X: 219.8313, Y: 740.6156, Width: 609.8750, Height: 613.5022, Score: 0.305387}, 49452.693},
	} {
		luma := sample.Photo(t, c.width)
		if c.degrees != 0 {
			luma = sample.Tilted(luma, c.degrees)
		}
		var best Face
		points := 0.0
		faces := f.Find(nil, luma, c.scale, c.p)
		if len(faces) > 0 {
			best = faces[0]
			for k, l := range best.Landmarks {
				points += float64(k+7)*l.X + float64(2*k+1)*l.Y
			}
		}
		off := max(math.Abs(best.X-c.best.X), math.Abs(best.Y-c.best.Y), math.Abs(best.Width-c.best.Width),
			math.Abs(best.Height-c.best.Height), 100*math.Abs(best.Score-c.best.Score),
			math.Abs(points-c.points)/50)
		if len(faces) != c.faces || off > 0.01 { // what is tilted depends on the processor's sines
			t.Errorf("%d pixels wide, tilted by %v degrees, scale %v, %+v: %d faces, {X: %.4f, Y: %.4f, "+
				"Width: %.4f, Height: %.4f, Score: %.6f}, %.3f", c.width, c.degrees, c.scale, c.p,
				len(faces), best.X, best.Y, best.Width, best.Height, best.Score, points)
		}
	}
}

// TestMemoryFigures: 1,000 bytes per column of the input and of the square of a second search, the pictures
// of a third and a ninth, and candidates.
func TestMemoryFigures(t *testing.T) {
	const rooms = 1000*128 + 2*(64<<10) + 128*128
	for _, c := range []struct {
		width, height       int
		columns, thirds, of int64 // candidates
	}{
		{1, 1, 32, 1, 4 * (4 * 4 * 3 / 2)}, {32, 32, 32, 11 * 11, 4 * (7 * 7 * 3 / 2)},
		{33, 32, 64, 11 * 11, 4 * (8 * 7 * 3 / 2)}, {640, 480, 640, 214 * 160, 4 * (83 * 63 * 3 / 2)},
		{641, 481, 672, 214 * 161, 4 * (84 * 64 * 3 / 2)}, {8000, 6000, 8000, 2667 * 2000, 4 * 16384},
	} {
		want := rooms + 1000*c.columns + c.thirds + c.thirds/8 + c.of*15*8
		if got := Memory(c.width, c.height); got != want {
			t.Errorf("%dx%d: %d bytes, want %d", c.width, c.height, got, want)
		}
	}
}
