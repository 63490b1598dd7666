package heif

import (
	"bytes"
	"image"
	"math"
	"testing"
)

// TestMasked: the luma of a second picture is the opacity of the first; one that is not there, or is coded
// otherwise, leaves the first as it is.
func TestMasked(t *testing.T) {
	const w, h = 16, 32
	r := image.Rect(0, 0, w, h)
	plane := func(stride int, at func(i int) uint8) *image.Gray {
		m := &image.Gray{Pix: make([]uint8, stride*h), Stride: stride, Rect: r}
		for y := range h {
			for x := range w {
				m.Pix[y*stride+x] = at(y*w + x)
			}
		}
		return m
	}
	grey := func() *image.Gray { return plane(w+3, func(i int) uint8 { return uint8(i * 7) }) }
	clear := plane(w+5, func(i int) uint8 { return uint8(255 - i/2) })
	coloured := &image.YCbCr{Y: clear.Pix, YStride: clear.Stride, Cb: make([]uint8, h*w), Cr: make([]uint8,
		h*w),
		CStride: w, SubsampleRatio: image.YCbCrSubsampleRatio444, Rect: r}
	for name, opacity := range map[string]image.Image{"grey": clear, "in colour": coloured} {
		got := masked(grey(), opacity).(*image.Gray)
		for y := range h {
			for x := range w {
				v, o := float64(grey().GrayAt(x, y).Y), float64(clear.GrayAt(x, y).Y)
				if want := uint8(math.Round((v*o + 255*(255-o)) / 255)); got.GrayAt(x, y).Y != want {
					t.Fatalf("%s: %v of opacity %v is %d, want %d", name, v, o, got.GrayAt(x, y).Y, want)
				}
			}
		}
		m, ok := masked(coloured, opacity).(*image.NYCbCrA)
		if !ok || !bytes.Equal(m.A, clear.Pix) || m.AStride != clear.Stride || !bytes.Equal(m.Y, coloured.Y) {
			t.Errorf("%s: in colour %T", name, m)
		}
	}
	rgba := image.NewRGBA(r)
	if got := masked(rgba, clear); got != rgba {
		t.Errorf("%T", got)
	}
	for _, opacity := range []image.Image{nil, rgba} {
		if got := masked(grey(), opacity).(*image.Gray); !bytes.Equal(got.Pix, grey().Pix) {
			t.Errorf("an opacity of %T changes the picture", opacity)
		}
	}
}
