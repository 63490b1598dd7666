package decode

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPNGMemory holds what a PNG announces to the pixels that its kind takes: too little breaks the budget,
// and too much, e.g. four bytes for a pixel of a palette, keeps other rows out of it.
func TestPNGMemory(t *testing.T) {
	const w, h, room = 1000, 1000, 1000*32 + 1<<18
	clear := pngChunk("tRNS", []byte{0, 9})
	for _, c := range []struct {
		name              string
		kind, depth, lace byte
		before            []byte
		pixel             int64 // bytes
	}{
		{"grey", 0, 8, 0, nil, 1},
		{"grey, 16 bits", 0, 16, 0, nil, 2},
		{"grey, one of them clear", 0, 8, 0, clear, 4},
		{"colour", 2, 8, 0, nil, 4},
		{"colour, 16 bits", 2, 16, 0, nil, 8},
		{"palette", 3, 8, 0, nil, 1},
		{"palette of two", 3, 1, 0, nil, 1},
		{"palette, some clear", 3, 8, 0, clear, 1},
		{"palette, interlaced", 3, 8, 1, nil, 2},
		{"grey and opacity", 4, 8, 0, nil, 4},
		{"colour and opacity, 16 bits, interlaced", 6, 16, 1, nil, 16},
	} {
		ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
		body := append([]byte(pngSignature), pngChunk("IHDR", append(ihdr, c.depth, c.kind, 0, 0, c.lace))...)
		body = append(append(body, c.before...), pngChunk("IDAT", []byte{0x78, 0x01})...)
		f, err := Probe(body, Options{})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if pixels := f.Memory - f.lumaBytes(); pixels != c.pixel*w*h+room {
			t.Errorf("%s: %d bytes announced beside the luma, want %d per pixel and %d", c.name, pixels,
				c.pixel, room)
		}
	}
}

// TestCutPalette cuts a PNG with a palette: what is there keeps its colours.
func TestCutPalette(t *testing.T) {
	const w, h = 64, 200
	palette := color.Palette{color.Gray{10}, color.Gray{200}, color.Gray{90}}
	m := image.NewPaletted(image.Rect(0, 0, w, h), palette)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range m.Pix {
		m.Pix[i] = uint8(rng.IntN(3))
	}
	whole := encode(t, PNG, m)
	img, err := decoded(t, whole[:len(whole)*3/4], Options{})
	if err != nil || !img.Partial {
		t.Fatalf("partial %v, %v", img.Partial, err)
	}
	for y := range h / 2 {
		for x := range w {
			if got, want := img.Luma.GrayAt(x, y).Y, m.At(x, y).(color.Gray).Y; got != want {
				t.Fatalf("pixel %d,%d is %d, want %d", x, y, got, want)
			}
		}
	}
}

// TestPNGHeader: a header that is cut, or of another length, or of a size that no picture has.
func TestPNGHeader(t *testing.T) {
	body := encode(t, PNG, photo(20, 10))
	with := func(at int, b ...byte) []byte {
		out := bytes.Clone(body)
		copy(out[at:], b)
		return out
	}
	const cut, size = "bad image: png: cut short", "bad image: png: size out of range"
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"whole": {body, ""}, "the header alone": {body[:33], ""}, "a byte less": {body[:32], cut},
		"the signature": {body[:8], cut}, "another length": {with(11, 14), cut}, "another chunk": {with(12,
			'i'), cut},
		"too wide": {with(16, 0x80), size}, "too high": {with(20, 0x80), size},
		"no width":          {with(16, 0, 0, 0, 0), "bad image: png of 0x10 pixels"},
		"no height":         {with(20, 0, 0, 0, 0), "bad image: png of 20x0 pixels"},
		"wide":              {with(16, 0, 1, 0, 0), "too many pixels: 65536x10"},
		"high":              {with(20, 0, 1, 0, 0), "too many pixels: 20x65536"},
		"as wide as can be": {with(16, 0, 0, 0xff, 0xff), ""}, "as high as can be": {with(20, 0, 0, 0xff,
			0xff), ""},
	} {
		if h, got := probed(c.body, Options{}); got != c.want {
			t.Errorf("%s: %+v, %q, want %q", name, h, got, c.want)
		}
	}
}

// TestPNGOrientation is read from a chunk before the pixels that is there to its end, whichever chunks are
// beside it.
func TestPNGOrientation(t *testing.T) {
	body := encode(t, PNG, photo(20, 10))
	chunk := pngChunk("eXIf", exif(6, binary.LittleEndian))
	text := pngChunk("tEXt", []byte("a\x00bcd"))
	turned := insert(body, 33, append(bytes.Clone(text), chunk...))
	known := 33 + len(text) + len(chunk) - 4 // its checksum does not count
	for n := 33; n <= len(turned); n++ {
		want := 1
		if n >= known {
			want = 6
		}
		if h, got := probed(turned[:n], Options{}); got != "" || h.Orientation != want {
			t.Fatalf("%d bytes of %d: %+v, %q, want %d", n, len(turned), h, got, want)
		}
	}
	end := len(body) - 12
	if h, _ := probed(insert(body, end, chunk), Options{}); h.Orientation != 1 {
		t.Errorf("behind the pixels: %+v", h)
	}
	if h, _ := probed(insert(body, 33, pngChunk("eXIf", exif(9, binary.LittleEndian))),
		Options{}); h.Orientation != 1 {
		t.Errorf("an orientation of 9: %+v", h)
	}
}

