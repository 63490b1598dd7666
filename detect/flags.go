package detect

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Flag is a detection flag: a field of Params as the command line, a job's settings, the fingerprint of a
// detector and a request to a sidecar name it.
type Flag struct {
	Name string // --NAME; underscores in a request
	Of   string // the only detector that has it; empty if all have it

	usage   string // its help, without the default
	key     string // in the fingerprint
	field   func(*Params) any
	own     func(Kind) float64 // its default, where every detector has another: then the field may be Own
	refusal func(Params) error // of a value that cannot be searched with; nil for others
	print   func(Params) string
}

// flags are the detection flags, in the order in which a fingerprint has them. A new one is a field of
// Params, with its default, and a line here; TestFlags fails without it. Print is needed only where different
// values give the same answers.
var flags = []Flag{
	{Name: "min-face", key: "min", usage: "side of the smallest face to find, in `PIXELS`",
		field: func(p *Params) any { return &p.MinFace }, refusal: refuseMinFace},
	{Name: "max-face", key: "max", usage: "side of the largest face to find, in `PIXELS`; default: no limit",
		field: func(p *Params) any { return &p.MaxFace }, refusal: refuseMaxFace},
	{Name: "shift", key: "shift", Of: Pigo, usage: "step of a window as a fraction of its side",
		field: func(p *Params) any { return &p.Shift }, refusal: refuseShift},
	{Name: "scale", key: "scale", Of: Pigo, usage: "factor from one window size to the next",
		field: func(p *Params) any { return &p.Scale }, refusal: refuseScale},
	{Name: "iou", key: "iou", usage: "IoU above which two boxes are the same face",
		field: func(p *Params) any { return &p.IoU }, own: Kind.overlap, refusal: refuseIoU},
	{Name: "min-score", key: "score", usage: "lowest score of a face",
		field: func(p *Params) any { return &p.MinScore },
		own:   func(k Kind) float64 { return k.MinScore }, refusal: refuseMinScore},
	{Name: "angles", key: "angles", Of: Pigo,
		usage: "also find faces tilted by these angles, e.g. 22.5,-22.5; default: none",
		field: func(p *Params) any { return &p.Angles }, refusal: refuseAngles, print: printAngles},
}

// Flags are the detection flags.
func Flags() []Flag { return slices.Clone(flags) }

// Has reports whether a detector has the flag. A foreign one, whose name is empty, may have any.
func (f Flag) Has(detector string) bool { return f.Of == "" || f.Of == detector || detector == "" }

// PerDetector reports whether every detector has a default of its own.
func (f Flag) PerDetector() bool { return f.own != nil }

// Help describes the flag, with the defaults of the detectors where they differ.
func (f Flag) Help() string {
	text := f.usage
	if f.Of != "" {
		text = f.Of + ": " + text
	}
	if f.own != nil {
		var defaults []string
		for _, k := range kinds {
			defaults = append(defaults, fmt.Sprintf("%v for %s", f.own(k), k.Name))
		}
		text += "; default: " + strings.Join(defaults, ", ")
	}
	return text
}

// Field is the place of the flag's value in p: an *int, *float64 or *[]float64.
func (f Flag) Field(p *Params) any { return f.field(p) }

// Value is the value in p: an int, float64 or []float64. Own is resolved.
func (f Flag) Value(p Params) any {
	switch v := f.field(&p).(type) {
	case *int:
		return *v
	case *float64:
		if *v == Own && f.own != nil {
			return f.own(p.kind())
		}
		return *v
	case *[]float64:
		return *v
	}
	panic("--" + f.Name + " has a type that no flag has yet")
}

// OrDefault is a value as text, the detector's default where it is empty.
func (f Flag) OrDefault(text, detector string) string {
	if k, known := KindNamed(detector); text == "" && known && f.own != nil {
		return number(f.own(k))
	}
	return text
}

// Text is the value in p as a flag is written; empty for no angles.
func (f Flag) Text(p Params) string {
	switch v := f.Value(p).(type) {
	case float64:
		return number(v)
	case []float64:
		return JoinAngles(v)
	default:
		return fmt.Sprint(v)
	}
}

// printed is the value as a fingerprint has it; empty where it need not be named.
func (f Flag) printed(p Params) string {
	if f.print != nil {
		return f.print(p)
	}
	if text := f.Text(p); text != "0" || f.own != nil {
		return text
	}
	return ""
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// JoinAngles writes angles as --angles does: separated by commas.
func JoinAngles(angles []float64) string {
	parts := make([]string, len(angles))
	for i, a := range angles {
		parts[i] = number(a)
	}
	return strings.Join(parts, ",")
}

// ParseAngles reads what JoinAngles writes, with blanks around the commas or without.
func ParseAngles(text string) (angles []float64, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		a, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || math.IsNaN(a) || math.IsInf(a, 0) {
			return nil, fmt.Errorf("invalid angle %q: use degrees, e.g. 22.5,-22.5", part)
		}
		angles = append(angles, a)
	}
	return angles, nil
}

// printAngles writes the angles that are searched: rounded, each once, without the upright one.
func printAngles(p Params) string {
	var angles []float64
	for _, t := range p.pigo().Turns()[1:] {
		angles = append(angles, t*360)
	}
	return JoinAngles(angles)
}

func refuseMinFace(p Params) error {
	if p.MinFace < 8 || p.MinFace > 1<<15 {
		return fmt.Errorf("--min-face %v: a face needs at least 8 pixels to be told from a texture, and no "+
			"image is larger than 32768; give a side in pixels, such as 20", p.MinFace)
	}
	return nil
}

func refuseMaxFace(p Params) error {
	if p.MaxFace != 0 && p.MaxFace < p.MinFace {
		return fmt.Errorf("--max-face %v: it is below --min-face %d, so no face has a size; "+
			"give a larger one, or 0 for no limit", p.MaxFace, p.MinFace)
	}
	return nil
}

func refuseShift(p Params) error {
	if !(p.Shift >= 0.01 && p.Shift <= 1) {
		return fmt.Errorf("--shift %v: windows move by a part of their side between 0.01 and 1; "+
			"give 0.1, or up to 0.3 to be faster and miss more", p.Shift)
	}
	return nil
}

func refuseScale(p Params) error {
	if !(p.Scale >= 1.01 && p.Scale <= 4) {
		return fmt.Errorf("--scale %v: windows grow by a factor between 1.01 and 4; "+
			"give 1.1, or up to 1.3 to be faster and miss more", p.Scale)
	}
	return nil
}

func refuseIoU(p Params) error {
	if p.IoU != Own && !(p.IoU >= 0 && p.IoU <= 1) {
		return fmt.Errorf("--iou %v: intersection over union lies between 0 and 1; give %v",
			p.IoU, p.kind().overlap())
	}
	return nil
}

func refuseMinScore(p Params) error {
	k := p.kind()
	err := k.CheckScore(p.MinScore)
	if p.MinScore == Own || err == nil {
		return nil
	}
	hint := ""
	if p.MinScore > 1 && k.MaxScore == 1 {
		hint = "; for the scale of another detector choose that, e.g. --detector " + Pigo
	}
	return fmt.Errorf("--min-score %v: %w%s", p.MinScore, err, hint)
}

func refuseAngles(p Params) error {
	var errs []error
	for _, a := range p.Angles {
		if !(a > -360 && a < 360) {
			errs = append(errs, fmt.Errorf("--angles %v: angles are degrees between -360 and 360; "+
				"give some such as 22.5,-22.5", a))
		}
	}
	return errors.Join(errs...)
}
