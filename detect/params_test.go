package detect

import (
	"fmt"
	"image"
	"testing"
)

// TestPasses writes searches as from-to, m for mirrored, and what a window counts.
func TestPasses(t *testing.T) {
	for _, c := range []struct {
		max    int
		verify bool
		angles []float64
		scale  float64
		want   string
	}{
		{max: 0, scale: 1, want: "20-300 1"},
		{max: 50, scale: 1, want: "20-50 1"},
		{max: 0, scale: 2, want: "10-300 1"},
		{max: 43, verify: true, scale: 1, want: "20-43 1"},
		{max: 44, verify: true, scale: 1, want: "20-43 1, 44-44 0.5, 44-44m 0.5"},
		{max: 0, verify: true, scale: 1, want: "20-43 1, 44-300 0.5, 44-300m 0.5"},
		{max: 0, verify: true, scale: 2, want: "10-21 1, 22-300 0.5, 22-300m 0.5"},
		{max: 0, angles: []float64{22.5}, scale: 1, want: "20-300 1, 20-300/2 1"},
		{max: 0, verify: true, angles: []float64{22.5}, scale: 1, want: "20-43 1, 44-300 0.5, 44-300m 0.5, 20-43/2 1, 44-300/2 0.5, 44-300m/30 0.5"},
	} {
		p := DefaultParams()
		p.MaxFace, p.Verify, p.Angles = c.max, c.verify, c.angles
		got := ""
		for i, s := range p.passes(image.Pt(400, 300), c.scale) {
			got += map[bool]string{true: ", "}[i > 0] + fmt.Sprintf("%d-%d", s.MinSize, s.MaxSize) + map[bool]string{true: "m"}[s.Mirror]
			if s.Turn != 0 {
				got += fmt.Sprintf("/%v", 32*s.Turn)
			}
			got += fmt.Sprintf(" %v", s.weight)
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
