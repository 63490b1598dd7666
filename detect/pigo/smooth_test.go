package pigo

import (
	"bytes"
	"image"
	"math/rand/v2"
	"testing"
)

func TestSmooth(t *testing.T) {
	from := image.NewGray(image.Rect(0, 0, 5, 4))
	from.Pix[2*from.Stride+1] = 160
	var to image.Gray
	Smooth(&to, from)
	want := []byte{
		0, 0, 0, 0, 0,
		10, 20, 10, 0, 0,
		20, 40, 20, 0, 0,
		10, 20, 10, 0, 0,
	}
	if !bytes.Equal(to.Pix, want) {
		t.Errorf("a point becomes %v", to.Pix)
	}
	for i := range from.Pix {
		from.Pix[i] = 255
	}
	Smooth(&to, from)
	if !bytes.Equal(to.Pix, from.Pix) {
		t.Errorf("white becomes %v", to.Pix)
	}
}

func TestSmoothAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, size := range [][2]int{{0, 0}, {0, 3}, {1, 1}, {1, 7}, {9, 1}, {2, 2}, {63, 5}, {64, 3}, {65, 4},
		{1023, 2}, {1024, 3}, {1025, 3}, {2049, 2}} {
		whole := image.NewGray(image.Rect(0, 0, size[0]+6, size[1]+2))
		for i := range whole.Pix {
			whole.Pix[i] = uint8(rng.Uint32())
		}
		from := whole.SubImage(image.Rect(4, 1, 4+size[0], 1+size[1])).(*image.Gray)
		var to image.Gray
		Smooth(&to, from)
		if to.Rect != (image.Rectangle{Max: from.Rect.Size()}) {
			t.Fatalf("%v becomes %v", from.Rect, to.Rect)
		}
		if len(to.Pix) == 0 {
			continue
		}
		want := bytes.Clone(to.Pix)
		smoothPortable(&to, from)
		if !bytes.Equal(to.Pix, want) {
			t.Errorf("%v: plain Go differs", size)
		}
		for name, smooth := range nativeSmoothers() {
			clear(to.Pix)
			smooth(&to, from)
			if !bytes.Equal(to.Pix, want) {
				t.Errorf("%v: %s differs", size, name)
			}
		}
	}
}

func BenchmarkSmooth(b *testing.B) {
	from := image.NewGray(image.Rect(0, 0, 500, 375))
	var to image.Gray
	for b.Loop() {
		Smooth(&to, from)
	}
}
