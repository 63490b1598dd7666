package keep

import (
	"image"

	"facescan/pipeline/decode"
	"facescan/pipeline/decode/turbo"
	"facescan/store"
)

const (
	cropQuality  = 92  // of JPEGs of faces
	blurQuality  = 90  // of whole pictures
	thumbQuality = 80  // of small ones
	thumbSide    = 320 // pixels
	blurMargin   = 0.2 // of a face's side, blurred around it too
	blurBlocks   = 3   // a face is this many blocks wide afterwards
	blurLeast    = 4   // pixels of a block at least
)

// around is a face's box with a margin, as a part of its sides, on all four; clipped to the picture.
func around(f store.Face, margin float64, bounds image.Rectangle) image.Rectangle {
	dx, dy := int(margin*float64(f.Width)+0.5), int(margin*float64(f.Height)+0.5)
	return image.Rect(f.X-dx, f.Y-dy, f.X+f.Width+dx, f.Y+f.Height+dy).Intersect(bounds)
}

// blur makes faces unrecognisable: each face and its margin become blocks of their mean colour, about
// blurBlocks per side of any face. Of 421 faces of annotated photos the detector still saw one in 30 places
// with 5 blocks, in 1 with 4, in none with 3.
func blur(m *image.RGBA, faces []store.Face) {
	for _, f := range faces {
		r := around(f, blurMargin, m.Rect)
		side := max((max(f.Width, f.Height)+blurBlocks-1)/blurBlocks, blurLeast)
		for y := r.Min.Y; y < r.Max.Y; y += side {
			for x := r.Min.X; x < r.Max.X; x += side {
				flatten(m, image.Rect(x, y, x+side, y+side).Intersect(r))
			}
		}
	}
}

// flatten gives all pixels of a part their mean.
func flatten(m *image.RGBA, r image.Rectangle) {
	var sum [3]int
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := m.Pix[m.PixOffset(r.Min.X, y):][:4*r.Dx()]
		for i := 0; i < len(row); i += 4 {
			for c := range sum {
				sum[c] += int(row[i+c])
			}
		}
	}
	n := r.Dx() * r.Dy()
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := m.Pix[m.PixOffset(r.Min.X, y):][:4*r.Dx()]
		for i := 0; i < len(row); i += 4 {
			for c := range sum {
				row[i+c] = uint8(sum[c] / n)
			}
		}
	}
}

// thumbnail is the picture with no side longer than thumbSide.
func thumbnail(m *image.RGBA) *image.RGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	long := max(w, h)
	if long <= thumbSide {
		return m
	}
	return shrink(m, max(1, (w*thumbSide+long/2)/long), max(1, (h*thumbSide+long/2)/long))
}

// shrink makes a smaller picture, w x h, each pixel the mean of the area that it stands for.
func shrink(m *image.RGBA, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	columns := shares(m.Rect.Dx(), w)
	sums := make([]uint32, 4*m.Rect.Dx())
	for y, rows := range shares(m.Rect.Dy(), h) {
		clear(sums)
		for _, r := range rows {
			for i, v := range m.Pix[r.at*m.Stride:][:len(sums)] {
				sums[i] += r.weight * uint32(v)
			}
		}
		dst := out.Pix[y*out.Stride:]
		for x, of := range columns {
			var sum [4]uint32
			for _, c := range of {
				for i, v := range sums[4*c.at:][:4] {
					sum[i] += c.weight * v
				}
			}
			for i, v := range sum {
				dst[4*x+i] = uint8((v + shareWhole*shareWhole/2) / (shareWhole * shareWhole))
			}
		}
	}
	return out
}

// shareWhole is the sum of a new pixel's shares: 255 times its square is still a uint32.
const shareWhole = 1 << 12

// share is an old pixel and how much of a new one it makes.
type share struct {
	at     int
	weight uint32
}

// shares returns the old pixels that make each of n new ones.
func shares(old, n int) [][]share {
	out := make([][]share, n)
	for i := range out {
		// Old pixels are n wide and new ones old, so that all edges lie at whole numbers.
		from, to := i*old, (i+1)*old
		before := 0
		for at := from / n; at*n < to; at++ {
			sum := (min(to, (at+1)*n) - from) * shareWhole / old
			out[i] = append(out[i], share{at, uint32(sum - before)})
			before = sum
		}
	}
	return out
}

// scaled returns the faces of an image in a picture of another size.
func scaled(faces []store.Face, fromWidth, fromHeight, width, height int) []store.Face {
	out := make([]store.Face, len(faces))
	for i, f := range faces {
		x0, y0 := f.X*width/fromWidth, f.Y*height/fromHeight
		x1, y1 := ((f.X+f.Width)*width+fromWidth-1)/fromWidth, ((f.Y+f.Height)*height+fromHeight-1)/fromHeight
		out[i] = store.Face{X: x0, Y: y0, Width: x1 - x0, Height: y1 - y0}
	}
	return out
}

// Blur blurs the faces of an image, which has the given size, in a small JPEG of it.
func Blur(small []byte, faces []store.Face, width, height int) ([]byte, error) {
	f, err := decode.Probe(small, decode.Options{})
	if err != nil {
		return nil, err
	}
	m, err := f.Color()
	if err != nil {
		return nil, err
	}
	blur(m, scaled(faces, width, height, m.Rect.Dx(), m.Rect.Dy()))
	return turbo.Encode(m, thumbQuality)
}
