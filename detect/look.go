package detect

import (
	"image"
	"math"

	"facescan/detect/cascade"
)

// A cluster that is no face for sure is looked at again: closer, in the mirror, and tilted a little. A face is found every time, a texture
// that happens to resemble one is not. The second look is over a few hundred windows where the first one was over hundreds of
// thousands; its score is what the first look would have had on average, so that both are on one scale.
const (
	sure      = 15   // score from which on no second look is needed
	lookShift = 0.05 // half the usual step: four times the windows
	lookNear  = 0.4  // IoU from which a window belongs to what is looked at
	lookReach = 0.25 // how far the centre of a window may lie from the cluster's, in its sides

	lookWeight = 0.25 / 3 // of a window: a quarter, in the mean of three poses
)

// lookSizes are the least and the greatest side of the windows, in those of the cluster.
var lookSizes = [2]float64{0.8, 1.25}

// lookPoses are how a face may lie for a look, relative to how the cluster was found.
var lookPoses = [3]struct {
	tilt   float64
	mirror bool
}{{0, true}, {1.0 / 32, false}, {-1.0 / 32, false}}

// mirrorOf is the search in the mirrored image for the same faces.
func mirrorOf(p cascade.Params) cascade.Params {
	p.Mirror, p.Turn = !p.Mirror, math.Mod(1-p.Turn, 1)
	return p
}

// looks are the second looks at a batch of images.
type looks struct {
	searches searches // len(lookPoses) each
	lumas    []*image.Gray
	weak     []found       // what is looked at
	corners  []image.Point // of the parts of the images that are searched
	sure     []found       // windows of clusters that are not
	ends     [][2]int      // of weak and sure, an image
}

func (l *looks) clear() {
	l.searches.clear()
	l.lumas, l.weak, l.corners, l.sure, l.ends = l.lumas[:0], l.weak[:0], l.corners[:0], l.sure[:0], l.ends[:0]
}

// plan adds the looks at the clusters of an image.
func (l *looks) plan(m *merger, luma *image.Gray) {
	l.sure = m.members(l.sure, sure)
	for _, c := range m.clusters {
		if c.score >= sure {
			continue
		}
		side := c.side / drawnSide
		reach := side * (lookReach + lookSizes[1]/2)
		within := image.Rect(int(c.x-reach), int(c.y-reach), int(c.x+reach)+1, int(c.y+reach)+1).Intersect(image.Rectangle{Max: luma.Bounds().Size()})
		part := luma.SubImage(within.Add(luma.Bounds().Min)).(*image.Gray)
		l.weak, l.corners = append(l.weak, c), append(l.corners, within.Min)
		for _, pose := range lookPoses {
			p := cascade.Params{
				MinSize: int(side * lookSizes[0]), MaxSize: int(side * lookSizes[1]),
				Shift: lookShift, Scale: DefaultParams().Scale, Turn: math.Mod(c.tilt+pose.tilt+1, 1),
			}
			if pose.mirror {
				p = mirrorOf(p)
			}
			l.searches.add(part, p)
		}
	}
	l.ends = append(l.ends, [2]int{len(l.weak), len(l.sure)})
}

// gather gives a merger the windows of an image: those of sure clusters as they were, and what the looks found.
func (l *looks) gather(m *merger, img int) {
	var from [2]int
	if img > 0 {
		from = l.ends[img-1]
	}
	to := l.ends[img]
	m.clear()
	weak := l.weak[from[0]:to[0]]
	for i, c := range weak {
		for j := range lookPoses {
			before := len(m.windows)
			k := from[0] + i
			m.add(&l.searches[k*len(lookPoses)+j], lookWeight, l.corners[k].X, l.corners[k].Y)
			kept := m.windows[:before]
			for _, w := range m.windows[before:] {
				near, mine := c.iou(w), true
				for o, other := range weak {
					mine = mine && (o == i || other.iou(w) < near || other.iou(w) == near && o > i)
				}
				if near > lookNear && mine {
					kept = append(kept, w)
				}
			}
			m.windows = kept
		}
	}
	m.windows = append(m.windows, l.sure[from[1]:to[1]]...)
}
