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
	typeShort      = 3
	typeLong       = 4
	exifPrefix     = "Exif\x00\x00"
)

// directory is the first image directory of a TIFF structure, which EXIF data is too (TIFF 6.0, section 2). Its
// values are read in place; nothing is followed but the directory's own offset, so there are no loops to fall into.
type directory struct {
	entries []byte // 12 bytes each
	order   binary.ByteOrder
}

// readDirectory finds the first directory; ok is false when there is none. One that is cut keeps its whole entries.
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
	d.entries = b[at+2:][:n*dirEntryLen]
	return d, true
}

// value is the first value of an entry of type SHORT or LONG; ok is false when there is none such.
func (d directory) value(tag uint16) (v uint32, ok bool) {
	for e := d.entries; len(e) >= dirEntryLen; e = e[dirEntryLen:] {
		if d.order.Uint16(e) != tag {
			continue
		}
		count := d.order.Uint32(e[4:])
		switch d.order.Uint16(e[2:]) {
		case typeShort:
			return uint32(d.order.Uint16(e[8:])), count >= 1
		case typeLong:
			return d.order.Uint32(e[8:]), count >= 1
		}
		return 0, false
	}
	return 0, false
}

// orientation of EXIF data, with or without the prefix that JPEG puts before it; 0 when it says none.
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
