package pigo

import (
	"image"
	"math"
	"slices"
)

// Pass says which windows of an image are evaluated.
type Pass struct {
	// MinSize and MaxSize are sides of the windows in pixels, both included; windows larger than the image
	// are skipped
	MinSize, MaxSize int
	Shift            float64 // step between windows in sides, at least 1 pixel
	Scale            float64 // growth of the side from size to size, at least 2 pixels
	Turn             float64 // angle of the faces, as a fraction of a turn, [0,1], in steps of 1/32
	Mirror           bool    // find what would be found in the mirrored image, at its place in this one
}

// Window is a square of the image that passed the cascade. Row and Col are its centre, Size its side, in
// pixels of the image that was searched, from its upper left corner.
type Window struct {
	Row, Col, Size int
	Score          float32 // above zero
}

// MaxPixels is the largest image that can be searched. Offsets of its pixels, with the border that turned
// windows need, fit their type.
const MaxPixels = 1 << 29

// maxSize keeps the products of codes, sizes and sines in 32 bits.
const maxSize = 1 << 15

// Searcher searches one image after another with one cascade. It reuses its memory and allocates nothing in
// the steady state, except for copies of very large images. It is not safe for use by several goroutines at
// once.
type Searcher struct {
	cascade *Cascade
	scan    scanner
	grids   []Grid
	padded  []uint8
}

// scanner finds windows.
type scanner interface {
	// scan appends the detections of each grid in turn, in reading order. There is at least one grid.
	scan(found []Window, img raster, grids []Grid) []Window
}

// raster is an image with a border of margin pixels around it.
type raster struct {
	pix           []uint8
	stride        int
	width, height int // with the border
	margin        int
}

// NewSearcher uses the fastest code path of this CPU.
func NewSearcher(c *Cascade) *Searcher {
	return &Searcher{cascade: c, scan: newScanner(c)}
}

// Search appends the detections in an image of at most MaxPixels to found: by size ascending, each in reading
// order; for mirrored searches rows are in the order of the mirrored image, from right to left.
func (s *Searcher) Search(found []Window, luma *image.Gray, p Pass) []Window {
	width, height := luma.Bounds().Dx(), luma.Bounds().Dy()
	s.grids = p.Grids(s.grids[:0], width, height)
	if len(s.grids) == 0 {
		return found
	}
	img := raster{luma.Pix[:(height-1)*luma.Stride+width], luma.Stride, width, height, 0}
	if p.turn() != 0 {
		img = s.pad(luma, border(s.grids[len(s.grids)-1].Size))
	}
	from := len(found)
	found = s.scan.scan(found, img, s.grids)
	if p.Mirror {
		reverseRows(found[from:])
	}
	s.padded = Reusable(s.padded)
	return found
}

// Reusable returns the buffer, or nil if it is too large to be kept for the next image.
func Reusable(b []uint8) []uint8 {
	const keep = 16 << 20
	if cap(b) > keep {
		return nil
	}
	return b
}

// border is how far the corner of a turned window may lie outside the image: its half diagonal less its half
// side.
func border(size int) int {
	return int(math.Ceil(float64(size)*(math.Sqrt2-1)/2)) + 2
}

// pad copies an image with its edges repeated outwards, so that turned windows that reach beyond it read the
// nearest pixel.
func (s *Searcher) pad(luma *image.Gray, margin int) raster {
	width, height := luma.Bounds().Dx(), luma.Bounds().Dy()
	stride := width + 2*margin
	s.padded = slices.Grow(s.padded[:0], stride*(height+2*margin))[:stride*(height+2*margin)]
	for y := range height + 2*margin {
		from := luma.Pix[min(max(y-margin, 0), height-1)*luma.Stride:][:width]
		to := s.padded[y*stride:][:stride]
		copy(to[margin:], from)
		for x := range margin {
			to[x], to[margin+width+x] = from[0], from[width-1]
		}
	}
	return raster{s.padded, stride, stride, height + 2*margin, margin}
}

// reverseRows reverses every row of windows.
func reverseRows(ws []Window) {
	for len(ws) > 0 {
		n := 1
		for n < len(ws) && ws[n].Row == ws[0].Row && ws[n].Size == ws[0].Size {
			n++
		}
		slices.Reverse(ws[:n])
		ws = ws[n:]
	}
}
