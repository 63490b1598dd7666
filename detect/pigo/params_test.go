package pigo

import (
	"fmt"
	"image"
	"testing"
)

// TestPasses writes searches as from-to, /n for a turn by n steps.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		max    int
		angles []float64
		scale  float64
		want   string
	}{
		{max: 0, scale: 1, want: "20-300"},
		{max: 50, scale: 1, want: "20-50"},
		{max: 0, scale: 2, want: "10-300"},
		{max: 43, scale: 2, want: "10-22"},
		{max: 0, angles: []float64{22.5}, scale: 1, want: "20-300, 20-300/2"},
		{max: 0, angles: []float64{22.5, 360, 22.5, -22.5}, scale: 1, want: "20-300, 20-300/2, 20-300/30"},
	} {
		p := Params{MinFace: 20, MaxFace: c.max, Shift: 0.1, Scale: 1.1, IoU: 0.2, Angles: c.angles}
		got := ""
		for i, s := range p.passes(image.Pt(400, 300), c.scale) {
			got += map[bool]string{true: ", "}[i > 0] + fmt.Sprintf("%d-%d", s.MinSize, s.MaxSize)
			if s.Turn != 0 {
				got += fmt.Sprintf("/%v", 32*s.Turn)
			}
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestGridsAtTheEdge: windows of a size lie in an image that is two pixels larger, and in no smaller one.
func TestGridsAtTheEdge(t *testing.T) {
	p := Pass{MinSize: 20, MaxSize: 21, Shift: 0.1, Scale: 1.1}
	for _, c := range []struct{ width, height, sizes, rows, cols int }{
		{22, 22, 1, 1, 1}, {21, 40, 0, 0, 0}, {40, 21, 0, 0, 0}, {22, 40, 1, 10, 1}, {40, 22, 1, 1, 10},
		{23, 24, 1, 2, 1}, {24, 23, 1, 1, 2},
	} {
		grids := p.Grids(nil, c.width, c.height)
		if len(grids) != c.sizes || c.sizes > 0 && (grids[0].Rows != c.rows || grids[0].Cols != c.cols ||
			grids[0].Row != 11 || grids[0].Col != 11 || grids[0].Size != 20 || grids[0].Step != 2) {
			t.Errorf("%dx%d: %+v, want %+v", c.width, c.height, grids, c)
		}
	}
}
