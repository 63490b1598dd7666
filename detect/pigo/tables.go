package pigo

import "math"

// pose is the rotation, mirroring and size of a face in a window. A code of (row, col) 256ths of the size
// then names the pixel at ((cos row - sin col) >> 16, (sin row + cos col) >> 16) from the centre.
type pose struct {
	sin, cos int32 // of the angle, times 256 and the size
	mirror   bool  // columns count to the left
}

// newPose takes the angle in 32nds of a turn. Sine and cosine are rounded towards zero, as in pigo.
func newPose(size, step32 int, mirror bool) pose {
	sin, cos := math.Sincos(2 * math.Pi * float64(step32) / 32)
	return pose{int32(size) * int32(256*sin), int32(size) * int32(256*cos), mirror}
}

// offset is where the pixel of a code lies in an image of the stride, from the window's centre.
func (p pose) offset(row, col int8, stride int) int {
	r := (p.cos*int32(row) - p.sin*int32(col)) >> 16
	c := (p.sin*int32(row) + p.cos*int32(col)) >> 16
	if p.mirror {
		c = -c
	}
	return int(r)*stride + int(c)
}
