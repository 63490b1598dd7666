package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	known := floors("# package floor\nfacescan/a 80\nfacescan/b 90\n")
	for _, c := range []struct {
		name, output string
		sound        bool
		says         string
	}{
		{"at its floor", "ok  \tfacescan/a\t1.2s\tcoverage: 80.0% of statements\n",
			true, " 80.0 %  floor  80"},
		{"below", "ok  \tfacescan/b\t(cached)\tcoverage: 89.9% of statements\n", false, "below its floor"},
		{"without tests", "\tfacescan/a\t\tcoverage: 0.0% of statements\n", false, "below its floor"},
		{"unknown", "ok  \tfacescan/c\t1.2s\tcoverage: 99.0% of statements\n", false, "no floor"},
		{"nothing to cover", "ok  \tfacescan/c\t1.2s\tcoverage: [no statements]\n", true, ""},
		{"a failure", "--- FAIL: TestX (0.00s)\n", true, "--- FAIL: TestX"}, // go test's exit code says it
	} {
		var out strings.Builder
		if sound := report(&out, strings.NewReader(c.output), known); sound != c.sound ||
			!strings.Contains(out.String(), c.says) {
			t.Errorf("%s: sound %v, %q", c.name, sound, out.String())
		}
	}
}
