package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Landmarks are x and y of five points of a face, in tenths of a pixel of the upright image: right eye, left
// eye, nose, right and left corner of the mouth, as the person's own sides. They may lie outside the box, and
// outside the image.
type Landmarks [10]int32

// usual is where the landmarks of a face seen from the front lie, in hundredths of its box.
var usual = [len(Landmarks{})]int{31, 39, 69, 39, 50, 58, 35, 78, 65, 78}

// expect is where the landmarks of a face are expected.
func (f *Face) expect(i int) int64 {
	corner, side := f.X, f.Width
	if i%2 == 1 {
		corner, side = f.Y, f.Height
	}
	return 10*int64(corner) + int64(side)*int64(usual[i])/10
}

// PackLandmarks packs the landmarks of faces, list after list, as varints of how far they lie from where they
// are expected: mostly one or two bytes each. Nil where the faces have none. Either all of them have
// landmarks, or none.
func PackLandmarks(lists ...[]Face) []byte {
	if b := appendLandmarks(nil, lists...); len(b) > 0 {
		return b
	}
	return nil
}

// appendLandmarks is the same behind what is in b.
func appendLandmarks(b []byte, lists ...[]Face) []byte {
	start := len(b)
	for _, faces := range lists {
		for i := range faces {
			f := &faces[i]
			if !f.HasLandmarks {
				return b[:start]
			}
			b = slices.Grow(b, 2*len(f.Landmarks))
			for n, v := range f.Landmarks {
				b = binary.AppendVarint(b, int64(v)-f.expect(n))
			}
		}
	}
	return b
}

// CheckLandmarks refuses bytes that are not the packed landmarks of so many faces, or of none.
func CheckLandmarks(b []byte, faces int) error {
	values := 0
	for rest := b; len(rest) > 0; values++ {
		_, size := binary.Varint(rest)
		if size <= 0 {
			return errLandmarks
		}
		rest = rest[size:]
	}
	if values != 0 && values != faces*len(Landmarks{}) {
		return fmt.Errorf("%w: %d values for %d faces", errLandmarks, values, faces)
	}
	return nil
}

// DamagedValue says that a value is stored in a form that no job writes.
type DamagedValue string

func (e DamagedValue) Error() string { return string(e) }

const errLandmarks DamagedValue = "packed landmarks are damaged"

// UnpackLandmarks is the reverse of PackLandmarks. The boxes must be those that the landmarks were packed
// with.
func UnpackLandmarks(b []byte, lists ...[]Face) error {
	if len(b) == 0 {
		return nil
	}
	for _, faces := range lists {
		for i := range faces {
			f := &faces[i]
			f.HasLandmarks = true
			for n := range f.Landmarks {
				d, size := binary.Varint(b)
				v := d + f.expect(n)
				if size <= 0 || v < math.MinInt32 || v > math.MaxInt32 {
					return errLandmarks
				}
				f.Landmarks[n], b = int32(v), b[size:]
			}
		}
	}
	if len(b) > 0 {
		return errLandmarks
	}
	return nil
}
