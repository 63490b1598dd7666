// Package haar asks two of OpenCV's Haar cascades about a square that may be a face: a second opinion, from features and photos that have
// nothing to do with those of pigo's cascade.
//
// Over a whole image such cascades take thirty times as long; about a square they are asked in the time that a few hundred windows take. The
// square and its surroundings are resampled to one size, searched at several sizes, as they are and mirrored, and what counts is how
// many windows say yes: a face is seen from many, a texture from one or two.
//
// The evaluation is OpenCV's, in whole numbers where it adds and in numbers that round alike everywhere else, so that answers are the same on
// every machine.
package haar

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
)

// The cascades as OpenCV ships them, their licence within.
//
//go:embed frontalface_alt2.xml.gz
var frontalface []byte

//go:embed profileface.xml.gz
var profileface []byte

const (
	side      = 20         // of a cascade's window
	patch     = 96         // side of the resampled surroundings
	square    = 48         // side, in them, of the square that is asked about
	maxWeight = 20         // of a rectangle: sums of features fit 32 bits
	reach     = square / 4 // how far a window's centre may lie from the square's
	stride    = 64         // of integral images
)

// sizes of windows, in 256ths of the square's side.
var sizes = func() (s []int) {
	for v := 0.6; v < 1.4; v *= 1.12 {
		s = append(s, int(256*v))
	}
	return s
}()

// Cascade is one of OpenCV's cascades of boosted trees over sums of rectangles.
type Cascade struct {
	stages []stage
	roots  []int32 // of the trees, among all nodes
	nodes  []node
	leaves []float32
}

type stage struct {
	trees     int // the first so many were evaluated after it
	threshold float32
}

// node is a feature: rectangles whose sums count so many times. A child that is not negative is a node, else leaf -1-child.
type node struct {
	rects     [3]rect
	threshold float64
	child     [2]int32
}

// rect is four places in an integral image, and how many times the sum between them counts.
type rect struct {
	a, b, c, d uint16
	weight     int32
}

// integral holds, at y*stride + x, the sum of what is above and to the left.
type integral [stride * stride]int32

// sum is that of a rectangle in the window at a place. Places are within the image; saying so spares the checks.
func (r *rect) sum(in *integral, at uint) int32 {
	const within = stride*stride - 1
	return r.weight * (in[(at+uint(r.d))&within] - in[(at+uint(r.c))&within] - in[(at+uint(r.b))&within] + in[(at+uint(r.a))&within])
}

// Parse reads a cascade in OpenCV's format. Only upright features over windows of 20x20 are known.
func Parse(r io.Reader) (*Cascade, error) {
	var file struct {
		Cascade struct {
			Feature string `xml:"featureType"`
			Height  int    `xml:"height"`
			Width   int    `xml:"width"`
			Stages  []struct {
				Threshold string `xml:"stageThreshold"`
				Trees     []struct {
					Nodes  string `xml:"internalNodes"`
					Leaves string `xml:"leafValues"`
				} `xml:"weakClassifiers>_"`
			} `xml:"stages>_"`
			Features []struct {
				Rects  []string `xml:"rects>_"`
				Tilted string   `xml:"tilted"`
			} `xml:"features>_"`
		} `xml:"cascade"`
	}
	if err := xml.NewDecoder(r).Decode(&file); err != nil {
		return nil, fmt.Errorf("not a Haar cascade: %w", err)
	}
	f := file.Cascade
	if f.Feature != "HAAR" || f.Height != side || f.Width != side || len(f.Stages) == 0 {
		return nil, fmt.Errorf("not a Haar cascade for windows of %d pixels", side)
	}
	features := make([][3]rect, len(f.Features))
	for i, feature := range f.Features {
		if feature.Tilted != "" && feature.Tilted != "0" || len(feature.Rects) > 3 {
			return nil, fmt.Errorf("feature %d is tilted, or has more than three rectangles", i)
		}
		for j, text := range feature.Rects {
			v, err := floats(text, 5)
			if err != nil {
				return nil, fmt.Errorf("feature %d: %w", i, err)
			}
			x, y, w, h := int(v[0]), int(v[1]), int(v[2]), int(v[3])
			if x < 0 || y < 0 || w < 1 || h < 1 || x+w > side || y+h > side {
				return nil, fmt.Errorf("feature %d reaches beyond the window", i)
			}
			if v[4] != math.Trunc(v[4]) || math.Abs(v[4]) > maxWeight {
				return nil, fmt.Errorf("feature %d counts a rectangle %v times, want a whole number up to %d", i, v[4], maxWeight)
			}
			features[i][j] = newRect(x, y, w, h, int32(v[4]))
		}
	}
	c := new(Cascade)
	for i, s := range f.Stages {
		for _, t := range s.Trees {
			if err := c.addTree(t.Nodes, t.Leaves, features); err != nil {
				return nil, fmt.Errorf("stage %d: %w", i, err)
			}
		}
		v, err := floats(s.Threshold, 1)
		if err != nil {
			return nil, fmt.Errorf("stage %d: %w", i, err)
		}
		c.stages = append(c.stages, stage{len(c.roots), float32(v[0] - 1e-5)})
	}
	return c, nil
}

