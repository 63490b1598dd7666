package yunet

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"facescan/detect/detecttest/sample"
)

// all lets every cell through.
var all = [3]threshold{{math.MinInt16, math.MinInt16}, {math.MinInt16, math.MinInt16},
	{math.MinInt16, math.MinInt16}}

// answer is everything that a run gives: its cells in one order, and the picture for the next pass.
func answer(n network, p picture, levels [3]threshold) (cells []cell, next image.Gray) {
	width, height := p.size()
	shape(&next, thirds(width), thirds(height))
	n.run(p, &next, levels, func(c []cell) { cells = append(cells, c...) })
	slices.SortFunc(cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.y, b.y), cmp.Compare(a.x, b.x))
	})
	return cells, next
}

// whole computes the network map by map, as it is drawn: the plainest statement of what it is.
func whole(p picture) (cells []cell) {
	width, height := p.padded()
	var in input
	in.begin(p, nil)
	rows := make([][]uint8, height+1) // the first one lies above the picture
	for i := range rows {
		rows[i] = make([]uint8, width+2)
		if i > 0 {
			in.row(rows[i])
		}
	}
	var maps [3][][]uint8
	var stemmed [][]uint8
	for y := range height / 2 {
		row := make([]uint8, width/2*channels)
		(&plain{net: net}).stem(row, [3][]uint8(rows[2*y:2*y+3]), width/2)
		stemmed = append(stemmed, row)
	}
	convolve := func(i int, rows [][]uint8) (out [][]uint8, scores [][]int16) {
		s := stage{block: &net.blocks[i], width: width / strides[i]}
		inner := [][]int16{make([]int16, (s.width+2)*s.block.out)}
		for _, row := range rows {
			for j := range s.inner {
				s.inner[j] = make([]int16, (s.width+2)*s.block.out)
			}
			s.pointwise(row)
			inner = append(inner, s.inner[0])
		}
		inner = append(inner, inner[0])
		for y := range rows {
			three := [3][]int16(inner[y : y+3])
			if s.head() {
				row := make([]int16, s.width*s.block.out)
				s.sums(three, row)
				scores = append(scores, row)
				continue
			}
			row := make([]uint8, s.width*s.block.out)
			s.depthwise(three, row)
			out = append(out, row)
		}
		return out, scores
	}
	chain := func(rows [][]uint8, blocks ...int) [][]uint8 {
		for _, i := range blocks {
			rows, _ = convolve(i, rows)
		}
		return rows
	}
	pooled := func(rows [][]uint8, c int) (out [][]uint8) {
		for y := 0; y < len(rows); y += 2 {
			row := make([]uint8, len(rows[y])/2)
			for x := range len(row) / c {
				for k := range c {
					l, r := 2*x*c+k, (2*x+1)*c+k
					row[x*c+k] = max(rows[y][l], rows[y][r], rows[y+1][l], rows[y+1][r])
				}
			}
			out = append(out, row)
		}
		return out
	}
	add := func(fine, coarse [][]uint8) [][]uint8 {
		for y := range fine {
			addDoubled(fine[y], coarse[y/2])
		}
		return fine
	}
	quarter := pooled(chain(stemmed, half), 16)
	eighth := chain(pooled(chain(quarter, quarter1, quarter2, quarter3, quarter4), 64), eighth1, eighth2)
	sixteenth := chain(pooled(eighth, 64), sixteenth1, sixteenth2)
	maps[2] = chain(pooled(sixteenth, 64), thirtysecond1, thirtysecond2, neck32)
	maps[1] = chain(add(sixteenth, maps[2]), neck16)
	maps[0] = chain(add(eighth, maps[1]), neck8)
	for level := range 3 {
		_, scores := convolve(head8+level, maps[level])
		for y, row := range scores {
			for x := range len(row) / channels {
				cells = append(cells, cell{int32(level), int32(x), int32(y),
					[channels]int16(row[x*channels:])})
			}
		}
	}
	return cells
}

