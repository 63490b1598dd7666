package pigo

import (
	"fmt"
	"image"
	"math/rand/v2"
	"testing"

	"facescan/detect/detecttest/sample"
)

// BenchmarkSearch is one image, faces from 20 pixels, every way there is beside pigo.
//
//	go test -run - -bench Search ./detect/cascade
func BenchmarkSearch(b *testing.B) {
	p := newParity(b, Facefinder)
	rng := rand.New(rand.NewPCG(6, 6))
	const width, height = 387, 484 // as many pixels as 500x375
	for _, img := range []struct {
		name string
		luma *image.Gray
	}{
		{"photo", sample.Photo(b, width)},
		{"noise", noise(rng, width, height)},
		{"texture", texture(width, height, func(x, y int) uint8 {
			return uint8(x*x/40+y*y/30) ^ uint8(x*y/90)
		})},
	} {
		for _, name := range []string{"pigo", "portable", "native", "avx2", "avx512"} {
			if name == "pigo" || p.searchers[name] != nil {
				b.Run(img.name+"/"+name, func(b *testing.B) { p.bench(b, name, img.luma, usual()) })
			}
		}
	}
}

// BenchmarkSizes is photos of other widths, to see that time grows with pixels.
func BenchmarkSizes(b *testing.B) {
	p := newParity(b, Facefinder)
	for _, width := range []int{200, 400, 1000, 2000, 4000} {
		luma := sample.Photo(b, width)
		b.Run(fmt.Sprint(width), func(b *testing.B) { p.bench(b, "", luma, usual()) })
	}
}

// BenchmarkMinSize is what larger faces save.
func BenchmarkMinSize(b *testing.B) {
	p := newParity(b, Facefinder)
	luma := sample.Photo(b, 387)
	for _, size := range []int{20, 30, 40, 80} {
		params := usual()
		params.MinSize = size
		b.Run(fmt.Sprint(size), func(b *testing.B) { p.bench(b, "", luma, params) })
	}
}

// bench searches an image again and again: by pigo, by a searcher, or by this machine's best, which has no
// name.
func (p parity) bench(b *testing.B, name string, luma *image.Gray, params Pass) {
	s := p.searchers[name]
	if name == "" {
		c, err := Parse(Facefinder)
		must(b, err)
		s = NewSearcher(c)
	}
	search := []Search{{Luma: luma, Pass: params}}
	b.ReportAllocs()
	for b.Loop() {
		search[0].Found = search[0].Found[:0]
		if s != nil {
			search[0].Found = s.Search(search[0].Found, luma, params)
		} else if err := p.oracle.Run(b.Context(), search); err != nil {
			b.Fatal(err)
		}
	}
	perImage := float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	b.ReportMetric(perImage/1e6, "ms/image")
	b.ReportMetric(perImage/float64(luma.Rect.Dx()*luma.Rect.Dy()), "ns/pixel")
	b.ReportMetric(0, "ns/op")
}
