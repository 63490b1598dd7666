package pigo

import (
	"cmp"
	"math"
	"slices"
)

// The cascade was trained on squares that are larger than the boxes people draw, and lie higher.
const (
	drawnSide = 0.9  // side of a drawn box, as a fraction of the window's
	drawnDown = 0.05 // how far its centre lies below the window's, likewise
)

// insidePart is the share of a box inside a better one from which on it is a part of that face.
const insidePart = 0.5

// found is a window, or a cluster of them: a square around (x, y) in pixels of the image.
type found struct {
	x, y, side float64
	score      float64
	tilt       float64 // of the face, as a fraction of a turn; in a cluster that of the best window
}

// merger clusters the windows of one image. It is reused from image to image.
type merger struct {
	windows  []found
	clusters []found // by score descending, none inside a better one
	all      []found
	member   []int // the cluster, in all, of each window
	drawn    []Face
}

// faces are the clusters as boxes, valid until the next call.
func (m *merger) faces() []Face {
	m.drawn = m.drawn[:0]
	for _, c := range m.clusters {
		m.drawn = append(m.drawn, Face{c.x - c.side/2, c.y - c.side/2, c.side, float64(float32(c.score))})
	}
	return m.drawn
}

// clear forgets the windows.
func (m *merger) clear() { m.windows = m.windows[:0] }

// add adds the windows found in the part of the image that begins at (x, y), as boxes that a person would
// draw, with their scores multiplied by weight.
func (m *merger) add(s *Search, weight float64, x, y int) {
	tilt := s.Turn
	if s.Mirror {
		tilt = -tilt
	}
	sin, cos := math.Sincos(2 * math.Pi * tilt)
	for _, w := range s.Found {
		size := float64(w.Size)
		m.windows = append(m.windows, found{
			x:     float64(x+w.Col) + drawnDown*size*sin,
			y:     float64(y+w.Row) + drawnDown*size*cos,
			side:  drawnSide * size,
			score: weight * float64(w.Score),
			tilt:  tilt,
		})
	}
}

// cluster sets m.clusters, greedily from the best window: all windows that overlap it by more than iou are
// the same face. Its box is the mean of its windows, weighted by score; its score is their sum. Of two
// clusters, one mostly inside the other, the better one stays.
func (m *merger) cluster(iou float64) {
	slices.SortStableFunc(m.windows, better)
	m.all, m.member = m.all[:0], m.member[:0]
	for range m.windows {
		m.member = append(m.member, -1)
	}
	for i, best := range m.windows {
		if m.member[i] >= 0 {
			continue
		}
		sum := found{tilt: best.tilt}
		for j := i; j < len(m.windows); j++ {
			w := m.windows[j]
			if m.member[j] >= 0 || j > i && best.iou(w) <= iou {
				continue
			}
			m.member[j] = len(m.all)
			sum.x += w.x * w.score
			sum.y += w.y * w.score
			sum.side += w.side * w.score
			sum.score += w.score
		}
		sum.x /= sum.score
		sum.y /= sum.score
		sum.side /= sum.score
		m.all = append(m.all, sum)
	}
	m.clusters = append(m.clusters[:0], m.all...)
	slices.SortStableFunc(m.clusters, better)
	kept := m.clusters[:0]
	for _, c := range m.clusters {
		inside := func(k found) bool { return c.overlap(k) > insidePart*c.side*c.side }
		if !slices.ContainsFunc(kept, inside) {
			kept = append(kept, c)
		}
	}
	m.clusters = kept
}

// better puts the higher score first.
func better(a, b found) int { return cmp.Compare(b.score, a.score) }

// members appends the windows of the clusters for which as is true, including clusters inside better ones.
func (m *merger) members(to []found, as func(found) bool) []found {
	for i, w := range m.windows {
		if as(m.all[m.member[i]]) {
			to = append(to, w)
		}
	}
	return to
}

// overlap is the area that two squares share.
func (a found) overlap(b found) float64 {
	w := min(a.x+a.side/2, b.x+b.side/2) - max(a.x-a.side/2, b.x-b.side/2)
	h := min(a.y+a.side/2, b.y+b.side/2) - max(a.y-a.side/2, b.y-b.side/2)
	return max(w, 0) * max(h, 0)
}

// iou is the intersection of two squares over their union.
func (a found) iou(b found) float64 {
	o := a.overlap(b)
	return o / (a.side*a.side + b.side*b.side - o)
}
