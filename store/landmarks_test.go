package store_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"facescan/store"
)

func landmarked(x, y, w, h int, points store.Landmarks) store.Face {
	return store.Face{X: x, Y: y, Width: w, Height: h, HasLandmarks: true, Landmarks: points}
}

func TestLandmarksThereAndBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	faces := []store.Face{
		landmarked(10, 20, 30, 40, store.Landmarks{193, 356, 307, 356, 250, 432, 205, 512, 295, 512}),
		landmarked(0, 0, 1, 1, store.Landmarks{}),
		landmarked(0, 0, 32767, 32767, store.Landmarks{-327670, 655340, math.MaxInt32, math.MinInt32}),
	}
	for range 100 {
		f := landmarked(rng.IntN(9000), rng.IntN(9000), 1+rng.IntN(900), 1+rng.IntN(900), store.Landmarks{})
		for i := range f.Landmarks {
			f.Landmarks[i] = rng.Int32N(200_000) - 50_000
		}
		faces = append(faces, f)
	}
	bare := slices.Clone(faces)
	for i := range bare {
		bare[i].HasLandmarks, bare[i].Landmarks = false, store.Landmarks{}
	}
	b := store.PackLandmarks(faces)
	if err := store.UnpackLandmarks(b, bare); err != nil || !reflect.DeepEqual(bare, faces) {
		t.Errorf("they became %v, %v", bare, err)
	}
	// The first ones are where they are expected. A form that differs could not be read by another release.
	if got := store.PackLandmarks(faces[:1]); !bytes.Equal(got, make([]byte, 10)) {
		t.Errorf("landmarks where they are expected are packed as %v", got)
	}
	none := store.Face{Width: 1, Height: 1}
	for _, some := range [][]store.Face{{none}, {faces[0], none}, {}} {
		if b := store.PackLandmarks(some); b != nil {
			t.Errorf("no landmarks take %d bytes", len(b))
		}
	}
	if err := store.CheckLandmarks(b, len(faces)); err != nil || store.CheckLandmarks(nil, 7) != nil ||
		store.CheckLandmarks(b, len(faces)-1) == nil {
		t.Error("checked:", err)
	}
	for _, damaged := range [][]byte{b[:len(b)-1], append(slices.Clone(b), 0),
		{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}} {
		if err := store.UnpackLandmarks(damaged, slices.Clone(bare)); err == nil ||
			store.CheckLandmarks(damaged, len(faces)) == nil {
			t.Errorf("%d bytes were read as %d", len(damaged), len(b))
		}
	}
	for _, value := range []int64{math.MinInt32 - 1, math.MaxInt32 + 1} { // which no landmark has
		b := binary.AppendVarint(nil, value)
		b = append(b, make([]byte, 9)...)
		if err := store.UnpackLandmarks(b, []store.Face{{}}); err == nil {
			t.Errorf("a landmark at %d was read", value)
		}
	}
	for n := range 10 { // values
		if err := store.UnpackLandmarks(make([]byte, n), []store.Face{{}}); (err == nil) != (n == 0) {
			t.Errorf("%d landmarks: %v", n, err)
		}
	}
}

func FuzzUnpackLandmarks(f *testing.F) {
	f.Add(store.PackLandmarks([]store.Face{landmarked(1, 2, 30, 40,
		store.Landmarks{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})}), 1, 2, 30, 40)
	f.Add([]byte{}, 0, 0, 1, 1)
	f.Fuzz(func(t *testing.T, b []byte, x, y, w, h int) {
		if min(x, y) < 0 || min(w, h) < 1 || max(x, y, w, h) > 1<<26 {
			return
		}
		face := []store.Face{{X: x, Y: y, Width: w, Height: h}}
		if store.UnpackLandmarks(b, face) != nil {
			return
		}
		again := []store.Face{{X: x, Y: y, Width: w, Height: h}}
		if err := store.UnpackLandmarks(store.PackLandmarks(face), again); err != nil || again[0] != face[0] {
			t.Errorf("%+v became %+v, %v", face, again, err)
		}
	})
}