func newRect(x, y, w, h int, weight int32) rect {
	at := uint16(y*stride + x)
	return rect{at, at + uint16(w), at + uint16(h*stride), at + uint16(h*stride+w), weight}
}

// addTree reads nodes of left child, right child, feature and threshold each; children of 0 and below are leaves.
func (c *Cascade) addTree(nodes, leaves string, features [][3]rect) error {
	v, err := floats(nodes, 0)
	if err != nil || len(v) == 0 || len(v)%4 != 0 {
		return errors.Join(errors.New("nodes are four numbers each"), err)
	}
	values, err := floats(leaves, len(v)/4+1)
	if err != nil {
		return err
	}
	root, leaf := int32(len(c.nodes)), int32(len(c.leaves))
	c.roots = append(c.roots, root)
	for i := 0; i < len(v); i += 4 {
		feature := int(v[i+2])
		if feature < 0 || feature >= len(features) {
			return fmt.Errorf("there is no feature %d", feature)
		}
		n := node{rects: features[feature], threshold: v[i+3]}
		for j := range n.child {
			child := int(v[i+j])
			if child > 0 && (child <= i/4 || child >= len(v)/4) || -child >= len(values) {
				return fmt.Errorf("there is no child %d", child)
			}
			n.child[j] = root + int32(child)
			if child <= 0 {
				n.child[j] = int32(child) - 1 - leaf
			}
		}
		c.nodes = append(c.nodes, n)
	}
	for _, l := range values {
		c.leaves = append(c.leaves, float32(l))
	}
	return nil
}

// floats are the numbers of a text; n of them unless n is 0.
func floats(text string, n int) ([]float64, error) {
	var all []float64
	for _, f := range strings.Fields(text) {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil || math.IsNaN(v) || math.Abs(v) > 1e9 {
			return nil, fmt.Errorf("%q is no number to compute with", f)
		}
		all = append(all, v)
	}
	if n != 0 && len(all) != n {
		return nil, fmt.Errorf("%d numbers, want %d", len(all), n)
	}
	return all, nil
}

// inner is the part of a window whose contrast features are measured by.
var inner = newRect(1, 1, side-2, side-2, 1)

const innerArea = (side - 2) * (side - 2)

// passes tells whether the window at a place passes all stages.
func (c *Cascade) passes(sums, squares *integral, at uint) bool {
	s := int64(inner.sum(sums, at))
	contrast := innerArea*int64(inner.sum(squares, at)) - s*s
	if contrast <= 100*innerArea*innerArea { // flat
		return false
	}
	norm := math.Sqrt(float64(contrast))
	t := 0
	for _, st := range c.stages {
		total := float32(0)
		for ; t < st.trees; t++ {
			i := c.roots[t]
			for i >= 0 {
				n := &c.nodes[i]
				v := n.rects[0].sum(sums, at) + n.rects[1].sum(sums, at)
				if n.rects[2].weight != 0 {
					v += n.rects[2].sum(sums, at)
				}
				side := 0
				if float64(v) >= n.threshold*norm {
					side = 1
				}
				i = n.child[side]
			}
			total += c.leaves[-1-i]
		}
		if total < st.threshold {
			return false
		}
	}
	return true
}

// opinion is the embedded cascades, parsed when they are first asked.
var opinion = sync.OnceValues(func() (frontal, profile *Cascade) {
	parse := func(packed []byte) *Cascade {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			panic(err) // the file is a part of the program
		}
		c, err := Parse(z)
		if err != nil {
			panic(err)
		}
		return c
	}
	return parse(frontalface), parse(profileface)
})

// Asker asks about squares, one after the other, and keeps the room that it needs. Not for use by several goroutines at once.
type Asker struct {
	patch, mirror image.Gray
	scaled        image.Gray
	across        []int32
	prefix        []int32
	sums, squares *integral
}

