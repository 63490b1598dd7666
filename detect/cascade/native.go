//go:build cgo && (amd64 || arm64)

package cascade

// #cgo CFLAGS: -O3 -std=gnu11
// #cgo noescape native_band
// #cgo nocallback native_band
// #cgo noescape native_rest
// #cgo nocallback native_rest
// #include "native.h"
import "C"

import (
	"math"
	"slices"
	"unsafe"
)

const (
	bandWindows = 4096 // about as many as share a first-level cache with the rows they lie in
	restWindows = 2048 // candidates that are worth the deep stages' tables
	vectorWidth = 64   // bytes that the widest variant may read or write beyond the end
)

// native evaluates in C.
type native struct {
	cascade *Cascade
	s       C.scan
	stages  []C.stage
	nodes   []C.node
	columns []uint8
	list    []C.candidate
}

// nativeLevels are the variants that this processor can run.
func nativeLevels() int { return int(C.native_level()) + 1 }

func newScanner(c *Cascade) scanner {
	if c.depth != nativeDepth {
		return &portable{cascade: c}
	}
	return newNative(c, nativeLevels()-1)
}

func newNative(c *Cascade, level int) *native {
	s := &native{cascade: c, nodes: make([]C.node, len(c.codes)/4)}
	for _, st := range c.stages {
		s.stages = append(s.stages, C.stage{to: C.int32_t(st.to), threshold: C.float(st.threshold)})
	}
	s.s.level, s.s.stages = C.int32_t(level), C.int32_t(len(s.stages))
	s.s.first = C.float(math.Inf(-1))
	if c.stages[0].to == 1 {
		s.s.first = C.float(c.stages[0].threshold)
	}
	return s
}

func (s *native) scan(found []Window, g grid) []Window {
	s.s.stride, s.s.step, s.s.cols = C.int32_t(g.stride), C.int32_t(g.step), C.int32_t(g.cols)
	s.s.sin, s.s.cos, s.s.mirror, s.s.built = C.int32_t(g.pose.sin), C.int32_t(g.pose.cos), 1, 0
	if g.pose.mirror {
		s.s.mirror = -1
	}
	band := min(max(bandWindows/g.cols, 1), g.rows)
	s.list = slices.Grow(s.list[:0], restWindows+band*g.cols+vectorWidth)
	s.list = s.list[:cap(s.list)]
	reach := 3 * g.size / 2 // rows and columns that a window may touch, turned as it may be
	s.columns = slices.Grow(s.columns[:0], (band*g.step+reach)*(g.cols*g.step+reach+2*g.step)+vectorWidth)
	n := 0
	for r := 0; r < g.rows; r += band {
		rows := min(band, g.rows-r)
		at := (g.margin+g.row+r*g.step)*g.stride + g.margin + g.col
		n += int(C.native_band(&s.s, &s.stages[0], (*C.int8_t)(&s.cascade.codes[0]), (*C.float)(&s.cascade.leaves[0]), &s.nodes[0],
			(*C.uint8_t)(&g.pix[0]), C.int32_t(at), C.int32_t(rows), (*C.uint8_t)(unsafe.SliceData(s.columns)), &s.list[n]))
		if n >= restWindows || n > 0 && r+rows >= g.rows {
			found = s.rest(found, g, n)
			n = 0
		}
	}
	return found
}

// rest evaluates the deep stages for the first n of s.list.
func (s *native) rest(found []Window, g grid, n int) []Window {
	n = int(C.native_rest(&s.s, &s.stages[0], (*C.int8_t)(&s.cascade.codes[0]), (*C.float)(&s.cascade.leaves[0]), &s.nodes[0],
		(*C.uint8_t)(&g.pix[0]), &s.list[0], C.int32_t(n)))
	last := s.cascade.thresholds[len(s.cascade.thresholds)-1]
	for _, c := range s.list[:n] {
		if score := float32(c.sum) - last; score > 0 {
			found = append(found, Window{int(c.at)/g.stride - g.margin, int(c.at)%g.stride - g.margin, g.size, score})
		}
	}
	return found
}
