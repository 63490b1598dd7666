package decode

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"testing"

	"facescan/pipeline/decode/heif"
)

// avifFile is an AVIF of 16x8 grey pixels of 10 bits, turned anticlockwise by a quarter: stored are 250 on
// the left, and on the right 75 above and 87 below.
const avifFile = "AAAAHGZ0eXBhdmlmAAAAAG1pZjFhdmlmbWlhZgAAAPBtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAA" +
	"AAAAAAAAAAAAAAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAARQAAAAsAAAAI2lpbmYAAAAAAAEAAAAV" +
	"aW5mZQIAAAAAAQAAYXYwMQAAAAB0aXBycAAAAFRpcGNvAAAADGF2MUOBAFwAAAAAFGlzcGUAAAAAAAAAEAAAAAgAAAAQcGl4" +
	"aQAAAAABCgAAAAAACWlyb3QBAAAAE2NvbHJuY2x4AAIAAgACgAAAABhpcG1hAAAAAAAAAAEAAQWBAgOEBQAAADRtZGF0EgAK" +
	"BRgMv/OoMiEQAKTuBFRuxNPjDtt/AZRun/2nfQIL7bFQNAUqQFv0Gfg="

// TestHEIF: a picture in a container of boxes has the size, the turn and the memory that these announce; what
// is wrong with them is said. Most of its tests are those of package heif.
func TestHEIF(t *testing.T) {
	body, err := base64.StdEncoding.DecodeString(avifFile)
	must(t, err)
	f, err := Probe(body, Options{})
	must(t, err)
	info, err := heif.Parse(body, AVIF)
	must(t, err)
	if f.Format != AVIF || f.Width != 8 || f.Height != 16 || f.Orientation != 1 || f.Plain() {
		t.Errorf("%+v", f.Header)
	}
	if want := 2*16*8 + info.Memory() + 112<<20; f.Memory != want && heif.Compiling(AVIF) > 0 {
		t.Errorf("%d bytes, want %d with those for making the decoder", f.Memory, want)
	}
	img := mustDecode(t, body, Options{})
	picture := mustColor(t, body, Options{})
	if img.Format != AVIF || img.Width != 8 || img.Height != 16 || img.Orientation != 1 || img.Partial ||
		img.Scale != 1 || img.Luma.Rect != image.Rect(0, 0, 8, 16) || picture.Rect != img.Luma.Rect {
		t.Fatalf("%+v", img)
	}
	for y := range 16 {
		for x := range 8 {
			want := uint8(87) // of the stored pixel 15-y, x
			if 15-y < 5 {
				want = 250
			} else if x < 3 {
				want = 75
			}
			if got := img.Luma.GrayAt(x, y).Y; got != want {
				t.Fatalf("pixel %d,%d is %d, want %d", x, y, got, want)
			}
			if c := picture.RGBAAt(x, y); grayOff(c, want) > 1 || c.A != 255 {
				t.Fatalf("pixel %d,%d is %v in colour, want %d", x, y, c, want)
			}
		}
	}
	if f, err = Probe(body, Options{}); err != nil || f.Memory != 2*16*8+info.Memory() {
		t.Errorf("once the decoder is made, %d bytes, %v", f.Memory, err)
	}
	with := func(old, changed string) []byte { return bytes.Replace(body, []byte(old), []byte(changed), 1) }
	sized := func(size string) []byte { return with("\x00\x00\x00\x10\x00\x00\x00\x08", size) }
	sequence := append([]byte("\x00\x00\x00\x10ftyphevc\x00\x00\x00\x00"), "\x00\x00\x00\x08moov"...)
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"a sequence":            {sequence, "unsupported: heic: sequence without a primary picture"},
		"no primary picture":    {with("pitm", "free"), "bad image: avif: no primary picture"},
		"no size":               {with("ispe", "free"), "bad image: avif: no size"},
		"another coding":        {with("av01", "jpeg"), "unsupported: HEIF coded as jpeg"},
		"too many for a module": {sized("\x00\x00\x30\x00\x00\x00\x30\x00"), "too many pixels: 12288x12288"},
	} {
		if h, got := probed(c.body, Options{MaxPixels: 1 << 40}); got != c.want {
			t.Errorf("%s: %+v, %q, want %q", name, h, got, c.want)
		}
	}
	if h, got := probed(sized("\x00\x00\x1c\x00\x00\x00\x1c\x00"), Options{}); got != "" || h.Width != 7168 {
		t.Errorf("51 megapixels: %+v, %q", h, got)
	}
}

// grayOff is how far a colour is from a grey.
func grayOff(c color.RGBA, grey uint8) (off int) {
	for _, v := range []uint8{c.R, c.G, c.B} {
		off = max(off, int(v)-int(grey), int(grey)-int(v))
	}
	return off
}
