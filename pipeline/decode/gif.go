package decode

import (
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"io"
	"iter"
)

// gifHeader is what precedes the pixels of a GIF's first frame (GIF89a specification).
type gifHeader struct {
	colors      []byte          // the frame's colour table: red, green, blue
	transparent int             // index of the colour to see through; -1 without
	frame       image.Rectangle // on the screen, which it may reach beyond
	interlaced  bool
	codeSize    uint8
	data        []byte // sub-blocks of codes, as far as the file goes
}

// probeGIF walks the blocks to the first frame. The picture has the size of the logical screen. As in
// browsers a frame that is larger, or is wholly outside, takes the screen's place.
func (f *File) probeGIF(b []byte) (err error) {
	if len(b) < 13 {
		return errCut
	}
	h := &f.gif
	h.transparent = -1
	size := func(b []byte) image.Point {
		return image.Pt(int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:])))
	}
	screen := size(b[6:])
	f.Width, f.Height = screen.X, screen.Y
	rest := b[13:]
	if h.colors, rest, err = gifColors(rest, b[10]); err != nil {
		return err
	}
	for {
		if len(rest) == 0 {
			return errCut
		}
		kind := rest[0]
		rest = rest[1:]
		if kind == 0x2c {
			break
		}
		switch kind {
		case 0: // an empty sub-block too many
		case 0x21: // an extension; the graphic control one names the transparent colour
			if has(rest, 0, "\xf9\x04") && len(rest) >= 6 && rest[2]&1 != 0 {
				h.transparent = int(rest[5])
			}
			data := gifBlocks{b: rest[min(1, len(rest)):]}
			if err := data.skip(); err != nil {
				return errCut
			}
			rest = data.b
		default:
			return errors.New("no frame in it")
		}
	}
	if len(rest) < 9 {
		return errCut
	}
	at, area, flags := size(rest), size(rest[4:]), rest[8]
	if area.X == 0 || area.Y == 0 {
		area = screen
	}
	h.frame = image.Rectangle{at, at.Add(area)}
	if area.X > screen.X || area.Y > screen.Y || !h.frame.Overlaps(image.Rectangle{Max: screen}) {
		h.frame = image.Rectangle{Max: area}
		f.Width, f.Height = area.X, area.Y
	}
	h.interlaced = flags&0x40 != 0
	rest = rest[9:]
	if flags&0x80 != 0 {
		if h.colors, rest, err = gifColors(rest, flags); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return errCut
	}
	h.codeSize, h.data = rest[0], rest[1:]
	if h.codeSize < 1 || h.codeSize > gifCodeBits-1 {
		return errors.New("code size out of range")
	}
	f.Memory = int64(area.X)*int64(area.Y) + f.lumaBytes() + 1<<17
	return nil
}

func (f *File) decodeGIF() (image.Image, bool, error) {
	m, missing := f.gif.decode()
	if 2*missing > len(m.Pix) {
		return nil, false, errCut
	}
	return m, missing > 0, nil
}

// gifColors splits off the colour table that the flags announce.
func gifColors(b []byte, flags byte) (colors, rest []byte, err error) {
	if flags&0x80 == 0 {
		return nil, b, nil
	}
	n := 3 * (2 << (flags & 7))
	if len(b) < n {
		return nil, nil, errCut
	}
	return b[:n], b[n:], nil
}

// decode decodes the frame as far as its data goes, and returns how many of its pixels are missing.
func (h *gifHeader) decode() (m *image.Paletted, missing int) {
	p := make(color.Palette, 256) // colours that the table lacks are black, so that every index is valid
	for i := range p {
		c := color.RGBA{A: 255}
		if t := h.colors; 3*i < len(t) {
			c.R, c.G, c.B = t[3*i], t[3*i+1], t[3*i+2]
		}
		p[i] = c
	}
	if h.transparent >= 0 {
		p[h.transparent] = color.RGBA{}
	}
	m = image.NewPaletted(h.frame, p)
	codes := newGIFCodes(h.data, h.codeSize)
	missing = len(m.Pix)
	for y := range gifRows(h.frame.Dy(), h.interlaced) {
		n, err := io.ReadFull(codes, m.Pix[y*m.Stride:][:m.Stride])
		missing -= n
		if err != nil {
			break
		}
	}
	return m, missing
}

