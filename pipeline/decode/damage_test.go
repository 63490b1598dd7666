package decode

import (
	"bytes"
	"errors"
	"image"
	"math/rand/v2"
	"testing"
)

func TestCutOthers(t *testing.T) {
	m := photo(160, 200)
	for _, f := range []string{PNG, GIF, WebP, BMP} {
		whole := encode(t, f, m)
		full := mustDecode(t, whole, Options{}).Luma
		for _, c := range []struct {
			part float64
			ok   bool
		}{{0.05, false}, {0.3, false}, {0.75, true}, {0.99, true}} {
			img, err := decoded(t, whole[:int(c.part*float64(len(whole)))], Options{})
			if !c.ok {
				if !errors.Is(err, ErrBadImage) {
					t.Errorf("%s, %v of it: %v", f, c.part, err)
				}
				continue
			}
			if err != nil || !img.Partial {
				t.Errorf("%s, %v of it: partial %v, %v", f, c.part, img.Partial, err)
				continue
			}
			same := 0
			for y := range 200 {
				if bytes.Equal(img.Luma.Pix[y*160:][:160], full.Pix[y*160:][:160]) {
					same++
				}
			}
			if float64(same) < 200*(c.part-0.06) {
				t.Errorf("%s, %v of it: only %d rows are right", f, c.part, same)
			}
		}
	}
	if _, err := decoded(t, encode(t, TIFF, m)[:1000], Options{}); !errors.Is(err, ErrBadImage) {
		t.Errorf("cut TIFF: %v", err)
	}
}

func TestDamagedPNG(t *testing.T) {
	body := encode(t, PNG, photo(60, 50))
	profile := pngChunk("iCCP", []byte("x\x00\x07"))
	profile[len(profile)-1] ^= 1
	if img := mustDecode(t, insert(body, 33, profile), Options{}); img.Partial {
		t.Error("a broken chunk that does not matter makes the picture partial")
	}
	broken := append([]byte(nil), body...)
	broken[len(broken)/2] ^= 1
	if _, err := decoded(t, broken, Options{}); !errors.Is(err, ErrBadImage) {
		t.Errorf("pixels with a wrong checksum: %v", err)
	}
	for _, interlaced := range []byte{0, 1} { // sizes of all passes add up
		ihdr := append([]byte(nil), body[16:29]...)
		ihdr[12] = interlaced
		if n := pngSize(ihdr); interlaced == 0 && n != 50*(1+60*3) || n < 50*60*3 || n > 50*60*3+200 {
			t.Errorf("interlaced %d: %d bytes", interlaced, n)
		}
	}
}

// Any bits may be flipped: decoding ends, with a picture of the header's size or with one of our errors.
func TestFlippedBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := photo(64, 48)
	d := New(Options{MaxPixels: 1 << 20})
	defer d.Close()
	for _, f := range drawn {
		whole := oriented48(t, f, m)
		for range 400 {
			body := append([]byte(nil), whole...)
			for range 1 + r.IntN(8) {
				body[r.IntN(len(body))] ^= 1 << r.IntN(8)
			}
			check(t, d, body, Options{MaxPixels: 1 << 20})
		}
	}
}

// oriented48 encodes with an orientation where the format has one.
func oriented48(t testing.TB, f string, m image.Image) []byte {
	body := encode(t, f, m)
	if f == GIF || f == BMP {
		return body
	}
	return oriented(t, f, body, 6)
}

func TestTooManyPixels(t *testing.T) {
	m := photo(40, 30)
	for _, f := range drawn {
		body := encode(t, f, m)
		if _, err := Probe(body, Options{MaxPixels: 1200}); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		h, err := Probe(body, Options{MaxPixels: 1199})
		if !errors.Is(err, ErrTooManyPixels) || h.Width != 40 || h.Height != 30 || h.Format != f {
			t.Errorf("%s: %+v, %v", f, h.Header, err)
		}
		if _, err := decoded(t, body, Options{MaxPixels: 1199}); !errors.Is(err, ErrTooManyPixels) {
			t.Errorf("%s: %v", f, err)
		}
		if _, err := inColor(body, Options{MaxPixels: 1199}); !errors.Is(err, ErrTooManyPixels) {
			t.Errorf("%s in colour: %v", f, err)
		}
	}
}

