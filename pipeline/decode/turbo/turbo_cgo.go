//go:build cgo

package turbo

/*
#cgo linux LDFLAGS: -l:libturbojpeg.a
#cgo darwin,arm64 CFLAGS: -I/opt/homebrew/opt/jpeg-turbo/include
#cgo darwin,arm64 LDFLAGS: -L/opt/homebrew/opt/jpeg-turbo/lib
#cgo darwin,amd64 CFLAGS: -I/usr/local/opt/jpeg-turbo/include
#cgo darwin,amd64 LDFLAGS: -L/usr/local/opt/jpeg-turbo/lib
#cgo !linux LDFLAGS: -lturbojpeg
#cgo noescape decode
#cgo nocallback decode
#cgo noescape encode
#cgo nocallback encode
#include "turbo.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"image"
	"unsafe"
)

// Available reports whether the library is linked in.
const Available = true

// Decoder holds one of the library's decompressors, whose memory serves picture after picture. It is not safe
// for use by several goroutines at once.
type Decoder struct {
	handle C.tjhandle
	out    C.struct_outcome
}

// New makes a decoder; Close gives its memory back.
func New() (*Decoder, error) {
	h := C.tjInitDecompress()
	if h == nil {
		return nil, errors.New("libjpeg-turbo: no memory for a decompressor")
	}
	return &Decoder{handle: h}, nil
}

// Close frees the decompressor. The Decoder must not be used after it.
func (d *Decoder) Close() {
	if d.handle != nil {
		C.tjDestroy(d.handle)
		d.handle = nil
	}
}

// Decode writes the picture at the given scale into dst, from the top, in contiguous rows; width and height
// are the stored picture's at full size. At most 500 scans are read, so that a small file cannot keep the
// library busy for hours.
//
// A Warning means that dst holds a picture all the same, damaged or cut. After any other error the content of
// dst is undefined.
func (d *Decoder) Decode(body, dst []byte, width, height int, scale Scale, s Samples) error {
	if d.handle == nil {
		return errors.New("libjpeg-turbo: no decompressor")
	}
	if len(body) == 0 || width < 1 || height < 1 {
		return errors.New("libjpeg-turbo: empty image")
	}
	w, h, stride := scale.Of(width), scale.Of(height), scale.Of(width)*s.Size()
	if len(dst) < h*stride {
		return fmt.Errorf("libjpeg-turbo: %d bytes cannot hold %dx%d pixels", len(dst), w, h)
	}
	var format C.int
	switch s {
	case Gray:
		format = C.TJPF_GRAY
	case RGBA:
		format = C.TJPF_RGBA
	case CMYK:
		format = C.TJPF_CMYK
	default:
		return fmt.Errorf("libjpeg-turbo: no pixels of kind %d", s)
	}
	out := &d.out
	C.decode(out, d.handle, (*C.uchar)(unsafe.Pointer(&body[0])), C.ulong(len(body)), C.int(width),
		C.int(height),
		(*C.uchar)(unsafe.Pointer(&dst[0])), C.int(w), C.int(h), C.int(stride), format)
	switch out.kind {
	case C.DECODED:
		return nil
	case C.DECODED_WITH_WARNING:
		return Warning(C.GoString(&out.message[0]))
	case C.OTHER_SIZE:
		return fmt.Errorf("%w: %dx%d, not %dx%d", ErrSize, out.width, out.height, width, height)
	}
	err := errors.New("libjpeg-turbo: " + C.GoString(&out.message[0]))
	if out.kind == C.HEADER_UNREADABLE {
		return errors.Join(err, d.renew())
	}
	return err
}

// renew replaces the decompressor: after a header that cannot be read it is left in the middle of reading
// one, and refuses everything that follows.
func (d *Decoder) renew() error {
	d.Close()
	n, err := New()
	if err == nil {
		d.handle = n.handle
	}
	return err
}

// encode is Encode by the library.
func encode(m *image.RGBA, quality int) ([]byte, error) {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	if w < 1 || h < 1 {
		return nil, errors.New("libjpeg-turbo: empty image")
	}
	pix := m.Pix[m.PixOffset(m.Rect.Min.X, m.Rect.Min.Y):]
	if m.Stride < 4*w || len(pix) < (h-1)*m.Stride+4*w {
		return nil, fmt.Errorf("libjpeg-turbo: %d bytes do not hold %dx%d pixels", len(pix), w, h)
	}
	var out C.struct_encoded
	failed := C.encode(&out, (*C.uchar)(unsafe.Pointer(&pix[0])), C.int(w), C.int(h), C.int(m.Stride),
		C.int(quality))
	defer C.tjFree(out.data)
	if failed != 0 {
		return nil, errors.New("libjpeg-turbo: " + C.GoString(&out.message[0]))
	}
	return C.GoBytes(unsafe.Pointer(out.data), C.int(out.size)), nil
}
