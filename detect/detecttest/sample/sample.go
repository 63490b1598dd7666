// Package sample loads the photo with faces that the tests of every detector use. It imports none of the
// detectors, so that the tests inside their packages can use it.
package sample

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"
)

// JPEG is the photo's file, detect/testdata/faces.jpg, looked for from the test's folder upwards.
func JPEG(t testing.TB) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		file, err := os.ReadFile(filepath.Join(dir, "detect", "testdata", "faces.jpg"))
		if err == nil {
			return file
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("detect/testdata/faces.jpg is not above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}

// Picture is the photo, decoded.
func Picture(t testing.TB) image.Image {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(JPEG(t)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Photo is the photo's luma, scaled to a width.
func Photo(t testing.TB, width int) *image.Gray {
	t.Helper()
	img := Picture(t)
	size := img.Bounds().Size()
	out := image.NewGray(image.Rect(0, 0, width, width*size.Y/size.X))
	draw.BiLinear.Scale(out, out.Bounds(), img, img.Bounds(), draw.Src, nil)
	return out
}
