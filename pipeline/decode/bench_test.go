package decode

import (
	"bytes"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
	"time"

	"facescan/pipeline/decode/turbo"
)

// benchBodies are JPEGs of 500x375 that the benchmark draws, or those that FACESCAN_PHOTOS names by a glob
// pattern.
func benchBodies(b *testing.B) (bodies [][]byte) {
	b.Helper()
	if pattern := os.Getenv("FACESCAN_PHOTOS"); pattern != "" {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			b.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			body, err := os.ReadFile(name)
			must(b, err)
			if h, err := Probe(body, Options{}); err == nil && h.Format == JPEG {
				bodies = append(bodies, body)
			}
		}
		return bodies
	}
	return [][]byte{encode(b, JPEG, photo(500, 375))}
}

// BenchmarkJPEG compares ways to luma on the same pictures: image/jpeg, libjpeg-turbo called directly, and
// Decode at full size, with faces from 20 pixels and from 40.
func BenchmarkJPEG(b *testing.B) {
	bodies := benchBodies(b)
	each := func(name string, f func(body []byte) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				must(b, f(bodies[i%len(bodies)]))
			}
		})
	}
	each("image-jpeg", func(body []byte) error {
		_, err := jpeg.Decode(bytes.NewReader(body))
		return err
	})
	if turbo.Available {
		each("libjpeg-turbo", newDirect(b, bodies))
	}
	for name, o := range map[string]Options{"decode": {}, "decode-from-20": {MinFace: 20},
		"decode-from-40": {MinFace: 40}} {
		d := New(o)
		defer d.Close()
		each(name, func(body []byte) error {
			_, err := d.Decode(body)
			return err
		})
	}
}

// newDirect returns a function that does nothing but call the library, with a buffer that is large enough.
func newDirect(b *testing.B, bodies [][]byte) func([]byte) error {
	t, err := turbo.New()
	must(b, err)
	b.Cleanup(t.Close)
	sizes := map[*byte]Header{}
	var dst []byte
	for _, body := range bodies {
		f, err := Probe(body, Options{})
		must(b, err)
		f.Width, f.Height = f.stored()
		sizes[&body[0]] = f.Header
		dst = grow(dst, f.Width*f.Height)
	}
	return func(body []byte) error {
		h := sizes[&body[0]]
		err := t.Decode(body, dst[:h.Width*h.Height], h.Width, h.Height, full, turbo.Gray)
		if _, ok := err.(turbo.Warning); ok {
			return nil
		}
		return err
	}
}

// BenchmarkOverLibjpegTurbo does both in turn, so that a busy machine slows both alike, and reports how many
// times the library's own time Decode takes at full size.
func BenchmarkOverLibjpegTurbo(b *testing.B) {
	if !turbo.Available {
		b.Fatal("built without cgo: there is nothing to compare with")
	}
	bodies := benchBodies(b)
	direct := newDirect(b, bodies)
	d := New(Options{})
	defer d.Close()
	var library, ours time.Duration
	for i := 0; b.Loop(); i++ {
		body := bodies[i%len(bodies)]
		begin := time.Now()
		must(b, direct(body))
		middle := time.Now()
		if _, err := d.Decode(body); err != nil {
			b.Fatal(err)
		}
		library += middle.Sub(begin)
		ours += time.Since(middle)
	}
	b.ReportMetric(float64(ours)/float64(library), "x-libjpeg-turbo")
}

// BenchmarkFormats decodes the same picture from every format, with faces from 20 pixels.
func BenchmarkFormats(b *testing.B) {
	m := photo(500, 375)
	for _, f := range drawn {
		body := encode(b, f, m)
		d := New(Options{MinFace: 20})
		defer d.Close()
		b.Run(f, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTurn measures what an orientation adds.
func BenchmarkTurn(b *testing.B) {
	const w, h = 2000, 1500
	d := New(Options{})
	for name, o := range map[string]int{"mirror": 2, "half": 3, "quarter": 6} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(w * h)
			for b.Loop() {
				d.setLuma(w, h)
				d.upright(o)
			}
		})
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
