//go:build gpu && linux && !static

// These want a GPU: make test-gpu. DATA may name a folder of photos to compare on, besides what the other
// tests draw.
package cuda

import (
	"fmt"
	"image"
	"image/draw"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/detect/detecttest/sample"
	"facescan/detect/pigo"
)

func gpu(t testing.TB) *Engine {
	t.Helper()
	e, err := Open(embedded(t), 0)
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// photos are all JPEGs below the folder that DATA names.
func photos(t testing.TB) (all []*image.Gray) {
	root := os.Getenv("DATA")
	if root == "" {
		return nil
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(strings.ToLower(path), ".jpg") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		img, _, err := image.Decode(f)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		g := image.NewGray(image.Rectangle{Max: img.Bounds().Size()})
		draw.Draw(g, g.Rect, img, img.Bounds().Min, draw.Src)
		all = append(all, g)
		return nil
	})
	must(t, err)
	return all
}

// TestGPU holds the GPU to pigo, bit for bit.
func TestGPU(t *testing.T) {
	want := searches(t)
	for _, m := range photos(t) {
		want = append(want, pigo.Search{Luma: m, Pass: pigo.Pass{MinSize: 20, MaxSize: 1 << 15, Shift: 0.1,
			Scale: 1.1}})
	}
	p, err := pigo.NewOracle(pigo.Facefinder)
	must(t, err)
	must(t, p.Run(t.Context(), want))
	e := gpu(t)
	t.Log(e.Name())
	got := fresh(want)
	must(t, e.Run(t.Context(), got))
	t.Logf("%d searches, %d windows", len(want), compare(t, "on the GPU", got, want))
}

// BenchmarkGPUCopy is what binds a GPU that is quick enough: pinned luma of photos of 500x375 goes over, and
// nothing else is done.
func BenchmarkGPUCopy(b *testing.B) {
	e := gpu(b)
	for n := 1; n <= 256; n *= 2 {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bytes := n * 500 * 375
			b.SetParallelism(lanes)
			b.SetBytes(int64(bytes))
			begin := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l := <-e.free
					err := l.copyOver(bytes)
					e.free <- l
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*n)/time.Since(begin).Seconds(), "images/s")
		})
	}
}

// copyOver copies that many bytes to the GPU.
func (l *lane) copyOver(bytes int) error {
	d := l.d
	defer d.use()()
	if err := l.fit(max(bytes, leastIn), &l.in, &l.gpuIn); err != nil {
		return err
	}
	if err := d.call(&d.toDevice, l.gpuIn.at, l.in.at, uintptr(bytes), l.stream); err != nil {
		return err
	}
	return d.call(&d.synchronize, l.stream)
}

// BenchmarkGPUNone is the same search on this side's processor, all cores.
func BenchmarkGPUNone(b *testing.B) {
	m := sample.Photo(b, 500)
	m = m.SubImage(image.Rect(0, 0, 500, 375)).(*image.Gray)
	begin := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		s := pigo.NewSearcher(embedded(b))
		var found []pigo.Window
		for pb.Next() {
			found = s.Search(found[:0], m, pigo.Pass{MinSize: 20, MaxSize: 1 << 15, Shift: 0.1, Scale: 1.1})
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "images/s")
}

// BenchmarkGPU is from luma in this side's memory to windows, photos of 500x375, faces from 20 pixels, by the
// size of the batch.
func BenchmarkGPU(b *testing.B) {
	e := gpu(b)
	m := sample.Photo(b, 500)
	m = m.SubImage(image.Rect(0, 0, 500, 375)).(*image.Gray)
	for n := 1; n <= 256; n *= 2 {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetParallelism(lanes)
			b.SetBytes(int64(n * 500 * 375))
			begin := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				batch := make([]pigo.Search, n)
				for i := range batch {
					own := *m // another pointer is another image
					batch[i] = pigo.Search{Luma: &own, Pass: pigo.Pass{MinSize: 20, MaxSize: 1 << 15,
						Shift: 0.1, Scale: 1.1}}
				}
				for pb.Next() {
					for i := range batch {
						batch[i].Found = batch[i].Found[:0]
					}
					if err := e.Run(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*n)/time.Since(begin).Seconds(), "images/s")
		})
	}
}
