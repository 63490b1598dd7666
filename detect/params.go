package detect

import (
	"errors"
	"fmt"
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
	if !p.kind().Known() && p.Detector != "" {
		return fmt.Errorf("--detector %q: it is one of %s", p.Detector, strings.Join(Names(), ", "))
	}
	var errs []error
	for _, f := range flags {
		if f.Has(p.Detector) {
			errs = append(errs, f.refusal(p))
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
		return errors.New("scores are positive numbers; give 0 to keep every candidate, or leave it " +
			"out for the default")
	}
	return fmt.Errorf("scores of %s lie between 0 and %v; its default is %v", k.Name, k.MaxScore, k.MinScore)
}

// String is short, stable, and differs where answers differ.
func (p Params) String() string {
	var parts []string
	for _, f := range flags {
		if f.Of != "" && f.Of != p.Detector {
			continue
		}
		if text := f.printed(p); text != "" {
			parts = append(parts, f.key+"="+text)
		}
	}
	return strings.Join(parts, " ")
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
		return p.kind().overlap()
	}
	return p.IoU
}

// foreignIoU is the default for a foreign model that has the parameter.
const foreignIoU = 0.2

func (k Kind) overlap() float64 {
	if k.Known() {
		return k.IoU
	}
	return foreignIoU
}

// pigo returns the parameters of the cascade.
func (p Params) pigo() pigo.Params {
	return pigo.Params{MinFace: p.MinFace, MaxFace: p.MaxFace, Shift: p.Shift, Scale: p.Scale,
		IoU: p.Overlap(), Angles: p.Angles}
}
