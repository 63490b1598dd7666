package decode

import (
	"errors"
	"image"
	"image/color"

	"facescan/pipeline/decode/turbo"
)

// Weights of R, G and B in luma, in 65536ths; they sum to 65536.
const (
	weightR = 19595
	weightG = 38470
	weightB = 7471
	half    = 1 << 15
)

// luma8 is the luma of 8-bit samples.
func luma8(r, g, b uint8) uint8 {
	return uint8((weightR*uint32(r) + weightG*uint32(g) + weightB*uint32(b) + half) >> 16)
}

// onWhite lays a luma of the given opacity on white.
func onWhite(y, a uint8) uint8 {
	if a == 255 {
		return y
	}
	return uint8((uint32(y)*uint32(a) + 255*(255-uint32(a)) + 127) / 255)
}

// toLuma fills dst, whose size is the picture's as stored, with the luma of m. Where m does not reach (a GIF
// frame may be smaller than its screen) dst is white. studio means that the Y of YCbCr goes from 16 to 235.
func toLuma(dst *image.Gray, m image.Image, studio bool) error {
	b := m.Bounds().Intersect(dst.Rect)
	if b.Empty() {
		return errors.New("no pixels")
	}
	if b != dst.Rect {
		for i := range dst.Pix {
			dst.Pix[i] = 255
		}
	}
	// rows converts row by row; of the source, offset is that of a pixel, and size its bytes.
	rows := func(pix []uint8, offset func(x, y int) int, size int, convert func(row, src []uint8)) {
		for y := b.Min.Y; y < b.Max.Y; y++ {
			row := dst.Pix[dst.PixOffset(b.Min.X, y):][:b.Dx()]
			convert(row, pix[offset(b.Min.X, y):][:size*len(row)])
		}
	}
	switch m := m.(type) {
	case *image.Gray:
		rows(m.Pix, m.PixOffset, 1, copyLuma)
	case *image.Gray16:
		rows(m.Pix, m.PixOffset, 2, lumaOfGray16)
	case *image.Paletted:
		var table [256]uint8
		for i, c := range m.Palette[:min(256, len(m.Palette))] {
			table[i] = colorLuma(c)
		}
		rows(m.Pix, m.PixOffset, 1, func(row, src []uint8) {
			for i, p := range src {
				row[i] = table[p]
			}
		})
	case *image.RGBA:
		rows(m.Pix, m.PixOffset, 4, lumaOfRGBA)
	case *image.NRGBA:
		rows(m.Pix, m.PixOffset, 4, lumaOfNRGBA)
	case *image.RGBA64:
		rows(m.Pix, m.PixOffset, 8, lumaOfRGBA64)
	case *image.NRGBA64:
		rows(m.Pix, m.PixOffset, 8, lumaOfNRGBA64)
	case *image.YCbCr:
		rows(m.Y, m.YOffset, 1, copyLuma)
		if studio {
			stretch(dst.Pix)
		}
	case *image.NYCbCrA:
		y := b.Min.Y
		rows(m.Y, m.YOffset, 1, func(row, src []uint8) {
			copy(row, src)
			if studio {
				stretch(row)
			}
			for i, a := range m.A[m.AOffset(b.Min.X, y):][:len(row)] {
				row[i] = onWhite(row[i], a)
			}
			y++
		})
	case *image.CMYK:
		rows(m.Pix, m.PixOffset, 4, func(row, src []uint8) { inks(row, src, 0) })
	default:
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				dst.Pix[dst.PixOffset(x, y)] = colorLuma(m.At(x, y))
			}
		}
	}
	return nil
}

func copyLuma(row, src []uint8) { copy(row, src) }

// Samples of 16 bits are big-endian: the high byte comes first, and is all that is needed.
func lumaOfGray16(row, src []uint8) {
	for i := range row {
		row[i] = src[2*i]
	}
}

// premultiplied lays a luma that is multiplied by its opacity on white.
func premultiplied(y, a uint8) uint8 { return y + 255 - max(a, y) }

func lumaOfRGBA(row, src []uint8) {
	for i := range row {
		p := src[4*i:][:4:4]
		row[i] = premultiplied(luma8(p[0], p[1], p[2]), p[3])
	}
}

func lumaOfNRGBA(row, src []uint8) {
	for i := range row {
		p := src[4*i:][:4:4]
		row[i] = onWhite(luma8(p[0], p[1], p[2]), p[3])
	}
}

func lumaOfRGBA64(row, src []uint8) {
	for i := range row {
		p := src[8*i:][:8:8]
		row[i] = premultiplied(luma8(p[0], p[2], p[4]), p[6])
	}
}

