package decode_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"

	"facescan/pipeline/decode"
)

// A decoder turns a file into upright luma. It is kept for the next file, for its memory.
func ExampleDecoder_Decode() {
	picture := image.NewGray(image.Rect(0, 0, 320, 200))
	picture.SetGray(10, 20, color.Gray{Y: 200})
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		fmt.Println(err)
		return
	}

	d := decode.New(decode.Options{})
	defer d.Close()
	img, err := d.Decode(file.Bytes())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(img.Format, img.Width, img.Height, img.Luma.GrayAt(10, 20).Y)

	_, err = d.Decode([]byte("<!doctype html>"))
	fmt.Println(err)
	// Output:
	// png 320 200 200
	// not an image
}

// Probe reads the header alone: what an image will take is known before its pixels are allocated.
func ExampleProbe() {
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 1000, 800))); err != nil {
		fmt.Println(err)
		return
	}
	f, err := decode.Probe(file.Bytes(), decode.Options{MaxPixels: 500_000})
	fmt.Println(f.Width, f.Height, err)
	// Output:
	// 1000 800 too many pixels: 1000x800
}
