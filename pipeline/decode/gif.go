package decode

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"io"
	"iter"
)

// gifFrame decodes the first frame of a GIF (GIF89a specification) as far as its data goes, and tells how many of
// the frame's pixels are missing. image/gif gives nothing of a frame that was cut.
func gifFrame(b []byte, screen image.Rectangle) (m *image.Paletted, missing int, err error) {
	r := bytes.NewReader(b[13:]) // the header saw that much
	palette, err := gifPalette(r, b[10])
	if err != nil {
		return nil, 0, err
	}
	transparent := -1
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return nil, 0, errCut
		}
		switch kind {
		case 0x21: // an extension; the graphic control one names the transparent colour
			label, _ := r.ReadByte()
			data, head := &blocks{r: r}, [4]byte{}
			n, _ := io.ReadFull(data, head[:])
			if _, err := io.Copy(io.Discard, data); err != nil {
				return nil, 0, errCut
			}
			if label == 0xf9 && n == 4 && head[0]&1 != 0 {
				transparent = int(head[3])
			}
		case 0x2c:
			return gifPixels(r, screen, palette, transparent)
		default:
			return nil, 0, errors.New("no frame in it")
		}
	}
}

// gifPixels reads an image descriptor and what it describes.
func gifPixels(r *bytes.Reader, screen image.Rectangle, palette color.Palette, transparent int) (*image.Paletted, int, error) {
	var d [9]byte
	if _, err := io.ReadFull(r, d[:]); err != nil {
		return nil, 0, errCut
	}
	u16 := func(i int) int { return int(binary.LittleEndian.Uint16(d[i:])) }
	frame := image.Rect(u16(0), u16(2), u16(0)+u16(4), u16(2)+u16(6))
	if frame.Empty() || !frame.In(screen) {
		return nil, 0, errors.New("frame outside its screen")
	}
	if d[8]&0x80 != 0 {
		var err error
		if palette, err = gifPalette(r, d[8]); err != nil {
			return nil, 0, err
		}
	}
	if transparent >= 0 {
		palette[transparent] = color.RGBA{}
	}
	width, err := r.ReadByte()
	if err != nil || width < 2 || width > 8 {
		return nil, 0, errors.New("code size out of range")
	}
	m := image.NewPaletted(frame, palette)
	z := lzw.NewReader(&blocks{r: r}, lzw.LSB, int(width))
	defer z.Close()
	missing := len(m.Pix)
	for y := range gifRows(frame.Dy(), d[8]&0x40 != 0) {
		n, err := io.ReadFull(z, m.Pix[y*m.Stride:][:m.Stride])
		missing -= n
		if err != nil {
			break
		}
	}
	return m, missing, nil
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

// gifPalette reads the colour table that the flags announce. The palette always has 256 colours, the rest black, so
// that no index lies outside.
func gifPalette(r io.Reader, flags byte) (color.Palette, error) {
	p := make(color.Palette, 256)
	for i := range p {
		p[i] = color.RGBA{A: 255}
	}
	if flags&0x80 == 0 {
		return p, nil
	}
	for i := range 2 << (flags & 7) {
		var c [3]byte
		if _, err := io.ReadFull(r, c[:]); err != nil {
			return nil, errCut
		}
		p[i] = color.RGBA{c[0], c[1], c[2], 255}
	}
	return p, nil
}

// blocks reads a chain of data sub-blocks as one stream.
type blocks struct {
	r    *bytes.Reader
	left int
	end  bool
}

func (b *blocks) Read(p []byte) (int, error) {
	for b.left == 0 {
		if b.end {
			return 0, io.EOF
		}
		n, err := b.r.ReadByte()
		if err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		b.left, b.end = int(n), n == 0
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	if err != nil {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}
