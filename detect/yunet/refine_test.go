package yunet

import (
	"image"
	"testing"
)

// TestRefined: the network decides again about scores between the two bounds, and about no more than a few
// candidates; on a black picture it lowers them.
func TestRefined(t *testing.T) {
	t.Parallel()
	f := NewFinder()
	f.levels = []level{{image.NewGray(image.Rect(0, 0, 90, 90)), 1}}
	find := func(scores ...float64) (faces []Face) {
		for _, score := range scores {
			faces = append(faces, Face{X: 20, Y: 20, Width: 40, Height: 40, Score: score})
		}
		f.refine(faces)
		return faces
	}
	for score, lower := range map[float64]bool{0.1: false, surelyNot: false, 0.31: true, 0.5: true,
		0.64:   true,
		surely: false, 0.9: false} {
		if got := find(score)[0].Score; got < score != lower || got > score {
			t.Errorf("%g became %g", score, got)
		}
	}
	crowd := make([]float64, mostRefined+9)
	for i := range crowd {
		crowd[i] = 0.5
	}
	for i, face := range find(crowd...) {
		if face.Score < 0.5 != (i < mostRefined) {
			t.Errorf("candidate %d has %g", i, face.Score)
		}
	}
}
