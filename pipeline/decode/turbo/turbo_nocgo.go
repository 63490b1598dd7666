//go:build !cgo

package turbo

import "image"

// Available reports whether the library is linked in.
const Available = false

// Decoder decodes nothing in a build without cgo.
type Decoder struct{}

// New fails with ErrUnavailable.
func New() (*Decoder, error) { return nil, ErrUnavailable }

// Close does nothing.
func (d *Decoder) Close() {}

// Decode fails with ErrUnavailable.
func (d *Decoder) Decode(body, dst []byte, width, height int, scale Scale, s Samples) error {
	return ErrUnavailable
}

func encode(*image.RGBA, int) ([]byte, error) { return nil, ErrUnavailable }

func means(w *Weights, dst, src []byte, rows int, _ []int16) { plainMeans(w, dst, src, rows) }
