//go:build !race

// The race detector takes several times the memory that is measured here.

package heif_test

import (
	"image"
	"testing"

	"facescan/pipeline/decode"
	"facescan/pipeline/decode/heif"
	"facescan/pipeline/decode/peaktest"
)

func TestMain(m *testing.M) {
	peaktest.Main(m, func(body []byte) (int64, error) {
		f, err := decode.Probe(body, decode.Options{})
		if err != nil {
			return 0, err
		}
		d := decode.New(decode.Options{})
		_, err = d.DecodeFile(f)
		return f.Memory, err
	})
}

// What a picture takes at its peak is announced: for the first of its format that includes compiling the
// decoder.
func TestPeak(t *testing.T) {
	const noise = 8 << 20
	small := photo(64, 64)
	for name, body := range map[string][]byte{
		"avif of 3 megapixels": avif(t, image.NewGray(image.Rect(0, 0, 2000, 1500))),
		"transparent heic":     heicAlpha(small, small, "urn:mpeg:hevc:2015:auxid:1", false),
	} {
		took, announced := peaktest.Of(t, body)
		if took > announced+noise {
			t.Errorf("%s: took %d bytes, and announced %d", name, took, announced)
		}
		f, err := decode.Probe(body, decode.Options{}) // here, where coding has compiled one of the decoders
		must(t, err)
		compiling := map[string]int64{heif.AVIF: 112 << 20, heif.HEIC: 80 << 20}[f.Format]
		if f.Format == heif.HEIC {
			mustDecode(t, body)
			f, err = decode.Probe(body, decode.Options{})
			must(t, err)
		}
		if announced-f.Memory != compiling {
			t.Errorf("%s: compiling the decoder takes %d bytes, want %d", name, announced-f.Memory, compiling)
		}
		t.Logf("%s: took %d MB of %d MB", name, took>>20, announced>>20)
	}
	// This process has compiled a decoder when it has coded a picture.
	f, err := decode.Probe(avif(t, small), decode.Options{})
	if err != nil || f.Memory > 32<<20 {
		t.Errorf("a small picture, not the first: %d bytes, %v", f.Memory, err)
	}
}
