package yunet

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

//go:generate go run generate.go

//go:embed weights.bin
var embedded []byte

// Version grows whenever an image may get another answer.
const Version = 1

// Sum is the SHA-256 of the embedded weights, in hex.
func Sum() string {
	sum := sha256.Sum256(embedded)
	return hex.EncodeToString(sum[:])
}

// Channels of the first convolution's output, and of a head's: class, object, box (4), landmarks (10).
const channels = 16

// fraction is how many bits a 3x3 convolution keeps below an activation's unit in its sums.
const fraction = 4

// stem is the first convolution: 3x3, stride 2, from luma to channels.
type stem struct {
	weights [channels][9]int8 // row by row
	bias    [channels]int32   // in the accumulator's unit
	shift   uint8             // from the accumulator to 16 bits
	factor  [channels]int16   // from there to activations, in 32768ths
}

// block is a 1x1 convolution followed by a depthwise 3x3 convolution.
type block struct {
	in, out int     // channels
	point   []int8  // 1x1 weights, in for each of out
	bias    []int32 // of the 1x1 convolution, rounding for the shift included
	shift   []uint8 // from its accumulator to 16 bits
	depth   []int16 // 3x3 weights in 32768ths: for each of nine taps, row by row, out values
	rest    []int16 // bias of the 3x3 convolution, rounding included

	// unit is the value of one step of a head's output, per channel; nil for other blocks, whose output is
	// 8-bit activations.
	unit []float64
}

func (b *block) head() bool { return b.unit != nil }

// Blocks, in the order in which they are stored. A block's name says at which stride it works.
const (
	half = iota
	quarter1
	quarter2
	quarter3
	quarter4
	eighth1
	eighth2
	sixteenth1
	sixteenth2
	thirtysecond1
	thirtysecond2
	neck32
	neck16
	neck8
	head8
	head16
	head32
	blockCount
)

// weights are the whole network.
type weights struct {
	stem   stem
	blocks [blockCount]block
}

// net is the embedded network; the package's tests check that it is valid.
var net = func() *weights {
	w, err := parse(embedded)
	if err != nil {
		panic(fmt.Sprintf("yunet: embedded weights: %v", err))
	}
	return w
}()

// parse reads what generate.go wrote: little-endian, the stem and then the blocks, each with its channels in
// front.
func parse(data []byte) (*weights, error) {
	w := new(weights)
	var err error
	read := func(to ...any) {
		for _, v := range to {
			n := min(binary.Size(v), len(data)) // Decode reads bytes to the end of its buffer
			_, short := binary.Decode(data[:n], binary.LittleEndian, v)
			data, err = data[n:], errors.Join(err, short)
		}
	}
	read(&w.stem.weights, &w.stem.bias, &w.stem.shift, &w.stem.factor)
	for i := range w.blocks {
		var of [2]uint8
		read(&of)
		b := &w.blocks[i]
		b.in, b.out = int(of[0]), int(of[1])
		if !known(b.in, b.out) {
			return nil, fmt.Errorf("block %d has %d and %d channels", i, b.in, b.out)
		}
		b.point, b.bias, b.shift = make([]int8, b.in*b.out), make([]int32, b.out), make([]uint8, b.out)
		b.depth, b.rest = make([]int16, 9*b.out), make([]int16, b.out)
		read(b.point, b.bias, b.shift, b.depth, b.rest)
		if i >= head8 {
			b.unit = make([]float64, b.out)
			read(b.unit)
		}
	}
	if len(data) > 0 {
		err = fmt.Errorf("%d bytes too many", len(data))
	}
	return w, err
}

// known reports whether the native code has a loop for these channels.
func known(in, out int) bool {
	switch [2]int{in, out} {
	case [2]int{16, 16}, [2]int{16, 32}, [2]int{32, 32}, [2]int{32, 64}, [2]int{64, 64}, [2]int{64, 16}:
		return true
	}
	return false
}
