package keep

import (
	"bytes"
	"image"
	"image/draw"
	"image/jpeg"

	xdraw "golang.org/x/image/draw"

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

// encode makes a JPEG. It has no metadata: no place, no time, no small picture of what was there before.
func encode(m image.Image, quality int) ([]byte, error) {
	var b bytes.Buffer
	err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}

// rgba is a picture that can be drawn on, with its corner at 0, 0.
func rgba(m image.Image) *image.RGBA {
	if c, ok := m.(*image.RGBA); ok && c.Rect.Min == (image.Point{}) {
		return c
	}
	b := m.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(out, out.Rect, m, b.Min, draw.Src)
	return out
}

// around is a face's box with a margin, as a part of its sides, on all four; clipped to the picture.
func around(f store.Face, margin float64, bounds image.Rectangle) image.Rectangle {
	dx, dy := int(margin*float64(f.Width)+0.5), int(margin*float64(f.Height)+0.5)
	return image.Rect(f.X-dx, f.Y-dy, f.X+f.Width+dx, f.Y+f.Height+dy).Intersect(bounds)
}

// blur makes faces beyond recognition: what is around each becomes blocks of one colour, their mean, about blurBlocks in a
// face's side, however large the face. Of 421 faces of annotated photos the detector still saw one in 30 places with 5
// blocks, in 1 with 4, in none with 3.
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
	w, h = max(1, (w*thumbSide+long/2)/long), max(1, (h*thumbSide+long/2)/long)
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	xdraw.CatmullRom.Scale(out, out.Rect, m, m.Rect, xdraw.Src, nil)
	return out
}

// scaled are faces of an image in a picture of another size.
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
	decoded, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil {
		return nil, err
	}
	m := rgba(decoded)
	blur(m, scaled(faces, width, height, m.Rect.Dx(), m.Rect.Dy()))
	return encode(m, thumbQuality)
}
