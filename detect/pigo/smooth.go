package pigo

import (
	"image"
	"slices"
)

// Smooth filters an image by (1 2 1) along rows and columns into `to`, whose memory is reused. This removes
// noise to which the cascade's comparisons of single pixels are sensitive. Beyond the border the border is
// repeated.
func Smooth(to, from *image.Gray) {
	width, height := from.Rect.Dx(), from.Rect.Dy()
	to.Rect, to.Stride = image.Rect(0, 0, width, height), width
	to.Pix = slices.Grow(to.Pix[:0], width*height)[:width*height]
	if len(to.Pix) > 0 {
		smooth(to, from)
	}
}

// smoothPortable is Smooth in plain Go, with one row of vertical sums at a time.
func smoothPortable(to, from *image.Gray) {
	width, height := to.Rect.Dx(), to.Rect.Dy()
	for y := range height {
		a := from.Pix[max(y-1, 0)*from.Stride:][:width]
		b := from.Pix[y*from.Stride:][:width]
		c := from.Pix[min(y+1, height-1)*from.Stride:][:width]
		out := to.Pix[y*to.Stride:][:width]
		sum := func(x int) int { return int(a[x]) + 2*int(b[x]) + int(c[x]) }
		left, here := sum(0), sum(0)
		for x := range out {
			right := sum(min(x+1, width-1))
			out[x] = uint8((left + 2*here + right + 8) >> 4)
			left, here = here, right
		}
	}
}
