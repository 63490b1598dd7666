package decode

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"math"
	"testing"
)

// TestWebPHeader: what is wrong with the chunks is said.
func TestWebPHeader(t *testing.T) {
	lossy := lossyFrame(0)
	with := func(at int, b byte) []byte {
		out := bytes.Clone(lossy)
		out[at] = b
		return riff(chunk("VP8 ", out))
	}
	lossless := losslessFrame(photo(20, 10))
	canvas := []byte{0, 0, 0, 0, 19, 0, 0, 9, 0, 0}
	still := append(make([]byte, 16), chunk("VP8L", lossless)...)
	const cut, key = "bad image: webp: cut short", "bad image: webp: no key frame"
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"lossy": {riff(chunk("VP8 ", lossy)), ""}, "lossless": {riff(chunk("VP8L", lossless)), ""},
		"another chunk before": {riff(chunk("ABCD", []byte("odd")), chunk("VP8L", lossless)), ""},
		"nothing":              {riff(), cut},
		"between two frames":   {with(0, lossy[0]|1), key},
		"no first mark":        {with(3, 0), key}, "no second mark": {with(4, 0), key},
		"no third mark":  {with(5, 0), key},
		"nine bytes":     {riff(chunk("VP8 ", lossy[:9])), key},
		"ten bytes":      {riff(chunk("VP8 ", lossy[:10])), ""},
		"four bytes":     {riff(chunk("VP8L", lossless[:4])), "bad image: webp: no lossless frame"},
		"five bytes":     {riff(chunk("VP8L", lossless[:5])), ""},
		"no signature":   {riff(chunk("VP8L", lossy)), "bad image: webp: no lossless frame"},
		"a canvas":       {riff(chunk("VP8X", canvas), chunk("VP8L", lossless)), ""},
		"a short canvas": {riff(chunk("VP8X", canvas[:9]), chunk("VP8L", lossless)), cut},
		"too low a canvas": {riff(chunk("VP8X", []byte{0, 0, 0, 0, 19, 0, 0, 8, 0, 0}), chunk("VP8L",
			lossless)), "bad image: webp: frame outside its canvas"},
		"too narrow": {riff(chunk("VP8X", []byte{0, 0, 0, 0, 18, 0, 0, 9, 0, 0}), chunk("VP8L",
			lossless)), "bad image: webp: frame outside its canvas"},
		"animated":           {riff(chunk("VP8X", canvas), chunk("ANMF", still)), ""},
		"a short animation":  {riff(chunk("VP8X", canvas), chunk("ANMF", still[:15])), cut},
		"an empty animation": {riff(chunk("VP8X", canvas), chunk("ANMF", still[:16])), cut},
		"a broken animation": {riff(chunk("VP8X", canvas), chunk("ANMF", append(make([]byte, 16),
			chunk("VP8L", lossy)...))), "bad image: webp: no lossless frame"},
		"the frame is all": {riff(chunk("VP8L", lossless), chunk("VP8 ", []byte("broken"))), ""},
	} {
		h, got := probed(c.body, Options{})
		if got != c.want || got == "" && h.Memory == 0 {
			t.Errorf("%s: %+v, %q, want %q", name, h, got, c.want)
		}
	}
	for name, frame := range map[string][]byte{"no frame header": lossy[:10],
		"a frame header alone": append(bytes.Clone(lossy[:10]), 0xff, 0xff)} {
		if img, err := decoded(t, riff(chunk("VP8 ", frame)), Options{}); !errors.Is(err, ErrBadImage) {
			t.Errorf("%s: %+v, %v", name, img, err)
		}
	}
	// Half of the frame has to be there.
	whole := append(riff(chunk("VP8L", lossless))[:20], lossless...)
	for n, want := range map[int]string{(len(lossless) - 1) / 2: cut, (len(lossless) + 1) / 2: "",
		len(lossless) - 1: ""} {
		if _, got := probed(whole[:20+n], Options{}); got != want {
			t.Errorf("%d bytes of %d: %q, want %q", n, len(lossless), got, want)
		}
	}
}

// TestBrokenAlpha: a picture whose opacity cannot be read is opaque.
func TestBrokenAlpha(t *testing.T) {
	want := mustDecode(t, riff(chunk("VP8 ", lossyFrame(0))), Options{}).Luma.Pix
	for name, alpha := range map[string][]byte{
		"none": {}, "another coding": append([]byte{2}, make([]byte, 256)...), "no bytes": {0},
		"a byte too few": make([]byte, 256), "not lossless": append([]byte{1}, "what is this?"...),
	} {
		body := riff(chunk("VP8X", []byte{0x10, 0, 0, 0, 15, 0, 0, 15, 0, 0}), chunk("ALPH", alpha),
			chunk("VP8 ", lossyFrame(0)))
		if img, err := decoded(t, body, Options{}); err != nil || !bytes.Equal(img.Luma.Pix, want) ||
			img.Partial {
			t.Errorf("%s: partial %t, %v", name, img.Partial, err)
		}
	}
	clear := riff(chunk("VP8X", []byte{0x10, 0, 0, 0, 15, 0, 0, 15, 0, 0}), chunk("ALPH", make([]byte, 257)),
		chunk("VP8 ", lossyFrame(0)))
	for i, v := range mustDecode(t, clear, Options{}).Luma.Pix {
		if v != 255 {
			t.Fatalf("pixel %d of a picture to see through is %d", i, v)
		}
	}
}

// TestWiden: in colour, luma goes from 16 to 235 and chroma from 16 to 240 where a picture is lossy WebP.
func TestWiden(t *testing.T) {
	m := image.NewNYCbCrA(image.Rect(0, 0, 16, 16), image.YCbCrSubsampleRatio444)
	for i := range 256 {
		m.Y[i], m.Cb[i], m.Cr[i], m.A[i] = uint8(i), uint8(i), uint8(255-i), uint8(i)
	}
	plain := m.YCbCr
	plain.Y, plain.Cb, plain.Cr = bytes.Clone(m.Y), bytes.Clone(m.Cb), bytes.Clone(m.Cr)
	widen(m)
	widen(&plain)
	for i := range 256 {
		luma := clamp(float64(i-16) * 255 / 219)
		chroma := func(v int) uint8 {
			return uint8(min(255, max(0,
				math.Floor(float64(v-128)*255/224+128.5))))
		}
		if want := [3]uint8{luma, chroma(i), chroma(255 - i)}; m.Y[i] != want[0] || m.Cb[i] != want[1] ||
			m.Cr[i] != want[2] || m.A[i] != uint8(i) || plain.Y[i] != want[0] || plain.Cb[i] != want[1] ||
			plain.Cr[i] != want[2] {
			t.Fatalf("%d becomes %d, %d, %d and %d, %d, %d, want %v", i, m.Y[i], m.Cb[i], m.Cr[i], plain.Y[i],
				plain.Cb[i], plain.Cr[i], want)
		}
	}
	body := riff(chunk("VP8 ", lossyFrame(0)))
	luma := mustDecode(t, body, Options{}).Luma.GrayAt(8, 8).Y
	if got := mustColor(t, body, Options{}).RGBAAt(8, 8); got != (color.RGBA{luma, luma, luma, 255}) {
		t.Errorf("a grey picture is %v in colour, its luma is %d", got, luma)
	}
}
