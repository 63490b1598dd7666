package keep

import (
	"encoding/binary"
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
	blurBlocks   = 3   // a face is this many blocks wide afterwards
	blurLeast    = 4   // pixels of a block at least
)

// around is a face's box with a margin, as a part of its sides, on all four; clipped to the picture.
func around(f store.Face, margin float64, bounds image.Rectangle) image.Rectangle {
	dx, dy := int(margin*float64(f.Width)+0.5), int(margin*float64(f.Height)+0.5)
	return image.Rect(f.X-dx, f.Y-dy, f.X+f.Width+dx, f.Y+f.Height+dy).Intersect(bounds)
}

// CropMargin is the margin around a face in its crop, as a fraction of its sides.
const CropMargin = 0.25

// DefaultBlurMargin is the margin that is blurred around a face, as a fraction of its sides. Of 547 faces
// of annotated photos yunet still saw one in 39 places without a margin, in 3 with this one, and in 3 with
// twice as much.
const DefaultBlurMargin = 0.2

// blur makes faces unrecognisable: each face and its margin become blocks of their mean colour, about
// blurBlocks per side of any face. Of 421 faces of annotated photos the detector still saw one in 30 places
// with 5 blocks, in 1 with 4, in none with 3.
func blur(m *image.RGBA, faces []store.Face, margin float64) {
	for _, f := range faces {
		r := around(f, margin, m.Rect)
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
	w, h := fit(m.Rect.Dx(), m.Rect.Dy(), thumbSide)
	if w == m.Rect.Dx() && h == m.Rect.Dy() {
		return m
	}
	return shrink(m, w, h)
}

// shrink makes a smaller picture, w x h, each pixel the mean of the area that it covers. The four bytes
// of a pixel are summed up in the four quarters of one number: weights of shareWhole in all do not overflow
// them.
func shrink(m *image.RGBA, w, h int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	columns := shares(m.Rect.Dx(), w)
	sums := make([]uint64, m.Rect.Dx())
	for y, rows := range shares(m.Rect.Dy(), h) {
		for n, r := range rows {
			src := m.Pix[r.at*m.Stride:][:4*len(sums)]
			for i := range sums {
				v := r.weight * spread(binary.LittleEndian.Uint32(src[4*i:]))
				if n > 0 {
					v += sums[i]
				}
				sums[i] = v
			}
		}
		for i, v := range sums {
			sums[i] = means(v)
		}
		dst := out.Pix[y*out.Stride:]
		for x, of := range columns {
			var sum uint64
			for _, c := range of {
				sum += c.weight * sums[c.at]
			}
			binary.LittleEndian.PutUint32(dst[4*x:], gather(means(sum)))
		}
	}
	return out
}

// shareWhole is the sum of a new pixel's shares.
const shareWhole = 1 << 8

// spread moves the bytes of a pixel into the quarters of a number: first and third, second and fourth.
func spread(pixel uint32) uint64 {
	const alternate = 0x00ff00ff
	return uint64(pixel&alternate) | uint64(pixel>>8&alternate)<<32
}

func gather(v uint64) uint32 { return uint32(v) | uint32(v>>32)<<8 }

// means divides the quarters by shareWhole.
func means(v uint64) uint64 { return (v + 0x0080008000800080) >> 8 & 0x00ff00ff00ff00ff }

// share is an old pixel and how much of a new one it makes.
type share struct {
	at     int
	weight uint64
}

// shares returns the old pixels that make each of n new ones.
func shares(old, n int) [][]share {
	out := make([][]share, n)
	all := make([]share, 0, old+n)
	for i := range out {
		// Old pixels are n wide and new ones old, so that all edges are whole numbers.
		from, to := i*old, (i+1)*old
		before, start := 0, len(all)
		for at := from / n; at*n < to; at++ {
			sum := (min(to, (at+1)*n) - from) * shareWhole / old
			if sum > before {
				all = append(all, share{at, uint64(sum - before)})
			}
			before = sum
		}
		out[i] = all[start:]
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

// Blur blurs the faces of an image, which has the given size, and a margin around them, in a small JPEG of
// it.
func Blur(small []byte, faces []store.Face, width, height int, margin float64) ([]byte, error) {
	f, err := decode.Probe(small, decode.Options{})
	if err != nil {
		return nil, err
	}
	m, err := f.Color()
	if err != nil {
		return nil, err
	}
	blur(m, scaled(faces, width, height, m.Rect.Dx(), m.Rect.Dy()), margin)
	return turbo.Encode(m, thumbQuality)
}
