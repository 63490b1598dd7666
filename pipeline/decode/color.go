package decode

import (
	"errors"
	"image"
	"image/draw"

	"facescan/pipeline/decode/turbo"
)

// ColorMemory is how many bytes Color takes at most: what decoding takes, the picture, turned if need be,
// and, for what can only be decoded to luma, that at full size. It has room for a JPEG that is made of the
// picture, too.
func (h Header) ColorMemory() int64 { return h.Memory + 12*int64(h.Width)*int64(h.Height) }

// Color decodes the picture in colour, on white, upright, at full size, for people to look at. A damaged one
// is judged as by Decode. Errors are those of Probe.
func (f *File) Color() (m *image.RGBA, err error) {
	err = guard(f.Format, func() error {
		w, h := f.stored()
		m = image.NewRGBA(image.Rect(0, 0, w, h))
		if f.Format == JPEG && turbo.Available {
			err := f.colorTurbo(m)
			if err == nil || errors.Is(err, errCut) || !f.jpeg.fallback {
				return err
			}
		}
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
	// What can only be decoded to luma is shown in grey.
	d := New(Options{})
	defer d.Close()
	img, err := d.DecodeFile(f)
	if err != nil {
		return nil, err
	}
	m = image.NewRGBA(img.Luma.Rect)
	lay(m, img.Luma)
	return m, nil
}

// lay draws a picture on white, at its place: a GIF frame may be smaller than its screen, or reach beyond it.
func lay(on *image.RGBA, m image.Image) {
	draw.Draw(on, on.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(on, m.Bounds(), m, m.Bounds().Min, draw.Over)
}

// colorTurbo decodes by libjpeg-turbo.
func (f *File) colorTurbo(m *image.RGBA) error {
	t, err := turbo.New()
	if err != nil {
		return err
	}
	defer t.Close()
	samples := turbo.RGBA
	if f.jpeg.components == 4 {
		samples = turbo.CMYK
	}
	warning, err := f.turboRows(t, m.Pix, full, samples)
	if err == nil && warning != "" {
		d := New(f.options)
		defer d.Close()
		_, err = d.DecodeFile(f) // it is worth what its luma is
	}
	if err != nil {
		return err
	}
	if samples == turbo.CMYK {
		inksColor(m.Pix, f.jpeg.invert())
	}
	return nil
}
