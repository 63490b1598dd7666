//go:build cgo && (amd64 || arm64)

package yunet

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

// size is the size of the buffers, in bytes.
func (n *native) size() int64 {
	return int64(len(n.room)) + int64(len(n.cells))*int64(unsafe.Sizeof(cell{}))
}

// TestAligned: a buffer begins with a cache line, and is made only when it has to grow.
func TestAligned(t *testing.T) {
	var buffer []byte
	for _, n := range []int{1, 63, 64, 65, 1000, 1000, 64} {
		room := aligned(&buffer, n)
		if at := uintptr(unsafe.Pointer(&room[0])); at%64 != 0 || len(room) != n {
			t.Errorf("%d bytes: %d bytes at %#x", n, len(room), at)
		}
		grown := &buffer[0]
		if aligned(&buffer, n); &buffer[0] != grown {
			t.Errorf("%d bytes: made twice", n)
		}
	}
}

// TestPackedForNEON reads the weights as kernels_arm64.c does, so that a change of their layout is noticed on
// every processor: without dot product 16-bit weights, for each input those of all channels; with it bytes,
// four inputs of each channel, and a bias for inputs that are 128 less.
func TestPackedForNEON(t *testing.T) {
	tested := 0
	for to, p := range paths {
		dot := p.name == "NEON dot product"
		if !dot && p.name != "NEON" {
			continue
		}
		tested++
		packed := pack(net, to)
		n := &packed.network
		number := func(at, bytes, i int) int {
			b := packed.weights[at+i*bytes:][:bytes]
			switch bytes {
			case 1:
				return int(int8(b[0]))
			case 2:
				return int(int16(binary.LittleEndian.Uint16(b)))
			}
			return int(int32(binary.LittleEndian.Uint32(b)))
		}
		check := func(what string, at, biasAt, in int, weight func(c, k int) int8, bias []int32) {
			t.Helper()
			out := len(bias)
			for c, b := range bias {
				for k := range in {
					place, bytes := k*out+c, 2
					if dot {
						place, bytes = k/4*4*out+4*c+k%4, 1
					}
					if got := number(at, bytes, place); got != int(weight(c, k)) {
						t.Fatalf("%s, %s: weight %d of channel %d is %d", p.name, what, k, c, got)
					}
					if dot {
						b += 128 * int32(weight(c, k))
					}
				}
				if got := number(biasAt, 4, c); got != int(b) {
					t.Fatalf("%s, %s: the bias of channel %d is %d, want %d", p.name, what, c, got, b)
				}
			}
			if at%64 != 0 || biasAt%64 != 0 {
				t.Errorf("%s, %s: at %d and %d", p.name, what, at, biasAt)
			}
		}
		check("stem", int(n.weights_at), int(n.bias_at), 12, func(c, k int) int8 {
			if k%4 == 3 {
				return 0
			}
			return net.stem.weights[c][k/4*3+k%4]
		}, net.stem.bias[:])
		end := 0
		for i := range net.blocks {
			w, b := &net.blocks[i], &n.blocks[i]
			check("block", int(b.point_at), int(b.bias_at), w.in, func(c, k int) int8 {
				return w.point[c*w.in+k]
			}, w.bias)
			for c, shift := range w.shift {
				if got := number(int(b.shift_at), 4, c); got != int(shift) {
					t.Fatalf("%s: shift %d of block %d is %d", p.name, c, i, got)
				}
			}
			end = int(b.rest_at) + 2*max(w.out, 32)
		}
		if spare := len(packed.weights) - end; spare != 128 { // as much may be read by a vector
			t.Errorf("%s: %d bytes behind the weights", p.name, spare)
		}
	}
	if tested != 2 {
		t.Errorf("%d paths", tested)
	}
}
