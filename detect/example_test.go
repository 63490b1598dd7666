package detect_test

import (
	"context"
	"fmt"
	"os"

	"facescan/detect"
	"facescan/pipeline/decode"
)

// A detector takes luma and answers in its pixels; Place converts a face into the box that is stored.
func Example() {
	file, err := os.ReadFile("testdata/faces.jpg")
	if err != nil {
		fmt.Println(err)
		return
	}
	decoder := decode.New(decode.Options{MinFace: 20})
	defer decoder.Close()
	img, err := decoder.Decode(file)
	if err != nil {
		fmt.Println(err)
		return
	}

	d, err := detect.New(detect.Defaults(detect.Yunet))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	answers, err := d.Detect(context.Background(), []detect.Image{{Luma: img.Luma, Scale: img.Scale}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range answers[0].Faces {
		x, y, width, height, _ := detect.Place(f, img.Scale, img.Width, img.Height)
		fmt.Println(x, y, width, height)
	}
	// Output:
	// 65 77 190 267
}