// Opinion is how much two kinds of cascades, of faces from the front and from the side, agree that the square around (x, y) is a face: 0 for
// not at all, 4 or so for surely, each.
func (a *Asker) Opinion(luma *image.Gray, x, y, size float64) (front, profile float64) {
	a.begin()
	step := int(256 * size / square)
	a.resample(&a.patch, patch, luma, int(256*x)-step*patch/2, int(256*y)-step*patch/2, step)
	for y := range patch {
		row := a.patch.Pix[y*patch:][:patch]
		for x, v := range row {
			a.mirror.Pix[y*patch+patch-1-x] = v
		}
	}
	frontal, sideways := opinion()
	var agree [2][2]float64
	for i, p := range []*image.Gray{&a.patch, &a.mirror} {
		n := [2]int{}
		for _, s := range sizes {
			a.count(&n, p, s, frontal, sideways)
		}
		agree[i] = [2]float64{math.Log1p(float64(n[0])), math.Log1p(float64(n[1]))}
	}
	return (agree[0][0] + agree[1][0]) / 2, max(agree[0][1], agree[1][1])
}

func (a *Asker) begin() {
	if a.sums == nil {
		a.patch, a.mirror = *image.NewGray(image.Rect(0, 0, patch, patch)), *image.NewGray(image.Rect(0, 0, patch, patch))
		a.scaled = *image.NewGray(image.Rect(0, 0, stride-1, stride-1))
		a.sums, a.squares = new(integral), new(integral)
	}
}

// integrate makes the integral images of m.
func (a *Asker) integrate(m *image.Gray, width, height int) {
	for y := range height {
		row, square := int32(0), int32(0)
		for x, p := range m.Pix[y*m.Stride:][:width] {
			v := int32(p)
			row += v
			square += v * v
			at := (y+1)*stride + x + 1
			a.sums[at] = a.sums[at-stride] + row
			a.squares[at] = a.squares[at-stride] + square
		}
	}
}

// count adds the windows of a size that pass.
func (a *Asker) count(n *[2]int, p *image.Gray, size int, cascades ...*Cascade) {
	step := size * square / side // in 256ths of a pixel of the patch
	places := 2*reach*256/step + 1
	wide := side + places - 1
	from := 256*patch/2 - step*wide/2
	a.resample(&a.scaled, wide, p, from, from, step)
	a.integrate(&a.scaled, wide, wide)
	for y := 0; y < places; y += 2 {
		for x := 0; x < places; x += 2 {
			for i, c := range cascades {
				if c.passes(a.sums, a.squares, uint(y*stride+x)) {
					n[i]++
				}
			}
		}
	}
}

// resample fills n x n pixels of `to`, each the mean of a square of `from` of at least a pixel; from (x, y) on they lie a step apart. All three
// are in 256ths of a pixel. Beyond the border lies what is nearest to it.
func (a *Asker) resample(to *image.Gray, n int, from *image.Gray, x, y, step int) {
	width, height := from.Rect.Dx(), from.Rect.Dy()
	length := max(step, 256)
	top := min(max(y>>8, 0), height-1)
	bottom := min(max((y+(n-1)*step+length)>>8+1, top+1), height)
	a.across = grow(a.across, n*(bottom-top))
	a.prefix = grow(a.prefix, max(width, height)+1)
	for r := top; r < bottom; r++ {
		means(a.across[(r-top)*n:][:n], a.prefix, from.Pix[r*from.Stride:], 1, width, x, step, length)
	}
	var column [patch]int32
	for c := range n {
		means(column[:n], a.prefix, a.across[c:], n, bottom-top, y-top<<8, step, length)
		for r, v := range column[:n] {
			to.Pix[r*to.Stride+c] = uint8(v)
		}
	}
}

// means are those of intervals of a line of n values, which lie `apart`, from `first` on a step apart.
func means[T uint8 | int32](to, prefix []int32, line []T, apart, n, first, step, length int) {
	length = min(length, n<<8)
	lo, hi := min(max(first>>8, 0), n-1), min(max((first+(len(to)-1)*step+length)>>8+1, 1), n)
	sum := int32(0)
	prefix[lo] = 0
	for i := lo; i < hi; i++ {
		sum += int32(line[i*apart])
		prefix[i+1] = sum
	}
	upTo := func(t int) int64 {
		i := t >> 8
		v := int64(prefix[i]) << 8
		if rest := t & 255; rest != 0 {
			v += int64(rest) * int64(prefix[i+1]-prefix[i])
		}
		return v
	}
	for k := range to {
		from := min(max(first+k*step, lo<<8), hi<<8-length)
		from = max(from, lo<<8)
		end := min(from+length, hi<<8)
		to[k] = int32((upTo(end) - upTo(from) + int64(end-from)/2) / int64(end-from))
	}
}

func grow(b []int32, n int) []int32 {
	if cap(b) < n {
		b = make([]int32, n)
	}
	return b[:n]
}
