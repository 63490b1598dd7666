package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"slices"

	"facescan/pipeline/decode/heif"
)

var errCut = errors.New("cut short")

// Names of the formats, as results carry them.
const (
	JPEG = "jpeg"
	PNG  = "png"
	GIF  = "gif"
	WebP = "webp"
	BMP  = "bmp"
	TIFF = "tiff"
	AVIF = heif.AVIF
	HEIC = heif.HEIC
)

// format is how one image format is recognised, its header read and its pixels decoded.
type format struct {
	name  string
	sniff func(body []byte) bool
	// probe fills the File's size as stored, its orientation and memory, and what decode needs to know.
	probe func(f *File, body []byte) error
	// decode decodes at full size, as stored. Of a picture that was cut it returns what is there, if that is
	// at least half. JPEG has a faster path beside it, through libjpeg-turbo (jpeg.go).
	decode func(f *File) (m image.Image, partial bool, err error)
}

// formats are the formats that are decoded, in the order in which they are tried. The literals have no field
// names, so that an incomplete line does not compile.
var formats = []format{
	{JPEG, prefixed("\xff\xd8\xff"), (*File).probeJPEG, (*File).decodeJPEG},
	{PNG, prefixed(pngSignature), (*File).probePNG, (*File).decodePNG},
	{GIF, prefixed("GIF87a", "GIF89a"), (*File).probeGIF, (*File).decodeGIF},
	{WebP, func(b []byte) bool { return has(b, 0, "RIFF") && has(b, 8, "WEBP") }, (*File).probeWebP,
		(*File).decodeWebP},
	{TIFF, prefixed("II*\x00", "MM\x00*", bigTIFFLow, bigTIFFHigh), (*File).probeTIFF, (*File).decodeTIFF},
	{BMP, isBMP, (*File).probeBMP, (*File).decodeBMP},
	{AVIF, isHEIF(AVIF), (*File).probeHEIF, (*File).decodeHEIF},
	{HEIC, isHEIF(HEIC), (*File).probeHEIF, (*File).decodeHEIF},
}

// prefixed returns a sniffer for content that begins with one of the given magics.
func prefixed(magics ...string) func([]byte) bool {
	return func(b []byte) bool {
		return slices.ContainsFunc(magics, func(magic string) bool { return has(b, 0, magic) })
	}
}

// isBMP reports whether b begins with a BMP header. Two letters are not enough: the length of the header that
// follows must be one of those in use.
func isBMP(b []byte) bool {
	return has(b, 0, "BM") && len(b) >= 18 && bmpHeaders[binary.LittleEndian.Uint32(b[14:])]
}

// isHEIF returns a sniffer for one of the formats of package heif.
func isHEIF(name string) func([]byte) bool {
	return func(b []byte) bool {
		format, _ := heif.Sniff(b)
		return format == name
	}
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

func (f *File) decodeHEIF() (m image.Image, partial bool, err error) {
	m, err = heif.Decode(f.body, f.heif)
	return m, false, err
}
