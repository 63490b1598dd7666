package yunet

import "image"

// picture is the input of a pass: an image, or the image at three quarters of its size.
type picture struct {
	*image.Gray
	shrink bool // to three quarters
}

// size is the size of the network's input without padding.
func (p picture) size() (width, height int) {
	width, height = p.Rect.Dx(), p.Rect.Dy()
	if p.shrink {
		width, height = quarters(width), quarters(height)
	}
	return width, height
}

// padded is the size of the network's input: whole cells of the coarsest map, zeros on the right and below.
func (p picture) padded() (width, height int) {
	const whole = 32
	width, height = p.size()
	return (width + whole - 1) / whole * whole, (height + whole - 1) / whole * whole
}

// quarters is how many pixels three quarters of n are.
func quarters(n int) int { return (3*n + 3) / 4 }

// thirds is how many pixels a third of n is.
func thirds(n int) int { return (n + 2) / 3 }

// input reads the rows of a picture one by one, and makes the image of a third of its size for the next pass.
type input struct {
	from          picture
	width, height int
	y             int         // the next row
	next          *image.Gray // a third; nil when there is no next pass
	sums          []uint16    // of its columns, of up to three rows
}

func (in *input) begin(from picture, next *image.Gray) {
	in.from, in.next, in.y = from, next, 0
	in.width, in.height = from.size()
	if cap(in.sums) < in.width {
		in.sums = make([]uint16, in.width)
	}
	in.sums = in.sums[:in.width]
	clear(in.sums)
}

// row writes the next row from the second byte of to on; the first byte, and those after the row, stay zero.
func (in *input) row(to []uint8) {
	y := in.y
	in.y++
	if y >= in.height {
		clear(to)
		return
	}
	to = to[1:][:in.width]
	if in.from.shrink {
		in.shrunk(to, y)
	} else {
		copy(to, in.from.line(y))
	}
	if in.next != nil {
		in.third(to, y)
	}
}

// line returns a row of the image; below the last row, the last one.
func (p picture) line(y int) []uint8 {
	return p.Pix[min(y, p.Rect.Dy()-1)*p.Stride:][:p.Rect.Dx()]
}

// shrunk makes row y at three quarters of the size: four pixels become three, and each new pixel is the mean
// of its area of 4/3 x 4/3 old ones. Beyond the edge the last pixel is repeated.
func (in *input) shrunk(to []uint8, y int) {
	a, b := in.from.line(y/3*4+y%3), in.from.line(y/3*4+y%3+1)
	wa, wb := share(y % 3)
	for x := range to {
		i := x/3*4 + x%3
		j := min(i+1, len(a)-1)
		i = min(i, len(a)-1)
		va, vb := share(x % 3)
		sum := va*(wa*uint16(a[i])+wb*uint16(b[i])) + vb*(wa*uint16(a[j])+wb*uint16(b[j]))
		to[x] = uint8((sum + 8) >> 4)
	}
}

// share is the weight of the two old pixels in a new one, in quarters.
func share(phase int) (first, second uint16) {
	return [3]uint16{3, 2, 1}[phase], [3]uint16{1, 2, 3}[phase]
}

// third adds row y to the image of a third of the size, where a pixel is the mean of three by three. Beyond
// the edge the last pixel is repeated.
func (in *input) third(row []uint8, y int) {
	times := uint16(1)
	if y == in.height-1 {
		times = uint16(3 - y%3)
	}
	for x, v := range row {
		in.sums[x] += times * uint16(v)
	}
	if y%3 != 2 && y != in.height-1 {
		return
	}
	to := in.next.Pix[y/3*in.next.Stride:][:in.next.Rect.Dx()]
	for x := range to {
		last := len(in.sums) - 1
		sum := uint32(in.sums[3*x]) + uint32(in.sums[min(3*x+1, last)]) + uint32(in.sums[min(3*x+2, last)])
		to[x] = uint8((sum*ninth + 1<<14) >> 15)
	}
	clear(in.sums)
}

// ninth is a ninth in 32768ths. Multiplying by it divides every sum of nine bytes with correct rounding.
const ninth = 3641
