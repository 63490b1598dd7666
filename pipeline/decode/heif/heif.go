// Package heif decodes AVIF and HEIC: pictures coded as one frame of a video, in a container of boxes
// (ISO/IEC 14496-12, 23008-12).
//
// # Who decodes
//
// libavif with dav1d, and libheif with libde265, as the WebAssembly that the Go modules
// github.com/gen2brain/avif v0.6.0 and heic v0.5.0 carry (lib/avif.wasm and lib/heif.wasm, compressed,
// unchanged). Those modules are not imported: without a build tag they load a system library when the program
// starts. Here wazero runs the same code in isolation: memory is bounded by what Header announced, running
// time by a count of loop iterations, and there are no files, no clock and no output.
//
// Compiling a module takes a second or two of CPU, for the first picture of its format.
//
// # Upright
//
// The container's own rotation (irot) and mirror (imir) are part of its format and always applied; EXIF never
// is, or a picture would be turned twice. libheif applies them itself; for libavif the rest is in Info.Turn.
package heif

import (
	"encoding/binary"
	"errors"
	"image"
)

// Names of the formats.
const (
	AVIF = "avif"
	HEIC = "heic"
)

// ErrSequence: a sequence of HEVC pictures without a primary picture.
var ErrSequence = errors.New("sequence without a primary picture")

var (
	errCut    = errors.New("cut short")
	errNoItem = errors.New("no primary picture")
	errLarge  = errors.New("size out of range")
)

// Sniff names the format: by the coding of the primary picture, or by the brands if the boxes do not name it.
// An image in this container that is neither AVIF nor HEIC is named by other.
func Sniff(b []byte) (format, other string) {
	still := false // a brand promises a picture, coded somehow
	for brand := range brands(b) {
		switch string(brand) {
		case "avif", "avis":
			format = AVIF
		case "heic", "heix", "heim", "heis", "hevc", "hevx":
			if format == "" {
				format = HEIC
			}
		case "mif1", "mif2", "miaf", "msf1":
			still = true
		}
	}
	if !still && format == "" {
		return "", ""
	}
	c := read(b)
	_, _, sequence := c.track()
	switch coding := c.coding(); {
	case coding == "av01":
		return AVIF, ""
	case coding == "hvc1":
		return HEIC, ""
	case coding != "":
		return "", "HEIF coded as " + coding
	case sequence:
		return AVIF, ""
	case format == "":
		return "", "HEIF"
	}
	return format, ""
}

// Info is what the boxes say about the primary picture.
type Info struct {
	Format        string
	Width, Height int             // of what Decode returns
	Turn          int             // EXIF's number for the orientation that is still to be applied, 1 to 8
	sequence      bool            // the picture is the first frame of a sequence
	alpha         bool            // of HEIC: another picture is its opacity
	coded         image.Point     // before anything is applied
	crop          image.Rectangle // of the coded picture
	deep          bool            // more than 8 bits per sample
	body          int
}

// Parse reads the boxes. It allocates nothing. The only references it follows are those from the primary
// picture to its properties, and from the opacity to the picture.
func Parse(b []byte, format string) (Info, error) {
	f := Info{Format: format, Turn: 1, body: len(b)}
	c := read(b)
	primary, ok := c.primaryItem()
	all := c.properties
	properties := func(yield func(string, []byte) bool) {
		for index := range linked(c.links, primary) {
			if !yield(property(c.properties, index)) {
				return
			}
		}
	}
	switch {
	case ok && c.properties != nil:
		_, f.alpha = c.alpha()
		f.alpha = f.alpha && format == HEIC
	case ok || c.movie == nil:
		return f, errNoItem
	case format == HEIC:
		return f, ErrSequence
	default:
		if f.coded, all, f.sequence = c.track(); !f.sequence {
			return f, errNoItem
		}
		properties = boxes(all)
	}
	angle, axis := 0, -1
	var window []byte
	for kind, data := range properties {
		switch {
		case kind == "ispe" && len(data) >= 12 && !f.sequence:
			w, h := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
			if w > 1<<20 || h > 1<<20 {
				return f, errLarge
			}
			f.coded = image.Pt(int(w), int(h))
		case kind == "irot" && len(data) >= 1:
			angle = int(data[0] & 3)
		case kind == "imir" && len(data) >= 1:
			axis = int(data[0] & 1)
		case kind == "clap":
			window = data
		}
	}
	if f.coded.X < 1 || f.coded.Y < 1 {
		return f, errors.New("no size")
	}
	for kind, data := range boxes(all) { // of all items: a picture may be made of tiles, which are items too
		f.deep = f.deep || kind == "av1C" && len(data) > 2 && data[2]&0x40 != 0 || kind == "hvcC" &&
			len(data) > 17 && data[17]&7 != 0
	}
	f.crop = clap(window, f.coded)
	f.Width, f.Height = f.crop.Dx(), f.crop.Dy()
	// Turned anticlockwise by quarters first, then mirrored: along the vertical axis' direction for 0, the
	// other for 1.
	turn := [4][3]int{{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}[angle][axis+1]
	if format == AVIF {
		f.Turn = turn
	} else if turn >= 5 {
		f.Width, f.Height = f.Height, f.Width
	}
	return f, nil
}

// clap is the visible part of the coded picture: a size and the offset of its centre from the picture's, as
// fractions. An impossible one is ignored.
func clap(data []byte, coded image.Point) image.Rectangle {
	whole := image.Rectangle{Max: coded}
	if len(data) < 32 {
		return whole
	}
	var v [4]float64
	for i := range v {
		n, d := int32(binary.BigEndian.Uint32(data[8*i:])), binary.BigEndian.Uint32(data[8*i+4:])
		if d == 0 {
			return whole
		}
		v[i] = float64(n) / float64(d)
	}
	x := v[2] + (float64(coded.X)-v[0])/2
	y := v[3] + (float64(coded.Y)-v[1])/2
	if !(v[0] >= 1 && v[1] >= 1 && x >= 0 && y >= 0 && x+v[0] <= float64(coded.X) &&
		y+v[1] <= float64(coded.Y)) {
		return whole
	}
	return image.Rect(0, 0, int(v[0]+0.5), int(v[1]+0.5)).Add(image.Pt(int(x), int(y)))
}