// pictures of many sizes and kinds.
func pictures(yield func(picture) bool) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := [][2]int{{1, 1}, {1, 70}, {70, 1}, {2, 3}, {33, 32}, {64, 64}, {65, 31}, {97, 130}, {300, 40},
		{40, 200}, {1100, 33}}
	for range 12 {
		sizes = append(sizes, [2]int{1 + rng.IntN(70), 1 + rng.IntN(70)})
	}
	for i, size := range sizes {
		stride := size[0] + i%7
		img := &image.Gray{Pix: make([]uint8, stride*size[1]), Stride: stride,
			Rect: image.Rect(0, 0, size[0], size[1])}
		for j := range img.Pix {
			switch i % 4 {
			case 0:
				img.Pix[j] = uint8(rng.IntN(256))
			case 1: // extremes
				img.Pix[j] = uint8(255 * rng.IntN(2))
			case 2: // soft
				img.Pix[j] = uint8((j%stride*5 + j/stride*3) % 256)
			case 3:
				img.Pix[j] = 255
			}
		}
		if !yield(picture{img, i%2 == 0}) {
			return
		}
	}
}

func (p picture) String() string {
	return fmt.Sprintf("%dx%d, shrunk %t", p.Rect.Dx(), p.Rect.Dy(), p.shrink)
}

// Row by row is the same as map by map.
func TestStreamIsWhole(t *testing.T) {
	n := newPlain()
	for p := range pictures {
		if got, _ := answer(n, p, all); !slices.Equal(got, whole(p)) {
			t.Errorf("%v: not what the whole network gives", p)
		}
	}
}

// Every code path of this processor gives the bits of the plain one.
func TestPathsAgree(t *testing.T) {
	oracle := newPlain()
	for p := range pictures {
		agree(t, oracle, p)
	}
}

func agree(t *testing.T, oracle network, p picture) {
	t.Helper()
	want, wantNext := answer(oracle, p, all)
	for name, n := range allPaths() {
		got, next := answer(n, p, all)
		if !slices.Equal(got, want) {
			t.Errorf("%s, %v: cells differ", name, p)
		}
		if !bytes.Equal(next.Pix, wantNext.Pix) {
			t.Errorf("%s, %v: the picture of a third differs", name, p)
		}
	}
}

func FuzzPathsAgree(f *testing.F) {
	f.Add([]byte("some pixels"), uint16(20), true)
	f.Add([]byte{0, 255}, uint16(69), false)
	oracle := newPlain()
	f.Fuzz(func(t *testing.T, pix []byte, width uint16, shrink bool) {
		w := int(width)%200 + 1
		if len(pix) == 0 {
			return
		}
		h := min(1+len(pix)/w, 100)
		img := image.NewGray(image.Rect(0, 0, w, h))
		for i := range img.Pix {
			img.Pix[i] = pix[i%len(pix)]
		}
		agree(t, oracle, picture{img, shrink})
	})
}

// The bits are the same on every processor: this is what one of them gave.
func TestBits(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 150, 110))
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range img.Pix {
		img.Pix[i] = uint8(rng.IntN(256))
	}
	cells, _ := answer(newNetwork(), picture{img, false}, all)
	sum := sha256.New()
	for _, c := range cells {
		fmt.Fprintln(sum, c, net.face(&c))
	}
	const want = "721bea94a944b903"
	if got := fmt.Sprintf("%x", sum.Sum(nil)[:8]); got != want || Version != 1 {
		t.Errorf("the cells and faces of a picture of noise have the sum %s, not %s", got, want)
	}
}

// photo is the luma of the sample photo in its own size.
func photo(t testing.TB) *image.Gray {
	picture := sample.Picture(t)
	return grey(picture, picture.Bounds(), picture.Bounds().Dx(), picture.Bounds().Dy())
}

// grey is a part of a picture at another size, each pixel the mean of those it covers, or the nearest one.
func grey(from image.Image, part image.Rectangle, width, height int) *image.Gray {
	all := image.NewGray(image.Rect(0, 0, part.Dx(), part.Dy()))
	draw.Draw(all, all.Rect, from, part.Min, draw.Src)
	to := image.NewGray(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			x0, y0 := x*part.Dx()/width, y*part.Dy()/height
			x1, y1 := max(x0+1, (x+1)*part.Dx()/width), max(y0+1, (y+1)*part.Dy()/height)
			sum, n := 0, 0
			for v := y0; v < y1; v++ {
				for u := x0; u < x1; u++ {
					sum += int(all.GrayAt(u, v).Y)
					n++
				}
			}
			to.Pix[y*to.Stride+x] = uint8(sum / n)
		}
	}
	return to
}