// Headers that claim a huge picture are refused without memory for it.
func TestHugeHeaders(t *testing.T) {
	m := photo(40, 30)
	huge := map[string][]byte{}
	for _, f := range drawn {
		huge[f] = encode(t, f, m)
	}
	copy(huge[JPEG][bytes.Index(huge[JPEG], []byte{0xff, 0xc0})+5:], "\xff\xdc\xff\xdc")
	copy(huge[PNG][16:], "\x00\x01\x00\x00\x00\x01\x00\x00")
	copy(huge[PNG][29:], pngChunk("IHDR", huge[PNG][16:29])[21:])
	copy(huge[GIF][6:], "\xff\xff\xff\xff")
	copy(huge[WebP][21:], "\xff\xff\xff\x0f")
	copy(huge[BMP][18:], "\xff\xff\x00\x00\xff\xff\x00\x00")
	huge[TIFF] = exifSize(60000, 60000)
	for f, body := range huge {
		var err error
		if n := allocated(func() { _, err = decoded(t, body, Options{}) }); n > 1<<16 {
			t.Errorf("%s: %d bytes were taken", f, n)
		}
		if !errors.Is(err, ErrTooManyPixels) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// A small file with many scans of a large picture would keep a decoder busy for minutes.
func TestManyScans(t *testing.T) {
	body := writeJPEG([]*image.Gray{grey(photo(8, 8))}, 8, 8, jpegOptions{progressive: true})
	frame := bytes.Index(body, []byte{0xff, 0xc2}) + 5
	last := bytes.LastIndex(body, []byte{0xff, markerSOS})
	many := func(n int) []byte {
		return append(append([]byte(nil), body[:last]...), bytes.Repeat(body[last:len(body)-2], n)...)
	}
	if _, err := Probe(many(400), Options{}); err != nil {
		t.Errorf("400 scans of 64 pixels: %v", err)
	}
	if _, err := Probe(many(501), Options{}); !errors.Is(err, ErrBadImage) {
		t.Errorf("501 scans: %v", err)
	}
	copy(body[frame:], []byte{9984 >> 8, 9984 & 255, 9984 >> 8, 9984 & 255})
	if _, err := Probe(many(40), Options{}); err != nil {
		t.Errorf("40 scans of 100 megapixels: %v", err)
	}
	if _, err := Probe(many(50), Options{}); !errors.Is(err, ErrBadImage) {
		t.Errorf("50 scans of 100 megapixels: %v", err)
	}
}

func TestNotImage(t *testing.T) {
	for name, body := range map[string]string{
		"nothing": "", "a byte": "\xff", "a marker": "\xff\xd8", "html": "<!doctype html><html>",
		"html with svg": "<!DOCTYPE html><svg></svg>", "svg as text": "see <svg>",
		"another xml": "<?xml version='1.0'?><svgs/>", "an open comment": "<!-- <svg/>",
		"an open doctype":       "<!DOCTYPE svg [ <svg/>",
		"a film":                "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isomav01",
		"a film of JPEG 2000":   "\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypmjp2",
		"a Targa, not a cursor": "\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x10\x00\x18\x00",
		"webm":                  "\x1a\x45\xdf\xa3", "avi": "RIFF\x24\x00\x00\x00AVI LIST",
		"pdf": "%PDF-1.7\n", "json": `{"error":1}`, "zip": "PK\x03\x04",
		"text that begins like a BMP": "BMW and other cars, a long list",
		"17 bytes like a BMP":         "BM" + string(make([]byte, 12)) + "\x28\x00\x00",
		"zeros":                       string(make([]byte, 4096)),
		"a sound in RIFF":             "RIFF\x24\x00\x00\x00WAVEfmt ",
		"a JPEG after a newline":      "\n\xff\xd8\xff\xe0",
	} {
		if h, err := Probe([]byte(body), Options{}); !errors.Is(err, ErrNotImage) || h.Format != "" {
			t.Errorf("%s: %+v, %v", name, h.Header, err)
		}
		if _, err := decoded(t, []byte(body), Options{}); !errors.Is(err, ErrNotImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range drawn { // what begins like an image and has nothing more is a bad one
		if _, err := decoded(t, encode(t, f, photo(20, 20))[:20], Options{}); !errors.Is(err, ErrBadImage) {
			t.Errorf("20 bytes of %s: %v", f, err)
		}
	}
}

func TestPanicIsBadImage(t *testing.T) {
	if err := guard(PNG, func() error { panic("index out of range") }); !errors.Is(err, ErrBadImage) {
		t.Error(err)
	}
}
