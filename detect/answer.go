package detect

import (
	"cmp"
	"image"
	"math"
	"slices"
)

// KeepCandidates is how many faces below the threshold an answer holds.
const KeepCandidates = 8

// Coordinates are rounded to fractions of a pixel of luma. So an answer from another process, in float32 and
// in pixels of another size, is the same to the bit.
const (
	boxGrid      = 256
	landmarkGrid = 64 // coarser, since they are printed with one decimal more
)

// Answer sorts what a detector found in luma of a size into faces, from the threshold up, and the best
// candidates below it.
func (k Kind) Answer(found []Face, size image.Point, threshold float64) Answer {
	var a Answer
	for _, f := range found {
		f = k.round(f)
		f.X, f.Width = Clip(f.X, f.Width, float64(size.X))
		f.Y, f.Height = Clip(f.Y, f.Height, float64(size.Y))
		if !(f.Width > 0 && f.Height > 0) {
			continue // less than a step of the grid lies in the image
		}
		if f.Score >= threshold {
			a.Faces = append(a.Faces, f)
		} else {
			a.Candidates = append(a.Candidates, f)
		}
	}
	k.sort(a.Faces)
	k.sort(a.Candidates)
	if len(a.Candidates) > KeepCandidates {
		a.Candidates = slices.Clip(a.Candidates[:KeepCandidates])
	}
	return a
}

// round rounds a face to the grid of answers, and a score that has an upper limit to its decimals; it adds
// the confidence.
func (k Kind) round(f Face) Face {
	f.X, f.Y, f.Width, f.Height = onGrid(f.X, boxGrid), onGrid(f.Y, boxGrid), onGrid(f.Width, boxGrid),
		onGrid(f.Height, boxGrid)
	if f.HasLandmarks {
		for i, p := range f.Landmarks {
			f.Landmarks[i] = Point{onGrid(p.X, landmarkGrid), onGrid(p.Y, landmarkGrid)}
		}
	}
	if k.MaxScore == 1 { // as printed, so that a threshold of the same digits lets it through
		f.Score = k.Printed(f.Score)
	}
	f.Confidence = k.Confidence(f.Score)
	return f
}

// Clip cuts an interval to [0, limit).
func Clip(from, length, limit float64) (float64, float64) {
	to := min(from+length, limit)
	from = max(from, 0)
	return from, to - from
}

// onGrid rounds to a multiple of 1/parts.
func onGrid(v, parts float64) float64 { return math.Floor(v*parts+0.5) / parts }

// sort puts faces into the order of an answer: by the printed score descending, then y, x, width.
func (k Kind) sort(faces []Face) {
	slices.SortFunc(faces, func(a, b Face) int {
		return cmp.Or(cmp.Compare(k.Printed(b.Score), k.Printed(a.Score)), cmp.Compare(a.Y, b.Y),
			cmp.Compare(a.X, b.X),
			cmp.Compare(a.Width, b.Width))
	})
}