// overlap is the intersection of two boxes over their union.
func overlap(a, b *Face) float64 {
	both := intersection(a, b)
	return both / (a.Width*a.Height + b.Width*b.Height - both)
}

var defaults = Params{MinFace: 20, IoU: 0.3, Floor: 0.5}

// Faces are found at every size, from 20 pixels to the whole picture.
func TestFind(t *testing.T) {
	photo := photo(t)
	f := NewFinder()
	faces := f.Find(nil, photo, 1, defaults)
	if len(faces) == 0 {
		t.Fatal("no face in the sample photo")
	}
	best := faces[0]
	if best.Score < 0.7 {
		t.Errorf("the best face has the score %.3f", best.Score)
	}
	eyes, nose, mouth := best.Landmarks[:2], best.Landmarks[2], best.Landmarks[3:]
	if !(eyes[0].X < eyes[1].X && mouth[0].X < mouth[1].X && eyes[0].Y < nose.Y && nose.Y < mouth[0].Y) {
		t.Errorf("landmarks are not where a face has them: %v", best.Landmarks)
	}
	side := max(best.Width, best.Height)
	for _, want := range []float64{24, 30, 60, 120, 250, 500, 1000} {
		zoom := want / side
		scaled := grey(photo, photo.Rect, int(float64(photo.Rect.Dx())*zoom),
			int(float64(photo.Rect.Dy())*zoom))
		// a frame around it
		all := image.NewGray(image.Rect(0, 0, scaled.Rect.Dx()+100, scaled.Rect.Dy()+100))
		draw.Draw(all, all.Rect, image.NewUniform(color.Gray{Y: 128}), image.Point{}, draw.Src)
		draw.Draw(all, scaled.Rect.Add(image.Pt(50, 50)), scaled, image.Point{}, draw.Src)
		expect := Face{X: best.X*zoom + 50, Y: best.Y*zoom + 50, Width: best.Width * zoom,
			Height: best.Height * zoom}
		found := f.Find(nil, all, 1, defaults)
		if !slices.ContainsFunc(found, func(g Face) bool { return overlap(&g, &expect) > 0.4 }) {
			t.Errorf("a face of %v pixels is not found: %v", want, found)
		}
	}
	margin := int(side * 0.05)
	box := image.Rect(int(best.X)-margin, int(best.Y)-margin, int(best.X+best.Width)+margin,
		int(best.Y+best.Height)+margin)
	box = box.Intersect(photo.Rect)
	for _, size := range []int{64, 200, 500, 1500} {
		whole := grey(photo, box, size, size*box.Dy()/box.Dx())
		found := f.Find(nil, whole, 1, defaults)
		if len(found) != 1 || found[0].Width < 0.6*float64(size) {
			t.Errorf("a face that fills %d pixels is not found as one: %v", size, found)
		}
	}
}

// Least and greatest sides hold, and overlapping boxes are one face.
func TestLimits(t *testing.T) {
	photo := photo(t)
	w, h := photo.Rect.Dx(), photo.Rect.Dy()
	all := image.NewGray(image.Rect(0, 0, 2*w, h)) // the photo, and beside it two smaller ones
	draw.Draw(all, photo.Rect, photo, image.Point{}, draw.Src)
	draw.Draw(all, image.Rect(w, 0, 2*w, h/2), grey(photo, photo.Rect, w/2, h/2), image.Point{}, draw.Src)
	draw.Draw(all, image.Rect(w, h/2, 2*w, h), grey(photo, photo.Rect, w/3, h/3), image.Point{}, draw.Src)
	f := NewFinder()
	for _, p := range []Params{{MinFace: 60, IoU: 0.3, Floor: 0.01},
		{MinFace: 20, MaxFace: 150, IoU: 0.3, Floor: 0.01}} {
		faces := f.Find(nil, all, 1, p)
		if len(faces) == 0 {
			t.Fatalf("%+v: no boxes to look at", p)
		}
		for i, a := range faces {
			if side := max(a.Width, a.Height); side < float64(p.MinFace) || p.MaxFace > 0 &&
				side > float64(p.MaxFace) {
				t.Errorf("%+v: a box of %v pixels", p, side)
			}
			if a.Score < p.Floor || i > 0 && a.Score > faces[i-1].Score {
				t.Errorf("%+v: box %d has the score %v", p, i, a.Score)
			}
			for j := range i {
				if overlap(&a, &faces[j]) > p.IoU {
					t.Errorf("%+v: boxes %d and %d are the same face", p, i, j)
				}
			}
		}
	}
}

