package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
)

// Images that are known but not decoded are distinguished from damage, by their first bytes; the rest may be
// anything.
func TestUnsupported(t *testing.T) {
	m := photo(20, 10)
	body := encode(t, JPEG, m)
	frame := bytes.Index(body, []byte{0xff, 0xc0})
	marked := func(marker byte) string {
		b := bytes.Clone(body)
		b[frame+1] = marker
		return string(b)
	}
	twelve := bytes.Clone(body)
	twelve[frame+4] = 12
	for name, c := range map[string]struct{ body, format string }{
		"lossless JPEG":            {marked(0xc3), JPEG},
		"hierarchical JPEG":        {marked(0xc5), JPEG},
		"arithmetic JPEG":          {marked(0xc9), JPEG},
		"progressive arithmetic":   {marked(0xca), JPEG},
		"lossless arithmetic":      {marked(0xcb), JPEG},
		"JPEG-LS":                  {marked(0xf7), JPEG},
		"a frame and nothing else": {"\xff\xd8\xff\xc3", JPEG},
		"12 bits a sample":         {string(twelve), JPEG},
		"JPEG XL":                  {"\xff\x0a\xfa\x1f", ""},
		"JPEG XL in boxes":         {"\x00\x00\x00\x0cJXL \r\n\x87\n\x00\x00\x00\x14ftypjxl ", ""},
		"JPEG 2000":                {"\x00\x00\x00\x0cjP  \r\n\x87\n\x00\x00\x00\x14ftypjp2 ", ""},
		"JPEG 2000 without boxes":  {"\xff\x4f\xff\x51\x00\x2f", ""},
		"Photoshop":                {"8BPS\x00\x01\x00\x00", ""},
		"large Photoshop":          {"8BPS\x00\x02\x00\x00", ""},
		"icon": {"\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00\x01\x00\x20\x00\x68\x04\x00\x00\x16" +
			"\x00\x00\x00", ""},
		"cursor": {"\x00\x00\x02\x00\x01\x00\x20\x20\x00\x00\x05\x00\x05\x00\x68\x04\x00\x00\x16" +
			"\x00\x00\x00", ""},
		"BigTIFF":                   {"II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00", TIFF},
		"BigTIFF, high bytes first": {"MM\x00+\x00\x08\x00\x00", TIFF},
		"OpenEXR":                   {"v/1\x01\x02\x00\x00\x00", ""},
		"HEIF of JPEG": {"\x00\x00\x00\x10ftypmif1\x00\x00\x00\x00\x00\x00\x00\x2dmeta\x00\x00\x00\x00" +
			"\x00\x00\x00\x0epitm\x00\x00\x00\x00\x00\x01\x00\x00\x00\x23iinf\x00\x00\x00\x00\x00\x01" +
			"\x00\x00\x00\x15infe\x02\x00\x00\x00\x00\x01\x00\x00jpeg\x00", ""},
	} {
		h, err := Probe([]byte(c.body), Options{})
		if !errors.Is(err, ErrUnsupported) || h.Format != c.format {
			t.Errorf("%s: %+v, %v", name, h.Header, err)
		}
		if _, err := decoded(t, []byte(c.body), Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s, decoded: %v", name, err)
		}
		if _, err := inColor([]byte(c.body), Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s, in colour: %v", name, err)
		}
	}
	lossless := insert([]byte(marked(0xc3)), 2,
		segment(markerAPP1, append([]byte(exifPrefix), exif(6, binary.BigEndian)...)))
	if h, _ := Probe(lossless, Options{}); h.Width != 10 || h.Height != 20 {
		t.Errorf("the size of a lossless JPEG that is turned: %+v", h.Header)
	}
}

func TestSVG(t *testing.T) {
	root := `<svg xmlns="http://www.w3.org/2000/svg">`
	for name, text := range map[string]string{
		"root": root, "empty": "<svg/>", "prefixed": "<svg:svg xmlns:svg='x'>", "mark": "\xef\xbb\xbf" + root,
		"declaration": `<?xml version="1.0" encoding="UTF-8" standalone="no"?>` + "\r\n" + root,
		"comments":    "\n<!-- made by > a program --><!--<html>-->\n" + root,
		"doctype": `<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" ` +
			`"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">` + root,
		"empty names": `<!DOCTYPE svg PUBLIC "" ''>` + root,
		"entities":    `<!DOCTYPE svg [ <!ENTITY a "]>'"> <!-- it's --> <!ENTITY b 'x'> ]>` + root,
		"style sheet": `<?xml version="1.0"?><?xml-stylesheet href="a.css"?>` + root,
	} {
		if !isSVG([]byte(text)) {
			t.Errorf("%s: is an SVG", name)
		}
		if !strings.HasPrefix(text, "\xef") {
			low, high := []byte("\xff\xfe"), []byte("\xfe\xff")
			for _, u := range utf16.Encode([]rune(text)) {
				low, high = binary.LittleEndian.AppendUint16(low, u), binary.BigEndian.AppendUint16(high, u)
			}
			if !isSVG(low) || !isSVG(high) {
				t.Errorf("%s: is an SVG in UTF-16", name)
			}
		}
		for i := range strings.Index(text, "svg") { // cut before the name of anything
			if isSVG([]byte(text[:i])) {
				t.Errorf("%s: %q is no SVG", name, text[:i])
			}
		}
	}
	for _, text := range []string{`<!DOCTYPE svg "a>` + root, `<!DOCTYPE svg [ <!-- >` + root, "<svgs/>",
		"svg",
		"<!DOCTYPE html>" + root, "<?xml" + root, "<!--" + root, "text" + root, "<html>" + root} {
		if isSVG([]byte(text)) {
			t.Errorf("%q is an SVG", text)
		}
	}
	const icon = "\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00"
	for text, want := range map[string]string{icon: "unsupported: icon", icon[:9]: "not an image",
		icon[:4] + "\x00" + icon[5:]: "not an image", icon[:9] + "\x01": "not an image"} {
		if _, got := probed([]byte(text), Options{}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if h, err := Probe([]byte(root), Options{}); !errors.Is(err, ErrUnsupported) || h.Format != "" {
		t.Errorf("%+v, %v", h.Header, err)
	}
}
