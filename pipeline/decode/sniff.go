package decode

import (
	"encoding/binary"

	"facescan/pipeline/decode/heif"
)

// sniff names the format that the content begins with; empty when it is none of ours.
func sniff(b []byte) string {
	switch {
	case has(b, 0, "\xff\xd8\xff"):
		return JPEG
	case has(b, 0, "\x89PNG\r\n\x1a\n"):
		return PNG
	case has(b, 0, "GIF87a"), has(b, 0, "GIF89a"):
		return GIF
	case has(b, 0, "RIFF") && has(b, 8, "WEBP"):
		return WebP
	case has(b, 0, "II*\x00"), has(b, 0, "MM\x00*"):
		return TIFF
	case has(b, 0, "BM") && len(b) >= 18:
		// Two letters are little to go by: the length of the header that follows must be one of those in use.
		switch binary.LittleEndian.Uint32(b[14:]) {
		case 12, 40, 52, 56, 64, 108, 124:
			return BMP
		}
	}
	return heif.Sniff(b)
}

// has tells whether s stands at offset at.
func has(b []byte, at int, s string) bool {
	return len(b) >= at+len(s) && string(b[at:at+len(s)]) == s
}
