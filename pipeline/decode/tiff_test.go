package decode

import (
	"bytes"
	"compress/lzw"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"maps"
	"math/bits"
	"slices"
	"testing"
)

// tags are the entries of a TIFF directory.
type tags map[uint16][]uint32

// write makes a TIFF of one strip, little-endian, with some entries replaced; nil removes one.
func (base tags) write(strip []byte, changes tags) []byte {
	all := maps.Clone(base)
	maps.Copy(all, changes)
	for tag, v := range (tags{tagStrips: {8}, tagStripBytes: {uint32(len(strip))}}) {
		if _, ok := changes[tag]; !ok {
			all[tag] = v
		}
	}
	b := append([]byte("II*\x00"), 0, 0, 0, 0)
	b = append(b, strip...)
	at := map[uint16]uint32{}
	for tag, v := range all {
		at[tag] = uint32(len(b))
		if len(v) > 1 {
			for _, x := range v {
				b = binary.LittleEndian.AppendUint32(b, x)
			}
		}
		if len(v) == 0 {
			delete(all, tag)
		}
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(all)))
	for _, tag := range slices.Sorted(maps.Keys(all)) {
		v := all[tag]
		b = binary.LittleEndian.AppendUint16(b, tag)
		b = binary.LittleEndian.AppendUint16(b, typeLong)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
		if len(v) == 1 {
			b = binary.LittleEndian.AppendUint32(b, v[0])
		} else {
			b = binary.LittleEndian.AppendUint32(b, at[tag])
		}
	}
	return append(b, 0, 0, 0, 0)
}

