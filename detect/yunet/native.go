//go:build cgo && (amd64 || arm64)

package yunet

// #cgo CFLAGS: -O3
// #cgo noescape yunet_run
// #cgo nocallback yunet_run
// #include "native.h"
import "C"

import (
	"encoding/binary"
	"image"
	"slices"
	"unsafe"
)

// path is a code path of the native code: its vectors, and how weights are packed for them.
type path struct {
	name  string
	lanes int // 32-bit numbers in a vector
	group int // neighbouring inputs that one instruction multiplies and adds
	bytes int // of a 1x1 weight
}

var paths = map[C.int32_t]path{
	C.SSE2:        {"SSE2", 4, 2, 2},
	C.AVX2:        {"AVX2", 8, 2, 2},
	C.AVX512_VNNI: {"AVX-512 VNNI", 16, 4, 1},
	C.NEON:        {"NEON", 4, 1, 2},
	C.NEON_DOT:    {"NEON dot product", 4, 4, 1},
}

// native runs the network in C.
type native struct {
	path     C.int32_t
	packed   *packed
	room     []byte
	cells    []cell
	progress C.progress
	levels   [3]C.threshold
}

// bestPath is the fastest path of this CPU; bestWeights are packed for it.
var (
	bestPath    = C.yunet_path()
	bestWeights = pack(net, bestPath)
)

func newNetwork() network { return &native{path: bestPath, packed: bestWeights} }

// newPath returns the network on a code path, or nil if this CPU cannot run it.
func newPath(p C.int32_t) network {
	if C.yunet_runs(p) == 0 {
		return nil
	}
	return &native{path: p, packed: pack(net, p)}
}

// allPaths returns the network on every code path of this processor, by name.
func allPaths() map[string]network {
	all := map[string]network{}
	for p, is := range paths {
		if n := newPath(p); n != nil {
			all[is.name] = n
		}
	}
	return all
}

// Path names the code path that runs on this processor.
func Path() string { return paths[bestPath].name }

func (n *native) run(from picture, next *image.Gray, levels [3]threshold, found func([]cell)) {
	p := C.picture{
		pix: (*C.uint8_t)(&from.Pix[0]), stride: C.int32_t(from.Stride),
		width: C.int32_t(from.Rect.Dx()), height: C.int32_t(from.Rect.Dy()),
	}
	if from.shrink {
		p.shrink = 1
	}
	if next != nil {
		p.next, p.next_stride = (*C.uint8_t)(&next.Pix[0]), C.int32_t(next.Stride)
	}
	for i, l := range levels {
		n.levels[i] = C.threshold{C.int16_t(l.class), C.int16_t(l.object)}
	}
	width, _ := from.padded()
	room := aligned(&n.room, int(C.yunet_room(&n.packed.network, C.int32_t(width))))
	if least := width / 32 * C.CELLS * 2; len(n.cells) < least {
		n.cells = make([]cell, least)
	}
	n.progress = C.progress{}
	for n.progress.done == 0 {
		count := C.yunet_run(n.path, &n.packed.network, (*C.uint8_t)(&n.packed.weights[0]), p, &n.levels[0],
			(*C.uint8_t)(&room[0]), &n.progress, (*C.cell)(unsafe.Pointer(&n.cells[0])),
			C.int32_t(len(n.cells)))
		if count > 0 {
			found(n.cells[:count])
		}
	}
}

// A cell has the same layout in Go and in C.
var _ [unsafe.Sizeof(cell{})]byte = [C.sizeof_cell]byte{}

// line is the length of a cache line, in bytes.
const line = 64

// aligned returns n bytes of the buffer from the start of a cache line on, and grows it if necessary.
func aligned(buffer *[]byte, n int) []byte {
	if len(*buffer) < n+line {
		*buffer = make([]byte, n+line)
	}
	skip := -int(uintptr(unsafe.Pointer(&(*buffer)[0]))) & (line - 1)
	return (*buffer)[skip:][:n]
}

// packed are the weights in the layout of a code path.
type packed struct {
	network C.network
	weights []byte
}

