package decode

import (
	"encoding/binary"
	"image"
	"image/color"
	"math/rand/v2"
	"testing"
)

// TestPNGMemory holds what a PNG announces to the pixels that its kind takes: too little breaks the budget,
// and too much, e.g. four bytes for a pixel of a palette, keeps other rows out of it.
func TestPNGMemory(t *testing.T) {
	const w, h, slack = 1000, 1000, 1 << 20
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
		if pixels := f.Memory - f.lumaBytes(); pixels < c.pixel*w*h || pixels > c.pixel*w*h+slack {
			t.Errorf("%s: %d bytes announced beside the luma, want %d per pixel", c.name, pixels, c.pixel)
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
