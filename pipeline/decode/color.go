package decode

import (
	"errors"
	"image"
	"image/draw"

	"facescan/pipeline/decode/turbo"
)

// ColorMemory is the most bytes that Color takes: decoding, the picture, its turned copy, and full-size luma
// for files that only decode to luma. It includes room for a JPEG made of the picture.
func (h Header) ColorMemory() int64 { return h.Memory + 12*int64(h.Width)*int64(h.Height) }

// ColorMemoryFrom is the most bytes that ColorFrom takes, likewise.
func (f *File) ColorMemoryFrom(side int) int64 {
	if f.Format != JPEG || !turbo.Available || f.jpeg.fallback { // the whole picture may be decoded
		return f.ColorMemory()
	}
	s := f.jpegScale(side)
	return f.Memory + 12*int64(s.Of(f.Width))*int64(s.Of(f.Height))
}

// Color decodes the picture in colour, on white, upright, at full size, for display. Damage is treated as by
// Decode. Errors are those of Probe.
func (f *File) Color() (*image.RGBA, error) { return f.ColorFrom(maxSide) }

// ColorFrom is Color for a picture that is to be made smaller: its longer side has at least the given number
// of pixels, or its full size, and it is no larger than it comes for that at the least cost.
func (f *File) ColorFrom(side int) (m *image.RGBA, err error) {
	err = guard(f.Format, func() error {
		if f.Format == JPEG && turbo.Available {
			if m, err = f.colorTurbo(f.jpegScale(side)); !f.jpeg.refused(err) {
				return err
			}
		}
		w, h := f.stored()
		m = image.NewRGBA(image.Rect(0, 0, w, h))
		decoded, _, err := f.format.decode(f)
		if err != nil {
			return err
		}
		if f.Format == WebP {
			widen(decoded)
		}
		lay(m, decoded)
		return nil
	})
	if err == nil {
		return uprightColor(m, f.turn()), nil
	}
	if errors.Is(err, errCut) {
		return nil, err
	}
	// A file that only decodes to luma is shown in grey.
	d := New(Options{})
	defer d.Close()
	whole := *f
	whole.options.MinFace = 0
	img, err := d.DecodeFile(&whole)
	if err != nil {
		return nil, err
	}
	m = image.NewRGBA(img.Luma.Rect)
	lay(m, img.Luma)
	return m, nil
}

// jpegScale is the smallest of the scales that libjpeg-turbo is fast at, at which the longer side has that
// many pixels.
func (f *File) jpegScale(side int) turbo.Scale {
	for _, s := range []turbo.Scale{1, 2, 4} {
		if s.Of(max(f.Width, f.Height)) >= side {
			return s
		}
	}
	return full
}

// lay draws a picture on white, at its place: a GIF frame may be smaller than its screen, or reach beyond it.
func lay(on *image.RGBA, m image.Image) {
	draw.Draw(on, on.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(on, m.Bounds(), m, m.Bounds().Min, draw.Over)
}

// colorTurbo decodes by libjpeg-turbo.
func (f *File) colorTurbo(scale turbo.Scale) (*image.RGBA, error) {
	t, err := turbo.New()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	w, h := f.stored()
	m := image.NewRGBA(image.Rect(0, 0, scale.Of(w), scale.Of(h)))
	samples := turbo.RGBA
	if f.jpeg.components == 4 {
		samples = turbo.CMYK
	}
	warning, err := f.turboRows(t, m.Pix, scale, samples)
	if err == nil && warning != "" {
		d := New(f.options)
		defer d.Close()
		_, err = d.DecodeFile(f) // it counts if its luma does
	}
	if err != nil {
		return nil, err
	}
	if samples == turbo.CMYK {
		inksColor(m.Pix, f.jpeg.invert())
	}
	return m, nil
}
