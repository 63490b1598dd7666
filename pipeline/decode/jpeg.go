package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"strings"

	"facescan/pipeline/decode/turbo"
)

// Markers of a JPEG file (ITU-T T.81, table B.1).
const (
	markerSOF0  = 0xc0
	markerSOF2  = 0xc2
	markerSOF3  = 0xc3 // to 0xcf, but for DHT, JPG and DAC: frames that are not decoded here
	markerDHT   = 0xc4
	markerJPG   = 0xc8
	markerDAC   = 0xcc
	markerRST0  = 0xd0 // to 0xd7
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerDHP   = 0xde
	markerAPP1  = 0xe1
	markerAPP14 = 0xee
	markerSOF55 = 0xf7 // of ITU-T T.87, JPEG-LS
	markerTEM   = 0x01
)

// fallbackRoom is how many bytes the standard library may always use for a picture that libjpeg-turbo
// refuses. A picture that would need more is not tried: reserving that memory for a rare case would cost
// every large picture its place in the budget.
const fallbackRoom = 16 << 20

// A scan visits every block even where nothing changes, and a byte of the file can code thousands of
// blocks. Encoders write about ten scans.
const (
	maxScans   = 500
	maxScanned = 4 << 30 // pixels, in all scans together: two or three seconds
)

// jpegHeader is what decoding needs of the header.
type jpegHeader struct {
	components  int
	sampling    [4][2]int // horizontal and vertical, per component
	progressive bool
	multiScan   bool // coefficients of the whole picture are held in memory
	scans       int  // where the first scan's pixels begin
	adobe       bool // an Adobe marker: four components are inverted inks
	ycck        bool // of which three are stored as YCbCr
	fallback    bool // the standard library may try
}

// segments reads the markers of a JPEG file one by one. Like libjpeg it skips bytes that are not markers, and
// so the coded pixels of a scan.
type segments struct {
	b  []byte
	at int
}

var errHeaderCut = errors.New("header cut")

// next returns the next marker with its data; with an error, without data. The end of the file is io.EOF.
func (s *segments) next() (marker byte, data []byte, err error) {
	for {
		skip := bytes.IndexByte(s.b[s.at:], 0xff)
		if skip < 0 {
			return 0, nil, io.EOF
		}
		s.at += skip
		for s.at < len(s.b) && s.b[s.at] == 0xff {
			s.at++
		}
		if s.at == len(s.b) {
			return 0, nil, io.EOF
		}
		marker = s.b[s.at]
		s.at++
		switch {
		case marker == 0 || marker == markerTEM || marker >= markerRST0 && marker < markerEOI:
			continue
		case marker == markerEOI:
			return marker, nil, nil
		}
		if s.at+2 > len(s.b) {
			return marker, nil, errHeaderCut
		}
		n := int(binary.BigEndian.Uint16(s.b[s.at:]))
		if n < 2 || s.at+n > len(s.b) {
			return marker, nil, errHeaderCut
		}
		data = s.b[s.at+2 : s.at+n]
		s.at += n
		return marker, data, nil
	}
}

// probeJPEG walks the markers to the first scan.
func (f *File) probeJPEG(b []byte) error {
	h := &f.jpeg
	exif := false
	for s := (segments{b, 2}); ; {
		marker, data, err := s.next()
		if err == io.EOF {
			return errors.New("no picture in it")
		}
		if coding := foreignJPEG(marker); coding != "" && h.components == 0 {
			if len(data) >= 5 {
				f.setSize(data)
			}
			return unsupported("%s JPEG", coding)
		}
		if err != nil {
			return err
		}
		switch {
		case marker == markerEOI:
			return errors.New("ends before its first scan")
		case marker == markerAPP1 && !exif && has(data, 0, exifPrefix):
			if o := orientation(data); o != 0 {
				exif, f.Orientation = true, o
			}
		case marker == markerAPP14 && len(data) >= 12 && has(data, 0, "Adobe"):
			h.adobe, h.ycck = true, data[11] != 0
		case marker == markerSOS:
			if h.components == 0 || len(data) < 1 {
				return errors.New("scan without frame header")
			}
			h.multiScan = h.progressive || int(data[0]) < h.components
			h.scans = s.at
			f.Memory = h.memory(f.Width, f.Height, f.Orientation, f.options)
			if h.multiScan {
				scans := 1 + bytes.Count(b[h.scans:], []byte{0xff, markerSOS})
				if scans > maxScans || int64(scans)*int64(f.Width)*int64(f.Height) > maxScanned {
					return errors.New("too many scans")
				}
			}
			return nil
		case marker >= markerSOF0 && marker <= markerSOF2, foreignJPEG(marker) != "":
			if h.components != 0 {
				return errors.New("two frame headers")
			}
			if err := f.readFrame(data); err != nil {
				return err
			}
			h.progressive = marker == markerSOF2
		}
	}
}

