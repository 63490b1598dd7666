package pigo

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
	Sin, Cos int32
}

// Grids appends the grids of a search of an image, in the order of its results: by size; for mirrored
// searches a grid's rows from right to left.
func (p Pass) Grids(grids []Grid, width, height int) []Grid {
	if width < 1 || height < 1 {
		return grids
	}
	for _, g := range p.grids(nil, width, height) {
		grids = append(grids, Grid{g.size, g.step, g.row, g.col, g.rows, g.cols, g.pose.sin, g.pose.cos})
	}
	return grids
}
