package detect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"facescan/detect/pigo"
)

// Own, as Params.IoU or Params.MinScore, is the detector's own default.
const Own = -1

// Params name the detector, how it searches, and what counts as a face.
type Params struct {
	Detector string  // a kind's name; empty for a foreign model, served by a sidecar
	MinFace  int     // side of the smallest face, in pixels of the full upright image
	MaxFace  int     // side of the largest face, likewise; 0 = no limit
	IoU      float64 // boxes, or windows, that overlap a better one by more are the same face; Own
	MinScore float64 // least score of a face; Own

	// Of the cascade alone.
	Shift float64 // step of a window, as a fraction of its side
	Scale float64 // how much larger the windows of the next size are
	// Angles are degrees by which faces may be tilted, searched besides upright ones; rounded to steps of
	// 11.25
	Angles []float64
}

// Defaults are the defaults of the flags of a detector.
func Defaults(detector string) Params {
	return Params{Detector: detector, MinFace: 20, IoU: Own, MinScore: Own, Shift: 0.1, Scale: 1.1}
}

// kind returns the Kind of the detector; the zero Kind if it is not built in.
func (p Params) kind() Kind {
	k, _ := KindNamed(p.Detector)
	return k
}

// Validate returns an error for parameters that cannot be searched with.
func (p Params) Validate() error {
	k := p.kind()
	if !k.Known() && p.Detector != "" {
		return fmt.Errorf("--detector %q: it is one of %s", p.Detector, strings.Join(Names(), ", "))
	}
	bad := func(flag string, got any, why, what string) error {
		return fmt.Errorf("--%s %v: %s; %s", flag, got, why, what)
	}
	var errs []error
	if p.MinFace < 8 || p.MinFace > 1<<15 {
		errs = append(errs, bad("min-face", p.MinFace,
			"a face needs at least 8 pixels to be told from a texture, and no image is larger than 32768",
			"give a side in pixels, such as 20"))
	}
	if p.MaxFace != 0 && p.MaxFace < p.MinFace {
		errs = append(errs, bad("max-face", p.MaxFace,
			fmt.Sprintf("it is below --min-face %d, so no face has a size", p.MinFace),
			"give a larger one, or 0 for no limit"))
	}
	if p.IoU != Own && !(p.IoU >= 0 && p.IoU <= 1) {
		errs = append(errs, bad("iou", p.IoU, "intersection over union lies between 0 and 1",
			fmt.Sprintf("give %v", p.defaultIoU())))
	}
	if err := k.CheckScore(p.MinScore); p.MinScore != Own && err != nil {
		hint := ""
		if p.MinScore > 1 && k.MaxScore == 1 {
			hint = "; for the scale of another detector choose that, e.g. --detector " + Pigo
		}
		errs = append(errs, fmt.Errorf("--min-score %v: %w%s", p.MinScore, err, hint))
	}
	if k.Known() && p.Detector != Pigo {
		return errors.Join(errs...)
	}
	if !(p.Shift >= 0.01 && p.Shift <= 1) {
		errs = append(errs, bad("shift", p.Shift, "windows move by a part of their side between 0.01 and 1",
			"give 0.1, or up to 0.3 to be faster and miss more"))
	}
	if !(p.Scale >= 1.01 && p.Scale <= 4) {
		errs = append(errs, bad("scale", p.Scale, "windows grow by a factor between 1.01 and 4",
			"give 1.1, or up to 1.3 to be faster and miss more"))
	}
	for _, a := range p.Angles {
		if !(a > -360 && a < 360) {
			errs = append(errs, bad("angles", a, "angles are degrees between -360 and 360",
				"give some such as 22.5,-22.5"))
		}
	}
	return errors.Join(errs...)
}

// maxScore is the greatest threshold that is accepted where scores have no upper limit.
const maxScore = 1e6

// CheckScore returns an error for a threshold outside the detector's scores.
func (k Kind) CheckScore(score float64) error {
	most := float64(maxScore)
	if k.Known() {
		most = min(k.MaxScore, maxScore)
	}
	if score >= 0 && score <= most {
		return nil
	}
	if most > 1 {
		return errors.New("scores are positive numbers; give 0 to keep whatever looks a little like a face, " +
			"or leave it out for the measured best")
	}
	return fmt.Errorf("scores of %s lie between 0 and %v; its default is %v", k.Name, k.MaxScore, k.MinScore)
}

// String is short, stable, and differs where answers differ.
func (p Params) String() string {
	var b strings.Builder
	num := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	fmt.Fprintf(&b, "min=%d", p.MinFace)
	if p.MaxFace != 0 {
		fmt.Fprintf(&b, " max=%d", p.MaxFace)
	}
	if p.Detector == Pigo {
		fmt.Fprintf(&b, " shift=%s scale=%s", num(p.Shift), num(p.Scale))
	}
	fmt.Fprintf(&b, " iou=%s score=%s", num(p.Overlap()), num(p.Threshold()))
	if p.Detector == Pigo {
		for i, t := range p.pigo().Turns()[1:] {
			b.WriteString(map[bool]string{true: " angles=", false: ","}[i == 0] + num(t*360))
		}
	}
	return b.String()
}

// Threshold is the least score of a face, Own resolved.
func (p Params) Threshold() float64 {
	if p.MinScore == Own {
		return p.kind().MinScore
	}
	return p.MinScore
}

// Overlap is IoU, Own resolved.
func (p Params) Overlap() float64 {
	if p.IoU == Own {
		return p.defaultIoU()
	}
	return p.IoU
}

// foreignIoU is the default for a foreign model that has the parameter.
const foreignIoU = 0.2

func (p Params) defaultIoU() float64 {
	if k := p.kind(); k.Known() {
		return k.IoU
	}
	return foreignIoU
}

// pigo returns the parameters of the cascade.
func (p Params) pigo() pigo.Params {
	return pigo.Params{MinFace: p.MinFace, MaxFace: p.MaxFace, Shift: p.Shift, Scale: p.Scale,
		IoU: p.Overlap(), Angles: p.Angles}
}
