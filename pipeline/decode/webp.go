package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"iter"
	"math"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// webpHeader holds the chunks of a WebP file's first frame.
type webpHeader struct {
	lossless bool
	frame    []byte // VP8 or VP8L bitstream
	missing  int    // bytes of it that the file lacks
	alpha    []byte // ALPH chunk, nil without
	size, at image.Point
}

// riffChunk is a chunk of a RIFF file; missing is how many bytes of it the file lacks.
type riffChunk struct {
	data    []byte
	missing int
}

// riffChunks yields the chunks in b by their names.
func riffChunks(b []byte) iter.Seq2[string, riffChunk] {
	return func(yield func(string, riffChunk) bool) {
		for len(b) >= 8 {
			id, size := string(b[:4]), int64(binary.LittleEndian.Uint32(b[4:]))
			c := riffChunk{data: b[8:]}
			b = b[min(int64(len(b)), 8+size+size&1):]
			if missing := size - int64(len(c.data)); missing > 0 {
				c.missing = int(min(missing, math.MaxInt32))
			} else {
				c.data = c.data[:size]
			}
			if !yield(id, c) {
				return
			}
		}
	}
}

// probeWebP walks the chunks (WebP container specification). Of an animation only the first frame counts; it
// may cover a part of the canvas.
func (f *File) probeWebP(b []byte) error {
	h := &f.webp
	var canvas image.Point
	for id, c := range riffChunks(b[12:]) {
		switch id {
		case "VP8X":
			if len(c.data) < 10 {
				return errCut
			}
			canvas = image.Pt(1+u24(c.data[4:]), 1+u24(c.data[7:]))
		case "ANMF":
			if h.frame == nil && len(c.data) >= 16 {
				h.at = image.Pt(2*u24(c.data), 2*u24(c.data[3:]))
				for id, c := range riffChunks(c.data[16:]) {
					if err := h.take(id, c); err != nil {
						return err
					}
				}
			}
		case "EXIF":
			if o := orientation(c.data); o != 0 {
				f.Orientation = o
			}
		default:
			if err := h.take(id, c); err != nil {
				return err
			}
		}
	}
	// Both bitstreams go from top to bottom, so that half of the bytes is about half of the picture; zeros
	// replace the rest.
	if h.frame == nil || h.missing > len(h.frame) {
		return errCut
	}
	if canvas == (image.Point{}) {
		canvas = h.size
	}
	if !(image.Rectangle{h.at, h.at.Add(h.size)}).In(image.Rectangle{Max: canvas}) {
		return errors.New("frame outside its canvas")
	}
	f.Width, f.Height = canvas.X, canvas.Y
	f.Memory = f.lumaBytes() + h.memory(int64(h.size.X), int64(h.size.Y))
	return nil
}

func u24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// take stores the chunks of the first frame.
func (h *webpHeader) take(id string, c riffChunk) error {
	if h.frame != nil {
		return nil
	}
	switch b := c.data; id {
	case "ALPH":
		if len(b) > 0 {
			h.alpha = b
		}
	case "VP8 ":
		if len(b) < 10 || b[0]&1 != 0 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
			return errors.New("no key frame")
		}
		h.frame, h.missing = b, c.missing
		h.size = image.Pt(int(binary.LittleEndian.Uint16(b[6:]))&0x3fff,
			int(binary.LittleEndian.Uint16(b[8:]))&0x3fff)
	case "VP8L":
		if len(b) < 5 || b[0] != 0x2f {
			return errors.New("no lossless frame")
		}
		h.frame, h.missing, h.lossless, h.alpha = b, c.missing, true, nil
		v := int(binary.LittleEndian.Uint32(b[1:]))
		h.size = image.Pt(1+(v&0x3fff), 1+(v>>14&0x3fff))
	}
	return nil
}

// memory is the most bytes that the frame's decoder takes.
func (h *webpHeader) memory(width, height int64) int64 {
	px := width * height
	frame := int64(len(h.frame) + h.missing)
	lossless := func(n int64) int64 {
		// Pixels, once more where several are packed into one, and three small pictures of transforms and
		// codes. Then up to 2,600 groups of five Huffman trees, one for 16 pixels at most and none for less
		// than 20 bits of the file: 2,800 bytes each, and up to 78,000 more, for which the file needs a byte
		// per 400.
		groups := min(2600, px/16+1, n*8/20+1)
		return 7*px + groups*2800 + min(groups*78_000, 400*n) + 1<<16
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

func (f *File) decodeWebP() (m image.Image, partial bool, err error) {
	m, err = f.webp.decode()
	return m, f.webp.missing > 0, err
}

// decode decodes the frame, at its place on the canvas: YCbCr, NYCbCrA or NRGBA.
func (h *webpHeader) decode() (image.Image, error) {
	frame := h.frame
	if h.missing > 0 {
		frame = append(frame[:len(frame):len(frame)], make([]byte, h.missing)...)
	}
	if h.lossless {
		m, err := vp8l.Decode(bytes.NewReader(frame))
		if m, ok := m.(*image.NRGBA); ok {
			m.Rect = m.Rect.Add(h.at)
		}
		return m, err
	}
	d := vp8.NewDecoder()
	d.Init(bytes.NewReader(frame), len(frame))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	m, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	m.Rect = m.Rect.Add(h.at) // an even offset, so that chroma stays where it was
	if h.alpha == nil {
		return m, nil
	}
	a, err := h.decodeAlpha(h.size.X, h.size.Y)
	if err != nil {
		return m, nil // keep the picture without its alpha
	}
	return &image.NYCbCrA{YCbCr: *m, A: a, AStride: h.size.X}, nil
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

// unfilter undoes the prediction of alpha values: 1 from the left, 2 from above, 3 by both and the one
// between. In the first row and column only one neighbour exists, and the very first value is stored as it
// is.
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
