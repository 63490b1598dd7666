package pigo

import (
	"context"
	"fmt"
	"image"
	"slices"

	esimov "github.com/esimov/pigo/core"
)

// NewOracle makes the reference engine: pigo itself evaluates the cascade. It is slow, and every other engine
// is compared with it. The cascade must be valid, since pigo does not check it.
func NewOracle(packet []byte) (Engine, error) {
	classifier, err := esimov.NewPigo().Unpack(packet)
	if err != nil {
		return nil, fmt.Errorf("cascade: %w", err)
	}
	return oracle{classifier}, nil
}

type oracle struct{ classifier *esimov.Pigo }

func (o oracle) Run(ctx context.Context, searches []Search) error {
	for i := range searches {
		if err := ctx.Err(); err != nil {
			return err
		}
		o.search(&searches[i])
	}
	return ctx.Err()
}

func (o oracle) search(s *Search) {
	luma, size := s.Luma, s.Luma.Bounds().Size()
	if size.X == 0 || size.Y == 0 {
		return
	}
	if s.Mirror {
		luma = mirrored(luma)
	}
	if s.Turn != 0 {
		luma = square(luma)
	}
	found := o.classifier.RunCascade(esimov.CascadeParams{
		MinSize: s.MinSize, MaxSize: s.MaxSize, ShiftFactor: s.Shift, ScaleFactor: s.Scale,
		ImageParams: esimov.ImageParams{Pixels: luma.Pix, Rows: luma.Bounds().Dy(), Cols: luma.Bounds().Dx(),
			Dim: luma.Stride},
	}, s.Turn)
	for _, d := range found {
		if margin := d.Scale/2 + 1; d.Row+margin > size.Y || d.Col+margin > size.X {
			continue // in the part that was added to make a square
		}
		if s.Mirror {
			d.Col = size.X - 1 - d.Col
		}
		s.Found = append(s.Found, Window{Row: d.Row, Col: d.Col, Size: d.Scale, Score: d.Q})
	}
}

func (o oracle) Close() error { return nil }

// mirrored is the image with left and right exchanged.
func mirrored(img *image.Gray) *image.Gray {
	size := img.Bounds().Size()
	out := image.NewGray(image.Rect(0, 0, size.X, size.Y))
	for y := range size.Y {
		row := out.Pix[y*out.Stride:][:size.X]
		copy(row, img.Pix[y*img.Stride:])
		slices.Reverse(row)
	}
	return out
}

// square extends an image to a square by repeating its last row and column. pigo clamps the columns of turned
// windows by the number of rows, which is right only for squares: otherwise it reads pixels of other rows, or
// beyond the image.
func square(img *image.Gray) *image.Gray {
	size := img.Bounds().Size()
	side := max(size.X, size.Y)
	if size.X == size.Y {
		return img
	}
	out := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		row := out.Pix[y*side:][:side]
		n := copy(row, img.Pix[min(y, size.Y-1)*img.Stride:][:size.X])
		for x := n; x < side; x++ {
			row[x] = row[n-1]
		}
	}
	return out
}