// TestPNGErrors: what is wrong with the pixels is said.
func TestPNGErrors(t *testing.T) {
	ihdr := append([]byte{0, 0, 0, 20, 0, 0, 0, 10}, 8, 0, 0, 0, 0)
	file := func(chunks ...[]byte) []byte {
		return append([]byte(pngSignature+string(pngChunk("IHDR", ihdr))), bytes.Join(chunks, nil)...)
	}
	end := pngChunk("IEND", nil)
	damaged := pngChunk("IDAT", []byte{0x78, 1})
	damaged[len(damaged)-1] ^= 1
	broken := pngChunk("tEXt", []byte("x"))
	broken[len(broken)-1] ^= 1 // so that the pixels are looked at
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"no pixels":             {file(end), "bad image: png: cut short"},
		"no pixels, and cut":    {file(), "bad image: png: cut short"},
		"a wrong checksum":      {file(damaged, end), "bad image: png: wrong checksum"},
		"a wrong checksum, cut": {file(damaged), "bad image: png: wrong checksum"},
		"not deflated": {file(broken, pngChunk("IDAT", []byte("hello")), end),
			"bad image: png: zlib: invalid header"},
		"a damaged stream": {file(broken, pngChunk("IDAT", []byte{0x78, 1, 7, 0}), end),
			"bad image: png: flate: corrupt input before offset 1"},
		"nothing of the stream":   {file(pngChunk("IDAT", []byte{0x78, 1})), "bad image: png: cut short"},
		"a palette, no pixels":    {file(pngChunk("PLTE", []byte{1, 2, 3})), "bad image: png: cut short"},
		"pixels without a header": {append([]byte(pngSignature), body25()...), "bad image: png: cut short"},
	} {
		if _, err := decoded(t, c.body, Options{}); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// body25 is a chunk of 25 bytes, and not a header.
func body25() []byte { return pngChunk("IDAT", make([]byte, 13)) }

// TestPNGHalf: of a cut picture half of the bytes are enough, and less is too little.
func TestPNGHalf(t *testing.T) {
	for _, c := range []struct{ w, h int }{{9, 100}, {32768, 1}, {99, 7}} {
		ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(c.w)), uint32(c.h))
		ihdr = append(ihdr, 8, 0, 0, 0, 0)
		size := c.h * (1 + c.w)
		for _, part := range []int{size/2 - 1, (size + 1) / 2, size - 1, size} {
			// A stored block of that many bytes, of a stream that goes on.
			pixels := make([]byte, part)
			for i := range pixels {
				if i%(1+c.w) > 0 {
					pixels[i] = byte(i)
				}
			}
			data := []byte{0x78, 1}
			for block := range slices.Chunk(pixels, 1<<15) {
				data = append(data, 0, byte(len(block)), byte(len(block)>>8), ^byte(len(block)),
					^byte(len(block)>>8))
				data = append(data, block...)
			}
			body := append([]byte(pngSignature), pngChunk("IHDR", ihdr)...)
			img, err := decoded(t, append(body, pngChunk("IDAT", data)...), Options{})
			if 2*part < size {
				if err == nil || err.Error() != "bad image: png: cut short" {
					t.Errorf("%dx%d, %d of %d bytes: %v", c.w, c.h, part, size, err)
				}
				continue
			}
			if err != nil || !img.Partial {
				t.Errorf("%dx%d, %d of %d bytes: partial %t, %v", c.w, c.h, part, size, img.Partial, err)
				continue
			}
			for i, v := range img.Luma.Pix {
				at, want := i+i/c.w+1, byte(0)
				if at < part {
					want = byte(at)
				}
				if v != want {
					t.Fatalf("%dx%d, %d of %d bytes: pixel %d is %d, want %d", c.w, c.h, part, size, i, v,
						want)
				}
			}
		}
	}
}

// TestPNGSize counts the bytes by the definition: a filter byte per row of a pass that has pixels.
func TestPNGSize(t *testing.T) {
	const adam7 = "16462646" + "77777777" + "56565656" + "77777777" + "36463646" + "77777777" + "56565656" +
		"77777777"
	for kind, samples := range map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4} {
		for _, depth := range []byte{1, 2, 4, 8, 16} {
			for w := 1; w <= 18; w++ {
				for h := 1; h <= 18; h++ {
					plain, laced := int64(h*(1+(w*samples*int(depth)+7)/8)), int64(0)
					for pass := byte('1'); pass <= '7'; pass++ {
						for y := range h {
							n := 0
							for x := range w {
								if adam7[y%8*8+x%8] == pass {
									n++
								}
							}
							if n > 0 {
								laced += int64(1 + (n*samples*int(depth)+7)/8)
							}
						}
					}
					ihdr := []byte{0, 0, 0, byte(w), 0, 0, 0, byte(h), depth, kind, 0, 0, 0}
					if got := pngSize(ihdr); got != plain {
						t.Fatalf("kind %d, %d bits, %dx%d: %d bytes, want %d", kind, depth, w, h, got, plain)
					}
					ihdr[12] = 1
					if got := pngSize(ihdr); got != laced {
						t.Fatalf("kind %d, %d bits, %dx%d, interlaced: %d bytes, want %d", kind, depth, w, h,
							got, laced)
					}
				}
			}
		}
	}
}
