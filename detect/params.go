package detect

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// OwnScore as Params.MinScore stands for the threshold that was measured to be best for the parameters.
const OwnScore = -1

// Params say how an image is searched and what counts as a face.
type Params struct {
	MinFace int     // side of the smallest window, in pixels of the full upright image
	MaxFace int     // side of the largest window, likewise; 0 = no limit
	Shift   float64 // how far a window moves, as a part of its side
	Scale   float64 // how much larger the windows of the next size are
	IoU     float64 // windows that overlap the best one by more are the same face

	MinScore float64   // least score of a face; OwnScore = what was measured to be best
	Angles   []float64 // degrees by which faces may be tilted, searched besides upright ones; rounded to steps of 11.25
	Verify   bool      // look a second time where it pays: better answers, more time
}

// DefaultParams are the defaults of the flags.
func DefaultParams() Params {
	return Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2, MinScore: OwnScore}
}

// Validate refuses parameters that no search can be made with.
func (p Params) Validate() error {
	bad := func(flag string, got any, why, what string) error {
		return fmt.Errorf("--%s %v: %s; %s", flag, got, why, what)
	}
	var errs []error
	if p.MinFace < 8 || p.MinFace > 1<<15 {
		errs = append(errs, bad("min-face", p.MinFace, "a face needs at least 8 pixels to be told from a texture, and no image is larger than 32768", "give a side in pixels, such as 20"))
	}
	if p.MaxFace != 0 && p.MaxFace < p.MinFace {
		errs = append(errs, bad("max-face", p.MaxFace, fmt.Sprintf("it is below --min-face %d, so no face has a size", p.MinFace), "give a larger one, or 0 for no limit"))
	}
	if !(p.Shift >= 0.01 && p.Shift <= 1) {
		errs = append(errs, bad("shift", p.Shift, "windows move by a part of their side between 0.01 and 1", "give 0.1, or up to 0.3 to be faster and miss more"))
	}
	if !(p.Scale >= 1.01 && p.Scale <= 4) {
		errs = append(errs, bad("scale", p.Scale, "windows grow by a factor between 1.01 and 4", "give 1.1, or up to 1.3 to be faster and miss more"))
	}
	if !(p.IoU >= 0 && p.IoU <= 1) {
		errs = append(errs, bad("iou", p.IoU, "intersection over union lies between 0 and 1", "give 0.2"))
	}
	if p.MinScore != OwnScore && !(p.MinScore >= 0 && p.MinScore <= 1e6) {
		errs = append(errs, bad("min-score", p.MinScore, "scores are positive numbers", "give 0 to keep whatever looks a little like a face, or leave it out for the measured best"))
	}
	for _, a := range p.Angles {
		if !(a > -360 && a < 360) {
			errs = append(errs, bad("angles", a, "angles are degrees between -360 and 360", "give some such as 22.5,-22.5"))
		}
	}
	return errors.Join(errs...)
}

// String is short, stable, and differs where answers differ.
func (p Params) String() string {
	var b strings.Builder
	num := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	fmt.Fprintf(&b, "min=%d", p.MinFace)
	if p.MaxFace != 0 {
		fmt.Fprintf(&b, " max=%d", p.MaxFace)
	}
	fmt.Fprintf(&b, " shift=%s scale=%s iou=%s score=%s", num(p.Shift), num(p.Scale), num(p.IoU), num(p.Threshold()))
	for i, t := range p.turns()[1:] {
		b.WriteString(map[bool]string{true: " angles=", false: ","}[i == 0] + num(t*360))
	}
	if p.Verify {
		b.WriteString(" verify")
	}
	return b.String()
}

// Threshold is the least score of a face, OwnScore resolved.
func (p Params) Threshold() float64 {
	if p.MinScore == OwnScore {
		return ownScore
	}
	return p.MinScore
}

// turns are the passes over an image: upright first, then each angle once, in parts of a turn. The cascade is turned in steps
// of 1/32, as pigo does.
func (p Params) turns() []float64 {
	turns := []float64{0}
	for _, degrees := range p.Angles {
		step := (int(math.Round(degrees*32/360))%32 + 32) % 32
		if t := float64(step) / 32; !slices.Contains(turns, t) {
			turns = append(turns, t)
		}
	}
	return turns
}
