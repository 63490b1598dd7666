package store

import (
	"testing"
	"time"
)

func BenchmarkChecksum(b *testing.B) {
	r := Result{ID: 1_000_000, Status: OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 61234, Attempts: 1, Detector: "yunet/1,20,0.3", Took: 231 * time.Millisecond,
		Time: time.UnixMilli(1_760_000_000_000)}
	for n := range 2 {
		r.Faces = append(r.Faces, Face{X: 10 + n, Y: 20, Width: 50, Height: 50, Score: 0.9312,
			Confidence: 0.97, HasLandmarks: true})
	}
	for b.Loop() {
		r.Checksum()
	}
}
