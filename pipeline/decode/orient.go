package decode

import (
	"image"
	"slices"
	"unsafe"
)

// Box is a rectangle in pixels, its corner at the top left.
type Box struct{ X, Y, Width, Height float64 }

// ToUpright converts a box of the stored image, whose stored size is given, to the upright image.
func ToUpright(b Box, orientation int, width, height float64) Box {
	x, y := b.X, b.Y
	mx, my := width-b.X-b.Width, height-b.Y-b.Height // the corner, measured from the far sides
	switch orientation {
	case 2:
		b.X = mx
	case 3:
		b.X, b.Y = mx, my
	case 4:
		b.Y = my
	case 5:
		return Box{y, x, b.Height, b.Width}
	case 6:
		return Box{my, x, b.Height, b.Width}
	case 7:
		return Box{my, mx, b.Height, b.Width}
	case 8:
		return Box{y, mx, b.Height, b.Width}
	}
	return b
}

// ToStored converts a box of the upright image, whose upright size is given, to the stored image.
func ToStored(b Box, orientation int, width, height float64) Box {
	switch orientation { // the turns by 90 degrees undo each other; the rest undo themselves
	case 6:
		orientation = 8
	case 8:
		orientation = 6
	}
	return ToUpright(b, orientation, width, height)
}

// Mirrors reports whether an orientation exchanges right and left.
func Mirrors(orientation int) bool {
	switch orientation {
	case 2, 4, 5, 7:
		return true
	}
	return false
}

// upright turns d.luma by an EXIF orientation.
func (d *Decoder) upright(orientation int) {
	w, h := d.luma.Rect.Dx(), d.luma.Rect.Dy()
	turned := turn(d.luma.Pix[:w*h], w, h, orientation, func() []byte {
		d.rotated = grow(d.rotated, w*h)
		return d.rotated
	})
	if orientation >= 5 {
		d.luma = image.Gray{Pix: turned, Stride: h, Rect: image.Rect(0, 0, h, w)}
	}
}

// uprightColor turns a picture in colour likewise.
func uprightColor(m *image.RGBA, orientation int) *image.RGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	out := m
	turn(quads(m.Pix), w, h, orientation, func() [][4]byte {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
		return quads(out.Pix)
	})
	return out
}

// quads returns bytes in groups of four.
func quads(p []byte) [][4]byte {
	return unsafe.Slice((*[4]byte)(unsafe.Pointer(unsafe.SliceData(p))), len(p)/4)
}

// turn turns the pixels of a picture, w x h, by an EXIF orientation: mirrored in place, or, for 5 to 8,
// transposed into the slice that spare returns. It returns the slice that holds them.
func turn[P any](pix []P, w, h, orientation int, spare func() []P) []P {
	switch orientation {
	case 2:
		for y := range h {
			slices.Reverse(pix[y*w:][:w])
		}
	case 3:
		slices.Reverse(pix)
	case 4:
		for a, b := 0, h-1; a < b; a, b = a+1, b-1 {
			swap(pix[a*w:][:w], pix[b*w:][:w])
		}
	case 5, 6, 7, 8:
		turned := spare()
		transpose(turned, pix, w, h, orientation)
		return turned
	}
	return pix
}

func swap[P any](p, q []P) {
	for i := range p {
		p[i], q[i] = q[i], p[i]
	}
}

// transpose writes src, w x h, into dst, h x w, for the orientations 5 to 8. It goes tile by tile, so that
// the rows of src that a tile reads, and the ones of dst that it writes, stay in the first-level cache.
func transpose[P any](dst, src []P, w, h, orientation int) {
	// The pixel stored at (x, y) goes to row y0 + dy*x, column x0 + dx*y.
	x0, dx, y0, dy := 0, 1, 0, 1
	if orientation == 6 || orientation == 7 {
		x0, dx = h-1, -1
	}
	if orientation == 7 || orientation == 8 {
		y0, dy = w-1, -1
	}
	const tile = 32
	for ty := 0; ty < h; ty += tile {
		for tx := 0; tx < w; tx += tile {
			for x := tx; x < min(tx+tile, w); x++ {
				row := dst[(y0+dy*x)*h:][:h]
				i := ty*w + x
				for y := ty; y < min(ty+tile, h); y++ {
					row[x0+dx*y] = src[i]
					i += w
				}
			}
		}
	}
}
