// Package turbo decodes and encodes JPEG through libjpeg-turbo's TurboJPEG API. It decodes straight to luma
// where that is requested, and at a fraction of the size: the colour planes are then never transformed, and a
// scaled picture is made by shorter inverse transforms instead of by shrinking a full one.
//
// It is the only place where this part of the program calls C. Without cgo the same functions exist;
// Available is then false, nothing is decoded, and Encode is the standard library's.
//
// # What keeps the C side safe
//
// The caller names the picture's size, which it read from the header itself and held against its limits
// before. TurboJPEG never writes more than the size it is given: it picks the largest of its scaling factors
// whose picture fits, and refuses when none does. The destination is checked here to hold rows of that size.
//
// # One call of C a picture
//
// The library keeps the text of a warning in memory of the thread that it ran on, and two calls of C may run
// on two threads. So decoding, and copying what the library said about it, are one call (turbo.h).
package turbo

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
)

var (
	// ErrUnavailable says that this binary was built without cgo.
	ErrUnavailable = errors.New("built without libjpeg-turbo")
	// ErrSize says that the library reads another size in the header than the caller did.
	ErrSize = errors.New("size differs from the header's")
)

// Scale is the size a picture is decoded at, in eighths: 1 to 8.
type Scale int

// Of is the length that n pixels have at this scale, rounded up as the library does.
func (s Scale) Of(n int) int { return (n*int(s) + 7) / 8 }

// Samples says what Decode writes for a pixel.
type Samples int

const (
	Gray Samples = iota // one byte, luma
	RGBA                // the fourth byte is 255
	CMYK                // as stored: the inks of Adobe's files are inverted, 255 being none
)

// Size is how many bytes a pixel takes.
func (s Samples) Size() int {
	if s == Gray {
		return 1
	}
	return 4
}

// Warning is what the library objected to in a picture that it decoded all the same: its first objection, not
// all.
type Warning string

func (w Warning) Error() string { return string(w) }

// Encode makes a JPEG of a picture, its alpha ignored: quality 1 to 100, colour at half the width and height,
// no metadata. What the library cannot make, such as a picture of more than 65,500 pixels a side, the
// standard library makes.
func Encode(m *image.RGBA, quality int) ([]byte, error) {
	if b, err := encode(m, quality); err == nil {
		return b, nil
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, m, &jpeg.Options{Quality: quality})
	return b.Bytes(), err
}
