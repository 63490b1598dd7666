package sidecar

import (
	"slices"
	"testing"
)

func TestEquals(t *testing.T) {
	for _, f := range []string{"facefinder-1,min-face=20", "sidecar:facefinder-1,min-face=20", "sidecar-encoded:facefinder-1,min-face=20"} {
		got := Equals(f)
		if len(got) != 3 || !slices.Contains(got, f) {
			t.Errorf("%s equals %v", f, got)
		}
		for _, g := range got {
			if !Same(f, g) {
				t.Errorf("%s and %s are not the same", f, g)
			}
		}
		if Same(f, f+"1") {
			t.Errorf("%s is the same with another flag", f)
		}
	}
	if got := Equals("sidecar:face/7"); !slices.Equal(got, []string{"sidecar:face/7"}) || Same("sidecar:face/7", "face/7") {
		t.Errorf("another model equals %v", got)
	}
}
