package pigo

import (
	"image"
	"math"
	"slices"
)

// An uncertain cluster is a candidate: it is searched again with smaller steps, mirrored and tilted a little.
// A face is found in all of these searches. A texture that resembles one usually is not found in the mirrored
// one, and then the tilted ones are skipped. A refinement has a few hundred windows, the first pass has
// hundreds of thousands. Its score is the average that the first pass would give, so both are on one scale.
const (
	leastOpen   = 0.5  // below this score a cluster is not a face, refined or not
	leastSure   = 15   // from this score on it is one
	refineShift = 0.05 // half the usual step: four times the windows
	refineScale = 1.1
	refineNear  = 0.4  // IoU from which a window belongs to the candidate
	refineReach = 0.25 // greatest distance of a window's centre from the candidate's, in its sides

	refineWeight = 0.25 / 3 // of a window: a quarter, in the mean of three searches
)

// refineSizes are the least and the greatest side of the windows, in sides of the cluster.
var refineSizes = [2]float64{0.8, 1.25}

// candidate is a cluster that is searched again.
type candidate struct {
	found
	luma     *image.Gray // the part of the image that it lies in
	corner   image.Point // of that part
	searches [3]int      // indices of its searches: mirrored, tilted right and left
	n        int         // number of them
}

// refinement is the second search of a batch of images.
type refinement struct {
	searches   searches
	candidates []candidate
	rest       []found  // windows of clusters that are not candidates
	ends       [][2]int // of candidates and rest, per image
}

func (r *refinement) clear() {
	r.searches.clear()
	clear(r.candidates) // so that they keep no picture alive
	r.candidates, r.rest, r.ends = r.candidates[:0], r.rest[:0], r.ends[:0]
}

// plan adds the clusters of an image, with a mirrored search of the candidates.
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

// tilted adds the tilted searches of the candidates that were found mirrored, and returns them.
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

// mirrorOf is the pass over the mirrored image for the same faces.
func mirrorOf(p Pass) Pass {
	p.Mirror, p.Turn = !p.Mirror, math.Mod(1-p.Turn, 1)
	return p
}

// gather gives a merger the windows of an image: those that the searches of its candidates found, each for
// the nearest candidate only, and those of the other clusters as they were.
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
