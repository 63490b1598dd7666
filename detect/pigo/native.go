//go:build cgo && (amd64 || arm64)

package pigo

// #cgo CFLAGS: -O3
// #cgo noescape native_search
// #cgo nocallback native_search
// #cgo noescape native_smooth
// #cgo nocallback native_smooth
// #include "native.h"
import "C"

import (
	"image"
	"math"
	"slices"
)

// moreHits is the room for hits beyond one per candidate of a list; a photo has fewer.
const moreHits = 1024

// native evaluates in C.
type native struct {
	cascade *Cascade
	level   int
	stages  []C.stage
	planes  []uint8 // of the masked trees, see native.h
	copied  []uint8
	nodes   []C.node
	grids   []C.grid
	at      []C.int32_t
	sum     []C.float
	hits    []C.hit
	state   C.state
}

// bestLevel is the fastest variant that this CPU can run; it can run the lower ones too.
var bestLevel = int(C.native_level())

// Path names the code path that runs on this processor.
func Path() string { return []string{"C", "C with AVX2", "C with AVX-512"}[bestLevel] }

func newScanner(c *Cascade) scanner {
	if c.depth != nativeDepth {
		return &portable{cascade: c}
	}
	return newNative(c, bestLevel)
}

func newNative(c *Cascade, level int) *native {
	s := &native{cascade: c, level: level, nodes: make([]C.node, len(c.codes)/4)}
	for _, st := range c.stages {
		s.stages = append(s.stages, C.stage{to: C.int32_t(st.to), threshold: C.float(st.threshold)})
	}
	const bytes = 4 // of a leaf
	s.planes = make([]uint8, C.TREE*bytes*min(C.MASKED, len(c.thresholds)))
	for i := range s.planes {
		tree, byte, leaf := i/C.TREE/bytes, i/C.TREE%bytes, i%C.TREE
		s.planes[i] = uint8(math.Float32bits(c.leaves[tree*C.TREE+leaf]) >> (8 * byte))
	}
	return s
}

// scan makes one call of C, or a few: during a long call the Go scheduler takes the processor from the thread
// and has to give it back.
func (s *native) scan(found []Window, img raster, grids []Grid) []Window {
	c := s.cascade
	trees := C.trees{&s.stages[0], C.int32_t(len(s.stages)), C.int32_t(len(c.thresholds)),
		(*C.int8_t)(&c.codes[0]), (*C.float)(&c.leaves[0]), (*C.uint8_t)(&s.planes[0])}
	picture := C.raster{pix: (*C.uint8_t)(&img.pix[0]), stride: C.int32_t(img.stride),
		width: C.int32_t(img.width), height: C.int32_t(img.height)}
	s.grids = s.grids[:0]
	copied, row := 0, 0
	for _, g := range grids {
		mirror := C.int32_t(1)
		if g.Mirror {
			mirror = -1
		}
		s.grids = append(s.grids, C.grid{C.int32_t(g.Size), C.int32_t(img.margin + g.Row),
			C.int32_t(img.margin + g.Col), C.int32_t(g.Rows), C.int32_t(g.Cols),
			C.int32_t(g.Step), C.int32_t(g.Sin), C.int32_t(g.Cos), mirror})
		if g.Step <= C.SORTED {
			copied = max(copied, (img.width+g.Step-1)/g.Step*g.Step*img.height)
		}
		row = max(row, g.Cols)
	}
	list := C.REST + max(C.BAND, row)
	s.copied, s.at, s.sum, s.hits = room(s.copied, copied), room(s.at, list), room(s.sum, list),
		room(s.hits, list+moreHits)
	r := C.room{(*C.uint8_t)(&s.copied[0]), &s.nodes[0], C.candidates{&s.at[0], &s.sum[0]}, &s.hits[0],
		C.int32_t(list), C.int32_t(list + moreHits)}
	last := c.thresholds[len(c.thresholds)-1]
	s.state = C.state{}
	for int(s.state.grid) < len(grids) {
		n := C.native_search(C.int32_t(s.level), trees, picture, &s.grids[0], C.int32_t(len(grids)), r,
			&s.state)
		for _, h := range s.hits[:n] {
			if score := float32(h.sum) - last; score > 0 {
				found = append(found, Window{int(h.row) - img.margin, int(h.col) - img.margin,
					grids[h.grid].Size, score})
			}
		}
	}
	s.copied = Reusable(s.copied)
	return found
}

// room returns a slice of n elements, with space behind them that the native code may read or write. Its
// content is undefined.
func room[T any](s []T, n int) []T {
	return slices.Grow(s[:0], n+C.SPARE)[:n+C.SPARE]
}

func smooth(to, from *image.Gray) { smoothNative(bestLevel, to, from) }

func smoothNative(level int, to, from *image.Gray) {
	C.native_smooth(C.int32_t(level), (*C.uint8_t)(&to.Pix[0]), C.int32_t(to.Stride),
		(*C.uint8_t)(&from.Pix[0]), C.int32_t(from.Stride),
		C.int32_t(to.Rect.Dx()), C.int32_t(to.Rect.Dy()))
}
