// Package detect finds the faces of images.
//
// A Detector takes a batch of images and answers for each of them, or is unavailable; it never guesses. The
// detectors are in packages of their own (yunet, pigo), which know neither each other nor this package. Their
// names, their parameters and the form of their answers are defined here, once for all (kinds.go).
package detect

import (
	"context"
	"errors"
	"image"
)

// ErrUnavailable means that a detector cannot answer now: no image of the batch was processed, and a later
// call may succeed.
var ErrUnavailable = errors.New("detector unavailable")

// Image is the input of a detector.
type Image struct {
	Luma    *image.Gray // upright, at the size the decoder chose
	Scale   float64     // full upright pixels per pixel of Luma, >= 1, the same for both axes
	Encoded []byte      // the file as downloaded; nil unless the detector needs it

	// For detectors that read Encoded: the size of its picture as stored, EXIF orientation not applied, and
	// the conversion of a face of that picture to Luma.
	Width, Height int
	FromStored    func(Face) Face
}

// Point is a place in pixels of Luma.
type Point struct{ X, Y float64 }

// Face is a box in pixels of Luma.
type Face struct {
	X, Y, Width, Height float64
	Score               float64 // on the detector's own scale
	Confidence          float64 // calibrated, in [0,1]; 0 if unknown

	HasLandmarks bool
	Landmarks    Landmarks
}

// Landmarks are right eye, left eye, nose, right and left corner of the mouth, as the person's own sides.
type Landmarks [5]Point

// Mirrored exchanges the right and left landmarks.
func (l Landmarks) Mirrored() Landmarks { return Landmarks{l[1], l[0], l[2], l[4], l[3]} }

// Answer is what a detector found in one image.
type Answer struct {
	Faces      []Face // score >= the threshold, by score descending, then y, x, width
	Candidates []Face // the best 8 below it, in the same order
	Err        error  // the image can never be processed; else nil
	Detector   string // fingerprint of the fallback, if that answered instead of the detector
}

// Detector finds faces. It may be called from many goroutines at once.
type Detector interface {
	// Detect answers for every image of the batch, in its order. An error means that none was processed; it
	// is ErrUnavailable if a later call may succeed.
	Detect(ctx context.Context, batch []Image) ([]Answer, error)
	// Fingerprint names engine, model and parameters: equal fingerprints give equal answers.
	Fingerprint() string
	Close() error
}

// Remote is a detector in another process, which batches the images of many callers. Waiting for it uses no
// CPU.
type Remote interface {
	Detector
	// Ask submits one image. It waits for room and returns once the image is copied, so that its memory may
	// be reused. The returned function waits for the answer; call it once. Errors are those of Detect.
	Ask(ctx context.Context, img Image) (answer func() (Answer, error), err error)
	// Probe returns nil if Ask may succeed now, else ErrUnavailable.
	Probe(ctx context.Context) error
}
