package decode

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"io"
	"slices"
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
		"as wide, and shifted": {image.Rect(0, 0, 20, 30), image.Rect(3, 5, 23, 15), image.Rect(0, 0, 20,
			30)},
		"as high, and shifted": {image.Rect(0, 0, 40, 10), image.Rect(5, 3, 25, 13), image.Rect(0, 0, 40,
			10)},
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

// gifParts are a GIF's head with a table of greys, the descriptor of a frame, and its pixels.
func gifParts(w, h int, flags byte, pix []byte) (head, frame, data []byte) {
	b := writeGIF(image.Rect(0, 0, w, h), image.Rect(0, 0, w, h), codeGIF(pix, 8))
	head, frame = b[:13+768], bytes.Clone(b[13+768:][:10])
	frame[9] = flags
	return head, frame, b[13+768+10:]
}

// TestGIFBlocksBefore: what precedes the first frame is skipped, but for the colour to see through.
func TestGIFBlocksBefore(t *testing.T) {
	const w, h = 20, 10
	pix := make([]byte, w*h)
	for i := range pix {
		pix[i] = byte(i % 7)
	}
	head, frame, data := gifParts(w, h, 0, pix)
	control := func(flags, index byte) []byte { return []byte{0x21, 0xf9, 4, flags, 0, 0, index, 0} }
	for name, c := range map[string]struct {
		before []byte
		clear  int // the colour that is white
	}{
		"nothing":                 {nil, -1},
		"a comment":               {[]byte("\x21\xfe\x03abc\x02de\x00"), -1},
		"an empty comment":        {[]byte("\x21\xfe\x00"), -1},
		"a zero too many":         {[]byte{0, 0}, -1},
		"an opaque frame":         {control(0, 3), -1},
		"other flags":             {control(0x1c, 3), -1},
		"a clear colour":          {control(1, 3), 3},
		"with other flags":        {control(0x1d, 3), 3},
		"the first colour":        {control(1, 0), 0},
		"a colour there is not":   {control(1, 255), -1},
		"a comment like it":       {[]byte("\x21\xfe\x04\x01\x00\x00\x03\x00"), -1},
		"a shorter control block": {[]byte("\x21\xf9\x03\x01\x00\x00\x00"), -1},
	} {
		img := mustDecode(t, bytes.Join([][]byte{head, c.before, frame, data}, nil), Options{})
		for i, v := range pix {
			if int(v) == c.clear {
				v = 255
			}
			if img.Luma.Pix[i] != v || img.Partial {
				t.Fatalf("%s: pixel %d is %d, want %d", name, i, img.Luma.Pix[i], v)
			}
		}
	}
	whole := bytes.Join([][]byte{head, control(1, 3), frame, data}, nil)
	for n := 6; n < len(head)+8+len(frame)+1; n++ {
		if _, got := probed(whole[:n], Options{}); got != "bad image: gif: cut short" {
			t.Errorf("%d bytes: %q", n, got)
		}
	}
	for _, block := range []byte{0x3b, 0x20, 0x2d} {
		if _, got := probed(append(bytes.Clone(head), block),
			Options{}); got != "bad image: gif: no frame in it" {
			t.Errorf("a block %x: %q", block, got)
		}
	}
}

