package keep

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/sys/unix"

	"facescan/pipeline/decode/turbo"
	"facescan/store"
	"facescan/store/export"
)

// BenchmarkKeep is what keeping costs for a photo with one face, synced a hundred at a time; CPU time,
// since the disk's is its own matter. The photo has 320x400 pixels, or where its size matters 480x600 and
// 960x1200.
func BenchmarkKeep(b *testing.B) {
	body, err := os.ReadFile(filepath.Join("..", "..", "detect", "testdata", "faces.jpg"))
	ok(b, err)
	cpu := func() time.Duration {
		var u unix.Rusage
		ok(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	in := func(size int, results bool) Options {
		return Options{Bodies: "x", Results: export.NewObject(nil), Form: func(*Form) (Form, error) {
			return Form{Size: size, Quality: 90, JSON: results}, nil
		}}
	}
	larger := func(side int) []byte {
		m := shrinkable(b, body, side)
		jpeg, err := turbo.Encode(m, 90)
		ok(b, err)
		return jpeg
	}
	for _, c := range []struct {
		name string
		body []byte
		o    Options
	}{{"bodies", body, Options{Bodies: "x"}}, {"results", body, in(0, true)},
		{"size 512 that fits", body, in(512, false)},
		{"bodies of 600", larger(600), Options{Bodies: "x"}},
		{"size 512 of 600", larger(600), in(512, false)},
		{"bodies of 1200", larger(1200), Options{Bodies: "x"}},
		{"size 512 of 1200", larger(1200), in(512, false)},
		{"crops", body, Options{Crops: "x", Margin: 0.25}}, {"blurred", body, Options{Blurred: "x"}}} {
		b.Run(c.name, func(b *testing.B) {
			for _, dir := range []*string{&c.o.Bodies, &c.o.Crops, &c.o.Blurred} {
				if *dir != "" {
					*dir = b.TempDir()
				}
			}
			c.o.Job = newJob(b)
			k := start(b, c.o)
			img := processed(c.body, "jpeg", twoFaces[:1], 1)
			var results []store.Result
			begin := cpu()
			for i := 0; b.Loop(); i++ {
				img.Rows[0] = row(int64(i + 1))
				out, err := k.Keep(context.Background(), img)
				ok(b, err)
				if results = append(results, resultsOf(img, out)...); len(results) == 100 {
					ok(b, k.Stage(lease(), results))
					ok(b, k.Done(b.Context(), lease(), results))
					results = results[:0]
				}
			}
			b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N)/1000, "cpu-ms/image")
			ok(b, k.Close())
		})
	}
}

// shrinkable is the picture of a file, made larger.
func shrinkable(b *testing.B, body []byte, side int) *image.RGBA {
	small, err := jpeg.Decode(bytes.NewReader(body))
	ok(b, err)
	size := small.Bounds().Size().Mul(side).Div(small.Bounds().Dy())
	m := image.NewRGBA(image.Rectangle{Max: size})
	draw.BiLinear.Scale(m, m.Rect, small, small.Bounds(), draw.Src, nil)
	return m
}
