// Package pigo finds faces with the cascade of github.com/esimov/pigo.
//
// An Engine evaluates the cascade: the same windows as pigo's RunCascade, in the same order, with the same
// scores bit for bit, many times faster. A Finder (engine.go) plans the passes over an image, merges windows
// into faces (merge.go) and searches uncertain ones a second time (refine.go). The oracle (oracle.go) runs
// pigo itself.
//
// # What a cascade is
//
// A list of complete binary trees over the pixels of a square window. Every inner node compares two pixels;
// the leaf that is reached adds its value to the window's sum; a window whose sum does not exceed the tree's
// threshold is rejected. What passes the last tree is a detection, its score the excess over the last
// threshold. Windows of a size lie on a grid; the sizes grow by a factor.
//
// # Where the time goes, and how it is saved
//
// A photo of 500x375 has 330,000 windows from 20 pixels up. The first tree rejects 61 % of them, the first
// four 95 %, and most of the rest falls at a few of the 24 thresholds that can reject at all: the first two
// trees are most of the work.
//
//   - Offsets, not multiplications. pigo computes ((256 row + code size) >> 8), which is row + (code size >>
//     8): for a size and a stride every pixel of every node is a constant offset from the window (plan.go).
//     The tables of deep trees, which are seldom reached, are made on demand.
//   - The first two trees for a vector of neighbouring windows at once. All of their 63 nodes are evaluated,
//     with loads of adjacent windows' pixels; blends by the outcomes of the upper levels select the leaf.
//     Where windows are up to 4 pixels apart, and not huge, this works on a copy of the image that has its
//     columns sorted by their remainder, made once for all sizes with that step; the deeper trees go on with
//     the same copy, which the first-level cache then holds alone.
//   - The survivors are compacted into a list and evaluated stage by stage, ten windows interleaved, so that
//     the latency of one window's loads hides behind the others'. Trees between thresholds that can reject
//     are one stage, without a check.
//   - Rows are taken in bands that fit the first-level cache; the few that reach the deep stages are
//     collected over bands, because there the tables are what misses the cache.
//   - A search is one call of C. Go's scheduler takes the processor from a thread that stays there for longer
//     than 20 µs, so that a call for every band cost more in handing it to and fro than in the evaluator.
//
// The native code is C (native.c), in three variants that differ in the vector width, chosen at run time. The
// portable path is plain Go: the only one where cgo is off, and tested everywhere.
package pigo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// ErrFormat means that bytes are not a cascade; it wraps the cause.
var ErrFormat = errors.New("not a cascade")

// Limits on what a file may claim; the format itself has none.
const (
	maxDepth = 10
	maxTrees = 1 << 16
	maxLeaf  = 1e30 // sums of leaves stay finite
)

// nativeDepth is the depth of trees that the native code is written for.
const nativeDepth = 6

// Cascade is a parsed cascade. It is immutable and may be shared.
type Cascade struct {
	depth int
	// 4 a node, 1<<depth nodes a tree, node 0 unused: row and column of pixels a and b, in 256ths of the size
	codes      []int8
	leaves     []float32 // 1<<depth per tree
	thresholds []float32 // 1 per tree
	stages     []stage
}

// stage is a run of trees with one threshold, that of its last tree, which can reject.
type stage struct {
	from, to  int // trees [from,to)
	threshold float32
}

// Parse reads a cascade: 8 bytes that are ignored, the depth of the trees and their number as little-endian
// uint32, then for every tree the codes of its nodes, its leaves and its threshold as float32. Bytes after
// the last tree are an error.
func Parse(data []byte) (*Cascade, error) {
	bad := func(format string, args ...any) (*Cascade, error) {
		return nil, fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	if len(data) < 16 {
		return bad("%d bytes are too few for a header", len(data))
	}
	depth, trees := binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[12:])
	if depth < 1 || depth > maxDepth {
		return bad("trees of depth %d, want 1 to %d", depth, maxDepth)
	}
	if trees < 1 || trees > maxTrees {
		return bad("%d trees, want 1 to %d", trees, maxTrees)
	}
	nodes := 1 << depth
	treeSize := 4*(nodes-1) + 4*nodes + 4
	data = data[16:]
	if want := int(trees) * treeSize; len(data) != want {
		return bad("%d bytes of trees, want %d for %d of depth %d", len(data), want, trees, depth)
	}
	c := &Cascade{
		depth:      int(depth),
		codes:      make([]int8, int(trees)*nodes*4),
		leaves:     make([]float32, int(trees)*nodes),
		thresholds: make([]float32, trees),
	}
	for t := range c.thresholds {
		tree := data[t*treeSize:][:treeSize]
		// The file's right child is for a <= b. Ours is for b < a, the carry of a comparison: every level is
		// in reverse.
		for i := 1; i < nodes; i++ {
			level := 1 << (bits.Len(uint(i)) - 1)
			to := c.codes[4*(t*nodes+3*level-1-i):][:4]
			for j := range to {
				to[j] = int8(tree[4*(i-1)+j])
			}
		}
		values := tree[4*(nodes-1):]
		leaves := c.leaves[t*nodes:][:nodes]
		for i := range leaves {
			leaf := math.Float32frombits(binary.LittleEndian.Uint32(values[4*i:]))
			if !(leaf >= -maxLeaf && leaf <= maxLeaf) {
				return bad("tree %d has a leaf of %v", t, leaf)
			}
			leaves[nodes-1-i] = leaf
		}
		c.thresholds[t] = math.Float32frombits(binary.LittleEndian.Uint32(values[4*nodes:]))
		if math.IsNaN(float64(c.thresholds[t])) {
			return bad("tree %d has a threshold that is not a number", t)
		}
	}
	c.stages = c.findStages()
	return c, nil
}

// findStages joins each tree whose threshold is redundant with the next one whose threshold is not. A
// threshold is redundant if no sum can be as low, or if a later one rejects the same windows. Both can be
// proved: rounding keeps the order of sums, so the sums of the least and of the greatest leaves, rounded the
// same way, bound every sum.
func (c *Cascade) findStages() []stage {
	const ahead = 64 // trees searched for a later rejection
	nodes, trees := 1<<c.depth, len(c.thresholds)
	leaves := func(t int) []float32 { return c.leaves[t*nodes:][:nodes] }
	later := func(t int) bool {
		most := c.thresholds[t]
		for last := min(t+ahead, trees-1); t < last; {
			t++
			most += slices.Max(leaves(t))
			if most <= c.thresholds[t] {
				return true
			}
		}
		return false
	}
	var stages []stage
	from, least := 0, float32(0)
	for t, threshold := range c.thresholds {
		least += slices.Min(leaves(t))
		if t == trees-1 || least <= threshold && !later(t) {
			stages = append(stages, stage{from, t + 1, threshold})
			from, least = t+1, max(least, threshold)
		}
	}
	return stages
}
