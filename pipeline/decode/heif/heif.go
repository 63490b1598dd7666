// Package heif decodes AVIF and HEIC: pictures coded as one frame of a film, in a container of boxes (ISO/IEC
// 14496-12, 23008-12).
//
// # Who decodes
//
// libavif with dav1d, and libheif with libde265, as the WebAssembly that the Go modules github.com/gen2brain/avif
// v0.6.0 and heic v0.5.0 carry (lib/avif.wasm and lib/heif.wasm, compressed, unchanged). Those modules are not
// imported: built without a tag of theirs they load a system library when the program starts. Here wazero runs
// the same code, and nothing else can: a module's memory is bounded by what Header announced, its running time by a
// count of loop iterations, its world is empty (no files, no clock, no output).
//
// Compiling a module takes a second or two of CPU; that is paid by the first picture of its format.
//
// # Upright
//
// The container's own turn (irot) and mirror (imir) are part of its format and always applied, EXIF never:
// applying both would turn a picture twice. libheif applies them itself; what libavif leaves to do is in Info.Turn.
package heif

import (
	"encoding/binary"
	"errors"
	"image"
	"iter"
)

// Names of the formats.
const (
	AVIF = "avif"
	HEIC = "heic"
)

var (
	errCut    = errors.New("cut short")
	errNoItem = errors.New("no primary picture")
)

// Sniff names the format by the brands of the file; empty when it is neither.
func Sniff(b []byte) string {
	for kind, data := range boxes(b) {
		if kind != "ftyp" {
			return ""
		}
		format := ""
		for i := 0; i+4 <= len(data); i += 4 {
			if i == 4 {
				continue // a version stands between the main brand and the others
			}
			switch string(data[i : i+4]) {
			case "avif", "avis":
				return AVIF
			case "heic", "heix", "heim", "heis", "hevc", "hevx":
				format = HEIC
			}
		}
		return format
	}
	return ""
}

// Info is what the boxes say about the primary picture.
type Info struct {
	Format        string
	Width, Height int             // of what Decode returns
	Turn          int             // EXIF's number for what is left to do to it, 1 to 8
	coded         image.Point     // before anything is applied
	crop          image.Rectangle // of the coded picture
	deep          bool            // more than 8 bits a sample
	body          int
}

// Parse reads the boxes. It allocates nothing and follows no references but those from the primary picture to its
// properties.
func Parse(b []byte, format string) (Info, error) {
	f := Info{Format: format, Turn: 1, body: len(b)}
	var meta []byte
	for kind, data := range boxes(b) {
		if kind == "meta" && len(data) > 4 {
			meta = data[4:]
			break
		}
	}
	primary, ok := uint32(0), false
	var properties, links []byte
	for kind, data := range boxes(meta) {
		switch kind {
		case "pitm":
			primary, ok = item(data)
		case "iprp":
			for kind, data := range boxes(data) {
				switch kind {
				case "ipco":
					properties = data
				case "ipma":
					links = data
				}
			}
		}
	}
	if !ok || properties == nil {
		return f, errNoItem
	}
	angle, axis := 0, -1
	var window []byte
	for index := range linked(links, primary) {
		kind, data := property(properties, index)
		switch {
		case kind == "ispe" && len(data) >= 12:
			w, h := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
			if w > 1<<20 || h > 1<<20 {
				return f, errors.New("size out of range")
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
	for kind, data := range boxes(properties) { // of all items: a picture may be made of tiles, which are items too
		f.deep = f.deep || kind == "av1C" && len(data) > 2 && data[2]&0x40 != 0 || kind == "hvcC" && len(data) > 17 && data[17]&7 != 0
	}
	f.crop = clap(window, f.coded)
	f.Width, f.Height = f.crop.Dx(), f.crop.Dy()
	// Turned anticlockwise by quarters first, then mirrored: along the vertical axis' direction for 0, the other for 1.
	turn := [4][3]int{{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}[angle][axis+1]
	if format == AVIF {
		f.Turn = turn
	} else if turn >= 5 {
		f.Width, f.Height = f.Height, f.Width
	}
	return f, nil
}

// boxes yields the boxes in b, with their content, up to the first that is broken. One that runs over the end is cut.
func boxes(b []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(b) >= 8 {
			size, head := uint64(binary.BigEndian.Uint32(b)), uint64(8)
			switch {
			case size == 0:
				size = uint64(len(b))
			case size == 1 && len(b) >= 16:
				size, head = binary.BigEndian.Uint64(b[8:]), 16
			}
			if size < head {
				return
			}
			end := min(size, uint64(len(b)))
			if !yield(string(b[4:8]), b[head:end]) {
				return
			}
			b = b[end:]
		}
	}
}

// item reads the number of the primary item.
func item(pitm []byte) (uint32, bool) {
	switch {
	case len(pitm) >= 6 && pitm[0] == 0:
		return uint32(binary.BigEndian.Uint16(pitm[4:])), true
	case len(pitm) >= 8:
		return binary.BigEndian.Uint32(pitm[4:]), true
	}
	return 0, false
}

// linked yields the indices, from 1, of an item's properties.
func linked(ipma []byte, item uint32) iter.Seq[int] {
	return func(yield func(int) bool) {
		if len(ipma) < 8 {
			return
		}
		idLen, indexLen := 2, 1
		if ipma[0] >= 1 {
			idLen = 4
		}
		if ipma[3]&1 != 0 {
			indexLen = 2
		}
		b := ipma[8:]
		for len(b) >= idLen+1 {
			id := uint32(binary.BigEndian.Uint16(b))
			if idLen == 4 {
				id = binary.BigEndian.Uint32(b)
			}
			n := int(b[idLen])
			b = b[idLen+1:]
			if len(b) < n*indexLen {
				return
			}
			for i := range n {
				index := int(b[i*indexLen] & 0x7f) // the top bit says "essential"
				if indexLen == 2 {
					index = index<<8 | int(b[i*indexLen+1])
				}
				if id == item && !yield(index) {
					return
				}
			}
			b = b[n*indexLen:]
		}
	}
}

// property is the one of that index, from 1.
func property(ipco []byte, index int) (string, []byte) {
	for kind, data := range boxes(ipco) {
		if index--; index == 0 {
			return kind, data
		}
	}
	return "", nil
}

// clap is the part of the coded picture that is to be seen: a size and the offset of its centre from the picture's,
// as fractions. One that makes no sense is passed over.
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
	if !(v[0] >= 1 && v[1] >= 1 && x >= 0 && y >= 0 && x+v[0] <= float64(coded.X) && y+v[1] <= float64(coded.Y)) {
		return whole
	}
	r := image.Rect(0, 0, int(v[0]+0.5), int(v[1]+0.5)).Add(image.Pt(int(x), int(y)))
	if r.Empty() || !r.In(whole) {
		return whole
	}
	return r
}
