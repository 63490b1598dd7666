package decode

import (
	"errors"
	"fmt"
	"image"

	"facescan/pipeline/decode/heif"
)

var errCut = errors.New("cut short")

// pixels decodes the formats other than JPEG at full size as stored, each by its own decoder. The header was
// checked. Of a picture that was cut it gives what is there, if that is at least half.
func pixels(body []byte, f *File) (m image.Image, partial bool, err error) {
	switch f.Format {
	case PNG:
		return decodePNG(body)
	case GIF:
		m, missing := f.gif.decode()
		if 2*missing > len(m.Pix) {
			return nil, false, errCut
		}
		return m, missing > 0, nil
	case WebP:
		m, err = f.webp.decode()
		return m, f.webp.missing > 0, err
	case BMP:
		return f.bmp.decode(body, f)
	case TIFF:
		m, err = f.tiff.decode(body)
		return m, false, err
	case AVIF, HEIC:
		m, err = heif.Decode(body, f.heif)
		return m, false, err
	}
	return nil, false, errors.New("no decoder")
}

// lumaBytes is the memory of the stored luma and its copy when it is turned.
func (f *File) lumaBytes() int64 {
	n := int64(f.Width) * int64(f.Height)
	if f.turn() >= 5 {
		return 2 * n
	}
	return n
}

// probeHEIF reads the container's boxes.
func (f *File) probeHEIF(b []byte) (err error) {
	f.heif, err = heif.Parse(b, f.Format)
	switch {
	case errors.Is(err, heif.ErrSequence):
		return unsupported("%s: %v", f.Format, err)
	case err != nil:
		return err
	}
	f.Width, f.Height = f.heif.Width, f.heif.Height
	f.Memory = f.lumaBytes() + f.heif.Memory() + heif.Compiling(f.Format)
	if f.heif.Memory() > heif.MaxMemory {
		return fmt.Errorf("%w: %dx%d", ErrTooManyPixels, f.Width, f.Height)
	}
	return nil
}
