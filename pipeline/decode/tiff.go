package decode

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"math"
	"slices"

	"golang.org/x/image/tiff"
)

// Tags of a TIFF directory (TIFF 6.0, sections 8 and 22) besides those in exif.go, and values of theirs.
const (
	tagBits         = 0x102
	tagCompression  = 0x103
	tagPhotometric  = 0x106
	tagFillOrder    = 0x10a
	tagStrips       = 0x111
	tagSamples      = 0x115
	tagStripBytes   = 0x117
	tagPlanar       = 0x11c
	tagT4Options    = 0x124
	tagT6Options    = 0x125
	tagPredictor    = 0x13d
	tagColorMap     = 0x140
	tagExtraSamples = 0x152
	tagSampleFormat = 0x153

	tiffNone       = 1
	tiffGroup3     = 3
	tiffGroup4     = 4
	tiffLZW        = 5
	tiffDeflate    = 8
	tiffDeflateOld = 32946
	tiffPackBits   = 32773

	tiffWhiteIsZero = 0
	tiffBlackIsZero = 1
	tiffRGB         = 2
	tiffPaletted    = 3
)

// What BigTIFF files begin with, which are not decoded here.
const (
	bigTIFFLow  = "II+\x00"
	bigTIFFHigh = "MM\x00+"
)

// tiffHeader is what decoding a TIFF needs to know.
type tiffHeader struct {
	compression uint32
	inverted    bool // x/image reads the white of fax codes as 1 where 0 is black; it must be 0
}

// probeTIFF reads the first directory.
func (f *File) probeTIFF(b []byte) error {
	if has(b, 0, bigTIFFLow) || has(b, 0, bigTIFFHigh) {
		return unsupported("BigTIFF")
	}
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
	pixel, err := f.tiff.check(d)
	if err != nil {
		return err
	}
	f.Memory = f.tiff.memory(f, d, pixel, int64(len(b)))
	return nil
}

// memory is the most bytes that decoding takes: the picture, the luma and a block (a strip or a tile). A
// block is unpacked whole, at up to 8 bytes per pixel, into a buffer that grows by doubling. Each block
// leaves garbage. The collector lets it grow as large as the memory in use, the body included, and half as
// much more while it runs.
func (h *tiffHeader) memory(f *File, d directory, pixel, body int64) int64 {
	all := int64(f.Width) * int64(f.Height)
	across, down := int64(f.Width), int64(f.Height)
	if v, ok := d.value(tagStripRows); ok && v > 0 {
		down = min(down, int64(v))
	}
	if v, ok := d.value(tagTileWidth); ok && v > 0 {
		th, _ := d.value(tagTileHeight)
		across, down = int64(min(v, 1<<16)), int64(max(1, min(th, 1<<16)))
	}
	blocks := (int64(f.Width) + across - 1) / across * ((int64(f.Height) + down - 1) / down)
	unpacked, garbage := across*down*8, int64(128<<10) // an inflater
	switch h.compression {
	case tiffGroup3, tiffGroup4:
		unpacked = (across/8 + 1) * down
	case tiffPackBits:
		garbage += 5 * unpacked // a new buffer per block, which grows by quarters
	case 0, tiffNone:
		unpacked = min(unpacked, body)
		garbage += 5 * unpacked
	default:
		unpacked = min(unpacked, 3000*body) // a code makes no more than that
	}
	used := pixel*all + 3*unpacked + f.lumaBytes() + 1<<16
	return used + min(3*(used+body)/2, blocks*garbage)
}

// check refuses files that x/image cannot read, or reads wrongly, and returns the bytes per decoded pixel.
func (h *tiffHeader) check(d directory) (pixel int64, err error) {
	get := func(tag uint16, otherwise uint32) uint32 {
		if v, ok := d.value(tag); ok {
			return v
		}
		return otherwise
	}
	bits := d.values(tagBits)
	if len(bits) == 0 {
		bits = []uint32{1}
	}
	samples, depth := len(bits), bits[0]
	compression, photometric := get(tagCompression, tiffNone), get(tagPhotometric, tiffWhiteIsZero)
	predictor, extra := get(tagPredictor, 1), get(tagExtraSamples, 0)
	fax := compression == tiffGroup3 || compression == tiffGroup4
	packed := compression == tiffLZW || compression == tiffDeflate || compression == tiffDeflateOld
	plain := compression == 0 || compression == tiffNone || compression == tiffPackBits
	rgb := photometric == tiffRGB
	_, _, strips := d.find(tagStrips)
	_, _, stripBytes := d.find(tagStripBytes)
	lacks := func(what string, value any) (int64, error) {
		return 0, unsupported("TIFF with %s %v", what, value)
	}
	switch {
	case !fax && !packed && !plain:
		return lacks("compression", compression)
	case photometric > tiffPaletted:
		return lacks("colour space", photometric)
	case depth != 1 && depth != 8 && depth != 16,
		slices.ContainsFunc(bits, func(n uint32) bool { return n != depth }),
		rgb && depth == 1, photometric == tiffPaletted && depth == 16, fax && depth != 1:
		return lacks("bits per sample", bits)
	case get(tagSamples, uint32(samples)) != uint32(samples), rgb && samples != 3 && samples != 4, !rgb &&
		samples != 1:
		return lacks("samples", get(tagSamples, 1))
	case samples == 4 && extra != 1 && extra != 2:
		return lacks("extra samples", extra)
	case samples > 1 && get(tagPlanar, 1) != 1:
		return lacks("planes", get(tagPlanar, 1))
	case slices.ContainsFunc(d.values(tagSampleFormat), func(n uint32) bool { return n != 1 }):
		return lacks("sample format", d.values(tagSampleFormat))
	case predictor > 1 && (predictor != 2 || depth == 1 || !packed):
		return lacks("predictor", predictor)
	case !fax && get(tagFillOrder, 1) != 1:
		return lacks("fill order", get(tagFillOrder, 1))
	case compression == tiffGroup3 && get(tagT4Options, 0) != 0:
		return lacks("T4 options", get(tagT4Options, 0))
	case compression == tiffGroup4 && get(tagT6Options, 0) != 0:
		return lacks("T6 options", get(tagT6Options, 0))
	case fax && photometric > tiffBlackIsZero:
		return lacks("fax codes in colour space", photometric)
	case strips > stripBytes:
		return lacks("strips without", "their lengths")
	case !d.sorted():
		return lacks("tags out of", "order")
	}
	h.compression, h.inverted = compression, fax && photometric == tiffBlackIsZero
	pixel = int64(depth+7) / 8
	if samples > 1 {
		pixel *= 4
	}
	return pixel, nil
}

func (f *File) decodeTIFF() (m image.Image, partial bool, err error) {
	m, err = tiff.Decode(bytes.NewReader(f.body))
	if _, ok := errors.AsType[tiff.UnsupportedError](err); ok {
		return nil, false, unsupported("%v", err)
	}
	switch m := m.(type) {
	case *image.Gray:
		if f.tiff.inverted {
			for i, v := range m.Pix {
				m.Pix[i] = ^v
			}
		}
	case *image.Paletted:
		brighten(m.Palette)
	}
	return m, false, err
}

// brighten corrects a palette that a writer filled with 8 bits per colour instead of 16.
func brighten(p color.Palette) {
	for _, c := range p {
		if c, ok := c.(color.RGBA64); !ok || c.R > 255 || c.G > 255 || c.B > 255 {
			return
		}
	}
	for i, c := range p {
		c := c.(color.RGBA64)
		p[i] = color.RGBA{uint8(c.R), uint8(c.G), uint8(c.B), 255}
	}
}