// A picture in which every cell is a candidate takes no more memory than was said, and the best candidates
// stay.
func TestManyCandidates(t *testing.T) {
	var c candidates
	rng := rand.New(rand.NewPCG(3, 3))
	top := 0.0
	for range 5 * 16384 {
		f := Face{X: float64(rng.IntN(1000)), Width: 10, Height: 10, Score: rng.Float64()}
		top = max(top, f.Score)
		if c.add(f); len(c) >= 2*16384 || cap(c) > 4*16384 {
			t.Fatalf("%d candidates are kept, in room for %d", len(c), cap(c))
		}
	}
	if got := c.distinct(nil, 0.3)[0].Score; got != top {
		t.Errorf("the best one has the score %v, not %v", got, top)
	}
}

// What a run in C needs for its rows is within what Memory says.
func TestMemory(t *testing.T) {
	// In the first, candidates take most of the memory, in the second the smaller pictures.
	for _, size := range []image.Point{{3000, 500}, {8000, 6000}} {
		img := image.NewGray(image.Rectangle{Max: size})
		for i := range img.Pix {
			img.Pix[i] = uint8(i * i >> 3)
		}
		f := NewFinder()
		f.Find(nil, img, 1, Params{MinFace: 15, IoU: 0.3, Floor: 0})
		used := int64(cap(f.candidates)) * int64(unsafe.Sizeof(Face{}))
		for i := range f.thirds {
			used += int64(cap(f.thirds[i].Pix))
		}
		if n, ok := f.network.(interface{ size() int64 }); ok {
			used += n.size()
		}
		if said := Memory(size.X, size.Y); used > said {
			t.Errorf("%v: %d bytes are in use, %d were said", size, used, said)
		}
	}
	if most := Memory(10_000, 10_000); most > 64<<20 {
		t.Errorf("100 megapixels take %d bytes", most)
	}
}

func TestNinth(t *testing.T) {
	for sum := range 9*255 + 1 {
		if got, want := (sum*ninth+1<<14)>>15, (2*sum+9)/18; got != want {
			t.Errorf("a ninth of %d is %d, not %d", sum, got, want)
		}
	}
}

// Weights of another length or shape are refused.
func FuzzParse(f *testing.F) {
	f.Add(embedded)
	f.Add(embedded[:len(embedded)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, err := parse(data); err == nil && len(data) != len(embedded) {
			t.Errorf("%d bytes are taken for weights: %v", len(data), w.stem.shift)
		}
	})
}

// The photo at four sizes: nanoseconds for each pixel should not depend on it.
func BenchmarkFind(b *testing.B) {
	photo := photo(b)
	for _, side := range []int{200, 500, 1000, 4000, 10000} {
		img := grey(photo, photo.Rect, side, side)
		b.Run(fmt.Sprint(side), func(b *testing.B) {
			f := NewFinder()
			faces := f.Find(nil, img, 1, defaults)
			b.ReportAllocs()
			for b.Loop() {
				faces = f.Find(faces[:0], img, 1, defaults)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(side*side), "ns/pixel")
		})
	}
}

// Every code path on a photo of 500x375.
func BenchmarkPaths(b *testing.B) {
	photo := photo(b)
	img := grey(photo, photo.Rect, 500, 375)
	paths := allPaths()
	paths["plain Go"] = newPlain()
	for name, n := range paths {
		b.Run(name, func(b *testing.B) {
			f := NewFinder()
			f.network = n
			faces := f.Find(nil, img, 1, defaults)
			b.ReportAllocs()
			for b.Loop() {
				faces = f.Find(faces[:0], img, 1, defaults)
			}
		})
	}
}
