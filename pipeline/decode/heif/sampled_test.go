package heif_test

import (
	"bytes"
	"image"
	"image/color"
	"strings"
	"testing"

	"facescan/pipeline/decode/heif"
)

// uniform is a picture of one grey.
func uniform(w, h int, v uint8) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = v
	}
	return m
}

// TestSampling: HEIC with any share of chroma, and with planes of red, green and blue, has its luma and its
// colours; also where rows have an odd length, or one that is padded.
func TestSampling(t *testing.T) {
	for chroma := range 4 {
		for _, size := range []image.Point{{32, 32}, {96, 64}, {160, 32}, {39, 31}, {75, 27}, {132, 32},
			{131, 23}} {
			w, h := (size.X+31)&^31, (size.Y+31)&^31
			m := photo(w, h)
			x, y := (w-size.X)/2, (h-size.Y)/2
			crop := [][]byte{fullRange, box("clap", u32(size.X, 1, size.Y, 1, -((w-size.X)&1), 2,
				-((h-size.Y)&1), 2))}
			want := image.NewGray(image.Rectangle{Max: size})
			for i := range want.Pix {
				want.Pix[i] = m.GrayAt(x+i%size.X, y+i/size.X).Y
			}
			same(t, mustDecode(t, heicSampled(m, chroma, 128, 128, crop...)).Luma, want)
			flat := color.YCbCr{Y: 120, Cb: 90, Cr: 200}
			if chroma == 0 {
				flat = color.YCbCr{Y: 120, Cb: 128, Cr: 128}
			}
			picture := inColor(t, heicSampled(uniform(w, h, 120), chroma, 90, 200, crop...))
			if picture.Rect.Size() != size {
				t.Errorf("chroma %d: %v, want %v", chroma, picture.Rect, size)
			}
			for i := range size.X * size.Y {
				got, want := picture.At(i%size.X, i/size.X), color.RGBAModel.Convert(flat)
				if color.RGBAModel.Convert(got) != want {
					t.Fatalf("chroma %d, %v: pixel %d is %v, want %v", chroma, size, i, got, want)
				}
			}
		}
	}
	planes := box("colr", []byte("nclx"), u16(1, 13, 0), []byte{0x80}) // green, blue, red
	for _, size := range []image.Point{{32, 32}, {96, 64}} {
		body := heicSampled(uniform(size.X, size.Y, 120), 3, 90, 200, planes)
		picture := inColor(t, body)
		for i := range size.X * size.Y {
			if got := picture.RGBAAt(i%size.X, i/size.X); got != (color.RGBA{200, 120, 90, 255}) {
				t.Fatalf("%v: pixel %d is %v", size, i, got)
			}
		}
		same(t, mustDecode(t, body).Luma, uniform(size.X, size.Y, 140))
		f, err := heif.Parse(body, heif.HEIC)
		must(t, err)
		m, err := heif.Decode(body, f)
		must(t, err)
		if _, ok := m.(*image.NRGBA); !ok {
			t.Errorf("%T", m)
		}
	}
}

