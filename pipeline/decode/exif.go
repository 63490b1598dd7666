package decode

import "encoding/binary"

const (
	tagWidth       = 0x100
	tagHeight      = 0x101
	tagStripRows   = 0x116
	tagTileWidth   = 0x142
	tagTileHeight  = 0x143
	tagOrientation = 0x112
	maxDirEntries  = 512
	dirEntryLen    = 12
	typeByte       = 1
	typeShort      = 3
	typeLong       = 4
	exifPrefix     = "Exif\x00\x00"
)

// directory is the first image directory of a TIFF structure, such as EXIF data (TIFF 6.0, section 2). Only
// the directory's own offset and those of its values are followed, so there can be no loops.
type directory struct {
	file    []byte
	entries []byte // 12 bytes each
	order   binary.ByteOrder
}

// readDirectory finds the first directory; ok is false if there is none. A cut directory keeps its whole
// entries.
func readDirectory(b []byte) (d directory, ok bool) {
	switch {
	case has(b, 0, "II*\x00"):
		d.order = binary.LittleEndian
	case has(b, 0, "MM\x00*"):
		d.order = binary.BigEndian
	default:
		return d, false
	}
	if len(b) < 8 {
		return d, false
	}
	at := int64(d.order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return d, false
	}
	n := min(int(d.order.Uint16(b[at:])), maxDirEntries, (len(b)-int(at)-2)/dirEntryLen)
	d.file, d.entries = b, b[at+2:][:n*dirEntryLen]
	return d, true
}

// find locates the values of an entry of type BYTE, SHORT or LONG, as far as the file goes: count values of
// size bytes each. An entry that is missing, or of another type, has count 0.
func (d directory) find(tag uint16) (data []byte, size, count int) {
	for e := d.entries; len(e) >= dirEntryLen; e = e[dirEntryLen:] {
		if d.order.Uint16(e) != tag {
			continue
		}
		switch d.order.Uint16(e[2:]) {
		case typeByte:
			size = 1
		case typeShort:
			size = 2
		case typeLong:
			size = 4
		default:
			return nil, 0, 0
		}
		n := int64(d.order.Uint32(e[4:]))
		data = e[8:dirEntryLen]
		if n*int64(size) > int64(len(data)) { // they are elsewhere in the file
			data = d.file[min(int64(d.order.Uint32(data)), int64(len(d.file))):]
		}
		return data, size, int(min(n, int64(len(data)/size)))
	}
	return nil, 0, 0
}

func (d directory) number(data []byte, size int) uint32 {
	switch size {
	case 1:
		return uint32(data[0])
	case 2:
		return uint32(d.order.Uint16(data))
	}
	return d.order.Uint32(data)
}

// value is the first value of an entry; ok is false when there is none.
func (d directory) value(tag uint16) (v uint32, ok bool) {
	data, size, count := d.find(tag)
	if count == 0 {
		return 0, false
	}
	return d.number(data, size), true
}

// values are the first values of an entry, at most 16.
func (d directory) values(tag uint16) (out []uint32) {
	data, size, count := d.find(tag)
	for i := range min(count, 16) {
		out = append(out, d.number(data[i*size:], size))
	}
	return out
}

// sorted reports whether the entries are in the order of their tags.
func (d directory) sorted() bool {
	for e := d.entries; len(e) >= 2*dirEntryLen; e = e[dirEntryLen:] {
		if d.order.Uint16(e) >= d.order.Uint16(e[dirEntryLen:]) {
			return false
		}
	}
	return true
}

// orientation of EXIF data, with or without the prefix that JPEG puts before it; 0 if it has none.
func orientation(exif []byte) int {
	if has(exif, 0, exifPrefix) {
		exif = exif[len(exifPrefix):]
	}
	d, ok := readDirectory(exif)
	if !ok {
		return 0
	}
	if v, ok := d.value(tagOrientation); ok && v >= 1 && v <= 8 {
		return int(v)
	}
	return 0
}
