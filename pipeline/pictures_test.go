package pipeline

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"facescan/store"
)

// TestPictures keeps pictures of the latest images, at a pace, and shows only images that have one.
func TestPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := (&Stats{}).MakePictures()
		for range 3 {
			if !p.Due() || p.Due() {
				t.Error("not one at a time")
			}
			time.Sleep(pictureEvery - time.Nanosecond)
			if p.Due() {
				t.Error("too early")
			}
			time.Sleep(time.Nanosecond)
		}
	})
	var s Stats
	p := s.MakePictures()
	for id := range int64(picturesKept + 5) {
		p.Show(id, []byte{byte(id)})
		p.Show(id, []byte{byte(id), 1}) // another of the same
	}
	if p.JPEG(4) != nil || !bytes.Equal(p.JPEG(5), []byte{5, 1}) || len(p.jpeg) != picturesKept {
		t.Errorf("%d pictures, %v, %v", len(p.jpeg), p.JPEG(4), p.JPEG(5))
	}
	for _, id := range []int64{4, 5} {
		s.note(&store.Result{ID: id, Status: store.OK, Faces: make([]store.Face, 1)})
	}
	if len(s.latest) != 1 || s.latest[0].ID != 5 {
		t.Errorf("%+v is shown", s.latest)
	}
}
