package yunet

import (
	"image"
	"math"
	"testing"
)

// TestRefined: the network decides again about scores between the two bounds, and about no more than a few
// candidates; on a black picture it lowers them.
func TestRefined(t *testing.T) {
	t.Parallel()
	f := NewFinder()
	f.levels = []level{{image.NewGray(image.Rect(0, 0, 90, 90)), 1}}
	find := func(scores ...float64) (faces []Face) {
		for _, score := range scores {
			faces = append(faces, Face{X: 20, Y: 20, Width: 40, Height: 40, Score: score})
		}
		f.refine(faces)
		return faces
	}
	// A network that sees nothing says 1 to 49, and the mean is that of the odds' logarithms: 1 to 1 becomes
	// 1 to 7.
	for score, want := range map[float64]float64{0.1: 0.1, 0.3: 0.3, 0.31: 0.087387, 0.5: 0.125, 0.64: 0.16,
		0.65: 0.65, 0.9: 0.9} {
		if got := find(score)[0].Score; math.Abs(got-want) > 1e-6 {
			t.Errorf("%g became %g, want %g", score, got, want)
		}
	}
	crowd := make([]float64, 57)
	for i := range crowd {
		crowd[i] = 0.5
	}
	for i, face := range find(crowd...) {
		if face.Score < 0.5 != (i < 48) {
			t.Errorf("candidate %d has %g", i, face.Score)
		}
	}
}

// TestCloseup: a box in the square is the candidate from an IoU of 0.4 on, where the square shows it; the
// best score counts, between 1 to 49 and 49 to 1.
func TestCloseup(t *testing.T) {
	// Without values a cell is a box as large as its stride, around the cell's corner: 8 pixels from 36 on.
	plain := cell{x: 5, y: 5}
	better := plain
	better.v[0], better.v[1] = 500, 500
	score := func(c cell) float64 { return net.face(&c).Score }
	if score(plain) != 0.5 || score(better) < 0.6 {
		t.Fatalf("scores of %v and %v", score(plain), score(better))
	}
	for _, c := range []struct {
		x, y, side float64 // of the candidate
		unit       float64
		mirror     bool
		found      bool
	}{
		{36, 36, 8, 1, false, true}, {39.4, 36, 8, 1, false, true}, {39.5, 36, 8, 1, false, false},
		{32.6, 36, 8, 1, false, true}, {32.5, 36, 8, 1, false, false}, {36, 39.4, 8, 1, false, true},
		{36, 39.5, 8, 1, false, false}, {36, 36, 12, 1, false, true}, {36, 36, 13, 1, false, false},
		{84, 36, 8, 1, true, true}, {87.4, 36, 8, 1, true, true}, {87.5, 36, 8, 1, true, false},
		{36, 36, 8, 1, true, false}, {84, 36, 8, 1, false, false},
		{72, 72, 16, 2, false, true}, {168, 72, 16, 2, true, true}, {36, 36, 8, 2, false, false},
	} {
		const x, y = 100, 200 // of the square's corner
		f := closeup{candidate: Face{X: x + c.x, Y: y + c.y, Width: c.side, Height: c.side}, x: x, y: y,
			unit: c.unit, mirror: c.mirror}
		f.cells([]cell{plain, better, plain})
		want := 0.0
		if c.found {
			want = score(better)
		}
		if f.best != want {
			t.Errorf("%+v: %v, want %v", c, f.best, want)
		}
	}
	for p, want := range map[float64]float64{0: 1.0 / 49, 0.02: 1.0 / 49, 0.2: 0.25, 0.5: 1, 0.98: 49, 1: 49} {
		if got := odds(p); math.Abs(got-want) > 1e-9 {
			t.Errorf("the odds of %v are %v, want %v", p, got, want)
		}
	}
}
