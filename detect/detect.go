// Package detect answers where the faces of an image are.
//
// A Detector takes a batch of images and answers for each of them, or says that it is unavailable; it never
// guesses. Which faces are kept, how candidates are merged and how boxes are drawn is decided here, once, for
// every engine that evaluates a cascade.
package detect

import (
	"context"
	"errors"
	"image"
)

// ErrUnavailable says that a detector cannot answer now; no image of the batch was judged, and asking again
// later is right.
var ErrUnavailable = errors.New("detector unavailable")

// Image is what a detector is given.
type Image struct {
	Luma    *image.Gray // upright, at the size the decoder chose
	Scale   float64     // pixels of the full upright image a pixel of Luma, >= 1, the same for both axes
	Encoded []byte      // the file as downloaded; nil unless the detector wants it
}

// Face is a box in pixels of Luma.
type Face struct {
	X, Y, Width, Height float64
	Score               float64 // the detector's own, unbounded
	Confidence          float64 // calibrated, in [0,1]; 0 when there is none
}

// Answer is what a detector found in one image.
type Answer struct {
	Faces      []Face // score >= the threshold, by score descending, then y, x, width
	Candidates []Face // the best 8 below it, in the same order
	Err        error  // the image cannot be judged, now or later; nil otherwise
}

// Detector finds faces. It may be called from many goroutines at once.
type Detector interface {
	// Detect answers for every image of the batch, in its order. An error means that none was judged:
	// ErrUnavailable when a later call may succeed.
	Detect(ctx context.Context, batch []Image) ([]Answer, error)
	// Fingerprint names engine, model and parameters: equal fingerprints give equal answers.
	Fingerprint() string
	Close() error
}
