//go:build cgo

package turbo

/*
#cgo linux LDFLAGS: -l:libturbojpeg.a
#cgo darwin,arm64 CFLAGS: -I/opt/homebrew/opt/jpeg-turbo/include
#cgo darwin,arm64 LDFLAGS: -L/opt/homebrew/opt/jpeg-turbo/lib
#cgo darwin,amd64 CFLAGS: -I/usr/local/opt/jpeg-turbo/include
#cgo darwin,amd64 LDFLAGS: -L/usr/local/opt/jpeg-turbo/lib
#cgo !linux LDFLAGS: -lturbojpeg
#cgo noescape tjDecompressHeader3
#cgo nocallback tjDecompressHeader3
#cgo noescape tjDecompress2
#cgo nocallback tjDecompress2
#include <turbojpeg.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Available tells whether the library is linked in.
const Available = true

// Decoder holds one of the library's decompressors, whose memory serves picture after picture. It is not safe
// for use by several goroutines at once.
type Decoder struct{ handle C.tjhandle }

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

// Decode writes the picture at the given scale into dst, from the top, rows stride bytes apart; width and height
// are the stored picture's at full size. At most 500 scans are read, so that a small file cannot keep the
// library busy for hours.
//
// A Warning means that dst holds a picture all the same, damaged or cut. After any other error the content of
// dst is undefined.
func (d *Decoder) Decode(body, dst []byte, width, height, stride int, scale Scale, s Samples) error {
	if d.handle == nil {
		return errors.New("libjpeg-turbo: no decompressor")
	}
	if len(body) == 0 || width < 1 || height < 1 {
		return errors.New("libjpeg-turbo: empty image")
	}
	w, h := scale.Of(width), scale.Of(height)
	if stride < w*int(s) || len(dst) < (h-1)*stride+w*int(s) {
		return fmt.Errorf("libjpeg-turbo: %d bytes cannot hold %dx%d pixels", len(dst), w, h)
	}
	var format C.int
	switch s {
	case Gray:
		format = C.TJPF_GRAY
	case RGB:
		format = C.TJPF_RGB
	case CMYK:
		format = C.TJPF_CMYK
	default:
		return fmt.Errorf("libjpeg-turbo: no pixels of %d samples", s)
	}
	src := (*C.uchar)(unsafe.Pointer(&body[0]))

	var hw, hh, subsampling, space C.int
	// It also fails for samplings that it has no name for, which the decoder itself can do: the size is what counts.
	C.tjDecompressHeader3(d.handle, src, C.ulong(len(body)), &hw, &hh, &subsampling, &space)
	if hw == 0 {
		err := d.failure()
		return errors.Join(err, d.renew())
	}
	if int(hw) != width || int(hh) != height {
		return fmt.Errorf("%w: %dx%d, not %dx%d", ErrSize, hw, hh, width, height)
	}
	// The library tells a warning from a failure only while nothing has failed after a warning. What tells for sure
	// is whether it came to write the last row.
	last := dst[(h-1)*stride:][:w*int(s)]
	for _, mark := range [2]byte{0x55, 0xaa} {
		for i := range last {
			last[i] = mark + byte(i)
		}
		if C.tjDecompress2(d.handle, src, C.ulong(len(body)), (*C.uchar)(unsafe.Pointer(&dst[0])),
			C.int(w), C.int(stride), C.int(h), format, C.TJFLAG_LIMITSCANS) == 0 {
			return nil
		}
		for i := range last {
			if last[i] != mark+byte(i) {
				return Warning(C.GoString(C.tjGetErrorStr2(d.handle)))
			}
		}
	}
	return d.failure()
}

// failure is the library's last error.
func (d *Decoder) failure() error {
	return errors.New("libjpeg-turbo: " + C.GoString(C.tjGetErrorStr2(d.handle)))
}

// renew replaces the decompressor: after a header that cannot be read it is left in the middle of reading one, and
// refuses everything that follows.
func (d *Decoder) renew() error {
	d.Close()
	n, err := New()
	if err == nil {
		d.handle = n.handle
	}
	return err
}
