// Package sidecar runs detection in another process. Client is a detect.Detector; Server serves any
// detect.Detector. They speak the Open Inference Protocol v2 over HTTP, with its binary tensor extension, so
// either end may also be a third-party server or client of that protocol.
//
// # What is sent
//
// Input images is BYTES [N], each an image file: luma as binary PGM, or the file as it was downloaded. The
// answer is faces, FP32 [M,6] (image index, x, y, width, height, score; pixels of the sent image as stored,
// EXIF not applied), and counts, INT32 [N]: faces of an image, or -1 when it cannot be read. So "no faces"
// differs from "not processed". A model may also have the output landmarks, FP32 [M,10]: x and y of five
// points of each face, in the same pixels. Detection flags are request parameters (params.go); sizes are in
// pixels of the sent image, so a batch holds images of one scale.
//
// # How the client works
//
//	Ask ─▶ open batch, one per scale
//	         └─ full, or Delay over ─▶ pick an endpoint ─▶ request ─▶ check the answer ─▶ callers
//	                                        ▲   failed: the endpoint must pass its check │
//	                                        └──────────────── again ─────────────────────┘
//
// An endpoint is up, being checked, or down. After any failed request it gets no other one until it passes
// its check: ready, the same model, and known images answered as at the start, alone and in batches
// (check.go). An answer over a new connection waits for such a check too. So no answer is accepted from a
// server that was replaced, hangs, or sends nonsense. Of the endpoints that are up, a batch goes to the one
// expected to finish it first. If none is up, callers get detect.ErrUnavailable, or the fallback answers.
//
// A server may also begin to answer wrongly without an error. So every request includes a known image with a
// face (known.go); if its answer is wrong, the whole response is rejected.
//
// A request that failed is retried. If a batch keeps failing while the endpoint passes its checks, it is
// halved until the image that crashes the server is found; that image is answered with an error. Invalid
// answers and permanent refusals are errors with a type: AnswerError, ModelError, HTTPError.
//
// # How the server works
//
// Connections are bounded, and one whose request does not arrive does not block others (conns). Requests are
// read within a budget of bytes and queued image by image, up to a bound; beyond either the answer is 503
// with Retry-After. Workers take from the queue as many images as one call of the detector can process,
// across requests.
package sidecar

import (
	"fmt"
	"strings"
	"time"

	"facescan/detect"
)

// ModelName is the default name of the model.
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

// Numbers per face in the answer, and per face's landmarks.
const (
	faceFields  = 6
	pointFields = 2 * len(detect.Landmarks{})
)

// HTTPError is an answer with another status than 200.
type HTTPError struct {
	URL        string
	Status     int
	Message    string        // the server's own
	RetryAfter time.Duration // 0 if it gave none
}

func (e *HTTPError) Error() string {
	return strings.TrimRight(fmt.Sprintf("sidecar %s answers %d: %s", e.URL, e.Status, e.Message), ": ")
}

// Temporary reports whether the same request may succeed later.
func (e *HTTPError) Temporary() bool {
	switch e.Status {
	case 404, 408, 425, 429: // 404: models are unloaded and loaded
		return true
	}
	return e.Status >= 500
}

// later reports whether the server is only busy.
func (e *HTTPError) later() bool { return e.Status == 503 || e.Status == 429 }

// AnswerError is an invalid response to an inference request.
type AnswerError struct {
	URL string
	Why string
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("sidecar %s gives an answer that cannot be right: %s", e.URL, e.Why)
}

// ModelError is a model that differs from the requested one.
type ModelError struct {
	URL             string
	Found, Expected string
}

func (e *ModelError) Error() string {
	return fmt.Sprintf("sidecar %s: found %s; expected %s", e.URL, e.Found, e.Expected)
}
