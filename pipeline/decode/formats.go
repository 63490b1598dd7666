package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"

	"facescan/pipeline/decode/heif"
)

var errCut = errors.New("cut short")

// pixels decodes the formats other than JPEG at full size as stored, each by its own decoder. The header was
// checked. Of a picture that was cut it gives what is there, if that is at least half.
func pixels(body []byte, f *file) (m image.Image, partial bool, err error) {
	switch f.Format {
	case PNG:
		return decodePNG(body)
	case GIF:
		m, missing, err := gifFrame(body, image.Rect(0, 0, f.Width, f.Height))
		if err == nil && 2*missing > len(m.Pix) {
			return nil, false, errCut
		}
		return m, missing > 0, err
	case WebP:
		m, err = f.webp.decode()
		return m, f.webp.missing > 0, err
	case BMP:
		return decodeBMP(body, f)
	case TIFF:
		m, err = tiff.Decode(bytes.NewReader(body))
		return m, false, err
	case AVIF, HEIC:
		m, err = heif.Decode(body, f.heif)
		return m, false, err
	}
	return nil, false, errors.New("no decoder")
}

// ColorMemory is how many bytes Color takes at most: what decoding takes, for JPEG by the standard library, which keeps
// 12 bytes a pixel of a progressive one besides 3 of the picture, and the upright copy, twice where it is turned.
func (h Header) ColorMemory() int64 { return h.Memory + 24*int64(h.Width)*int64(h.Height) }

// Color decodes the picture in colour, upright, at full size, for people to look at. Errors are those of Probe.
func Color(body []byte, o Options) (m image.Image, h Header, err error) {
	f, err := Probe(body, o)
	if err != nil {
		return nil, f.Header, err
	}
	err = guard(f.Format, func() (err error) {
		if f.Format == JPEG {
			m, err = jpeg.Decode(bytes.NewReader(body))
		} else {
			m, _, err = pixels(body, &f)
		}
		if err == nil {
			m = uprightColor(m, f.turn(), f.Width, f.Height)
		}
		return err
	})
	if err == nil {
		return m, f.Header, nil
	}
	// What only Decode can read is shown in grey.
	d := New(Options{MaxPixels: o.MaxPixels})
	defer d.Close()
	img, err := d.Decode(body)
	if err != nil {
		return nil, f.Header, err
	}
	luma := *img.Luma // Close forgets the decoder's own
	return &luma, f.Header, nil
}

// lumaBytes is the memory of the stored luma and its copy when it is turned.
func (f *file) lumaBytes() int64 {
	n := int64(f.Width) * int64(f.Height)
	if f.turn() >= 5 {
		return 2 * n
	}
	return n
}

// probeGIF reads the logical screen, whose size is the picture's (GIF89a, section 18).
func (f *file) probeGIF(b []byte) error {
	if len(b) < 13 {
		return errCut
	}
	f.Width, f.Height = int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(b[8:]))
	f.Memory = int64(f.Width)*int64(f.Height) + f.lumaBytes() + 1<<17
	return nil
}

// probeBMP reads the information header.
func (f *file) probeBMP(b []byte) error {
	c, err := bmp.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return err
	}
	f.Width, f.Height = c.Width, c.Height
	f.Memory = 4*int64(c.Width)*int64(c.Height) + f.lumaBytes() + int64(c.Width)*4 + 1<<16
	return nil
}

// decodeBMP decodes a BMP; rows that are not there are zeros, if they are no more than half.
func decodeBMP(body []byte, f *file) (m image.Image, partial bool, err error) {
	row := (f.Width*int(binary.LittleEndian.Uint16(body[28:])) + 31) / 32 * 4
	missing := int64(binary.LittleEndian.Uint32(body[10:])) + int64(row)*int64(f.Height) - int64(len(body))
	if 2*missing > int64(row)*int64(f.Height) {
		return nil, false, errCut
	}
	m, err = bmp.Decode(io.MultiReader(bytes.NewReader(body), zeros{}))
	return m, missing > 0, err
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// probeTIFF reads the first directory.
func (f *file) probeTIFF(b []byte) error {
	d, ok := readDirectory(b)
	if !ok {
		return errCut
	}
	w, okW := d.value(tagWidth)
	h, okH := d.value(tagHeight)
	if !okW || !okH || w > math.MaxInt32 || h > math.MaxInt32 {
		return errors.New("no size")
	}
	f.Width, f.Height = int(w), int(h)
	if v, ok := d.value(tagOrientation); ok && v >= 1 && v <= 8 {
		f.Orientation = int(v)
	}
	// A strip or a tile is unpacked whole, into a buffer that grows by doubling, at up to 8 bytes a pixel.
	block := int64(f.Width) * int64(f.Height)
	if v, ok := d.value(tagStripRows); ok && int64(v) < int64(f.Height) {
		block = int64(f.Width) * int64(v)
	}
	if tw, ok := d.value(tagTileWidth); ok && tw > 0 {
		th, _ := d.value(tagTileHeight)
		block = int64(min(tw, 1<<16)) * int64(min(th, 1<<16))
	}
	f.Memory = 8*int64(f.Width)*int64(f.Height) + 3*8*block + f.lumaBytes() + 2*int64(len(b)) + 1<<16
	return nil
}

// probeHEIF reads the container's boxes.
func (f *file) probeHEIF(b []byte) (err error) {
	if f.heif, err = heif.Parse(b, f.Format); err != nil {
		return err
	}
	f.Width, f.Height = f.heif.Width, f.heif.Height
	f.Memory = f.lumaBytes() + f.heif.Memory()
	if f.heif.Memory() > heif.MaxMemory {
		return fmt.Errorf("%w: %dx%d", ErrTooManyPixels, f.Width, f.Height)
	}
	return nil
}