func lumaOfNRGBA64(row, src []uint8) {
	for i := range row {
		p := src[8*i:][:8:8]
		row[i] = onWhite(luma8(p[0], p[2], p[4]), p[6])
	}
}

// colorLuma is the luma of any colour on white.
func colorLuma(c color.Color) uint8 {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return onWhite(luma8(n.R, n.G, n.B), n.A)
}

// stretched maps the luma of studio range, 16 to 235, to 0 to 255 (ITU-R BT.601).
var stretched = func() (t [256]uint8) {
	for i := range t {
		t[i] = uint8(min(255, max(0, (i-16)*255+109)/219))
	}
	return t
}()

func stretch(p []uint8) {
	for i, v := range p {
		p[i] = stretched[v]
	}
}

// widen converts a picture from studio range to full range, with its chroma, which goes from 16 to 240.
func widen(m image.Image) {
	var y *image.YCbCr
	switch m := m.(type) {
	case *image.YCbCr:
		y = m
	case *image.NYCbCrA:
		y = &m.YCbCr
	default:
		return
	}
	stretch(y.Y)
	for _, plane := range [][]byte{y.Cb, y.Cr} {
		for i, v := range plane {
			c := int(v) - 128
			plane[i] = uint8(min(255, max(0, (c*255+128*224+112)/224)))
		}
	}
}

// inks fills row with the luma of four inks per pixel; XOR with invert gives the amount of ink.
func inks(row, cmyk []uint8, invert uint8) {
	invert = ^invert // the computation uses light, the absence of ink
	for i := range row {
		p := cmyk[4*i:][:4:4]
		y := uint32(luma8(p[0]^invert, p[1]^invert, p[2]^invert))
		row[i] = uint8((y*uint32(p[3]^invert) + 127) / 255)
	}
}

// inksColor converts four inks per pixel to RGBA, in place, likewise.
func inksColor(pix []uint8, invert uint8) {
	invert = ^invert
	for ; len(pix) >= 4; pix = pix[4:] {
		for c := range 3 {
			pix[c] = uint8((uint32(pix[c]^invert)*uint32(pix[3]^invert) + 127) / 255)
		}
		pix[3] = 255
	}
}

// share lists the old pixels that make a new one: count of them from first on, each with a weight in eighths.
type share struct {
	first  int
	count  int
	weight [8]uint16
}

// shares are those of the first s new pixels, which replace eight old ones; then they repeat. In units in
// which old pixels are s wide and new ones 8, all edges are whole numbers, so the weights are exact.
func shares(s turbo.Scale) (out [8]share) {
	for n := range int(s) {
		from, to, k := 8*n, 8*n+8, &out[n]
		k.first = from / int(s)
		for i := k.first; i*int(s) < to; i++ {
			k.weight[k.count] = uint16(min(to, (i+1)*int(s)) - max(from, i*int(s)))
			k.count++
		}
	}
	return out
}

// shrink makes m smaller, in place: to ceil(n*s/8) pixels a side, each the mean of the area it covers; beyond
// the edges the last row and column are repeated. row is scratch that it may grow.
func shrink(m *image.Gray, s turbo.Scale, row []uint16) []uint16 {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	nw, nh := s.Of(w), s.Of(h)
	wide := ceil(nw, int(s)) * 8 // the old pixels that the new ones of a row reach for
	if cap(row) < wide {
		row = make([]uint16, wide)
	}
	row = row[:wide]
	table := shares(s)
	for y := range nh {
		clear(row)
		k := &table[y%int(s)]
		for i, weight := range k.weight[:k.count] {
			src := m.Pix[min(y/int(s)*8+k.first+i, h-1)*w:][:w]
			for x, v := range src {
				row[x] += weight * uint16(v)
			}
		}
		for x := w; x < wide; x++ {
			row[x] = row[w-1]
		}
		dst := m.Pix[y*nw:][:nw] // ends before the first row that is still to be read
		for x, old := 0, row; x < nw; x, old = x+int(s), old[8:] {
			for j := range min(int(s), nw-x) {
				k := &table[j]
				sum := uint32(32)
				for i, v := range old[k.first:][:k.count] {
					sum += uint32(k.weight[i&7]) * uint32(v)
				}
				dst[x+j] = uint8(sum >> 6)
			}
		}
	}
	*m = image.Gray{Pix: m.Pix[:nw*nh], Stride: nw, Rect: image.Rect(0, 0, nw, nh)}
	return row
}
