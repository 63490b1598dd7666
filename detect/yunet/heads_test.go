package yunet

import (
	"math"
	"slices"
	"testing"
)

// exp is close to the library's, and the heads' decoding does what its comment says.
func TestExp(t *testing.T) {
	for v := -80.0; v < 80; v += 0.0137 {
		if got, want := exp(v), math.Exp(v); math.Abs(got-want) > 1e-13*want {
			t.Errorf("exp(%v) is %v, not %v", v, got, want)
		}
	}
	if exp(-80) != exp(-1000) || exp(80) != exp(1000) || exp(79.9) == exp(80) || exp(-79.9) == exp(-80) {
		t.Error("values are not bounded by -80 and 80")
	}
}

// TestThresholds: one step below a threshold no cell can reach the floor, and the thresholds leave out what
// is more than two steps below it.
func TestThresholds(t *testing.T) {
	for _, floor := range []float64{0.001, 0.02, 0.1, 0.3, 0.45, 0.9} {
		for level, least := range net.thresholds(floor) {
			unit := net.blocks[head8+level].unit
			for i, v := range []int16{least.class, least.object} {
				at := func(steps int16) float64 { return probability(float64(v+steps) * unit[i]) }
				if v == math.MinInt16 {
					continue
				}
				if p := floor * floor; at(1) > p || at(2) <= p {
					t.Errorf("floor %v, level %d, value %d: %v and %v", floor, level, i, at(1), at(2))
				}
			}
		}
	}
	for _, least := range net.thresholds(0) {
		if least.class != math.MinInt16 || least.object != math.MinInt16 {
			t.Errorf("without a floor: %+v", least)
		}
	}
}

// TestDistinct: a box that overlaps a better one by more than the IoU, or by more than 0.7 of the smaller
// one, is the same face; one that does so by as much is not.
func TestDistinct(t *testing.T) {
	box := func(x, y, width, height float64) Face { return Face{X: x, Y: y, Width: width, Height: height} }
	for _, c := range []struct {
		name  string
		a, b  Face
		iou   float64
		faces int
	}{
		{"the same", box(0, 0, 9, 9), box(0, 0, 9, 9), 0.5, 1},
		{"as much", box(0, 0, 3, 2), box(1, 0, 3, 2), 0.5, 2},
		{"a little more", box(0, 0, 3, 2), box(0.99, 0, 3, 2), 0.5, 1},
		{"as much, below", box(0, 0, 2, 3), box(0, 1, 2, 3), 0.5, 2},
		{"a little more, below", box(0, 0, 2, 3), box(0, 0.99, 2, 3), 0.5, 1},
		{"as much of it inside", box(0, 0, 100, 100), box(93, 0, 10, 10), 0.5, 2},
		{"more of it inside", box(0, 0, 100, 100), box(92.9, 0, 10, 10), 0.5, 1},
		{"a larger one around", box(93, 0, 10, 10), box(0, 0, 100, 100), 0.5, 2},
		{"more of a larger one around", box(92.9, 0, 10, 10), box(0, 0, 100, 100), 0.5, 1},
		{"side by side", box(0, 0, 0.5, 0.5), box(0.5, 0, 0.5, 0.5), 0.3, 2},
		{"apart", box(0, 0, 0.5, 0.5), box(0.7, 0.1, 0.5, 0.5), 0.3, 2},
		{"one above the other", box(0, 0, 0.5, 0.5), box(0.1, 0.7, 0.5, 0.5), 0.3, 2},
		{"apart in both directions", box(0, 0, 0.5, 0.5), box(0.7, 0.7, 0.5, 0.5), 0.3, 2},
		{"no overlap is too much", box(0, 0, 3, 2), box(2.9, 0, 3, 2), 0, 1},
	} {
		c.a.Score, c.b.Score = 0.9, 0.8
		for _, order := range []candidates{{c.a, c.b}, {c.b, c.a}} {
			before := []Face{c.a} // of another picture
			got := order.distinct(before, c.iou)
			if len(got) != 1+c.faces || got[1] != c.a {
				t.Errorf("%s: %v", c.name, got[1:])
			}
		}
	}
}

// TestBetter: by score, and faces that are as good by place and size.
func TestBetter(t *testing.T) {
	in := []Face{{Score: 0.9, Y: 9, X: 9, Width: 9, Height: 9}, {Score: 0.5, X: 9, Width: 9, Height: 9},
		{Score: 0.5, Y: 1, Width: 9, Height: 9}, {Score: 0.5, Y: 1, X: 1, Height: 9},
		{Score: 0.5, Y: 1, X: 1, Width: 1}, {Score: 0.5, Y: 1, X: 1, Width: 1, Height: 1}}
	got := slices.Clone(in)
	slices.Reverse(got)
	if slices.SortFunc(got, better); !slices.Equal(got, in) {
		t.Errorf("%+v", got)
	}
}

// TestCells: a box counts from the least score and side on, up to the largest side; one of a coarser pass
// only if it has the area of 50 by 50 pixels of the input.
func TestCells(t *testing.T) {
	plain := cell{} // 8x8 pixels of the input, score 0.5
	for _, c := range []struct {
		p           Params
		unit, scale float64
		coarse      bool
		kept        bool
	}{
		{Params{}, 1, 1, false, true},
		{Params{Floor: 0.5}, 1, 1, false, true}, {Params{Floor: 0.5000001}, 1, 1, false, false},
		{Params{MinFace: 8}, 1, 1, false, true}, {Params{MinFace: 9}, 1, 1, false, false},
		{Params{MinFace: 16}, 2, 1, false, true}, {Params{MinFace: 17}, 2, 1, false, false},
		{Params{MinFace: 16}, 1, 2, false, true}, {Params{MinFace: 17}, 1, 2, false, false},
		{Params{MaxFace: 8}, 1, 1, false, true}, {Params{MaxFace: 7}, 1, 1, false, false},
		{Params{MaxFace: 16}, 1, 2, false, true}, {Params{MaxFace: 15}, 1, 2, false, false},
		{Params{MaxFace: 1}, 1, 1, false, false},
		{Params{}, 3, 1, true, false},
	} {
		f := &Finder{params: c.p, unit: c.unit, scale: c.scale, coarse: c.coarse}
		f.cells([]cell{plain})
		if kept := len(f.candidates) > 0; kept != c.kept {
			t.Errorf("%+v: kept %t", c, kept)
		}
	}
	kept, tried := 0, 0
	for v := 0; v <= math.MaxInt16; v += 8 {
		c := cell{level: 2}
		c.v[4], c.v[5] = int16(v), int16(v)
		tried++
		f := &Finder{unit: 1, scale: 1, coarse: true}
		f.cells([]cell{c})
		face := net.face(&c)
		if large := face.Width*face.Height >= 2500; large != (len(f.candidates) > 0) {
			t.Fatalf("a coarse box of %v by %v: kept %t", face.Width, face.Height, !large)
		}
		kept += len(f.candidates)
	}
	if kept == 0 || kept == tried {
		t.Errorf("%d of %d boxes are large", kept, tried)
	}
}
