package decode

import (
	"bytes"
	"encoding/binary"

	"facescan/pipeline/decode/heif"
)

// foreign are the first bytes of image formats that are known but not decoded here.
var foreign = []struct{ name, magic string }{
	{"JPEG XL", "\xff\x0a"},
	{"JPEG XL", "\x00\x00\x00\x0cJXL \r\n\x87\n"},
	{"JPEG 2000", "\x00\x00\x00\x0cjP  \r\n\x87\n"},
	{"JPEG 2000", "\xff\x4f\xff\x51"},
	{"JPEG XR", "II\xbc"},
	{"PSD", "8BPS\x00\x01"},
	{"PSB", "8BPS\x00\x02"},
	{"OpenEXR", "v/1\x01"},
	{"Radiance HDR", "#?RADIANCE\n"},
	{"QOI", "qoif"},
	{"DDS", "DDS \x7c\x00\x00\x00"},
	{"MNG", "\x8aMNG\r\n\x1a\n"},
	{"JNG", "\x8bJNG\r\n\x1a\n"},
	{"XCF", "gimp xcf "},
	{"BPG", "BPG\xfb"},
}

// sniff is the format that the content begins with; nil if it is not decoded here.
func sniff(b []byte) *format {
	for i := range formats {
		if formats[i].sniff(b) {
			return &formats[i]
		}
	}
	return nil
}

// sniffOther names an image format that is known but not decoded here; empty if the content is not an image.
func sniffOther(b []byte) string {
	switch {
	case has(b, 20, "mjp2"): // a video in the container of JPEG 2000
		return ""
	case isIcon(b):
		return "icon"
	}
	for _, f := range foreign {
		if has(b, 0, f.magic) {
			return f.name
		}
	}
	if _, other := heif.Sniff(b); other != "" {
		return other
	}
	if isSVG(b) {
		return "SVG"
	}
	return ""
}

// has reports whether b holds s at offset at.
func has(b []byte, at int, s string) bool {
	return len(b) >= at+len(s) && string(b[at:at+len(s)]) == s
}

// isIcon reports whether b begins like a Windows icon or cursor with at least one picture.
func isIcon(b []byte) bool {
	return (has(b, 0, "\x00\x00\x01\x00") || has(b, 0, "\x00\x00\x02\x00")) &&
		len(b) >= 10 && binary.LittleEndian.Uint16(b[4:]) > 0 && b[9] == 0
}

// svgProlog is how many bytes of a UTF-16 text are searched for the root element.
const svgProlog = 1 << 16

// isSVG reports whether b is an XML document whose root element is svg. A byte order mark, declarations,
// comments and a document type of that name may precede it (XML 1.0, production 22).
func isSVG(b []byte) bool {
	b = narrow(b)
	for {
		b = bytes.TrimLeft(b, " \t\r\n")
		var ok bool
		switch {
		case has(b, 0, "<?"):
			_, b, ok = bytes.Cut(b, []byte("?>"))
		case has(b, 0, "<!--"):
			_, b, ok = bytes.Cut(b, []byte("-->"))
		case has(b, 0, "<!DOCTYPE"):
			b = bytes.TrimLeft(b[len("<!DOCTYPE"):], " \t\r\n")
			if ok = named(b, "svg"); ok {
				b = afterDoctype(b)
			}
		default:
			return has(b, 0, "<") && named(b[1:], "svg")
		}
		if !ok {
			return false
		}
	}
}

// narrow converts UTF-16 text to bytes, losing what is not ASCII, and drops a byte order mark.
func narrow(b []byte) []byte {
	low := 0
	switch {
	case has(b, 0, "\xfe\xff"):
		low = 1
	case !has(b, 0, "\xff\xfe"):
		return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	}
	var out []byte
	for i := 2 + low; i < min(len(b), svgProlog); i += 2 {
		out = append(out, b[i])
	}
	return out
}

// named reports whether b begins with an XML name whose local part is the given one.
func named(b []byte, local string) bool {
	end := bytes.IndexAny(b, " \t\r\n/>[")
	if end < 0 {
		return false
	}
	name := b[:end]
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	return string(name) == local
}

// afterDoctype returns what follows a document type declaration; b begins with its name. The internal subset,
// in brackets, may hold more angle brackets.
func afterDoctype(b []byte) []byte {
	subset := false
	for i := 0; i < len(b); i++ {
		skip := ""
		switch c := b[i]; {
		case c == '"', c == '\'':
			skip = string(c)
		case has(b, i, "<!--"):
			skip = "-->"
		case c == '[':
			subset = true
		case c == ']':
			subset = false
		case c == '>' && !subset:
			return b[i+1:]
		}
		if skip != "" {
			n := bytes.Index(b[i+1:], []byte(skip))
			if n < 0 {
				return nil
			}
			i += n + len(skip)
		}
	}
	return nil
}