// TestGIFTables: the colours are those of the frame, or else of the file; those that are missing are black.
func TestGIFTables(t *testing.T) {
	const w, h = 20, 13
	pix := grey(photo(w, h)).Pix
	head, frame, data := gifParts(w, h, 0, pix)
	for name, c := range map[string]struct {
		flags byte
		table int // colours
	}{"the file's": {0, 0}, "two": {0x80, 2}, "sixteen": {0x83, 16}, "all": {0x87, 256}} {
		f := bytes.Clone(frame)
		f[9] = c.flags
		var table []byte
		for i := range c.table {
			table = append(table, byte(255-i), byte(255-i), byte(255-i))
		}
		whole := bytes.Join([][]byte{head, f, table, data}, nil)
		img := mustDecode(t, whole, Options{})
		for i, v := range pix {
			if c.table > 0 && int(v) < c.table {
				v = 255 - v
			} else if c.table > 0 {
				v = 0
			}
			if img.Luma.Pix[i] != v {
				t.Fatalf("%s: pixel %d is %d, want %d", name, i, img.Luma.Pix[i], v)
			}
		}
		for n := len(head) + len(f); n <= len(head)+len(f)+len(table); n++ {
			if _, got := probed(whole[:n], Options{}); got != "bad image: gif: cut short" {
				t.Errorf("%s, %d bytes: %q", name, n, got)
			}
		}
	}
	bare := bytes.Clone(head[:13]) // a file without a table
	bare[10] &= 0x7f
	if img := mustDecode(t, bytes.Join([][]byte{bare, frame, data}, nil), Options{}); img.Partial ||
		!bytes.Equal(img.Luma.Pix, make([]byte, w*h)) {
		t.Errorf("without a table: %v", img.Luma.Pix)
	}
	thin := writeGIF(image.Rect(0, 0, 40, 30), image.Rect(7, 5, 27, 6), codeGIF(pix[:20], 8))
	if img := mustDecode(t, thin, Options{}); img.Luma.Rect.Dx() != 40 || img.Partial ||
		!bytes.Equal(img.Luma.Pix[5*40+7:][:20], pix[:20]) || img.Luma.Pix[6*40+7] != 255 {
		t.Errorf("a frame of one row: %v", img.Luma.Rect)
	}
	for _, frame := range []image.Rectangle{image.Rect(0, 0, 0, 5), image.Rect(0, 0, 5, 0)} {
		body := writeGIF(image.Rect(0, 0, w, h), frame, codeGIF(pix, 8))
		if img := mustDecode(t, body, Options{}); !bytes.Equal(img.Luma.Pix, pix) {
			t.Errorf("a frame of %v has not the size of its screen", frame)
		}
	}
}

// TestGIFHalf: half of the pixels are enough for a picture, and less is too little.
func TestGIFHalf(t *testing.T) {
	for n, want := range map[int]string{19: "bad image: gif: cut short", 20: "partial", 39: "partial",
		40: ""} {
		body := writeGIF(image.Rect(0, 0, 20, 2), image.Rect(0, 0, 20, 2), codeGIF(make([]byte, n), 8))
		img, err := decoded(t, body, Options{})
		got := map[bool]string{true: "partial"}[img.Partial]
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%d of 40 pixels: %q, want %q", n, got, want)
		}
	}
}

// TestGIFRows: an interlaced picture has every eighth row first, then those between.
func TestGIFRows(t *testing.T) {
	for _, h := range []int{1, 2, 3, 5, 8, 9, 21} {
		const w = 6
		pix := grey(photo(w, h)).Pix
		var stored []byte
		for _, p := range [][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
			for y := p[0]; y < h; y += p[1] {
				stored = append(stored, pix[y*w:][:w]...)
			}
		}
		head, frame, data := gifParts(w, h, 0x40, stored)
		img := mustDecode(t, bytes.Join([][]byte{head, frame, data}, nil), Options{})
		if !bytes.Equal(img.Luma.Pix, pix) || img.Partial {
			t.Errorf("%d interlaced rows are %v, want %v", h, img.Luma.Pix, pix)
		}
	}
}

// TestGIFLongCodes: strings of one colour, whose code is used at once, and a full table that is not cleared.
func TestGIFLongCodes(t *testing.T) {
	flat := image.NewPaletted(image.Rect(0, 0, 100, 90), color.Palette{color.Gray{77}, color.Gray{200}})
	for _, index := range []uint8{0, 1} {
		for i := range flat.Pix {
			flat.Pix[i] = index
		}
		img := mustDecode(t, encode(t, GIF, flat), Options{})
		for _, v := range img.Luma.Pix {
			if v != []uint8{77, 200}[index] {
				t.Fatalf("a picture of colour %d has %d", index, v)
			}
		}
	}
	pix := grey(photo(80, 80)).Pix
	var w bitsLow
	w.put(256, 9)
	next, width := 258, uint(9)
	for i, p := range pix {
		w.put(uint32(p), width)
		if i > 0 && next < gifCodes {
			if next++; next&(1<<width-1) == 0 && width < gifCodeBits {
				width++
			}
		}
	}
	w.put(257, width)
	w.put(0, 7)
	head, frame, _ := gifParts(80, 80, 0, nil)
	data := []byte{8}
	for part := range slices.Chunk(w.out, 255) {
		data = append(append(data, byte(len(part))), part...)
	}
	img := mustDecode(t, bytes.Join([][]byte{head, frame, data, {0}}, nil), Options{})
	if !bytes.Equal(img.Luma.Pix, pix) || img.Partial {
		t.Errorf("a full table: partial %v", img.Partial)
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
