package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

var errCut = errors.New("header cut")

// pixels decodes the formats other than JPEG at full size as stored, each by its own decoder. The header was checked.
func pixels(body []byte, f file) (image.Image, error) {
	r := bytes.NewReader(body)
	switch f.Format {
	case PNG:
		return png.Decode(r)
	case GIF:
		return gif.Decode(r)
	case WebP:
		return f.webp.decode()
	case BMP:
		return bmp.Decode(r)
	case TIFF:
		return tiff.Decode(r)
	}
	return nil, errors.New("no decoder")
}

// Color decodes the picture in colour, upright, at full size, for people to look at. It takes several times
// Header.Memory. Errors are those of Probe.
func Color(body []byte, o Options) (m image.Image, h Header, err error) {
	f, err := probe(body, o)
	if err != nil {
		return nil, f.Header, err
	}
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, errors.Join(ErrBadImage, errors.New(f.Format+" decoder panicked"))
		}
	}()
	if f.Format == JPEG {
		m, err = jpeg.Decode(bytes.NewReader(body))
	} else {
		m, err = pixels(body, f)
	}
	if err != nil {
		// What only Decode can read is shown in grey.
		d := New(Options{MaxPixels: o.MaxPixels})
		defer d.Close()
		img, err := d.Decode(body)
		return img.Luma, f.Header, err
	}
	return uprightColor(m, f.Orientation, f.Width, f.Height), f.Header, nil
}

// lumaBytes is the memory of the stored luma and its copy when it is turned.
func (f *file) lumaBytes() int64 {
	n := int64(f.Width) * int64(f.Height)
	if f.Orientation >= 5 {
		return 2 * n
	}
	return n
}

