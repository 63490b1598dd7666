// Package sidecar lets another process find the faces: a Client that is a detect.Detector, and a Server that
// puts any detect.Detector behind it. Between them is the Open Inference Protocol v2 over HTTP, with its
// binary tensor extension, so either end may also be one of the inference servers, or clients, that speak it.
//
// # What is sent
//
// Input images is BYTES [N], each an image file: luma as binary PGM, or the file as it was downloaded. The
// answer is faces, FP32 [M,6] (image index, x, y, width, height, score; pixels of the sent image as stored,
// EXIF not applied), and counts, INT32 [N]: faces of an image, or -1 when it cannot be read. So no faces and
// not judged are told apart. A model may also have the output landmarks, FP32 [M,10]: x and y of five points
// of each face, in the same pixels. Detection flags are request parameters (params.go); sizes are in pixels
// of the sent image, so images of one scale make a batch.
//
// # How the client works
//
//	Ask ─▶ open batch, one a scale ─full, or Delay over─▶ pick an endpoint ─▶ request ─▶ check the answer ─▶ callers
//	                                                            ▲   failed: the endpoint must pass its check │
//	                                                            └──────────────── again ─────────────────────┘
//
// An endpoint is up, being checked, or down. Whatever goes wrong with a request, the endpoint gets no other
// before it has passed its check again: ready, the same model, and known images answered as at the start,
// alone and in batches (check.go). An answer over a new connection waits for such a check, too. So a server
// that was replaced, or hangs, or talks nonsense cannot get an answer in. Among those that are up a batch
// goes where it is expected to be through first. With none, callers get detect.ErrUnavailable, or the
// stand-in answers.
//
// A server may also turn wrong and say nothing about it. So a known image with a face goes with every request
// (known.go), and without the right answer to it no answer of that request is believed.
//
// A request that failed is tried again. If the failure stays with a batch while the endpoint passes its
// checks, the batch is halved until the image is found that the server dies of, and that image is answered as
// one that cannot be judged. Nonsense, and refusals that no waiting will mend, are errors with a name:
// AnswerError, ModelError, HTTPError.
//
// # How the server works
//
// Connections are bounded, and one whose request does not come holds nobody up (conns). Requests are read
// within a budget of bytes and put into a bounded queue image by image; beyond either the answer is 503 with
// Retry-After. Workers take from the queue what one call of the detector can do, from as many requests as it
// lies in.
package sidecar

import (
	"fmt"
	"strings"
	"time"

	"facescan/detect"
)

// ModelName is what the model is called where nobody says otherwise.
const ModelName = "face"

// Names and types of the tensors.
const (
	imagesName = "images"
	facesName  = "faces"
	countsName = "counts"
	pointsName = "landmarks"

	typeBytes = "BYTES"
	typeFP32  = "FP32"
	typeINT32 = "INT32"
)

// How many numbers make a face in the answer, and its landmarks.
const (
	faceFields  = 6
	pointFields = 2 * len(detect.Landmarks{})
)

// HTTPError is an answer that is no inference.
type HTTPError struct {
	URL        string
	Status     int
	Message    string        // the server's own
	RetryAfter time.Duration // 0 when it gave none
}

func (e *HTTPError) Error() string {
	return strings.TrimRight(fmt.Sprintf("sidecar %s answers %d: %s", e.URL, e.Status, e.Message), ": ")
}

// Temporary tells whether the same request may succeed later.
func (e *HTTPError) Temporary() bool {
	switch e.Status {
	case 404, 408, 425, 429: // 404: models are unloaded and loaded
		return true
	}
	return e.Status >= 500
}

// later tells whether the server asked for patience.
func (e *HTTPError) later() bool { return e.Status == 503 || e.Status == 429 }

// AnswerError is an inference that cannot be believed.
type AnswerError struct {
	URL string
	Why string
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("sidecar %s gives an answer that cannot be right: %s", e.URL, e.Why)
}

// ModelError is a model that is not what is asked for.
type ModelError struct {
	URL             string
	Found, Expected string
}

func (e *ModelError) Error() string {
	return fmt.Sprintf("sidecar %s: found %s; expected %s", e.URL, e.Found, e.Expected)
}
