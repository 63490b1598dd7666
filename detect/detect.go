// Package detect answers where the faces of an image are.
//
// A Detector takes a batch of images and answers for each of them, or says that it is unavailable; it never
// guesses. The detectors are in rooms of their own (yunet, pigo), which know nothing of each other or of this
// package: what they are called, what they are asked and what becomes of what they found is decided here,
// once for all of them.
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

	// For those that look at Encoded: the size of its picture as stored, EXIF orientation not applied, and
	// what carries a face of that picture into Luma.
	Width, Height int
	FromStored    func(Face) Face
}

// Point is a place in pixels of Luma.
type Point struct{ X, Y float64 }

// Face is a box in pixels of Luma.
type Face struct {
	X, Y, Width, Height float64
	Score               float64 // on the detector's own scale
	Confidence          float64 // calibrated, in [0,1]; 0 when there is none

	HasLandmarks bool
	Landmarks    Landmarks
}

// Landmarks are right eye, left eye, nose, right and left corner of the mouth, as the person's own sides.
type Landmarks [5]Point

// Mirrored is the landmarks with right and left exchanged, as a mirror exchanges them.
func (l Landmarks) Mirrored() Landmarks { return Landmarks{l[1], l[0], l[2], l[4], l[3]} }

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

// Remote is a detector elsewhere, which makes batches of what many callers ask for. Waiting for it takes no
// processor.
type Remote interface {
	Detector
	// Ask puts one image and returns when a copy of it is taken: what it points to may be used again. It
	// waits for room, not for the answer, which the returned function waits for; call that once. Errors are
	// those of Detect.
	Ask(ctx context.Context, img Image) (answer func() (Answer, error), err error)
	// Probe reports whether asking is worth while; ErrUnavailable when it is not.
	Probe(ctx context.Context) error
}
