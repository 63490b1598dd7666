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

	// For those that look at Encoded: the size of its picture as stored, EXIF orientation not applied, and what carries a
	// box of that picture into Luma.
	Width, Height int
	FromStored    func(Face) Face
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
	Detector   string // fingerprint of what answered, where it was not the detector itself but a stand-in
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

// Remote is a detector elsewhere, which makes batches of what many callers ask for. Waiting for it takes no processor.
type Remote interface {
	Detector
	// Ask puts one image and returns when a copy of it is taken: what it points to may be used again. It waits for room, not
	// for the answer, which the returned function waits for; call that once. Errors are those of Detect.
	Ask(ctx context.Context, img Image) (answer func() (Answer, error), err error)
	// Probe tells whether asking is worth while; ErrUnavailable when it is not.
	Probe(ctx context.Context) error
}