// probePNG reads IHDR, and eXIf where it comes before the pixels (PNG specification, 11.2.2 and 11.3.4).
func (f *file) probePNG(b []byte) error {
	if len(b) < 33 || !has(b, 12, "IHDR") || binary.BigEndian.Uint32(b[8:]) != 13 {
		return errCut
	}
	w, h := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	if w > math.MaxInt32 || h > math.MaxInt32 {
		return errors.New("size out of range")
	}
	f.Width, f.Height = int(w), int(h)
	depth, interlaced := int64(b[24]), b[28] != 0
	for i := int64(33); i+8 <= int64(len(b)) && !has(b, int(i+4), "IDAT"); {
		n := int64(binary.BigEndian.Uint32(b[i:]))
		if i+8+n > int64(len(b)) {
			break
		}
		if has(b, int(i+4), "eXIf") {
			if o := orientation(b[i+8 : i+8+n]); o != 0 {
				f.Orientation = o
			}
		}
		i += 12 + n
	}
	bytes := int64(4) // a pixel in memory: anything but grey may become NRGBA
	if b[25] == 0 || b[25] == 3 {
		bytes = 1
		if b[25] == 0 && depth < 16 {
			bytes = 4 // tRNS makes it NRGBA
		}
	}
	if depth == 16 {
		bytes = 8
	}
	px := int64(f.Width) * int64(f.Height)
	f.Memory = px*bytes + f.lumaBytes() + int64(f.Width)*32 + 1<<17
	if interlaced {
		f.Memory += px * bytes // the passes' own pictures
	}
	return nil
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

// webpHeader holds the chunks of a WebP file's first frame.
type webpHeader struct {
	lossless bool
	frame    []byte // VP8 or VP8L bitstream
	alpha    []byte // ALPH chunk, nil without
}

// probeWebP walks the RIFF chunks; of an animation it takes the first frame, which must cover the canvas. Chunks
// are cut at the end of the body, so that no decoder trusts a length that is not there.
func (f *file) probeWebP(b []byte) error {
	h := &f.webp
	canvasW, canvasH := 0, 0
	for c := b[12:]; len(c) >= 8; {
		id, n := string(c[:4]), int(binary.LittleEndian.Uint32(c[4:]))
		data := c[8:]
		if n < len(data) {
			data = data[:n]
		}
		c = c[min(len(c), 8+n+n&1):]
		switch id {
		case "VP8X":
			if len(data) < 10 {
				return errCut
			}
			canvasW = 1 + (int(data[4]) | int(data[5])<<8 | int(data[6])<<16)
			canvasH = 1 + (int(data[7]) | int(data[8])<<8 | int(data[9])<<16)
		case "ANMF":
			if h.frame == nil && len(data) >= 16 {
				c = data[16:] // the frame's own chunks; nothing after it matters
			}
		case "ALPH":
			if h.frame == nil && len(data) > 0 {
				h.alpha = data
			}
		case "EXIF":
			if o := orientation(data); o != 0 {
				f.Orientation = o
			}
		case "VP8 ":
			if h.frame == nil {
				if len(data) < 10 || data[0]&1 != 0 || data[3] != 0x9d || data[4] != 0x01 || data[5] != 0x2a {
					return errors.New("no key frame")
				}
				h.frame = data
				f.Width = int(binary.LittleEndian.Uint16(data[6:])) & 0x3fff
				f.Height = int(binary.LittleEndian.Uint16(data[8:])) & 0x3fff
			}
		case "VP8L":
			if h.frame == nil {
				if len(data) < 5 || data[0] != 0x2f {
					return errors.New("no lossless frame")
				}
				h.frame, h.lossless, h.alpha = data, true, nil
				v := binary.LittleEndian.Uint32(data[1:])
				f.Width, f.Height = 1+int(v&0x3fff), 1+int(v>>14&0x3fff)
			}
		}
	}
	if h.frame == nil {
		return errCut
	}
	if canvasW != 0 && (canvasW != f.Width || canvasH != f.Height) {
		return errors.New("frame does not cover its canvas")
	}
	f.Memory = f.lumaBytes() + h.memory(int64(f.Width), int64(f.Height))
	return nil
}

// memory is what the frame's decoder takes at most.
func (h *webpHeader) memory(width, height int64) int64 {
	px := width * height
	lossless := func(n int) int64 {
		// Pixels, a copy for each transform in turn, and up to 2,600 groups of five Huffman trees, one for 16
		// pixels at most and none for less than 20 bits of the file.
		groups := min(2600, px/16+1, int64(n)*8/20+1)
		return 3*4*px + groups*20_000 + 1<<16
	}
	if h.lossless {
		return lossless(len(h.frame))
	}
	padded := (width + 15) / 16 * 16 * ((height + 15) / 16 * 16)
	m := padded*3/2 + padded/256*16 + width*64 + int64(len(h.frame)) + 1<<20
	if h.alpha != nil {
		m += px + lossless(len(h.alpha))
	}
	return m
}

// decode decodes the frame: YCbCr, NYCbCrA or NRGBA.
func (h *webpHeader) decode() (image.Image, error) {
	if h.lossless {
		return vp8l.Decode(bytes.NewReader(h.frame))
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(h.frame), len(h.frame))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	m, err := d.DecodeFrame()
	if err != nil || h.alpha == nil {
		return m, err
	}
	a, err := h.decodeAlpha(m.Rect.Dx(), m.Rect.Dy())
	if err != nil {
		return m, nil // a picture without its alpha is better than none
	}
	return &image.NYCbCrA{YCbCr: *m, A: a, AStride: m.Rect.Dx()}, nil
}

// decodeAlpha unpacks an ALPH chunk (WebP container specification, "Alpha").
func (h *webpHeader) decodeAlpha(width, height int) ([]byte, error) {
	info, data := h.alpha[0], h.alpha[1:]
	a := make([]byte, width*height)
	switch info & 3 {
	case 0:
		if copy(a, data) < len(a) {
			return nil, errCut
		}
	case 1:
		// A lossless bitstream without its header, the values in its green.
		size := uint32(width-1) | uint32(height-1)<<14
		frame := append(binary.LittleEndian.AppendUint32([]byte{0x2f}, size), data...)
		m, err := vp8l.Decode(bytes.NewReader(frame))
		if err != nil {
			return nil, err
		}
		for i := range a {
			a[i] = m.(*image.NRGBA).Pix[4*i+1]
		}
	default:
		return nil, errors.New("unknown compression of alpha")
	}
	unfilter(a, width, info>>2&3)
	return a, nil
}

// unfilter undoes the prediction of alpha values: 1 from the left, 2 from above, 3 by both and the one between. In
// the first row and column only one neighbour exists, and the very first value stands as it is.
func unfilter(a []byte, width int, filter byte) {
	if filter == 0 {
		return
	}
	for i := 1; i < len(a); i++ {
		x := i % width
		switch {
		case i < width:
			a[i] += a[i-1]
		case x == 0:
			a[i] += a[i-width]
		case filter == 1:
			a[i] += a[i-1]
		case filter == 2:
			a[i] += a[i-width]
		default:
			a[i] += byte(min(255, max(0, int(a[i-1])+int(a[i-width])-int(a[i-width-1]))))
		}
	}
}
