package pigo

import (
	"context"
	"errors"
	"image"
	"testing"

	"facescan/detect/detecttest/sample"
)

// failing is an engine whose call number n fails.
type failing struct {
	Engine
	n int
}

var errEngine = errors.New("the engine failed")

func (e *failing) Run(ctx context.Context, searches []Search) error {
	if e.n--; e.n == 0 {
		return errEngine
	}
	return e.Engine.Run(ctx, searches)
}

// TestFind finds the faces of each image of a batch, and passes the error of every call of the engine on.
func TestFind(t *testing.T) {
	c, err := Parse(Facefinder)
	must(t, err)
	blank := image.NewGray(image.Rect(0, 0, 200, 100))
	batch := []Image{{Luma: sample.Photo(t, 240), Scale: 1}, {Luma: blank, Scale: 1},
		{Luma: sample.Photo(t, 160), Scale: 1}}
	p := Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2}
	faces := map[int]int{}
	count := func(i int, fs []Face) { faces[i] = len(fs) }
	must(t, NewFinder(NewEngine(c)).Find(t.Context(), batch, p, count))
	if len(faces) != 3 || faces[0] == 0 || faces[1] != 0 || faces[2] == 0 {
		t.Errorf("faces by image: %v", faces)
	}
	calls := &failing{NewEngine(c), 1 << 30}
	must(t, NewFinder(calls).Find(t.Context(), batch, p, func(int, []Face) {}))
	for n := 1; n <= 1<<30-calls.n; n++ {
		err := NewFinder(&failing{NewEngine(c), n}).Find(t.Context(), batch, p, func(i int, _ []Face) {
			t.Errorf("call %d failed, and image %d has an answer", n, i)
		})
		if !errors.Is(err, errEngine) {
			t.Errorf("call %d failed: %v", n, err)
		}
	}
}
