// Command demo serves a few images on loopback for `make demo`, well and badly, and writes the list of their
// URLs.
//
//	demo -list urls.txt [-n 150] [-delay 60ms]
//
// It ends when its standard input does.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

func main() {
	list := flag.String("list", "urls.txt", "file to write the URLs to")
	photo := flag.String("photo", "detect/testdata/faces.jpg", "a photo with faces")
	n := flag.Int("n", 150, "number of URLs")
	delay := flag.Duration("delay", 60*time.Millisecond, "before every answer")
	flag.Parse()

	faces, err := os.ReadFile(*photo)
	if err != nil {
		log.Fatal(err)
	}
	s := fetchtest.New(map[string][]byte{"faces.jpg": faces, "hills.jpg": hills(), "stripes.png": stripes()},
		*delay)
	defer s.Close()

	var urls strings.Builder
	fmt.Fprintf(&urls, "# the list of make demo: %d rows\n", *n)
	for i := range *n {
		path := fmt.Sprintf("/i/%d/photo-%d.jpg", i, i)
		switch {
		case i%20 == 7:
			path = fmt.Sprintf("/status/404/gone-%d.jpg", i)
		case i%20 == 13:
			path = fmt.Sprintf("/flaky/1/%d/photo-%d.jpg", i, i)
		case i%30 == 11:
			path = fmt.Sprintf("/html/page-%d.jpg", i)
		}
		fmt.Fprintf(&urls, "%s%s\n", s.URL, path)
	}
	urls.WriteString("not a URL, with a comma\n")
	tmp := *list + ".tmp"
	if err := os.WriteFile(tmp, []byte(urls.String()), 0o644); err != nil {
		log.Fatal(err)
	}
	if err := os.Rename(tmp, *list); err != nil {
		log.Fatal(err)
	}
	fmt.Println(filepath.Base(*list), "serves at", s.URL)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		log.Fatal(err)
	}
}

// hills is a landscape without a face.
func hills() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 320, 240))
	for y := range 240 {
		for x := range 320 {
			c := color.RGBA{120, 170, 230, 255}
			if y > 120+(x*37/50)%60-(x/3)%30 {
				c = color.RGBA{60, uint8(100 + x%80), 50, 255}
			}
			m.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}

// stripes is a picture in another format.
func stripes() []byte {
	m := image.NewGray(image.Rect(0, 0, 200, 100))
	for i := range m.Pix {
		m.Pix[i] = uint8(i % 200)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}
