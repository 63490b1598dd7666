package detect

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestFlags: every field of Params is a flag, with all that a line of the table needs, and a value that
// differs makes another fingerprint, so that a job refuses it.
func TestFlags(t *testing.T) {
	typ := reflect.TypeFor[Params]()
	of := map[any]string{} // by the field's address
	var p Params
	for _, f := range flags {
		if f.Name == "" || f.usage == "" || f.key == "" || f.field == nil || f.refusal == nil {
			t.Fatalf("the line of --%s lacks something: %+v", f.Name, f)
		}
		if f.Of != "" && !slices.Contains(Names(), f.Of) {
			t.Errorf("--%s is of %q", f.Name, f.Of)
		}
		at := f.Field(&p)
		if other, twice := of[at]; twice {
			t.Errorf("--%s and --%s are the same field", f.Name, other)
		}
		of[at] = f.Name
	}
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		if name == "Detector" {
			continue
		}
		if of[reflect.ValueOf(&p).Elem().Field(i).Addr().Interface()] == "" {
			t.Errorf("the field %s is not a flag", name)
		}
	}
	for _, k := range Kinds() {
		for _, f := range flags {
			p := Defaults(k.Name)
			before, help := p.String(), f.Help()
			switch v := f.Field(&p).(type) {
			case *int:
				*v += 50
			case *float64:
				if *v == Own && !strings.Contains(help, f.Text(p)+" for "+k.Name) {
					t.Errorf("--%s: its help does not name the default %s of %s: %s", f.Name, f.Text(p),
						k.Name, help)
				}
				*v = 0.7
				if f.Name == "scale" {
					*v = 1.7
				}
			case *[]float64:
				*v = []float64{45}
			}
			if got := p.String(); (got != before) != f.Has(k.Name) {
				t.Errorf("%s with --%s %s: %q, without %q", k.Name, f.Name, f.Text(p), got, before)
			}
			if err := p.Validate(); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		}
	}
}

