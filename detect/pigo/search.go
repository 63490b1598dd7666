package pigo

import (
	"image"
	"math"
	"slices"
)

// Pass says which windows of an image are evaluated.
type Pass struct {
	// sides of the windows in pixels, both included; windows larger than the image are passed over
	MinSize, MaxSize int
	Shift            float64 // step between windows in sides, at least 1 pixel
	Scale            float64 // growth of the side from size to size, at least 2 pixels
	Turn             float64 // angle of the faces looked for, in parts of a turn, [0,1]; steps of 1/32 count
	Mirror           bool    // look for what would be found in the mirrored image, at its place in this one
}

// Window is a square of the image that the cascade took for a face. Row and Col are its centre, Size its
// side, in pixels of the image that was searched, from its upper left corner.
type Window struct {
	Row, Col, Size int
	Score          float32 // above zero
}

// MaxPixels is the largest image that can be searched: offsets of pixels in it, and in the border that turned
// windows need, fit their type.
const MaxPixels = 1 << 29

// maxSize keeps the products of codes, sizes and sines in 32 bits.
const maxSize = 1 << 15

// Searcher searches images with one cascade, one after the other. It keeps what it needs from image to image,
// and so allocates nothing once it has seen one of the largest, up to copies of several million pixels. Not
// for use by several goroutines at once.
type Searcher struct {
	cascade *Cascade
	scan    scanner
	grids   []grid
	padded  []uint8
}

// scanner finds windows.
type scanner interface {
	// scan appends the detections on grids, one after the other, each in reading order. There is a grid at
	// least.
	scan(found []Window, img raster, grids []grid) []Window
}

// raster is an image with a border of margin pixels around it.
type raster struct {
	pix           []uint8
	stride        int
	width, height int // with the border
	margin        int
}

// grid is the windows of one size.
type grid struct {
	row, col   int // centre of the first window, from the image's corner
	rows, cols int // number of windows
	size, step int
	pose       pose
}

// NewSearcher takes the fastest way that this machine has.
func NewSearcher(c *Cascade) *Searcher {
	return &Searcher{cascade: c, scan: newScanner(c)}
}

// Search appends the detections in an image of at most MaxPixels to found: by size ascending, each in reading
// order; for mirrored searches rows are in the order of the mirrored image, from right to left.
func (s *Searcher) Search(found []Window, luma *image.Gray, p Pass) []Window {
	width, height := luma.Bounds().Dx(), luma.Bounds().Dy()
	if width*height == 0 {
		return found
	}
	s.grids = p.grids(s.grids[:0], width, height)
	if len(s.grids) == 0 {
		return found
	}
	img := raster{luma.Pix[:(height-1)*luma.Stride+width], luma.Stride, width, height, 0}
	if p.turn() != 0 {
		img = s.pad(luma, border(s.grids[len(s.grids)-1].size))
	}
	from := len(found)
	found = s.scan.scan(found, img, s.grids)
	if p.Mirror {
		reverseRows(found[from:])
	}
	s.padded = Reusable(s.padded)
	return found
}

// Reusable is a buffer to be used again, or none if it is so large that it had better not outlive its image.
func Reusable(b []uint8) []uint8 {
	const keep = 16 << 20
	if cap(b) > keep {
		return nil
	}
	return b
}

// sizes are the sides of the smallest and the largest windows in an image.
func (p Pass) sizes(width, height int) (smallest, largest int) {
	return max(p.MinSize, 1), min(p.MaxSize, width-1, height-1, maxSize)
}

// next is the side that follows on one.
func (p Pass) next(size int) int {
	return int(float64(size) + math.Max(2, float64(size)*p.Scale-float64(size)))
}

// turn is the angle in 32nds of a turn.
func (p Pass) turn() int { return int(32*min(max(p.Turn, 0), 1)) % 32 }

// grids appends those of a search, by size.
func (p Pass) grids(all []grid, width, height int) []grid {
	for size, largest := p.sizes(width, height); size <= largest; size = p.next(size) {
		if g, ok := p.grid(size, width, height); ok {
			all = append(all, g)
		}
	}
	return all
}

// grid is where the windows of a size lie in an image. It is not ok when none fits.
func (p Pass) grid(size, width, height int) (g grid, ok bool) {
	g = grid{size: size, step: int(math.Max(p.Shift*float64(size), 1)),
		pose: newPose(size, p.turn(), p.Mirror)}
	first := size/2 + 1
	if height < 2*first || width < 2*first {
		return g, false
	}
	g.rows, g.cols = (height-2*first)/g.step+1, (width-2*first)/g.step+1
	g.row, g.col = first, first
	if p.Mirror {
		g.col = width - 1 - first - (g.cols-1)*g.step
	}
	return g, true
}

// border is how far the corner of a turned window may lie outside the image: its half diagonal less its half
// side.
func border(size int) int {
	return int(math.Ceil(float64(size)*(math.Sqrt2-1)/2)) + 2
}

// pad copies an image and continues its edges outwards, so that turned windows find the nearest pixel of the
// image where they reach beyond it.
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

// reverseRows turns every row of windows around.
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