// setSize takes the size from the data of a frame header.
func (f *File) setSize(data []byte) {
	f.Height, f.Width = int(binary.BigEndian.Uint16(data[1:])), int(binary.BigEndian.Uint16(data[3:]))
}

// readFrame reads the data of a frame header (ITU-T T.81, B.2.2).
func (f *File) readFrame(data []byte) error {
	h := &f.jpeg
	if len(data) < 6 || len(data) < 6+3*int(data[5]) || data[5] < 1 || data[5] > 4 {
		return errors.New("frame header broken")
	}
	h.components = int(data[5])
	f.setSize(data)
	if data[0] == 12 {
		return unsupported("JPEG of 12 bits a sample")
	}
	for c := range h.components {
		s := data[6+3*c+1]
		h.sampling[c] = [2]int{int(s >> 4), int(s & 15)}
		if s>>4 < 1 || s>>4 > 4 || s&15 < 1 || s&15 > 4 {
			return errors.New("sampling out of range")
		}
	}
	return nil
}

// foreignJPEG names the coding that a marker announces, if it is not decoded here.
func foreignJPEG(marker byte) string {
	switch {
	case marker == markerDHP:
		return "hierarchical"
	case marker == markerSOF55:
		return "lossless (LS)"
	case marker < markerSOF3 || marker > 0xcf || marker == markerDHT || marker == markerJPG ||
		marker == markerDAC:
		return ""
	case marker&3 == 3:
		return "lossless"
	case marker > markerJPG:
		return "arithmetic"
	}
	return "hierarchical"
}

// memory is the most bytes that decoding a picture of that stored size takes. It also sets fallback.
func (h *jpegHeader) memory(width, height, orientation int, o Options) int64 {
	maxH, maxV := 1, 1
	for _, s := range h.sampling[:h.components] {
		maxH, maxV = max(maxH, s[0]), max(maxV, s[1])
	}
	across, down := ceil(width, 8*maxH), ceil(height, 8*maxV)
	scale := o.scale()
	all := int64(width) * int64(height)
	luma := int64(scale.Of(width)) * int64(scale.Of(height))
	library, standard := luma, all // in each of the two
	if orientation >= 5 {
		library, standard = 2*luma, 2*all
	}
	library += 1 << 18 // tables and its own state
	for _, s := range h.sampling[:h.components] {
		blocks := int64(across*s[0]) * int64(down*s[1])
		// Two rows of blocks, their neighbours and the upsampled rows: 64 rows of samples bound them all.
		library += int64(across*s[0]) * 8 * 64
		standard += blocks * 64
		if h.multiScan {
			library += blocks * 64 * 2
			standard += blocks * 64 * 4
		}
	}
	if h.components == 4 {
		library += 4 * luma
		standard += 5 * all
	}
	h.fallback = !turbo.Available || standard <= max(library, fallbackRoom)
	switch {
	case !turbo.Available:
		return standard
	case h.fallback:
		return max(library, standard)
	}
	return library
}

// refused reports whether the standard library is to decode a picture after this error of libjpeg-turbo.
func (h *jpegHeader) refused(err error) bool {
	return err != nil && !errors.Is(err, errCut) && h.fallback
}

func ceil(n, d int) int { return (n + d - 1) / d }

// decodeJPEG decodes by the standard library, which takes the place of libjpeg-turbo where that is missing or
// refuses the file.
func (f *File) decodeJPEG() (m image.Image, partial bool, err error) {
	if m, err = jpeg.Decode(bytes.NewReader(f.body)); err != nil {
		return nil, false, err
	}
	if w, h := f.stored(); m.Bounds() != image.Rect(0, 0, w, h) {
		return nil, false, errors.New("size differs from the header's")
	}
	return m, false, nil
}

