package decode

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"io"
	"testing"
)

// codeGIF codes pixels in codes of a size, the simple way: a clear before the table could grow beyond a
// width.
func codeGIF(pix []byte, size uint8) []byte {
	var w bitsLow
	clear, width := uint32(1)<<size, uint(size)+1
	for i, p := range pix {
		if i%max(1, 1<<size-2) == 0 {
			w.put(clear, width)
		}
		w.put(uint32(p), width)
	}
	w.put(clear+1, width)
	w.put(0, 7)
	out := []byte{size}
	for len(w.out) > 0 {
		n := min(255, len(w.out))
		out = append(append(out, byte(n)), w.out[:n]...)
		w.out = w.out[n:]
	}
	return append(out, 0)
}

// writeGIF is a GIF with a screen, a frame at a place on it, and a table of greys.
func writeGIF(screen, frame image.Rectangle, data []byte) []byte {
	u16 := func(v int) []byte { return []byte{byte(v), byte(v >> 8)} }
	b := append([]byte("GIF89a"), bytes.Join([][]byte{u16(screen.Dx()), u16(screen.Dy()), {0xf7, 0, 0}},
		nil)...)
	for i := range 256 {
		b = append(b, byte(i), byte(i), byte(i))
	}
	b = append(b, bytes.Join([][]byte{{0x2c}, u16(frame.Min.X), u16(frame.Min.Y), u16(frame.Dx()),
		u16(frame.Dy()), {0}}, nil)...)
	return append(append(b, data...), 0x3b)
}

// A frame covers a part of its screen, reaches beyond it, or takes its place.
func TestGIFScreen(t *testing.T) {
	pix := grey(photo(20, 10)).Pix
	for i := range pix {
		pix[i] = min(pix[i], 250) // no white
	}
	data := codeGIF(pix, 8)
	for name, c := range map[string]struct{ screen, frame, want image.Rectangle }{
		"a part": {image.Rect(0, 0, 40, 30), image.Rect(7, 5, 27, 15), image.Rect(0, 0, 40, 30)},
		"reaches beyond": {image.Rect(0, 0, 40, 30), image.Rect(30, 25, 50, 35),
			image.Rect(0, 0, 40, 30)},
		"larger":              {image.Rect(0, 0, 10, 30), image.Rect(0, 0, 20, 10), image.Rect(0, 0, 20, 10)},
		"larger, and shifted": {image.Rect(0, 0, 40, 5), image.Rect(3, 3, 23, 13), image.Rect(0, 0, 20, 10)},
		"wholly outside": {image.Rect(0, 0, 40, 30), image.Rect(40, 0, 60, 10),
			image.Rect(0, 0, 20, 10)},
		"no screen": {image.Rectangle{}, image.Rect(0, 0, 20, 10), image.Rect(0, 0, 20, 10)},
		"no width":  {image.Rect(0, 0, 0, 10), image.Rect(0, 0, 20, 10), image.Rect(0, 0, 20, 10)},
	} {
		body := writeGIF(c.screen, c.frame, data)
		frame := c.frame
		if c.want.Size() == frame.Size() {
			frame = c.want
		}
		img := mustDecode(t, body, Options{})
		picture, err := inColor(body, Options{})
		if err != nil || img.Luma.Rect != c.want || picture.Bounds() != c.want || img.Partial {
			t.Fatalf("%s: %+v, %v, %v", name, img, picture.Bounds(), err)
		}
		for y := range c.want.Dy() {
			for x := range c.want.Dx() {
				v := uint8(255)
				if p := image.Pt(x, y); p.In(frame) {
					v = pix[(y-frame.Min.Y)*20+x-frame.Min.X]
				}
				if got := img.Luma.GrayAt(x, y).Y; got != v {
					t.Fatalf("%s: pixel %d,%d is %d, not %d", name, x, y, got, v)
				}
				if got := color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y; got != v {
					t.Fatalf("%s, in colour: pixel %d,%d is %d, not %d", name, x, y, got, v)
				}
			}
		}
	}
	for name, body := range map[string][]byte{
		"neither screen nor frame": writeGIF(image.Rectangle{}, image.Rectangle{}, data),
		"a frame of 65535":         writeGIF(image.Rect(0, 0, 8, 8), image.Rect(0, 0, 65535, 65535), data),
	} {
		if _, err := decoded(t, body, Options{}); !errors.Is(err, ErrBadImage) &&
			!errors.Is(err, ErrTooManyPixels) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGIFCodeSizes(t *testing.T) {
	m := grey(photo(50, 40))
	for size := uint8(1); size <= 11; size++ {
		pix := bytes.Clone(m.Pix)
		for i := range pix {
			pix[i] &= byte(1<<min(size, 8) - 1)
		}
		img := mustDecode(t, writeGIF(m.Rect, m.Rect, codeGIF(pix, size)), Options{})
		if !bytes.Equal(img.Luma.Pix, pix) || img.Partial {
			t.Errorf("codes of %d bits are read wrongly", size)
		}
	}
	for _, size := range []uint8{0, 12, 255} {
		data := codeGIF(m.Pix, 8)
		data[0] = size
		if _, err := decoded(t, writeGIF(m.Rect, m.Rect, data), Options{}); !errors.Is(err, ErrBadImage) {
			t.Errorf("codes of %d bits: %v", size, err)
		}
	}
}

// FuzzGIF compares the reader of codes with image/gif, where both read a file.
func FuzzGIF(f *testing.F) {
	for _, size := range []image.Point{{1, 1}, {30, 20}, {200, 150}} {
		f.Add(encode(f, GIF, photo(size.X, size.Y)))
		f.Add(writeGIF(image.Rectangle{Max: size}, image.Rectangle{Max: size},
			codeGIF(grey(photo(size.X, size.Y)).Pix, 8)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := gif.DecodeConfig(bytes.NewReader(body))
		if err != nil || c.Width*c.Height > 1<<20 {
			return
		}
		want, err := gif.Decode(bytes.NewReader(body))
		if err != nil || want.Bounds().Empty() { // for which image/gif needs no pixels
			return
		}
		h, err := Probe(body, Options{})
		if err != nil {
			t.Fatalf("image/gif reads it: %v", err)
		}
		m, missing := h.gif.decode()
		if w := want.(*image.Paletted); missing > 0 || m.Rect != w.Rect || !bytes.Equal(m.Pix, w.Pix) {
			t.Fatalf("%v instead of %v, %d pixels missing", m.Rect, w.Rect, missing)
		}
	})
}

// A chain of sub-blocks ends with an empty one; before it the data is cut.
func TestGIFBlocks(t *testing.T) {
	for chain, want := range map[string]error{"\x03abc\x02de\x00": nil, "\x00": nil,
		"\x03ab": io.ErrUnexpectedEOF, "": io.ErrUnexpectedEOF} {
		r := gifBlocks{b: []byte(chain + "x")[:len(chain)]}
		skipped := r
		var b []byte
		for c, err := r.ReadByte(); err == nil; c, err = r.ReadByte() {
			b = append(b, c)
		}
		err := skipped.skip()
		if err != want || want == nil && len(chain) > 1 && string(b) != "abcde" {
			t.Errorf("%q: %q, %v", chain, b, err)
		}
	}
}
