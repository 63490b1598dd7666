package cascade

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	_ "image/jpeg"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	pigo "github.com/esimov/pigo/core"
)

func facefinder(t testing.TB) ([]byte, *Cascade) {
	t.Helper()
	data, err := os.ReadFile("../facefinder")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return data, c
}

func sample(t testing.TB) *image.Gray {
	t.Helper()
	f, err := os.Open("../testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	g := image.NewGray(img.Bounds())
	draw.Draw(g, g.Bounds(), img, img.Bounds().Min, draw.Src)
	return g
}

func TestQuick(t *testing.T) {
	data, c := facefinder(t)
	t.Log(len(c.stages))
	img := sample(t)
	o, _ := pigo.NewPigo().Unpack(data)
	var want []Window
	for _, d := range o.RunCascade(pigo.CascadeParams{MinSize: 20, MaxSize: 1000, ShiftFactor: 0.1, ScaleFactor: 1.1, ImageParams: pigo.ImageParams{Pixels: img.Pix, Rows: img.Rect.Dy(), Cols: img.Rect.Dx(), Dim: img.Stride}}, 0) {
		want = append(want, Window{d.Row, d.Col, d.Scale, d.Q})
	}
	p := Params{MinSize: 20, MaxSize: 1000, Shift: .1, Scale: 1.1}
	for i, s := range scanners(c) {
		se := &Searcher{cascade: c, scan: s}
		got := se.Search(nil, img, p)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d %d", i, len(got), len(want))
		}
	}
	_ = bytes.Equal
	_ = rand.Int
}

func scanners(c *Cascade) map[string]scanner {
	m := map[string]scanner{"portable": &portable{cascade: c}}
	for l := range nativeLevels() {
		m[fmt.Sprint("native", l)] = newNative(c, l)
	}
	return m
}

func BenchmarkSearch(b *testing.B) {
	_, c := facefinder(b)
	img := sample(b)
	p := Params{MinSize: 20, MaxSize: 1000, Shift: .1, Scale: 1.1}
	for i, s := range scanners(c) {
		b.Run(i, func(b *testing.B) {
			b.ReportAllocs()
			se := &Searcher{cascade: c, scan: s}
			var out []Window
			for b.Loop() {
				out = se.Search(out[:0], img, p)
			}
		})
	}
}
