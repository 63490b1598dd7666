package pigo

import (
	"fmt"
	"image"
	_ "image/jpeg"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"facescan/detect/detecttest/sample"
)

// parity holds every way to search to pigo, for one cascade.
type parity struct {
	oracle    Engine
	searchers map[string]*Searcher
}

func newParity(t testing.TB, packet []byte) parity {
	t.Helper()
	c, err := Parse(packet)
	must(t, err)
	oracle, err := NewOracle(packet)
	must(t, err)
	return parity{oracle, Searchers(c)}
}

// check returns the number of windows found.
func (p parity) check(t testing.TB, what string, luma *image.Gray, params Pass) int {
	t.Helper()
	search := []Search{{Luma: luma, Pass: params}}
	must(t, p.oracle.Run(t.Context(), search))
	want := search[0].Found
	for name, s := range p.searchers {
		got := s.Search(nil, luma, params)
		if slices.Equal(got, want) {
			continue
		}
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s: %s of %v, %+v: %d windows, pigo has %d; from window %d on %v, want %v", what, name,
			luma.Bounds().Size(), params,
			len(got), len(want), at, got[at:min(at+3, len(got))], want[at:min(at+3, len(want))])
	}
	return len(want)
}

// usual are the parameters a run has by default.
func usual() Pass {
	return Pass{MinSize: 20, MaxSize: 1 << 14, Shift: 0.1, Scale: 1.1}
}

// variants are searches that differ from the usual one in each respect.
func variants() []Pass {
	var all []Pass
	change := func(f func(p *Pass)) {
		p := usual()
		f(&p)
		all = append(all, p)
	}
	change(func(p *Pass) {})
	change(func(p *Pass) { p.MinSize, p.MaxSize = 33, 90 })
	change(func(p *Pass) { p.MinSize, p.MaxSize = 1, 12 })
	change(func(p *Pass) { p.MinSize, p.Shift = 17, 0.05 })
	change(func(p *Pass) { p.MinSize, p.Shift, p.Scale = 21, 0.15, 1.3 })
	change(func(p *Pass) { p.MinSize, p.Shift, p.Scale = 40, 0.03, 2 })
	change(func(p *Pass) { p.Shift = 1 })
	change(func(p *Pass) { p.Mirror = true })
	change(func(p *Pass) { p.Turn = 1.0 / 32 })
	change(func(p *Pass) { p.Turn = 0.9 })
	change(func(p *Pass) { p.Turn = 1 })
	return all
}

func TestPhotoEqualsPigo(t *testing.T) {
	p := newParity(t, Facefinder)
	for _, width := range []int{63, 160} {
		luma := sample.Photo(t, width)
		for _, params := range variants() {
			n := p.check(t, "photo", luma, params)
			if n == 0 && width == 160 && params.Turn == 0 && params.MinSize <= 21 && params.MaxSize > 1000 &&
				params.Shift < 0.2 {
				t.Errorf("nothing to compare at width %d, %+v", width, params)
			}
		}
	}
	p.check(t, "photo", sample.Photo(t, 387), usual())
}

func TestTexturesEqualPigo(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	p := newParity(t, Facefinder)
	for name, luma := range map[string]*image.Gray{
		"noise":   noise(rng, 111, 85),
		"flat":    texture(90, 70, func(int, int) uint8 { return 77 }),
		"slope":   texture(91, 73, func(x, y int) uint8 { return uint8(x + y/2) }),
		"stripes": texture(75, 99, func(x, y int) uint8 { return uint8(y % 7 * 40) }),
		"circles": texture(110, 80, func(x, y int) uint8 {
			return uint8(128 + 127*math.Sin(math.Hypot(float64(x-55), float64(y-40))/4))
		}),
		"wide":     noise(rng, 700, 24),
		"high":     noise(rng, 23, 500),
		"contrast": texture(67, 71, func(x, y int) uint8 { return uint8((x/5+y/9)%2) * 255 }),
	} {
		for _, params := range variants() {
			p.check(t, name, luma, params)
		}
	}
}