// What x/image does not read, or reads wrongly, is unsupported; what it reads is right.
func TestTIFFKinds(t *testing.T) {
	const w, h = 24, 10
	m := grey(photo(w, h))
	var rgb, rgba []byte
	for _, v := range m.Pix {
		rgb = append(rgb, v, v, v)
		rgba = append(rgba, v, v, v, 255)
	}
	greyTags := tags{tagWidth: {w}, tagHeight: {h}, tagBits: {8}, tagCompression: {1}, tagPhotometric: {1},
		tagSamples: {1}, tagStripRows: {h}}
	rgbTags := maps.Clone(greyTags)
	maps.Copy(rgbTags, tags{tagBits: {8, 8, 8}, tagPhotometric: {2}, tagSamples: {3}})
	inverse := image.NewGray(m.Rect)
	for i, v := range m.Pix {
		inverse.Pix[i] = ^v
	}
	ramp := make([]uint32, 768) // of 8 bits, where 16 are meant
	for i := range ramp {
		ramp[i] = uint32(i % 256)
	}
	bright := func(i int) []uint32 { // one value is too large for 8 bits, so all are dark
		c := slices.Clone(ramp)
		c[i] = 256
		return c
	}
	dark := image.NewGray(m.Rect)
	packed := func(compression uint32, strip []byte) []byte {
		return greyTags.write(strip, tags{tagCompression: {compression}})
	}
	var deflated, lzwCodes, runs bytes.Buffer
	z, l := zlib.NewWriter(&deflated), lzw.NewWriter(&lzwCodes, lzw.MSB, 8)
	_, err := io.MultiWriter(z, l).Write(m.Pix)
	must(t, errors.Join(err, z.Close(), l.Close()))
	for run := range slices.Chunk(m.Pix, 100) {
		runs.Write(append([]byte{byte(len(run) - 1)}, run...))
	}
	for name, c := range map[string]struct {
		body []byte
		want *image.Gray
	}{
		"deflated":             {packed(8, deflated.Bytes()), m},
		"deflated, old number": {packed(32946, deflated.Bytes()), m},
		"LZW":                  {packed(5, lzwCodes.Bytes()), m},
		"runs":                 {packed(32773, runs.Bytes()), m},
		"grey":                 {greyTags.write(m.Pix, nil), m},
		"white is 0":           {greyTags.write(m.Pix, tags{tagPhotometric: {0}}), inverse},
		"RGB":                  {rgbTags.write(rgb, nil), m},
		"RGB, opaque": {rgbTags.write(rgba, tags{tagBits: {8, 8, 8, 8}, tagSamples: {4},
			tagExtraSamples: {1}}), m},
		"RGB, opaque, not multiplied": {rgbTags.write(rgba, tags{tagBits: {8, 8, 8, 8}, tagSamples: {4},
			tagExtraSamples: {2}}), m},
		"no number of samples": {rgbTags.write(rgb, tags{tagSamples: nil}), m},
		"planes of one sample": {greyTags.write(m.Pix, tags{tagPlanar: {2}}), m},
		"palette of 8 bits":    {greyTags.write(m.Pix, tags{tagPhotometric: {3}, tagColorMap: ramp}), m},
		"palette of 16 bits, red": {greyTags.write(m.Pix, tags{tagPhotometric: {3},
			tagColorMap: bright(255)}), dark},
		"palette of 16 bits, green": {greyTags.write(m.Pix, tags{tagPhotometric: {3},
			tagColorMap: bright(511)}), dark},
		"palette of 16 bits, blue": {greyTags.write(m.Pix, tags{tagPhotometric: {3},
			tagColorMap: bright(767)}), dark},
	} {
		img, err := decoded(t, c.body, Options{})
		if err != nil || img.Format != TIFF {
			t.Errorf("%s: %+v, %v", name, img, err)
			continue
		}
		if most, _ := difference(t, img.Luma, c.want); most > 1 {
			t.Errorf("%s: off by %d", name, most)
		}
	}
	for name, body := range map[string][]byte{
		"JPEG":     greyTags.write(m.Pix, tags{tagCompression: {7}}),
		"old JPEG": greyTags.write(m.Pix, tags{tagCompression: {6}}),
		"zstd":     greyTags.write(m.Pix, tags{tagCompression: {50000}}),
		"fax runs": greyTags.write(m.Pix, tags{tagCompression: {2}, tagBits: {1}}),
		"fax in two dimensions": greyTags.write(m.Pix,
			tags{tagCompression: {3}, tagBits: {1}, tagT4Options: {1}}),
		"inks": rgbTags.write(rgb, tags{tagPhotometric: {5}, tagBits: {8, 8, 8, 8},
			tagSamples: {4}}),
		"YCbCr":      rgbTags.write(rgb, tags{tagPhotometric: {6}}),
		"Lab":        rgbTags.write(rgb, tags{tagPhotometric: {8}}),
		"float":      greyTags.write(m.Pix, tags{tagBits: {32}, tagSampleFormat: {3}}),
		"signed":     greyTags.write(m.Pix, tags{tagSampleFormat: {2}}),
		"4 bits":     greyTags.write(m.Pix, tags{tagBits: {4}}),
		"12 bits":    greyTags.write(m.Pix, tags{tagBits: {12}}),
		"5-6-5 bits": rgbTags.write(rgb, tags{tagBits: {5, 6, 5}}),
		"planes":     rgbTags.write(rgb, tags{tagPlanar: {2}}),
		"grey and opacity": greyTags.write(m.Pix,
			tags{tagBits: {8, 8}, tagSamples: {2}, tagExtraSamples: {2}}),
		"a sample without sense": rgbTags.write(rgb, tags{tagBits: {8, 8, 8, 8}, tagSamples: {4},
			tagExtraSamples: {0}}),
		"one depth for three": rgbTags.write(rgb, tags{tagBits: {8}}),
		"predictor of floats": greyTags.write(m.Pix, tags{tagCompression: {8}, tagPredictor: {3}}),
		"predictor, no codes": greyTags.write(m.Pix, tags{tagPredictor: {2}}),
		"low bits first":      greyTags.write(m.Pix, tags{tagFillOrder: {2}}),
		"no lengths":          greyTags.write(m.Pix, tags{tagStripBytes: nil}),
	} {
		h, err := Probe(body, Options{})
		if !errors.Is(err, ErrUnsupported) || h.Format != TIFF || h.Width != w {
			t.Errorf("%s: %+v, %v", name, h.Header, err)
		}
	}
	unsorted := greyTags.write(m.Pix, nil)
	at := binary.LittleEndian.Uint32(unsorted[4:]) + 2
	first := bytes.Clone(unsorted[at:][:12])
	copy(unsorted[at:], unsorted[at+12:][:12])
	copy(unsorted[at+12:], first)
	if _, err := decoded(t, unsorted, Options{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("tags out of order: %v", err)
	}
	for name, body := range map[string][]byte{
		"cut":               rgbTags.write(rgb[:100], nil),
		"no strips":         exifSize(20, 10),
		"damaged deflate":   greyTags.write(m.Pix, tags{tagCompression: {8}}),
		"directory outside": []byte("II*\x00\xff\xff\xff\x7f"),
	} {
		if _, err := decoded(t, body, Options{}); !errors.Is(err, ErrBadImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The "white" of fax codes is 0: it is shown white or black by what 0 means, as libtiff does it.
func TestTIFFFax(t *testing.T) {
	// Two rows of 8 pixels (T.6): three white, five black; then the same, twice "vertical, 0 off" to either
	// edge.
	var strip uint32
	n := 0
	put := func(code uint32, length int) { strip, n = strip<<length|code, n+length }
	put(0b001, 3)  // horizontal
	put(0b1000, 4) // 3 white
	put(0b0011, 4) // 5 black
	put(0b1, 1)    // as above
	put(0b1, 1)
	strip <<= 32 - n
	data := binary.BigEndian.AppendUint32(nil, strip)
	reversed := make([]byte, len(data))
	for i, b := range data {
		reversed[i] = bits.Reverse8(b)
	}
	base := tags{tagWidth: {8}, tagHeight: {2}, tagBits: {1}, tagCompression: {4}, tagSamples: {1},
		tagStripRows: {2}}
	for _, photometric := range []uint32{0, 1} {
		for _, body := range [][]byte{
			base.write(data, tags{tagPhotometric: {photometric}}),
			base.write(reversed, tags{tagPhotometric: {photometric}, tagFillOrder: {2}}),
		} {
			img := mustDecode(t, body, Options{})
			for y := range 2 {
				for x := range 8 {
					if got, black := img.Luma.GrayAt(x, y).Y,
						(x >= 3) == (photometric == 0); got != map[bool]uint8{true: 0, false: 255}[black] {
						t.Fatalf("photometric %d: pixel %d,%d is %d", photometric, x, y, got)
					}
				}
			}
		}
	}
}

// TestTIFFRefusals: what is not decoded is named.
func TestTIFFRefusals(t *testing.T) {
	grey := tags{tagWidth: {24}, tagHeight: {10}, tagBits: {8}, tagCompression: {1}, tagPhotometric: {1},
		tagSamples: {1}, tagStripRows: {10}}
	rgb := tags{tagBits: {8, 8, 8}, tagPhotometric: {2}, tagSamples: {3}}
	rgba := tags{tagBits: {8, 8, 8, 8}, tagPhotometric: {2}, tagSamples: {4}, tagExtraSamples: {2}}
	fax := tags{tagBits: {1}, tagCompression: {4}, tagPhotometric: {0}}
	for _, c := range []struct {
		base, with tags
		want       string // after "unsupported: TIFF with "; empty for what is decoded
	}{
		{nil, nil, ""}, {rgb, nil, ""}, {rgba, nil, ""}, {fax, nil, ""},
		{nil, tags{tagCompression: {7}}, "compression 7"},
		{nil, tags{tagCompression: {0}}, ""},
		{nil, tags{tagPhotometric: {4}}, "colour space 4"},
		{nil, tags{tagBits: {4}}, "bits per sample [4]"},
		{rgb, tags{tagBits: {8, 8, 16}}, "bits per sample [8 8 16]"},
		{rgb, tags{tagBits: {1, 1, 1}}, "bits per sample [1 1 1]"},
		{rgb, tags{tagBits: {16, 16, 16}}, ""},
		{nil, tags{tagPhotometric: {3}, tagBits: {16}}, "bits per sample [16]"},
		{fax, tags{tagBits: {8}}, "bits per sample [8]"},
		{fax, tags{tagBits: nil}, ""},
		{nil, tags{tagSamples: {2}}, "samples 2"},
		{rgb, tags{tagBits: {8, 8}, tagSamples: {2}}, "samples 2"},
		{rgba, tags{tagBits: {8, 8, 8, 8, 8}, tagSamples: {5}}, "samples 5"},
		{nil, tags{tagBits: {8, 8, 8}, tagSamples: {3}}, "samples 3"},
		{rgba, tags{tagExtraSamples: {0}}, "extra samples 0"},
		{rgba, tags{tagExtraSamples: {3}}, "extra samples 3"},
		{rgba, tags{tagExtraSamples: nil}, "extra samples 0"},
		{rgb, tags{tagPlanar: {2}}, "planes 2"}, {rgb, tags{tagPlanar: {1}}, ""},
		{rgb, tags{tagSampleFormat: {1, 1, 3}}, "sample format [1 1 3]"},
		{rgb, tags{tagSampleFormat: {1, 1, 1}}, ""},
		{nil, tags{tagPredictor: {2}}, "predictor 2"},
		{nil, tags{tagPredictor: {3}, tagCompression: {5}}, "predictor 3"},
		{nil, tags{tagPredictor: {2}, tagCompression: {5}, tagBits: {1}}, "predictor 2"},
		{nil, tags{tagPredictor: {2}, tagCompression: {5}}, ""}, {nil, tags{tagPredictor: {1}}, ""},
		{nil, tags{tagFillOrder: {2}}, "fill order 2"}, {fax, tags{tagFillOrder: {2}}, ""},
		{fax, tags{tagCompression: {3}, tagT4Options: {4}}, "T4 options 4"},
		{fax, tags{tagCompression: {4}, tagT4Options: {4}}, ""},
		{fax, tags{tagCompression: {3}, tagT6Options: {2}}, ""},
		{fax, tags{tagT6Options: {2}}, "T6 options 2"},
		{fax, tags{tagPhotometric: {3}}, "fax codes in colour space 3"},
		{fax, tags{tagPhotometric: {1}}, ""},
		{nil, tags{tagStrips: {8, 8}}, "strips without their lengths"},
		{nil, tags{tagStripBytes: {8, 8}}, ""},
	} {
		all := maps.Clone(grey)
		maps.Copy(all, c.base)
		want := c.want
		if want != "" {
			want = "unsupported: TIFF with " + want
		}
		if h, got := probed(all.write(make([]byte, 24*10*8), c.with), Options{}); got != want ||
			h.Width != 24 {
			t.Errorf("%v with %v: %+v, %q, want %q", c.base, c.with, h, got, want)
		}
	}
	body := grey.write(make([]byte, 240), nil)
	entries := body[len(body)-4-9*12 : len(body)-4]
	for i := 1; i < 9; i++ { // each tag with the one before it
		broken := bytes.Clone(body)
		at := len(body) - 4 - 9*12 + (i-1)*12
		copy(broken[at:], entries[i*12:][:12])
		copy(broken[at+12:], entries[(i-1)*12:][:12])
		if _, got := probed(broken, Options{}); got != "unsupported: TIFF with tags out of order" {
			t.Errorf("tags %d and %d: %q", i-1, i, got)
		}
	}
	for orientation, want := range map[uint32]int{0: 1, 1: 1, 8: 8, 9: 1, 6: 6} {
		h, got := probed(grey.write(make([]byte, 240), tags{tagOrientation: {orientation}}), Options{})
		if got != "" || h.Orientation != want {
			t.Errorf("orientation %d: %+v, %q, want %d", orientation, h, got, want)
		}
	}
}

// TestTIFFTiles has a picture of two tiles by two, that reach beyond it.
func TestTIFFTiles(t *testing.T) {
	const w, h, side = 24, 20, 16
	m := grey(photo(w, h))
	var data []byte
	for i := range 4 {
		for y := range side {
			for x := range side {
				data = append(data, m.GrayAt(min(i%2*side+x, w-1), min(i/2*side+y, h-1)).Y)
			}
		}
	}
	body := tags{tagWidth: {w}, tagHeight: {h}, tagBits: {8}, tagCompression: {1}, tagPhotometric: {1},
		tagSamples: {1}, tagTileWidth: {side}, tagTileHeight: {side}, 0x144: {8, 264, 520, 776},
		0x145: {256, 256, 256, 256}}.write(data, tags{tagStrips: nil, tagStripBytes: nil})
	img := mustDecode(t, body, Options{})
	if !bytes.Equal(img.Luma.Pix, m.Pix) {
		t.Error("tiles are at other places")
	}
}
