package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"math"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// webpHeader holds the chunks of a WebP file's first frame.
type webpHeader struct {
	lossless bool
	frame    []byte // VP8 or VP8L bitstream
	missing  int    // bytes of it that the file has not
	alpha    []byte // ALPH chunk, nil without
}

// probeWebP walks the RIFF chunks; of an animation it takes the first frame, which must cover the canvas. No
// decoder is told a chunk length that it could not trust.
func (f *file) probeWebP(b []byte) error {
	h := &f.webp
	canvasW, canvasH := 0, 0
	for c := b[12:]; len(c) >= 8; {
		id, size, missing := string(c[:4]), int64(binary.LittleEndian.Uint32(c[4:])), 0
		data := c[8:]
		if size <= int64(len(data)) {
			data = data[:size]
			c = c[min(int64(len(c)), 8+size+size&1):]
		} else {
			missing = int(min(size-int64(len(data)), math.MaxInt32))
			c = nil
		}
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
				h.frame, h.missing = data, missing
				f.Width = int(binary.LittleEndian.Uint16(data[6:])) & 0x3fff
				f.Height = int(binary.LittleEndian.Uint16(data[8:])) & 0x3fff
			}
		case "VP8L":
			if h.frame == nil {
				if len(data) < 5 || data[0] != 0x2f {
					return errors.New("no lossless frame")
				}
				h.frame, h.missing, h.lossless, h.alpha = data, missing, true, nil
				v := binary.LittleEndian.Uint32(data[1:])
				f.Width, f.Height = 1+int(v&0x3fff), 1+int(v>>14&0x3fff)
			}
		}
	}
	if h.frame == nil {
		return errCut
	}
	// Both bitstreams go from top to bottom, so that half of the bytes is about half of the picture; zeros stand for
	// the rest.
	if h.missing > len(h.frame) {
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
	frame := int64(len(h.frame) + h.missing)
	lossless := func(n int64) int64 {
		// Pixels, a copy for each transform in turn, and up to 2,600 groups of five Huffman trees, one for 16
		// pixels at most and none for less than 20 bits of the file.
		groups := min(2600, px/16+1, n*8/20+1)
		return 3*4*px + groups*20_000 + 1<<16
	}
	if h.lossless {
		return 3*int64(h.missing) + lossless(frame)
	}
	padded := (width + 15) / 16 * 16 * ((height + 15) / 16 * 16)
	m := padded*3/2 + padded/256*16 + width*64 + 3*int64(h.missing) + frame + 1<<20
	if h.alpha != nil {
		m += px + lossless(int64(len(h.alpha)))
	}
	return m
}

// decode decodes the frame: YCbCr, NYCbCrA or NRGBA.
func (h *webpHeader) decode() (image.Image, error) {
	frame := h.frame
	if h.missing > 0 {
		frame = append(frame[:len(frame):len(frame)], make([]byte, h.missing)...)
	}
	if h.lossless {
		return vp8l.Decode(bytes.NewReader(frame))
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(frame), len(frame))
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
