package detect

import (
	"context"
	"fmt"
	"image"

	"facescan/detect/cascade"

	pigo "github.com/esimov/pigo/core"
)

// NewPigo is the reference: pigo itself evaluates the cascade. Slow, and what every other engine is held to.
func NewPigo(p Params) (Detector, error) {
	classifier, err := pigo.NewPigo().Unpack(Facefinder)
	if err != nil {
		return nil, fmt.Errorf("embedded cascade: %w", err)
	}
	return NewWith(p, pigoEngine{classifier})
}

type pigoEngine struct{ classifier *pigo.Pigo }

func (e pigoEngine) Run(ctx context.Context, searches []Search) error {
	for i := range searches {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &searches[i]
		luma := s.Luma
		if s.Turn != 0 {
			luma = square(luma)
		}
		size := luma.Bounds().Size()
		found := e.classifier.RunCascade(pigo.CascadeParams{
			MinSize: s.MinSize, MaxSize: s.MaxSize, ShiftFactor: s.Shift, ScaleFactor: s.Params.Scale,
			ImageParams: pigo.ImageParams{Pixels: luma.Pix, Rows: size.Y, Cols: size.X, Dim: luma.Stride},
		}, s.Turn)
		within := s.Luma.Bounds().Size()
		for _, d := range found {
			if margin := d.Scale/2 + 1; d.Row+margin <= within.Y && d.Col+margin <= within.X {
				s.Found = append(s.Found, cascade.Window{Row: d.Row, Col: d.Col, Size: d.Scale, Score: d.Q})
			}
		}
	}
	return nil
}

// square continues an image by its last row and column until it is a square. pigo clamps the columns of turned
// windows by the number of rows, which is only right for squares: elsewhere it reads pixels of other rows, or none.
func square(img *image.Gray) *image.Gray {
	size := img.Bounds().Size()
	side := max(size.X, size.Y)
	if size.X == size.Y || size.X == 0 || size.Y == 0 {
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

func (e pigoEngine) Close() error { return nil }
