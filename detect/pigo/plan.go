package pigo

import "math"

// Tables are the cascade for an evaluator in another package.
type Tables struct {
	Depth int
	// Codes are 4 per node, 1<<Depth nodes per tree, node 0 unused: row and column of pixels a and b, in
	// 256ths of the size. The node after i is 2i+1 where b is darker than a, else 2i; beyond the last node
	// lie the leaves.
	Codes  []int8
	Leaves []float32 // 1<<Depth per tree
	// Stages are runs of trees, each up to and without To; a window whose sum after one does not exceed
	// Threshold is rejected.
	Stages []Stage
	// Last is the threshold of the final sum of a window; the excess is its score.
	Last float32
}

// Stage is a run of trees.
type Stage struct {
	To        int32
	Threshold float32
}

// Tables returns the tables of the cascade. Codes and Leaves must not be changed.
func (c *Cascade) Tables() Tables {
	t := Tables{Depth: c.depth, Codes: c.codes, Leaves: c.leaves, Last: c.thresholds[len(c.thresholds)-1]}
	for _, s := range c.stages {
		t.Stages = append(t.Stages, Stage{int32(s.to), s.threshold})
	}
	return t
}

// Grid is the windows of one size in an image: Rows x Cols centres, Step pixels apart from Row and Col on.
type Grid struct {
	Size, Step, Row, Col, Rows, Cols int
	// A code (row, col) names the pixel ((Cos row - Sin col) >> 16, (Sin row + Cos col) >> 16) from the
	// centre, its column counted to the left where mirrored. Beyond the image the nearest pixel in it counts.
	Sin, Cos int32 // of the angle, times 256 and the size
	Mirror   bool
}

// Grids appends the grids of a search of an image, in the order of its results: by size; for mirrored
// searches a grid's rows from right to left.
func (p Pass) Grids(all []Grid, width, height int) []Grid {
	for size, largest := p.sizes(width, height); size <= largest; size = p.next(size) {
		if g, ok := p.grid(size, width, height); ok {
			all = append(all, g)
		}
	}
	return all
}

// sizes are the sides of the smallest and the largest windows in an image.
func (p Pass) sizes(width, height int) (smallest, largest int) {
	return max(p.MinSize, 1), min(p.MaxSize, width-1, height-1, maxSize)
}

// next is the side after size.
func (p Pass) next(size int) int {
	return int(float64(size) + math.Max(2, float64(size)*p.Scale-float64(size)))
}

// turn is the angle in 32nds of a turn.
func (p Pass) turn() int { return int(32*min(max(p.Turn, 0), 1)) % 32 }

// grid returns the windows of a size in an image; ok is false if none fits.
func (p Pass) grid(size, width, height int) (g Grid, ok bool) {
	first := size/2 + 1
	if height < 2*first || width < 2*first {
		return g, false
	}
	step := int(math.Max(p.Shift*float64(size), 1))
	sin, cos := math.Sincos(2 * math.Pi * float64(p.turn()) / 32) // rounded towards zero, as in pigo
	g = Grid{Size: size, Step: step, Row: first, Col: first,
		Rows: (height-2*first)/step + 1, Cols: (width-2*first)/step + 1,
		Sin: int32(size) * int32(256*sin), Cos: int32(size) * int32(256*cos), Mirror: p.Mirror}
	if p.Mirror {
		g.Col = width - 1 - first - (g.Cols-1)*step
	}
	return g, true
}

// offset is the distance, in an image of the stride, from a window's centre to the pixel of a code.
func (g *Grid) offset(row, col int8, stride int) int {
	r := (g.Cos*int32(row) - g.Sin*int32(col)) >> 16
	c := (g.Sin*int32(row) + g.Cos*int32(col)) >> 16
	if g.Mirror {
		c = -c
	}
	return int(r)*stride + int(c)
}