// gifRows is the order in which rows are stored.
func gifRows(n int, interlaced bool) iter.Seq[int] {
	passes := [][2]int{{0, 1}}
	if interlaced {
		passes = [][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}}
	}
	return func(yield func(int) bool) {
		for _, p := range passes {
			for y := p[0]; y < n; y += p[1] {
				if !yield(y) {
					return
				}
			}
		}
	}
}

// gifBlocks reads a chain of data sub-blocks as one stream; b is what follows.
type gifBlocks struct {
	b    []byte
	left int // bytes of the sub-block that b begins in
	end  bool
}

// skip reads to the end of the chain.
func (s *gifBlocks) skip() (err error) {
	for err == nil {
		_, err = s.ReadByte()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// ReadByte implements io.ByteReader.
func (s *gifBlocks) ReadByte() (byte, error) {
	for s.left == 0 {
		if s.end {
			return 0, io.EOF
		}
		if len(s.b) == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		s.left, s.end = int(s.b[0]), s.b[0] == 0
		s.b = s.b[1:]
	}
	if len(s.b) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	c := s.b[0]
	s.left, s.b = s.left-1, s.b[1:]
	return c, nil
}

const (
	gifCodeBits = 12               // of the longest code
	gifCodes    = 1 << gifCodeBits // that there can be
)

// gifReader unpacks the codes of a frame (GIF89a, appendix F). Unlike compress/lzw it accepts code sizes from
// 1 to 11, as viewers do.
type gifReader struct {
	src         gifBlocks
	acc         uint32
	bits        uint8 // in acc
	width, size uint8 // of the next code; of the codes of single pixels
	next        uint16
	last        int // the code before; -1 after a clear
	prefix      [gifCodes]uint16
	suffix      [gifCodes]byte
	stack       [gifCodes]byte
	pending     []byte // pixels at the end of stack
	err         error
}

func newGIFCodes(data []byte, size uint8) *gifReader {
	r := &gifReader{src: gifBlocks{b: data}, size: size}
	for i := range 1 << size {
		r.suffix[i] = byte(i)
	}
	r.clear()
	return r
}

func (r *gifReader) clear() {
	r.width, r.next, r.last = r.size+1, 1<<r.size+2, -1
}

func (r *gifReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(r.pending) == 0 {
			if r.err == nil {
				r.err = r.code()
			}
			if r.err != nil {
				return n, r.err
			}
		}
		k := copy(p[n:], r.pending)
		n, r.pending = n+k, r.pending[k:]
	}
	return n, nil
}

// code reads the next code, and leaves its pixels in pending.
func (r *gifReader) code() error {
	for r.bits < r.width {
		c, err := r.src.ReadByte()
		if err != nil {
			return err
		}
		r.acc |= uint32(c) << r.bits
		r.bits += 8
	}
	code := int(r.acc & (1<<r.width - 1))
	r.acc, r.bits = r.acc>>r.width, r.bits-r.width
	switch first := 1 << r.size; {
	case code == first:
		r.clear()
		return nil
	case code == first+1:
		return io.EOF
	case code > int(r.next), code == int(r.next) && r.last < 0:
		return errors.New("code out of range")
	}
	at := len(r.stack)
	put := func(c byte) {
		at--
		r.stack[at] = c
	}
	c := code
	if c == int(r.next) { // the one that this code itself makes: the last string and its own first pixel
		at-- // filled below
		c = r.last
	}
	for c >= 1<<r.size {
		put(r.suffix[c])
		c = int(r.prefix[c])
	}
	put(r.suffix[c])
	if code == int(r.next) {
		r.stack[len(r.stack)-1] = r.suffix[c]
	}
	r.pending = r.stack[at:]
	if r.last >= 0 && r.next < gifCodes {
		r.prefix[r.next], r.suffix[r.next] = uint16(r.last), r.suffix[c]
		// As in browsers; comparing with 1<<r.width would never be true for codes of size 1.
		if r.next++; r.next&(1<<r.width-1) == 0 && r.width < gifCodeBits {
			r.width++
		}
	}
	r.last = code
	return nil
}
