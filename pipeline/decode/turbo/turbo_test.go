//go:build cgo

package turbo

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"strings"
	"sync"
	"testing"
)

func picture(t *testing.T, w, h int) []byte {
	t.Helper()
	m := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	for i := range m.Y {
		m.Y[i] = uint8(i*7 + i/w*3)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func newDecoder(t *testing.T) *Decoder {
	t.Helper()
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// At any scale and samples, no byte outside the rows is written.
func TestStaysInside(t *testing.T) {
	const canary, margin = 0xc7, 64
	d := newDecoder(t)
	for _, size := range []image.Point{{1, 1}, {7, 9}, {17, 5}, {33, 31}, {64, 48}, {101, 67}} {
		body := picture(t, size.X, size.Y)
		for scale := Scale(1); scale <= 8; scale++ {
			for s, bytesOf := range map[Samples]int{Gray: 1, RGBA: 4} {
				n := scale.Of(size.X) * bytesOf * scale.Of(size.Y)
				dst := bytes.Repeat([]byte{canary}, n+margin)
				if err := d.Decode(body, dst[:n], size.X, size.Y, scale, s); err != nil {
					t.Fatal(err)
				}
				for i, v := range dst[n:] {
					if v != canary {
						t.Fatalf("%v at %d eighths: byte %d behind the rows was written", size, scale, i)
					}
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	d := newDecoder(t)
	body := picture(t, 40, 30)
	good := func() error { return d.Decode(body, make([]byte, 1200), 40, 30, 8, Gray) }
	for name, err := range map[string]error{
		"nothing to decode":       d.Decode(nil, make([]byte, 1200), 40, 30, 8, Gray),
		"no size":                 d.Decode(body, make([]byte, 1200), 0, 30, 8, Gray),
		"a buffer too small":      d.Decode(body, make([]byte, 1199), 40, 30, 8, Gray),
		"room for grey only":      d.Decode(body, make([]byte, 1200), 40, 30, 8, RGBA),
		"samples of another kind": d.Decode(body, make([]byte, 9999), 40, 30, 8, 5),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := d.Decode(body, make([]byte, 1200), 30, 40, 8, Gray); !errors.Is(err, ErrSize) {
		t.Errorf("another size: %v", err)
	}
	// A broken header leaves the library in the middle of it; the next picture must not suffer.
	table := bytes.Index(body, []byte{0xff, 0xc4})
	broken := bytes.Clone(body)
	broken[table+4] = 0x7f
	for range 3 {
		if err := d.Decode(broken, make([]byte, 1200), 40, 30, 8, Gray); err == nil {
			t.Error("a broken table was taken")
		}
		if err := good(); err != nil {
			t.Errorf("after a broken one: %v", err)
		}
	}
	err := d.Decode(body[:len(body)/2], make([]byte, 1200), 40, 30, 8, Gray)
	if _, ok := errors.AsType[Warning](err); !ok {
		t.Errorf("half of a picture: %v", err)
	}
	d.Close()
	if err := good(); err == nil {
		t.Error("a closed decoder decodes")
	}
}

// A warning is of the picture that it is returned for, however many others are decoded meanwhile on other
// threads.
func TestWarningsOfOwn(t *testing.T) {
	const w, h = 400, 300
	whole := picture(t, w, h)
	end := len(whole) - 2
	bodies := map[string][]byte{
		"":           whole,
		"premature":  whole[:end],
		"extraneous": append(append(bytes.Clone(whole[:end]), make([]byte, 9)...), whole[end:]...),
	}
	var wg sync.WaitGroup
	for range 6 {
		for want, body := range bodies {
			wg.Go(func() {
				d, err := New()
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close()
				dst := make([]byte, w*h)
				for range 100 {
					err := d.Decode(body, dst, w, h, 8, Gray)
					if warning, _ := errors.AsType[Warning](err); err != nil && warning == "" || want == "" &&
						err != nil ||
						!strings.Contains(strings.ToLower(string(warning)), want) {
						t.Errorf("warning %q, want %q: %v", warning, want, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}
