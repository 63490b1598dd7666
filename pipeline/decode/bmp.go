package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"io"

	"github.com/jsummers/gobmp"
)

// bmpHeaders are the lengths of information headers in use: OS/2's (12, and 16 to 64), Windows' (40 to 124).
var bmpHeaders = map[uint32]bool{
	12: true, 16: true, 20: true, 24: true, 32: true, 36: true, 40: true, 42: true, 44: true, 46: true,
	48: true, 52: true, 56: true, 60: true, 64: true, 108: true, 124: true,
}

// How the pixels of a BMP are coded. In OS/2 files 3 and 4 have other meanings.
const (
	bmpRGB = iota
	bmpRLE8
	bmpRLE4
	bmpBitFields
)

// bmpHeader is what decoding a BMP needs to know.
type bmpHeader struct {
	offset int64 // of the pixels
	bits   int   // per pixel
	coding uint32
}

// probeBMP reads the information header.
func (f *File) probeBMP(b []byte) error {
	u16 := func(b []byte) int { return int(binary.LittleEndian.Uint16(b)) }
	i32 := func(b []byte) int { return int(int32(binary.LittleEndian.Uint32(b))) }
	size := binary.LittleEndian.Uint32(b[14:])
	if uint64(len(b)) < 14+uint64(size) {
		return errCut
	}
	h, info := &f.bmp, b[14:]
	h.offset = int64(binary.LittleEndian.Uint32(b[10:]))
	if size == 12 {
		f.Width, f.Height, h.bits = u16(info[4:]), u16(info[6:]), u16(info[10:])
	} else {
		f.Width, f.Height, h.bits = i32(info[4:]), i32(info[8:]), u16(info[14:])
		f.Height = max(f.Height, -f.Height) // a negative one means from the top down
		if size >= 20 {
			h.coding = binary.LittleEndian.Uint32(info[16:])
		}
	}
	os2 := size > 12 && size <= 64 && size != 40 && size != 52 && size != 56
	switch {
	case h.coding > bmpBitFields, h.coding == bmpBitFields && os2:
		return unsupported("BMP with coding %d", h.coding)
	case f.Width < 1 || f.Height < 1 || int64(f.Width)*int64(f.Height) >= 1<<29:
		return nil // Probe refuses it, or gobmp when it decodes
	}
	if _, err := gobmp.DecodeConfig(bytes.NewReader(b)); err != nil {
		return bmpError(err)
	}
	pixel := int64(4)
	if h.bits <= 8 {
		pixel = 1
	}
	f.Memory = pixel*int64(f.Width)*int64(f.Height) + f.lumaBytes() + int64(f.Width)*4 + 1<<16
	return nil
}

// decodeBMP decodes a BMP. Rows that are not there are zeros, if they are at most half.
func (f *File) decodeBMP() (m image.Image, partial bool, err error) {
	rows := f.bmp.rows(f.body[min(f.bmp.offset, int64(len(f.body))):], f.Width, f.Height)
	if 2*rows < f.Height {
		return nil, false, errCut
	}
	if m, err = gobmp.Decode(io.MultiReader(bytes.NewReader(f.body), zeros{})); err != nil {
		return nil, false, bmpError(err)
	}
	if m, ok := m.(*image.NRGBA); ok {
		opaqueIfInvisible(m)
	}
	return m, rows < f.Height, nil
}

// bmpError turns gobmp's error for unsupported files into ErrUnsupported.
func bmpError(err error) error {
	if _, ok := errors.AsType[gobmp.UnsupportedError](err); ok {
		return unsupported("%v", err)
	}
	return err
}

// rows counts the rows of a picture that its data, cut or not, reaches to the end.
func (h *bmpHeader) rows(data []byte, width, height int) int {
	if h.coding == bmpRGB || h.coding == bmpBitFields {
		return min(height, len(data)/((width*h.bits+31)/32*4))
	}
	x, y := 0, 0
	for len(data) >= 2 && y < height {
		n, code := int(data[0]), int(data[1])
		data = data[2:]
		switch {
		case n > 0:
			x += n
		case code == 0: // end of the row
			x, y = 0, y+1
		case code == 1: // end of the picture
			return height
		case code == 2: // go right and up
			if len(data) >= 2 {
				x, y = x+int(data[0]), y+int(data[1])
			}
			data = data[min(2, len(data)):]
		default: // that many pixels as they are
			x += code
			size := code
			if h.coding == bmpRLE4 {
				size = (code + 1) / 2
			}
			data = data[min(size+size&1, len(data)):]
		}
	}
	if y == height-1 && x >= width {
		y++
	}
	return min(y, height)
}

// opaqueIfInvisible makes a fully transparent picture opaque: many writers leave the fourth byte zero.
func opaqueIfInvisible(m *image.NRGBA) {
	for i := 3; i < len(m.Pix); i += 4 {
		if m.Pix[i] != 0 {
			return
		}
	}
	for i := 3; i < len(m.Pix); i += 4 {
		m.Pix[i] = 255
	}
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