// TestDeepAVIF decodes 10-bit samples: 1000 on the left, 301 above and 351 below on the right.
func TestDeepAVIF(t *testing.T) {
	config := []byte{0, 0, 0, 12, 'a', 'v', '1', 'C', 0x81, 0, 0x5c, 0}
	data := []byte("\x12\x00\x0a\x05\x18\x0c\xbf\xf3\xa8\x32\x21\x10\x00\xa4\xee\x04\x54\x6e\xc4\xd3" +
		"\xe3\x0e\xdb\x7f\x01\x94\x6e\x9f\xfd\xa7\x7d\x02\x0b\xed\xb1\x50\x34\x05\x2a\x40\x5b\xf4\x19" +
		"\xf8")
	profile := box("colr", []byte("nclx"), u16(2, 2, 2), []byte{0x80})
	for _, c := range []struct {
		crop  [][]byte
		shown image.Rectangle
	}{{nil, image.Rect(0, 0, 16, 8)}, {[][]byte{box("clap", u32(9, 1, 4, 1, -1, 2, 0, 1))},
		image.Rect(3, 2, 12, 6)}} {
		body := container(heif.AVIF, config, data, 16, 8, append(c.crop, profile)...)
		body = bytes.Replace(body, []byte{3, 8, 8, 8}, []byte{1, 10, 0, 0}, 1) // samples' depths
		f, err := heif.Parse(body, heif.AVIF)
		must(t, err)
		picture, err := heif.Decode(body, f)
		must(t, err)
		m, ok := picture.(*image.RGBA64)
		if !ok || m.Rect.Size() != c.shown.Size() {
			t.Fatalf("%T of %v", picture, picture.Bounds())
		}
		luma := mustDecode(t, body).Luma
		for y := range c.shown.Dy() {
			for x := range c.shown.Dx() {
				want := 351
				if at := c.shown.Min.Add(image.Pt(x, y)); at.X < 5 {
					want = 1000
				} else if at.Y < 3 {
					want = 301
				}
				v := uint16((want*65535 + 511) / 1023)
				if got := m.RGBA64At(x, y); got != (color.RGBA64{v, v, v, 65535}) {
					t.Fatalf("%v: pixel %d,%d is %v, want %d", c.shown, x, y, got, v)
				}
				if got, want := int(luma.GrayAt(x, y).Y), want*255/1023; got < want || got > want+1 {
					t.Fatalf("%v: pixel %d,%d is %d, want %d", c.shown, x, y, got, want)
				}
			}
		}
	}
}

// TestOtherSize: a picture that does not have the size that its boxes announced is refused, and one that is
// too large for a decoder is not begun.
func TestOtherSize(t *testing.T) {
	m := photo(64, 32)
	for format, body := range map[string][]byte{heif.AVIF: avif(t, m), heif.HEIC: heic(m)} {
		for _, size := range []image.Point{{96, 32}, {64, 64}} {
			other := map[string][]byte{heif.AVIF: avif(t, photo(size.X, size.Y)),
				heif.HEIC: heic(photo(size.X, size.Y))}[format]
			f, err := heif.Parse(other, format)
			must(t, err)
			if _, err := heif.Decode(body, f); err == nil ||
				err.Error() != "size differs from the container's" {
				t.Errorf("%s, %v: %v", format, size, err)
			}
		}
		large := bytes.Clone(body)
		copy(large[bytes.Index(large, []byte("ispe"))+8:], u32(20000, 20000))
		f, err := heif.Parse(large, format)
		must(t, err)
		if _, err := heif.Decode(large, f); err == nil || err.Error() != "too large" {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// TestOpacityLost: a picture is shown as it is when its opacity has no entry, or a number that the number of
// the primary picture has no room for.
func TestOpacityLost(t *testing.T) {
	const name = "urn:mpeg:hevc:2015:auxid:1"
	m, clear := photo(64, 64), uniform(64, 64, 0)
	same(t, mustDecode(t, heicAlphaOf(m, clear, 1<<16+2, name, true)).Luma, uniform(64, 64, 255))
	narrow := bytes.Replace(heicAlphaOf(m, clear, 1<<16+2, name, true),
		[]byte("pitm\x01\x00\x00\x00\x00\x00\x00\x01"), []byte("pitm\x00\x00\x00\x00\x00\x01\x00\x00"), 1)
	same(t, mustDecode(t, narrow).Luma, m)
	for _, id := range []int{1<<16 - 1, 1 << 16} {
		body := bytes.Replace(heicAlphaOf(m, clear, id, name, true),
			[]byte("pitm\x01\x00\x00\x00\x00\x00\x00\x01"), []byte("pitm\x00\x00\x00\x00\x00\x01\x00\x00"), 1)
		want := m
		if id < 1<<16 {
			want = uniform(64, 64, 255)
		}
		same(t, mustDecode(t, body).Luma, want)
	}
	missing := heicAlpha(m, clear, name, false)
	at := bytes.LastIndex(missing, []byte("infe"))
	copy(missing[at:], "free")
	if img, err := decoded(t, missing); err == nil {
		same(t, img.Luma, m)
	} else if !strings.Contains(err.Error(), "refuses") {
		t.Error(err)
	}
}
