package heif

import (
	"bytes"
	"encoding/binary"
	"image"
	"iter"
	"math"
)

// brands yields the brands of a file, the major one first. The first box holds them.
func brands(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for kind, data := range boxes(b) {
			for i := 0; kind == "ftyp" && i+4 <= len(data); i += 4 {
				if i != 4 && !yield(data[i:i+4]) { // a version is between the major brand and the others
					return
				}
			}
			return
		}
	}
}

// rebrand replaces all brands by one. libheif requires its own as the major one; libavif requires the boxes
// that the brands of a picture and of a sequence announce.
func rebrand(b []byte, brand string) {
	for old := range brands(b) {
		copy(old, brand)
	}
}

// container holds the boxes of a file that matter here, as parts of its bytes.
type container struct {
	primary    []byte // pitm: the number of the primary item
	items      []byte // iinf: the kind of each item
	references []byte // iref: which item refers to which
	properties []byte // ipco: of all items
	links      []byte // ipma: which item has which
	movie      []byte // moov: the tracks
}

func read(b []byte) (c container) {
	var meta []byte
	for kind, data := range boxes(b) {
		switch {
		case kind == "meta" && len(data) > 4 && meta == nil:
			meta = data[4:]
		case kind == "moov":
			c.movie = data
		}
	}
	for kind, data := range boxes(meta) {
		switch kind {
		case "pitm":
			c.primary = data
		case "iinf":
			c.items = data
		case "iref":
			c.references = data
		case "iprp":
			for kind, data := range boxes(data) {
				switch kind {
				case "ipco":
					c.properties = data
				case "ipma":
					c.links = data
				}
			}
		}
	}
	return c
}

// number reads the number of an item, which takes 2 bytes in a box of version 0, and 4 in later ones.
func number(b []byte, version byte) (id uint32, ok bool) {
	switch {
	case version == 0 && len(b) >= 2:
		return uint32(binary.BigEndian.Uint16(b)), true
	case version > 0 && len(b) >= 4:
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}

// primaryItem is the number of the primary item.
func (c container) primaryItem() (id uint32, ok bool) {
	if len(c.primary) < 4 {
		return 0, false
	}
	return number(c.primary[4:], c.primary[0])
}

// item is an item's entry, and the four letters of its kind.
func (c container) item(id uint32) (entry []byte, kind string) {
	head := 6
	if len(c.items) > 0 && c.items[0] > 0 {
		head = 8
	}
	for _, data := range boxes(c.items[min(head, len(c.items)):]) {
		if len(data) < 4 || data[0] < 2 {
			continue
		}
		size := 2 * int(min(2, data[0]-1))
		if n, ok := number(data[4:], data[0]-2); ok && n == id && len(data) >= 4+size+2+4 {
			return data, string(data[4+size+2:][:4])
		}
	}
	return nil, ""
}

// reference is one item's to another; data holds both numbers.
type reference struct {
	kind     string
	from, to uint32
	data     []byte
}

// refer yields the first reference of each box.
func (c container) refer() iter.Seq[reference] {
	return func(yield func(reference) bool) {
		if len(c.references) < 4 {
			return
		}
		version := c.references[0]
		size := 2 + 2*int(min(1, version))
		for kind, data := range boxes(c.references[4:]) {
			if len(data) < 2*size+2 {
				continue
			}
			from, _ := number(data, version)
			to, _ := number(data[size+2:], version)
			if !yield(reference{kind, from, to, data}) {
				return
			}
		}
	}
}

// coding is the coding of the primary picture, or of its parts; empty if the boxes do not name it.
func (c container) coding() string {
	id, ok := c.primaryItem()
	if !ok {
		return ""
	}
	for range 4 {
		_, kind := c.item(id)
		switch kind {
		case "grid", "iovl", "iden", "tmap":
		default:
			return kind
		}
		part := id
		for r := range c.refer() {
			if r.kind == "dimg" && r.from == id {
				part = r.to
				break
			}
		}
		id = part
	}
	return ""
}

// alpha is the reference by which an item says that it is the opacity of the primary picture.
func (c container) alpha() (r reference, ok bool) {
	primary, _ := c.primaryItem()
	for r := range c.refer() {
		if r.kind != "auxl" || r.to != primary {
			continue
		}
		for index := range linked(c.links, r.from) {
			kind, data := property(c.properties, index)
			if kind != "auxC" || len(data) < 4 {
				continue
			}
			switch name, _, _ := bytes.Cut(data[4:], []byte{0}); string(name) {
			case "urn:mpeg:hevc:2015:auxid:1", "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha":
				return r, true
			}
		}
	}
	return reference{}, false
}

// showAlpha makes the opacity the primary picture.
func showAlpha(b []byte) bool {
	c := read(b)
	r, ok := c.alpha()
	if !ok {
		return false
	}
	entry, _ := c.item(r.from)
	if entry == nil {
		return false
	}
	entry[3] &^= 1 // clear the hidden flag
	id := c.primary[4:]
	if c.primary[0] == 0 {
		if r.from > math.MaxUint16 {
			return false
		}
		binary.BigEndian.PutUint16(id, uint16(r.from))
	} else {
		binary.BigEndian.PutUint32(id, r.from)
	}
	for i := range 2 + 2*int(min(1, c.references[0])) {
		r.data[i] = 0xff // an item that does not exist
	}
	return true
}

// track is the size of a sequence's first track of AV1 pictures, and the boxes that describe them.
func (c container) track() (size image.Point, properties []byte, ok bool) {
	for kind, trak := range boxes(c.movie) {
		if kind != "trak" {
			continue
		}
		handler := ""
		properties = nil
		for kind, data := range boxes(trak) {
			switch kind {
			case "tkhd":
				if at := len(data) - 8; at >= 76 { // the last two numbers, in 65536ths
					size.X = int(binary.BigEndian.Uint16(data[at:]))
					size.Y = int(binary.BigEndian.Uint16(data[at+4:]))
				}
			case "mdia":
				for kind, data := range boxes(data) {
					switch {
					case kind == "hdlr" && len(data) >= 12:
						handler = string(data[8:12])
					case kind == "minf":
						properties = sample(data)
					}
				}
			}
		}
		if properties != nil && (handler == "pict" || handler == "vide") {
			return size, properties, true
		}
	}
	return image.Point{}, nil, false
}

// sample returns the boxes that describe AV1 pictures in minf; nil for other codings.
func sample(minf []byte) []byte {
	for kind, stbl := range boxes(minf) {
		for inner, stsd := range boxes(stbl) {
			if kind != "stbl" || inner != "stsd" || len(stsd) < 8 {
				continue
			}
			for kind, entry := range boxes(stsd[8:]) {
				if kind == "av01" && len(entry) >= 78 {
					return entry[78:]
				}
			}
		}
	}
	return nil
}

// boxes yields the boxes in b with their content, up to the first broken one. A box that extends beyond the
// end is cut.
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

// property returns the property at an index, from 1.
func property(ipco []byte, index int) (string, []byte) {
	for kind, data := range boxes(ipco) {
		if index--; index == 0 {
			return kind, data
		}
	}
	return "", nil
}
