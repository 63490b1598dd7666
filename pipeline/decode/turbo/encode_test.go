package turbo

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"testing"
)

// Encode makes JPEGs of pictures and of parts of them, also of ones that are longer than the library can
// make.
func TestEncode(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 90, 70))
	for y := range 70 {
		for x := range 90 {
			// alpha does not count
			m.SetRGBA(x, y, color.RGBA{uint8(2 * x), uint8(3 * y), uint8(x + y), uint8(x)})
		}
	}
	for name, c := range map[string]*image.RGBA{
		"whole": m, "a part": m.SubImage(image.Rect(31, 17, 62, 70)).(*image.RGBA),
		"a pixel": m.SubImage(image.Rect(89, 69, 90, 70)).(*image.RGBA),
		"long":    image.NewRGBA(image.Rect(0, 0, 65_530, 2)),
	} {
		b, err := Encode(c, 95)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := encode(c, 95); (err == nil) != (Available && name != "long") {
			t.Errorf("%s, by the library: %v", name, err)
		}
		got, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Bounds().Size() != c.Rect.Size() {
			t.Errorf("%s: %v, want %v", name, got.Bounds(), c.Rect)
			continue
		}
		off, n := 0, 0
		for y := range c.Rect.Dy() {
			for x := range min(c.Rect.Dx(), 100) {
				r, g, b, _ := got.At(x, y).RGBA()
				want := c.RGBAAt(c.Rect.Min.X+x, c.Rect.Min.Y+y)
				for i, v := range []uint32{r, g, b} {
					d := int(v>>8) - int([]uint8{want.R, want.G, want.B}[i])
					off += max(d, -d)
					n++
				}
			}
		}
		if float64(off)/float64(n) > 4 {
			t.Errorf("%s: off by %.1f on average", name, float64(off)/float64(n))
		}
		for _, metadata := range []string{"Exif", "\xff\xe1", "\xff\xed", "\xff\xfe"} {
			if bytes.Contains(b[:min(len(b), 600)], []byte(metadata)) {
				t.Errorf("%s: %q in its header", name, metadata)
			}
		}
	}
	if _, err := Encode(image.NewRGBA(image.Rect(0, 0, 70_000, 1)), 90); err == nil {
		t.Error("a picture of 70,000 pixels a side was encoded")
	}
	for _, short := range []*image.RGBA{
		{Pix: make([]byte, 4*3*2-1), Stride: 4 * 3, Rect: image.Rect(0, 0, 3, 2)},
		{Pix: make([]byte, 4*3*2), Stride: 4*3 - 1, Rect: image.Rect(0, 0, 3, 2)},
		{Pix: make([]byte, 4), Stride: 4},
		{Stride: 4, Rect: image.Rect(0, 0, 1, 0)},
		{Stride: 4, Rect: image.Rect(0, 0, 0, 1)},
	} {
		if _, err := encode(short, 90); err == nil {
			t.Errorf("%d bytes were encoded as %v", len(short.Pix), short.Rect)
		}
	}
	coarse, _ := Encode(m, 20)
	if fine, _ := Encode(m, 95); len(coarse) >= len(fine) {
		t.Errorf("%d bytes at quality 20, %d at 95", len(coarse), len(fine))
	}
}
