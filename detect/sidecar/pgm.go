package sidecar

import (
	"errors"
	"fmt"
	"image"
)

// isPGM reports whether a file is a binary PGM, by its first bytes.
func isPGM(b []byte) bool { return len(b) > 2 && b[0] == 'P' && b[1] == '5' && isSpace(b[2]) }

// appendPGM appends luma as a binary PGM of 8 bits.
func appendPGM(b []byte, luma *image.Gray) []byte {
	size := luma.Bounds().Size()
	b = fmt.Appendf(b, "P5\n%d %d\n255\n", size.X, size.Y)
	if luma.Stride == size.X {
		return append(b, luma.Pix[:size.X*size.Y]...)
	}
	for y := range size.Y {
		b = append(b, luma.Pix[y*luma.Stride:][:size.X]...)
	}
	return b
}

var errPGM = errors.New("not a binary PGM of 8 bits")

// sizePGM reads the header and returns the bytes after it.
func sizePGM(b []byte) (width, height int, pix []byte, err error) {
	if !isPGM(b) {
		return 0, 0, nil, errPGM
	}
	b = b[2:]
	var numbers [3]int // width, height, and the value of white
	for i := range numbers {
		for len(b) > 0 && (isSpace(b[0]) || b[0] == '#') {
			if b[0] == '#' {
				for len(b) > 0 && b[0] != '\n' && b[0] != '\r' {
					b = b[1:]
				}
				continue
			}
			b = b[1:]
		}
		digits := 0
		for ; len(b) > 0 && b[0] >= '0' && b[0] <= '9'; b = b[1:] {
			if digits++; digits > 9 {
				return 0, 0, nil, errPGM
			}
			numbers[i] = 10*numbers[i] + int(b[0]-'0')
		}
		if digits == 0 || len(b) == 0 || !isSpace(b[0]) {
			return 0, 0, nil, errPGM
		}
	}
	if numbers[0] < 1 || numbers[1] < 1 || numbers[2] != 255 {
		return 0, 0, nil, errPGM
	}
	return numbers[0], numbers[1], b[1:], nil
}

// parsePGM returns the picture of a file; it shares the file's bytes.
func parsePGM(b []byte) (*image.Gray, error) {
	w, h, pix, err := sizePGM(b)
	if err != nil {
		return nil, err
	}
	if int64(w)*int64(h) != int64(len(pix)) {
		return nil, fmt.Errorf("%w: %d bytes for %dx%d pixels", errPGM, len(pix), w, h)
	}
	return &image.Gray{Pix: pix, Stride: w, Rect: image.Rect(0, 0, w, h)}, nil
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
