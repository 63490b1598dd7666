package detect

import (
	"cmp"
	"math"
	"slices"

	"facescan/detect/cascade"
)

// ownScore is the threshold with the best F1 at IoU 0.4 on annotated photos, see `make accuracy`.
const ownScore = 8

// keepCandidates is how many faces below the threshold an answer keeps.
const keepCandidates = 8

// The cascade was trained on squares that are larger than people draw faces, and sit higher.
const (
	drawnSide = 0.9  // side of a drawn box, in sides of the window
	drawnDown = 0.05 // how far its centre lies below the window's, likewise
)

// insidePart is how much of a box must lie in a better one to be taken for a part of that face.
const insidePart = 0.5

// found is a window, or a cluster of them: a square around (x, y) in pixels of the image.
type found struct {
	x, y, side float64
	score      float64
}

// merger clusters windows. It is reused from image to image.
type merger struct {
	windows, clusters []found
	taken             []bool
}

// merge turns the windows of all passes over one image into faces. Greedily from the best window: whatever
// overlaps it by more than p.IoU is the same face, whose box is the mean of its windows, weighted by score, and whose score is
// their sum. Of two clusters, one mostly inside the other, the better one stays.
func (m *merger) merge(passes []Search, p Params) Answer {
	m.windows, m.clusters = m.windows[:0], m.clusters[:0]
	for _, s := range passes {
		sin, cos := math.Sincos(2 * math.Pi * s.Turn)
		for _, w := range s.Found {
			m.windows = append(m.windows, drawn(w, sin, cos))
		}
	}
	slices.SortStableFunc(m.windows, func(a, b found) int { return cmp.Compare(b.score, a.score) })
	m.taken = append(m.taken[:0], make([]bool, len(m.windows))...)
	for i, best := range m.windows {
		if m.taken[i] {
			continue
		}
		var sum found
		for j := i; j < len(m.windows); j++ {
			w := m.windows[j]
			if m.taken[j] || (j != i && best.iou(w) <= p.IoU) {
				continue
			}
			m.taken[j] = true
			sum.x += w.x * w.score
			sum.y += w.y * w.score
			sum.side += w.side * w.score
			sum.score += w.score
		}
		m.clusters = append(m.clusters, found{sum.x / sum.score, sum.y / sum.score, sum.side / sum.score, sum.score})
	}
	slices.SortStableFunc(m.clusters, func(a, b found) int { return cmp.Compare(b.score, a.score) })
	kept := m.clusters[:0]
	for _, c := range m.clusters {
		inside := func(k found) bool { return c.overlap(k) > insidePart*c.side*c.side }
		if !slices.ContainsFunc(kept, inside) {
			kept = append(kept, c)
		}
	}
	return m.answer(kept, p)
}

// answer splits clusters, by score descending, at the threshold.
func (m *merger) answer(clusters []found, p Params) Answer {
	var a Answer
	for _, c := range clusters {
		side := onGrid(c.side)
		f := Face{X: onGrid(c.x - c.side/2), Y: onGrid(c.y - c.side/2), Width: side, Height: side, Score: float64(float32(c.score))}
		switch {
		case f.Score >= p.Threshold():
			a.Faces = append(a.Faces, f)
		case len(a.Candidates) < keepCandidates:
			a.Candidates = append(a.Candidates, f)
		}
	}
	slices.SortFunc(a.Faces, order)
	slices.SortFunc(a.Candidates, order)
	return a
}

// onGrid rounds to 256ths of a pixel. Coordinates below 65536 then fit a float32, turned and mirrored ones too, so that an
// answer that comes from another process is the same to the bit.
func onGrid(v float64) float64 { return math.Floor(v*256+0.5) / 256 }

// order is that of faces in an answer: by score descending, then y, x, width.
func order(a, b Face) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Y, b.Y), cmp.Compare(a.X, b.X), cmp.Compare(a.Width, b.Width))
}

// drawn is the box a person would draw around the face in a window that is turned by an angle.
func drawn(w cascade.Window, sin, cos float64) found {
	size := float64(w.Size)
	return found{
		x:     float64(w.Col) + drawnDown*size*sin,
		y:     float64(w.Row) + drawnDown*size*cos,
		side:  drawnSide * size,
		score: float64(w.Score),
	}
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