// pack lays the weights out for a code path. Vectors of 32-bit sums are narrowed in pairs, on wide vectors
// within each 128 bits. Channels are placed so that narrowing brings them back into order.
func pack(w *weights, to C.int32_t) *packed {
	var out packed
	var buffer []byte
	p := paths[to]
	put := func(at *C.int32_t, v any) {
		for len(buffer)%line != 0 {
			buffer = append(buffer, 0)
		}
		*at = C.int32_t(len(buffer))
		buffer, _ = binary.Append(buffer, binary.LittleEndian, v) // it fails for other types only
	}
	dot := to == C.NEON_DOT // it multiplies signed bytes: inputs less 128, which the bias corrects
	n := &out.network
	order := p.order(channels)
	var rows [channels][]int8 // each row of the filter with a fourth weight of zero
	bias := w.stem.bias
	for c, f := range w.stem.weights {
		rows[c] = []int8{f[0], f[1], f[2], 0, f[3], f[4], f[5], 0, f[6], f[7], f[8], 0}
		if dot {
			bias[c] += 128 * total(rows[c])
		}
	}
	put(&n.weights_at, p.points(rows[:], order))
	put(&n.bias_at, permuted(bias[:], order))
	put(&n.factor_at, w.stem.factor[:])
	n.shift = C.int32_t(w.stem.shift)
	for i := range w.blocks {
		b, to := &w.blocks[i], &n.blocks[i]
		to.in, to.out, to.stride = C.int32_t(b.in), C.int32_t(b.out), C.int32_t(strides[i])
		if b.head() {
			to.head = 1
		}
		order := p.order(b.out)
		var rows [][]int8
		var shift, low, high []int32
		bias := slices.Clone(b.bias)
		for c := range b.out {
			row := b.point[c*b.in:][:b.in]
			rows = append(rows, row)
			if dot {
				bias[c] += 128 * total(row)
			}
			s := int32(b.shift[c])
			shift, low, high = append(shift, s), append(low, -(s&1)), append(high, -(s>>1&1))
		}
		put(&to.point_at, p.points(rows, order))
		put(&to.bias_at, permuted(bias, order))
		if p.name == "SSE2" { // its shifts are the same for all lanes: two masks instead
			put(&to.shift_at, append(low, high...))
		} else {
			put(&to.shift_at, permuted(shift, order))
		}
		var depth []int16
		for k := range 9 {
			depth = append(depth, repeated(b.depth[k*b.out:][:b.out])...)
		}
		put(&to.depth_at, depth)
		put(&to.rest_at, repeated(b.rest))
	}
	out.weights = aligned(new([]byte), len(buffer)+C.SPARE)
	copy(out.weights, buffer)
	return &out
}

// order returns the channel, of c, that each 32-bit lane computes.
func (p path) order(c int) []int {
	if p.lanes == 4 || p.lanes == 16 && c == 16 {
		return natural(c)
	}
	out := make([]int, c)
	for i := range out {
		vector, lane := i/p.lanes, i%p.lanes
		out[i] = vector/2*2*p.lanes + lane/4*8 + vector%2*4 + lane%4
	}
	return out
}

func natural(c int) []int {
	out := make([]int, c)
	for i := range out {
		out[i] = i
	}
	return out
}

// points lays 1x1 weights out by groups of inputs: within a group by channel, in order.
func (p path) points(rows [][]int8, order []int) (out []byte) {
	for k := 0; k < len(rows[0]); k += p.group {
		for _, c := range order {
			for _, w := range rows[c][k : k+p.group] {
				out = append(out, byte(w))
				if p.bytes == 2 {
					out = append(out, byte(w>>7))
				}
			}
		}
	}
	return out
}

// repeated returns a row of weights, twice if it is short, so that a vector can span two cells.
func repeated(v []int16) []int16 {
	for len(v) < C.PITCH {
		v = append(v[:len(v):len(v)], v...)
	}
	return v
}

func permuted(v []int32, order []int) []int32 {
	out := make([]int32, len(v))
	for i, c := range order {
		out[i] = v[c]
	}
	return out
}

func total(row []int8) (sum int32) {
	for _, w := range row {
		sum += int32(w)
	}
	return sum
}