// Every small size, so that every remainder of a vector and every border is met.
func TestSizesEqualPigo(t *testing.T) {
	p := newParity(t, Facefinder)
	face := sample.Photo(t, 90)
	for height := 0; height <= 48; height++ {
		for width := 0; width <= 48; width++ {
			if (height > 26 || width > 26) && (height+width)%5 != 0 {
				continue
			}
			part := face.SubImage(image.Rect(20, 20, 20+width, 20+height)).(*image.Gray)
			params := usual()
			params.MinSize, params.Turn = 3+(height+width)%18, float64(height%3)/16
			params.Mirror = width%2 == 0
			p.check(t, "part of a photo", part, params)
		}
	}
}

// Other cascades, of every depth, pass many more windows than the real one does.
func TestRandomCascadesEqualPigo(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	found := 0
	for depth := 1; depth <= 8; depth++ {
		for _, trees := range []int{1, 2, 7, 40} {
			p := newParity(t, drawn(rng, depth, trees))
			found += p.check(t, fmt.Sprintf("%d trees of depth %d", trees, depth), noise(rng, 90, 70),
				usual())
		}
	}
	for range 12 {
		p := newParity(t, drawn(rng, 6, 1+rng.IntN(50)))
		params := variants()[rng.IntN(len(variants()))]
		found += p.check(t, "depth 6", noise(rng, 120+rng.IntN(40), 60+rng.IntN(40)), params)
	}
	if found < 1000 {
		t.Errorf("only %d windows to compare", found)
	}
}

// TestMoreHitsThanRoom has a cascade that passes nearly all windows, many more than the native code has room
// for at a time.
func TestMoreHitsThanRoom(t *testing.T) {
	p := newParity(t, drawn(rand.New(rand.NewPCG(6, 6)), 6, 1))
	if n := p.check(t, "one tree", noise(rand.New(rand.NewPCG(7, 7)), 260, 240), usual()); n < 20000 {
		t.Errorf("only %d windows to compare", n)
	}
}

// TestLargeWindowsAtSmallSteps has windows whose offsets need more than words, in every layout of the image.
func TestLargeWindowsAtSmallSteps(t *testing.T) {
	p := newParity(t, Facefinder)
	other := newParity(t, drawn(rand.New(rand.NewPCG(8, 8)), 6, 9))
	for step := range 5 {
		params := usual()
		params.MinSize, params.Shift, params.Mirror = 250, float64(step+1)/250, step%2 == 1
		p.check(t, "photo", sample.Photo(t, 280), params)
		other.check(t, "random cascade", sample.Photo(t, 280), params)
	}
}

// TestOtherDepths has cascades of depths that the native code is not written for: the way that is chosen for
// them finds what pigo finds, too.
func TestOtherDepths(t *testing.T) {
	for _, depth := range []int{1, 3, 5, 6, 7, 10} {
		packet := drawn(rand.New(rand.NewPCG(11, uint64(depth))), depth, 6)
		c, err := Parse(packet)
		must(t, err)
		p := newParity(t, packet)
		p.searchers["chosen"] = NewSearcher(c)
		luma := noise(rand.New(rand.NewPCG(12, uint64(depth))), 90, 70)
		found := p.check(t, fmt.Sprintf("depth %d", depth), luma, usual())
		if found == 0 {
			t.Errorf("depth %d: no window to compare", depth)
		}
	}
}

// TestLongRows has rows so long that offsets need more than words: of the image, of its copies, and of
// neither but nearly.
func TestLongRows(t *testing.T) {
	p := newParity(t, Facefinder)
	other := newParity(t, drawn(rand.New(rand.NewPCG(9, 9)), 6, 5))
	for _, width := range []int{32765, 32768, 33001} {
		luma := noise(rand.New(rand.NewPCG(10, uint64(width))), width, 27)
		for step := range 5 {
			params := usual()
			params.MinSize, params.Shift = 25, float64(step+1)/25
			p.check(t, "noise", luma, params)
			other.check(t, "random cascade", luma, params)
		}
	}
}

