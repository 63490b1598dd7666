package pigo

import (
	"image"
	"math"
	"slices"
)

// A cluster that may or may not be a face is looked at again: closer, in the mirror, and tilted a little. A face is found every time, a
// texture that happens to resemble one is not: mostly not even in the mirror, and is not tilted then. The second look is over a few hundred
// windows where the first one was over hundreds of thousands; its score is what the first look would have had on average, so that both are on
// one scale.
const (
	doubtful  = 0.5  // score up to which it is no face, second look or not
	sure      = 15   // score from which on it is one
	lookShift = 0.05 // half the usual step: four times the windows
	lookScale = 1.1
	lookNear  = 0.4  // IoU from which a window belongs to what is looked at
	lookReach = 0.25 // how far the centre of a window may lie from the cluster's, in its sides

	lookWeight = 0.25 / 3 // of a window: a quarter, in the mean of mirrored and tilted both ways
)

// lookSizes are the least and the greatest side of the windows, in those of the cluster.
var lookSizes = [2]float64{0.8, 1.25}

// doubt is a cluster that is looked at again.
type doubt struct {
	found
	luma     *image.Gray // the part of the image that it lies in
	corner   image.Point // of that part
	searches [3]int      // which they are: in the mirror, tilted right and left
	n        int         // how many of them there are
}

// looks are the second looks at a batch of images.
type looks struct {
	searches searches
	doubts   []doubt
	rest     []found  // windows of clusters that are not looked at
	ends     [][2]int // of doubts and rest, an image
}

func (l *looks) clear() {
	l.searches.clear()
	clear(l.doubts) // they must not keep pictures alive
	l.doubts, l.rest, l.ends = l.doubts[:0], l.rest[:0], l.ends[:0]
}

// plan adds the clusters of an image, and a look in the mirror at the doubtful ones.
func (l *looks) plan(m *merger, luma *image.Gray) {
	l.rest = m.members(l.rest, func(c found) bool { return !c.doubtful() })
	for _, c := range m.clusters {
		if !c.doubtful() {
			continue
		}
		reach := c.side / drawnSide * (lookReach + lookSizes[1]/2)
		part := image.Rect(int(c.x-reach), int(c.y-reach), int(c.x+reach)+1, int(c.y+reach)+1).Intersect(image.Rectangle{Max: luma.Bounds().Size()})
		d := doubt{found: c, luma: luma.SubImage(part.Add(luma.Bounds().Min)).(*image.Gray), corner: part.Min}
		l.add(&d, true, 0)
		l.doubts = append(l.doubts, d)
	}
	l.ends = append(l.ends, [2]int{len(l.doubts), len(l.rest)})
}

// tilted adds the other looks at what was found in the mirror, and returns them.
func (l *looks) tilted() []Search {
	from := len(l.searches)
	for i := range l.doubts {
		if d := &l.doubts[i]; len(l.searches[d.searches[0]].Found) > 0 {
			l.add(d, false, 1.0/32)
			l.add(d, false, -1.0/32)
		}
	}
	return l.searches[from:]
}

func (l *looks) add(d *doubt, mirror bool, tilt float64) {
	side := d.side / drawnSide
	p := Pass{
		MinSize: int(side * lookSizes[0]), MaxSize: int(side * lookSizes[1]),
		Shift: lookShift, Scale: lookScale, Turn: math.Mod(1+d.tilt+tilt, 1),
	}
	if mirror {
		p = mirrorOf(p)
	}
	d.searches[d.n] = len(l.searches)
	d.n++
	l.searches.add(d.luma, p)
}

// mirrorOf is the search in the mirrored image for the same faces.
func mirrorOf(p Pass) Pass {
	p.Mirror, p.Turn = !p.Mirror, math.Mod(1-p.Turn, 1)
	return p
}

// gather gives a merger the windows of an image: what the looks found, each window once, for the doubt that it is nearest to, and the rest as
// they were.
func (l *looks) gather(m *merger, img int) {
	var from [2]int
	if img > 0 {
		from = l.ends[img-1]
	}
	to := l.ends[img]
	m.clear()
	doubts := l.doubts[from[0]:to[0]]
	for i := range doubts {
		d := &doubts[i]
		for _, n := range d.searches[:d.n] {
			before := len(m.windows)
			m.add(&l.searches[n], lookWeight, d.corner.X, d.corner.Y)
			m.windows = append(m.windows[:before], slices.DeleteFunc(m.windows[before:], func(w found) bool {
				near := d.iou(w)
				return near <= lookNear || slices.ContainsFunc(doubts, func(o doubt) bool { return o.iou(w) > near })
			})...)
		}
	}
	m.windows = append(m.windows, l.rest[from[1]:to[1]]...)
}

func (c found) doubtful() bool { return c.score >= doubtful && c.score < sure }
