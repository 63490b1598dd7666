package yunet

import (
	"cmp"
	"math"
	"slices"
)

// cell is a head's output for one cell of its map. The native code writes them in this layout.
type cell struct {
	level, x, y int32 // level 0, 1, 2: strides 8, 16, 32
	v           [channels]int16
}

// threshold is the least class and object value of a cell that may hold a face.
type threshold struct{ class, object int16 }

// most is how many candidates of an image are kept, the best ones. A face gives about ten; an image with more
// than a thousand faces loses the weakest.
const most = 1 << 14

// thresholds returns the least values with which the score of a cell can reach floor. The score is the root
// of the product of two probabilities, so neither can be below the floor's square.
func (w *weights) thresholds(floor float64) (out [3]threshold) {
	p := floor * floor
	for level := range out {
		unit := w.blocks[head8+level].unit
		at := func(unit float64) int16 {
			v := math.Floor(math.Log(p/(1-p))/unit) - 1 // one less, since Log may differ by a bit
			return int16(min(max(v, math.MinInt16), math.MaxInt16))
		}
		out[level] = threshold{at(unit[0]), at(unit[1])}
	}
	return out
}

// face decodes a cell, in pixels of the network's input. Each product and sum is rounded by an explicit
// conversion, so that no compiler fuses them: the answer is the same on every processor.
func (w *weights) face(c *cell) Face {
	unit := w.blocks[head8+int(c.level)].unit
	v := func(i int) float64 { return float64(float64(c.v[i]) * unit[i]) }
	stride := float64(int(8) << c.level)
	x, y := float64(c.x), float64(c.y)
	width, height := float64(exp(v(4))*stride), float64(exp(v(5))*stride)
	f := Face{
		X:     float64(float64((x+v(2))*stride) - float64(width/2)),
		Y:     float64(float64((y+v(3))*stride) - float64(height/2)),
		Width: width, Height: height,
		Score: math.Sqrt(float64(probability(v(0)) * probability(v(1)))),
	}
	for i := range f.Landmarks {
		f.Landmarks[i] = Point{float64((x + v(6+2*i)) * stride), float64((y + v(7+2*i)) * stride)}
	}
	return f
}

// probability is the logistic function.
func probability(v float64) float64 { return 1 / (1 + exp(-v)) }

// exp is e to the power of v, from the same operations on every processor, which math.Exp is not. Its
// relative error is below 1e-13 where a head's values lie.
func exp(v float64) float64 {
	v = min(max(v, -80), 80)
	n := math.Floor(float64(v*math.Log2E) + 0.5)
	r := float64(v - float64(n*math.Ln2))
	sum := 1.0
	for i := 14; i > 0; i-- { // Taylor's series by Horner's rule; |r| is at most 0.35
		sum = float64(1 + float64(float64(sum*r)/float64(i)))
	}
	return math.Ldexp(sum, int(n))
}

// candidates are the faces of an image before overlapping ones are removed.
type candidates []Face

// add keeps the best faces.
func (c *candidates) add(f Face) {
	if *c = append(*c, f); len(*c) == 2*most {
		slices.SortFunc(*c, better)
		*c = (*c)[:most]
	}
}

// better orders by score, highest first, then by position.
func better(a, b Face) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Y, b.Y), cmp.Compare(a.X, b.X),
		cmp.Compare(a.Width, b.Width), cmp.Compare(a.Height, b.Height))
}

// insidePart is the share of a box inside a better one above which it is a part of that face, e.g. the middle
// of a large one.
const insidePart = 0.7

// distinct appends the best of all candidates that overlap, by IoU, and leaves out those inside better ones.
func (c candidates) distinct(to []Face, iou float64) []Face {
	slices.SortFunc(c, better)
	first := len(to)
	for i := range c[:min(len(c), most)] {
		f := &c[i]
		same := func(kept Face) bool {
			both, area, keptArea := intersection(f, &kept), float64(f.Width*f.Height),
				float64(kept.Width*kept.Height)
			return both > float64(iou*float64(area+keptArea-both)) ||
				both > float64(insidePart*min(area, keptArea))
		}
		if !slices.ContainsFunc(to[first:], same) {
			to = append(to, *f)
		}
	}
	return to
}

// intersection is the area that two boxes share.
func intersection(a, b *Face) float64 {
	w := min(a.X+a.Width, b.X+b.Width) - max(a.X, b.X)
	h := min(a.Y+a.Height, b.Y+b.Height) - max(a.Y, b.Y)
	return float64(max(w, 0) * max(h, 0))
}