// Turned windows near the border look at the nearest pixel of the image. pigo clamps columns by the number of
// rows, and so looks elsewhere unless the image is a square: there it is right, and we agree with it as it
// stands.
func TestTurnedWindowsClampToTheImage(t *testing.T) {
	p := newParity(t, Facefinder)
	size := 150
	square := sample.Photo(t, size).SubImage(image.Rect(0, 0, size, size)).(*image.Gray)
	for step := range 33 {
		params := usual()
		params.Turn = float64(step) / 32
		p.check(t, "square", square, params)
	}
	// The same picture, continued to the right by its last column: windows that fit the square see the same.
	wide := image.NewGray(image.Rect(0, 0, size+60, size))
	for i := range wide.Pix {
		wide.Pix[i] = square.GrayAt(min(i%wide.Stride, size-1), i/wide.Stride).Y
	}
	params := usual()
	params.Turn = 1.0 / 32
	for name, s := range p.searchers {
		inside := slices.DeleteFunc(s.Search(nil, wide, params),
			func(w Window) bool { return w.Col > size-w.Size/2-1 })
		if want := s.Search(nil, square, params); len(want) == 0 || !slices.Equal(inside, want) {
			t.Errorf("%s: %d windows in the square, %d in the continued one", name, len(want), len(inside))
		}
	}
}

func TestSearchAppends(t *testing.T) {
	p := newParity(t, Facefinder)
	before := Window{Row: 1, Col: 2, Size: 3, Score: 4}
	for name, s := range p.searchers {
		found := s.Search([]Window{before}, sample.Photo(t, 200), usual())
		if len(found) < 2 || found[0] != before {
			t.Errorf("%s: %v", name, found[:min(len(found), 2)])
		}
	}
}

func TestSteadySearchAllocatesNothing(t *testing.T) {
	luma := sample.Photo(t, 160)
	for name, s := range newParity(t, Facefinder).searchers {
		for _, params := range variants() {
			var found []Window
			search := func() { found = s.Search(found[:0], luma, params) }
			search()
			if n := sample.Allocations(search); n != 0 {
				t.Errorf("%s, %+v: %v allocations per image", name, params, n)
			}
		}
	}
}

func FuzzSearchEqualsPigo(f *testing.F) {
	p := newParity(f, Facefinder)
	other := newParity(f, drawn(rand.New(rand.NewPCG(5, 5)), 6, 30))
	f.Add([]byte("0123456789"), uint8(40), uint8(33), uint8(3), uint8(20), 0.1, 1.1, uint8(0), false)
	f.Add([]byte{0, 255, 9, 7}, uint8(90), uint8(77), uint8(0), uint8(4), 0.02, 1.4, uint8(5), true)
	f.Add([]byte{1}, uint8(150), uint8(25), uint8(255), uint8(21), 0.3, 1.05, uint8(0), true)
	f.Fuzz(func(t *testing.T, pixels []byte, width, height, spare, minSize uint8, shift, scale float64,
		turn uint8, mirror bool) {
		if !(shift >= 0 && shift <= 2) || !(scale >= 1 && scale <= 9) || minSize < 3 || width > 160 ||
			height > 160 {
			return
		}
		large := image.NewGray(image.Rect(0, 0, int(width)+int(spare), int(height)))
		for i := range large.Pix {
			if len(pixels) > 0 {
				large.Pix[i] = pixels[(i*i+i/7)%len(pixels)]
			}
		}
		luma := large.SubImage(image.Rect(int(spare)/2, 0, int(spare)/2+int(width),
			int(height))).(*image.Gray)
		params := Pass{MinSize: int(minSize), MaxSize: 300, Shift: shift, Scale: scale,
			Turn: float64(turn%33) / 32, Mirror: mirror}
		p.check(t, "facefinder", luma, params)
		other.check(t, "random cascade", luma, params)
	})
}

func texture(width, height int, luma func(x, y int) uint8) *image.Gray {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		img.Pix[i] = luma(i%width, i/width)
	}
	return img
}

func noise(rng *rand.Rand, width, height int) *image.Gray {
	return texture(width, height, func(int, int) uint8 { return uint8(rng.Uint32()) })
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
