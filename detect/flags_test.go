package detect

import (
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
