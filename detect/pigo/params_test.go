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
