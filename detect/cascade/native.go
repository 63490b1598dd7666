//go:build cgo && (amd64 || arm64)

package cascade

// #cgo CFLAGS: -O3
// #cgo noescape native_band
// #cgo nocallback native_band
// #cgo noescape native_rest
// #cgo nocallback native_rest
// #cgo noescape native_smooth
// #cgo nocallback native_smooth
// #include "native.h"
import "C"

import (
	"image"
	"slices"
)

const (
	bandWindows = 4096 // about as many as share a first-level cache with the rows they lie in
	restWindows = 2048 // candidates that are worth fetching the deep stages' tables for
)

// native evaluates in C.
type native struct {
	cascade *Cascade
	stages  []C.stage
	grid    C.grid
	nodes   []C.node // of the trees, for the size at hand
	columns []uint8
	at      []C.int32_t // candidates
	sum     []C.float
}

// bestLevel is the fastest variant that this processor can run; it can run the lower ones too.
var bestLevel = int(C.native_level())

func newScanner(c *Cascade) scanner {
	if c.depth != nativeDepth {
		return &portable{cascade: c}
	}
	return newNative(c, bestLevel)
}

func newNative(c *Cascade, level int) *native {
	s := &native{cascade: c, nodes: make([]C.node, len(c.codes)/4)}
	for _, st := range c.stages {
		s.stages = append(s.stages, C.stage{to: C.int32_t(st.to), threshold: C.float(st.threshold)})
	}
	s.grid.level = C.int32_t(level)
	return s
}

func (s *native) scan(found []Window, g grid) []Window {
	s.grid.stride, s.grid.step, s.grid.cols, s.grid.built = C.int32_t(g.stride), C.int32_t(g.step), C.int32_t(g.cols), 0
	s.grid.sin, s.grid.cos, s.grid.mirror = C.int32_t(g.pose.sin), C.int32_t(g.pose.cos), 1
	if g.pose.mirror {
		s.grid.mirror = -1
	}
	band := min(max(bandWindows/g.cols, 1), g.rows)
	sorted := 0
	if g.step <= C.SORTED {
		reach := g.size*3/2 + 4 // pixels that a window may span, turned as it may be
		sorted = (band*g.step + reach) * (g.cols*g.step + reach)
	}
	s.columns = room(s.columns, sorted)
	s.at, s.sum = room(s.at, restWindows+band*g.cols), room(s.sum, restWindows+band*g.cols)
	n := 0
	for r := 0; r < g.rows; r += band {
		rows := min(band, g.rows-r)
		at := (g.margin+g.row+r*g.step)*g.stride + g.margin + g.col
		n += int(C.native_band(s.trees(), &s.grid, &s.nodes[0], (*C.uint8_t)(&g.pix[0]), C.int32_t(at), C.int32_t(rows),
			(*C.uint8_t)(&s.columns[0]), C.candidates{&s.at[n], &s.sum[n]}))
		if n >= restWindows || n > 0 && r+rows == g.rows {
			found = s.rest(found, g, n)
			n = 0
		}
	}
	return found
}

// rest evaluates the deep stages for the first n candidates.
func (s *native) rest(found []Window, g grid, n int) []Window {
	n = int(C.native_rest(s.trees(), &s.grid, &s.nodes[0], (*C.uint8_t)(&g.pix[0]), C.candidates{&s.at[0], &s.sum[0]}, C.int32_t(n)))
	last := s.cascade.thresholds[len(s.cascade.thresholds)-1]
	for i, at := range s.at[:n] {
		if score := float32(s.sum[i]) - last; score > 0 {
			found = append(found, Window{int(at)/g.stride - g.margin, int(at)%g.stride - g.margin, g.size, score})
		}
	}
	return found
}

func (s *native) trees() C.trees {
	return C.trees{&s.stages[0], C.int32_t(len(s.stages)), (*C.int8_t)(&s.cascade.codes[0]), (*C.float)(&s.cascade.leaves[0])}
}

// room is a slice of n elements, and of what the native code may write behind them; what was in it is lost.
func room[T any](s []T, n int) []T {
	return slices.Grow(s[:0], n+C.SPARE)[:n+C.SPARE]
}

func smooth(to, from *image.Gray) { smoothNative(bestLevel, to, from) }

func smoothNative(level int, to, from *image.Gray) {
	C.native_smooth(C.int32_t(level), (*C.uint8_t)(&to.Pix[0]), C.int32_t(to.Stride), (*C.uint8_t)(&from.Pix[0]), C.int32_t(from.Stride),
		C.int32_t(to.Rect.Dx()), C.int32_t(to.Rect.Dy()))
}
