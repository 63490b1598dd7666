package pigo

import (
	"image"
	"math"
	"slices"
)

// A cluster that may or may not be a face is looked at again: closer, in the mirror, and tilted a little. A
// face is found every time, a texture that happens to resemble one is not: mostly not even in the mirror, and
// is not tilted then. The second look is over a few hundred windows where the first one was over hundreds of
// thousands; its score is what the first look would have had on average, so that both are on one scale.
const (
	leastOpen   = 0.5  // score up to which it is no face, second look or not
	leastSure   = 15   // score from which on it is one
	refineShift = 0.05 // half the usual step: four times the windows
	refineScale = 1.1
	refineNear  = 0.4  // IoU from which a window belongs to what is looked at
	refineReach = 0.25 // how far the centre of a window may lie from the cluster's, in its sides

	refineWeight = 0.25 / 3 // of a window: a quarter, in the mean of mirrored and tilted both ways
)

// refineSizes are the least and the greatest side of the windows, in those of the cluster.
var refineSizes = [2]float64{0.8, 1.25}

// candidate is a cluster that is looked at again.
type candidate struct {
	found
	luma     *image.Gray // the part of the image that it lies in
	corner   image.Point // of that part
	searches [3]int      // which they are: in the mirror, tilted right and left
	n        int         // how many of them there are
}

// looks are the second looks at a batch of images.
type refinement struct {
	searches   searches
	candidates []candidate
	rest       []found  // windows of clusters that are not looked at
	ends       [][2]int // of candidates and rest, an image
}

func (r *refinement) clear() {
	r.searches.clear()
	clear(r.candidates) // they must not keep pictures alive
	r.candidates, r.rest, r.ends = r.candidates[:0], r.rest[:0], r.ends[:0]
}

// plan adds the clusters of an image, and a look in the mirror at the doubtful ones.
func (r *refinement) plan(m *merger, luma *image.Gray) {
	r.rest = m.members(r.rest, func(c found) bool { return !c.isOpen() })
	for _, c := range m.clusters {
		if !c.isOpen() {
			continue
		}
		reach := c.side / drawnSide * (refineReach + refineSizes[1]/2)
		part := image.Rect(int(c.x-reach), int(c.y-reach), int(c.x+reach)+1,
			int(c.y+reach)+1).Intersect(image.Rectangle{Max: luma.Bounds().Size()})
		d := candidate{found: c, luma: luma.SubImage(part.Add(luma.Bounds().Min)).(*image.Gray),
			corner: part.Min}
		r.add(&d, true, 0)
		r.candidates = append(r.candidates, d)
	}
	r.ends = append(r.ends, [2]int{len(r.candidates), len(r.rest)})
}

// tilted adds the other looks at what was found in the mirror, and returns them.
func (r *refinement) tilted() []Search {
	from := len(r.searches)
	for i := range r.candidates {
		if d := &r.candidates[i]; len(r.searches[d.searches[0]].Found) > 0 {
			r.add(d, false, 1.0/32)
			r.add(d, false, -1.0/32)
		}
	}
	return r.searches[from:]
}

func (r *refinement) add(d *candidate, mirror bool, tilt float64) {
	side := d.side / drawnSide
	p := Pass{
		MinSize: int(side * refineSizes[0]), MaxSize: int(side * refineSizes[1]),
		Shift: refineShift, Scale: refineScale, Turn: math.Mod(1+d.tilt+tilt, 1),
	}
	if mirror {
		p = mirrorOf(p)
	}
	d.searches[d.n] = len(r.searches)
	d.n++
	r.searches.add(d.luma, p)
}

// mirrorOf is the search in the mirrored image for the same faces.
func mirrorOf(p Pass) Pass {
	p.Mirror, p.Turn = !p.Mirror, math.Mod(1-p.Turn, 1)
	return p
}

// gather gives a merger the windows of an image: what the looks found, each window once, for the doubt that
// it is nearest to, and the rest as they were.
func (r *refinement) gather(m *merger, img int) {
	var from [2]int
	if img > 0 {
		from = r.ends[img-1]
	}
	to := r.ends[img]
	m.clear()
	candidates := r.candidates[from[0]:to[0]]
	for i := range candidates {
		d := &candidates[i]
		for _, n := range d.searches[:d.n] {
			before := len(m.windows)
			m.add(&r.searches[n], refineWeight, d.corner.X, d.corner.Y)
			m.windows = append(m.windows[:before], slices.DeleteFunc(m.windows[before:], func(w found) bool {
				near := d.iou(w)
				return near <= refineNear ||
					slices.ContainsFunc(candidates, func(o candidate) bool { return o.iou(w) > near })
			})...)
		}
	}
	m.windows = append(m.windows, r.rest[from[1]:to[1]]...)
}

func (a found) isOpen() bool { return a.score >= leastOpen && a.score < leastSure }