// decodeTurbo decodes through libjpeg-turbo to luma as stored, scaled if the options allow it, decides
// whether a damaged picture counts, and hashes it.
func (d *Decoder) decodeTurbo(f *File, img *Image) error {
	if d.turbo == nil {
		t, err := turbo.New()
		if err != nil {
			return err
		}
		d.turbo = t
	}
	scale := f.options.scale()
	if f.options.PHash && scale != full {
		var whole Image // what it is found to be must not depend on whether it is hashed
		if d.decodeScaled(f, &whole, full) == nil {
			d.hash(f, img)
		}
	}
	err := d.decodeScaled(f, img, scale)
	if err == nil && scale == full {
		d.hash(f, img)
	}
	return err
}

// decodeScaled is decodeTurbo at one scale.
func (d *Decoder) decodeScaled(f *File, img *Image, scale turbo.Scale) error {
	width, height := f.stored()
	w, h := scale.Of(width), scale.Of(height)
	d.setLuma(w, h)
	rows, samples := d.pixels, turbo.Gray
	if f.jpeg.components == 4 {
		// The inks go into the other buffer, which is free until the picture is turned.
		d.rotated = grow(d.rotated, 4*w*h)
		rows, samples = d.rotated, turbo.CMYK
	}
	warning, err := f.turboRows(d.turbo, rows, scale, samples)
	if err == nil && warning != "" {
		img.Partial, err = f.damage(rows, w*samples.Size(), samples, warning)
	}
	if err != nil {
		return err
	}
	if samples == turbo.CMYK {
		inks(d.pixels, rows, f.jpeg.invert())
	}
	img.Scale = 8 / float64(scale)
	return nil
}

// turboRows decodes into dst, rows without gaps, and returns the library's warning.
func (f *File) turboRows(t *turbo.Decoder, dst []byte, scale turbo.Scale,
	s turbo.Samples) (warning string, err error) {
	width, height := f.stored()
	decode := func(body []byte) error { return t.Decode(body, dst, width, height, scale, s) }
	if err = decode(f.body); err == nil {
		return "", nil
	}
	w, ok := errors.AsType[turbo.Warning](err)
	if n, ended := f.jpeg.extent(f.body); !ok && !ended && n < len(f.body) {
		err = decode(f.body[:n])
		w, ok = errors.AsType[turbo.Warning](err)
	}
	if !ok {
		return "", err
	}
	return string(w), nil
}

// damage reports whether a picture with a warning is partial; less than half of it is an error.
//
// Where the compressed data ends early libjpeg goes on with zero coefficients, which come out as the same
// grey everywhere: the rows of only that grey at the bottom were never decoded. A picture that really ends in
// such rows counts as cut only if the library warned as well.
func (f *File) damage(pixels []byte, stride int, s turbo.Samples, warning string) (partial bool, err error) {
	h, missing := len(pixels)/stride, 0
	for missing < h && f.jpeg.undecoded(pixels[(h-1-missing)*stride:][:stride], s) {
		missing++
	}
	if 2*missing > h {
		return false, errCut
	}
	_, ended := f.jpeg.extent(f.body)
	return missing > 0 || !ended || !harmless(warning), nil
}

// extent walks the markers after the first scan's. It returns how far the segments are whole, and whether the
// last one is the end marker. libjpeg refuses a file with a cut segment, e.g. a table between two scans.
// Without an end marker it only warns, but it reports its first warning alone, which may be a harmless one.
func (h *jpegHeader) extent(body []byte) (n int, ended bool) {
	for s := (segments{body, h.scans}); ; {
		marker, _, err := s.next()
		switch {
		case err == io.EOF:
			return len(body), false
		case err != nil:
			return s.at - len("\xff\xda"), false
		case marker == markerEOI:
			return s.at, true
		}
	}
}

// undecoded reports whether a row has only the pixels that zero coefficients give.
func (h *jpegHeader) undecoded(row []byte, s turbo.Samples) bool {
	pixel := [4]byte{128, 128, 128, 128}
	if s == turbo.CMYK && h.ycck {
		pixel = [4]byte{127, 127, 127, 128}
	}
	for i, v := range row {
		if v != pixel[i&3] {
			return false
		}
	}
	return true
}

// invert is XORed with a file's four samples to give amounts of ink.
func (h *jpegHeader) invert() uint8 {
	if h.adobe {
		return 255
	}
	return 0
}

// harmless reports whether a warning of the library leaves the picture whole.
func harmless(warning string) bool {
	return strings.Contains(warning, "extraneous bytes") || strings.Contains(warning, "JFIF") ||
		strings.Contains(warning, "Adobe")
}