// TestFlagTexts: the values of a flag as text, with the detector's own default where there is none.
func TestFlagTexts(t *testing.T) {
	named := map[string]Flag{}
	for _, f := range Flags() {
		named[f.Name] = f
	}
	p := Defaults(Pigo)
	p.MinScore, p.Angles = 2.5, []float64{22.5, -30}
	for name, want := range map[string]string{"min-face": "20", "max-face": "0", "shift": "0.1",
		"scale": "1.1", "iou": "0.2", "min-score": "2.5", "angles": "22.5,-30"} {
		if got := named[name].Text(p); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
	for _, c := range []struct{ flag, text, detector, want string }{
		{"min-score", "", Pigo, "8"}, {"min-score", "", Yunet, "0.45"}, {"min-score", "3", Pigo, "3"},
		{"min-score", "", "", ""}, {"iou", "", Yunet, "0.3"}, {"min-face", "", Pigo, ""},
	} {
		if got := named[c.flag].OrDefault(c.text, c.detector); got != c.want {
			t.Errorf("--%s %q of %q is %q, want %q", c.flag, c.text, c.detector, got, c.want)
		}
	}
	for name, want := range map[string]string{"shift": "pigo: step of a window as a fraction of its side",
		"iou":      "IoU above which two boxes are the same face; default: 0.3 for yunet, 0.2 for pigo",
		"max-face": "side of the largest face to find, in `PIXELS`; default: no limit"} {
		if got := named[name].Help(); got != want {
			t.Errorf("the help of --%s: %q, want %q", name, got, want)
		}
	}
	for name, f := range named {
		if want := name == "iou" || name == "min-score"; f.PerDetector() != want {
			t.Errorf("--%s differs by detector: %v", name, !want)
		}
	}
}

// TestForeignParams: for a foreign model the flags that every detector has count, with defaults of their own.
func TestForeignParams(t *testing.T) {
	p := Defaults("")
	if p.Overlap() != 0.2 || p.Threshold() != 0 || p.String() != "min=20 iou=0.2 score=0" {
		t.Errorf("IoU %v, threshold %v, %q", p.Overlap(), p.Threshold(), p)
	}
	if p.IoU, p.MinScore = 0, 0.5; p.Overlap() != 0 || p.Threshold() != 0.5 ||
		p.String() != "min=20 iou=0 score=0.5" {
		t.Errorf("IoU %v, threshold %v, %q", p.Overlap(), p.Threshold(), p)
	}
	if p.Shift = -1; p.Validate() == nil {
		t.Error("a flag that a foreign model may have is not checked")
	}
}

func TestParseAngles(t *testing.T) {
	for text, want := range map[string][]float64{"": nil, "45": {45}, "22.5, -22.5": {22.5, -22.5}} {
		if got, err := ParseAngles(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"north", "1,", "NaN", "1,-Inf"} {
		if got, err := ParseAngles(text); err == nil || !strings.Contains(err.Error(), "use degrees") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestLimitsOfFlags: the first and the last value of each flag that can be searched with, and those beyond.
func TestLimitsOfFlags(t *testing.T) {
	for _, c := range []struct {
		detector, flag            string
		least, below, most, above float64
	}{
		{detector: Yunet, flag: "min-face", least: 8, below: 7, most: 1 << 15, above: 1<<15 + 1},
		{detector: Yunet, flag: "max-face", least: 20, below: 19, most: 1 << 20, above: -1},
		{detector: Pigo, flag: "shift", least: 0.01, below: 0.009, most: 1, above: 1.01},
		{detector: Pigo, flag: "scale", least: 1.01, below: 1, most: 4, above: 4.01},
		{detector: Yunet, flag: "iou", least: 0, below: -0.1, most: 1, above: 1.1},
		{detector: Yunet, flag: "min-score", least: 0, below: -0.1, most: 1, above: 1.1},
		{detector: Pigo, flag: "min-score", least: 0, below: -0.1, most: 1e6, above: 1.1e6},
		{detector: Pigo, flag: "angles", least: -359, below: -360, most: 359, above: 360},
	} {
		i := slices.IndexFunc(flags, func(f Flag) bool { return f.Name == c.flag })
		valid := func(v float64) error {
			p := Defaults(c.detector)
			switch to := flags[i].Field(&p).(type) {
			case *int:
				*to = int(v)
			case *float64:
				*to = v
			case *[]float64:
				*to = []float64{v}
			}
			return p.Validate()
		}
		for _, v := range []float64{c.least, c.most} {
			if err := valid(v); err != nil {
				t.Errorf("%s --%s %v: %v", c.detector, c.flag, v, err)
			}
		}
		for _, v := range []float64{c.below, c.above, math.NaN()} {
			if _, whole := flags[i].Field(new(Params)).(*int); whole && math.IsNaN(v) {
				continue
			}
			if err := valid(v); err == nil || !strings.HasPrefix(err.Error(), "--"+c.flag+" ") {
				t.Errorf("%s --%s %v: %v", c.detector, c.flag, v, err)
			}
		}
	}
	const positive = "scores are positive numbers; give 0 to keep every candidate, or leave it out for the " +
		"default"
	const ofYunet = "scores of yunet lie between 0 and 1; its default is 0.45"
	const otherScale = "; for the scale of another detector choose that, e.g. --detector pigo"
	for _, c := range []struct {
		detector string
		score    float64
		want     string
	}{
		{Yunet, 5, "--min-score 5: " + ofYunet + otherScale},
		{Yunet, 1.5, "--min-score 1.5: " + ofYunet + otherScale},
		{Yunet, -3, "--min-score -3: " + ofYunet},
		{Pigo, -3, "--min-score -3: " + positive},
		{Pigo, 2e6, "--min-score 2e+06: " + positive},
		{"", 2e6, "--min-score 2e+06: " + positive},
		{"", 1e6, ""},
	} {
		p := Defaults(c.detector)
		p.MinScore = c.score
		text := ""
		if err := p.Validate(); err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%q with --min-score %v: %q, want %q", c.detector, c.score, text, c.want)
		}
	}
	p := Defaults(Yunet)
	p.Detector = "haar"
	if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "yunet, pigo, none") {
		t.Errorf("a detector that is not built in: %v", err)
	}
	if _, err := New(p); err == nil || !strings.Contains(err.Error(), `"haar" is not a detector`) {
		t.Error(err)
	}
	p = Defaults(Pigo)
	p.Shift = 9
	if _, err := NewWith(p, nil); err == nil {
		t.Error("an engine is used with a step of 9 sides")
	}
}

// TestMemoryOfDetectors: a detector in this process says what it takes beside an image; that grows with it.
func TestMemoryOfDetectors(t *testing.T) {
	for _, k := range Kinds() {
		d, err := New(Defaults(k.Name))
		if err != nil {
			t.Fatal(err)
		}
		l := d.(Local)
		if small, large := l.Memory(64, 48), l.Memory(1280, 960); small <= 0 || large <= small {
			t.Errorf("%s: %d bytes for a small image, %d for a large one", k.Name, small, large)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
