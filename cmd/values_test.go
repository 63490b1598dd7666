package cmd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"facescan/detect"
)

// TestValues: what flags take, how it reads afterwards, and what they do not take.
func TestValues(t *testing.T) {
	t.Parallel()
	var (
		word   string
		number float64
	)
	forms := map[string]func() pflag.Value{
		"size":     func() pflag.Value { return new(size) },
		"pixels":   func() pflag.Value { return new(pixels) },
		"choice":   func() pflag.Value { return newChoice(&word, "text", "json") },
		"optional": func() pflag.Value { return newOptionalChoice(&word, "cpu") },
		"fail":     func() pflag.Value { return new(failLimit) },
		"abort":    func() pflag.Value { return new(abortRules) },
		"degrees":  func() pflag.Value { return new(degrees) },
		"scores":   func() pflag.Value { return new(scores) },
		"number":   func() pflag.Value { return new(ownNumber) },
		"own":      func() pflag.Value { number = 3; return ownDefault{&number} },
		"hashes":   func() pflag.Value { return new(hashList) },
		"node":     func() pflag.Value { return new(nodeFlag) },
	}
	const bad = "!"
	for _, c := range []struct{ form, text, want string }{
		{"size", "0", "0"}, {"size", "1", "1"}, {"size", "1B", "1"}, {"size", "1.5KiB", "1536"},
		{"size", "2 MiB", "2MiB"}, {"size", "1023", "1023"}, {"size", "1024", "1KiB"}, {"size", "1025",
			"1025"},
		{"size", "1000", "1k"}, {"size", "1k", "1k"}, {"size", "1K", "1k"}, {"size", "1kB", "1k"},
		{"size", "1KB", "1k"}, {"size", "1M", "1M"}, {"size", "1MB", "1M"}, {"size", "1G", "1G"},
		{"size", "1GB", "1G"}, {"size", "1T", "1T"}, {"size", "1TB", "1T"},
		{"size", "1GiB", "1GiB"}, {"size", "1TiB", "1TiB"}, {"size", "4e18", "4000000T"},
		{"size", "16M", "16M"}, {"size", "16384kB", "16000KiB"},
		{"size", "5e18", bad}, {"size", "-1", bad}, {"size", "-0", "0"}, {"size", "NaN", bad},
		{"size", "Inf", bad}, {"size", "", bad}, {"size", "x", bad}, {"size", "1X", bad},
		{"size", "8388607TiB", bad}, {"size", "4194303TiB", "4194303TiB"},
		{"pixels", "100M", "100M"}, {"pixels", "many", bad},
		{"choice", "json", "json"}, {"choice", "", bad}, {"choice", "jsn", bad},
		{"optional", "cpu", "cpu"}, {"optional", "", ""}, {"optional", "gpu", bad},
		{"fail", "", ""}, {"fail", "0", "0"}, {"fail", "7", "7"}, {"fail", "-1", bad}, {"fail", "x", bad},
		{"fail", "1.5", bad}, {"fail", "5%", "5%"}, {"fail", "0.5%", "0.5%"}, {"fail", "100%", "100%"},
		{"fail", "100.1%", bad}, {"fail", "0%", bad}, {"fail", "-1%", bad}, {"fail", "NaN%", bad},
		{"fail", "%", bad}, {"fail", "9223372036854775807", "9223372036854775807"},
		{"fail", "9223372036854775808", bad}, {"fail", "0.1234567890123456%", "0.1234567890123456%"},
		{"abort", "failed > 60% after 10000", "failed > 60% after 10000"}, {"abort", " ", ""},
		{"abort", "often", bad},
		{"degrees", "30,-30", "30,-30"}, {"degrees", "", ""}, {"degrees", "left", bad},
		{"scores", "", ""}, {"scores", "0.6", "0.6"}, {"scores", "pigo=8, yunet=0.6", "yunet=0.6,pigo=8"},
		{"scores", "yunet=0.6,yunet=0.7", bad}, {"scores", "yunet=", bad}, {"scores", "yunet=x", bad},
		{"scores", "haar=1", bad}, {"scores", "yunet=1.1", bad}, {"scores", "yunet=1", "yunet=1"},
		{"scores", "yunet=0.1234567890123456", "yunet=0.1234567890123456"}, {"scores", "x", bad},
		{"number", "", ""}, {"number", "0", "0"}, {"number", "0.25", "0.25"}, {"number", "-0.25", bad},
		{"number", "NaN", bad}, {"number", "Inf", bad}, {"number", "x", bad},
		{"number", "0.1234567890123456", "0.1234567890123456"},
		{"own", "", ""}, {"own", "0", "0"}, {"own", "0.25", "0.25"}, {"own", "-1", bad},
		{"hashes", "", ""}, {"hashes", "none", "none"}, {"hashes", "phash", "phash"}, {"hashes", "md5", bad},
		{"node", "", ""}, {"node", "0/1", "0/1"}, {"node", "2/3", "2/3"}, {"node", "3/3", bad},
		{"node", "-1/3", bad}, {"node", "0/0", bad}, {"node", "0", bad}, {"node", "x/3", bad},
		{"node", "0/x", bad}, {"node", "0/-3", bad},
	} {
		v := forms[c.form]()
		switch err := v.Set(c.text); {
		case (err != nil) != (c.want == bad):
			t.Errorf("%s %q: %v, and reads %q, want %q", c.form, c.text, err, v, c.want)
		case err == nil && v.String() != c.want:
			t.Errorf("%s %q reads %q, want %q", c.form, c.text, v, c.want)
		}
	}
	// An empty value takes back what was set before.
	for form, text := range map[string]string{"fail": "5%", "abort": "failed > 3", "scores": "pigo=8",
		"number": "1",
		"own":    "1", "hashes": "phash", "node": "1/2", "optional": "cpu"} {
		v := forms[form]()
		if err := v.Set(text); err != nil || v.String() == "" {
			t.Errorf("%s %q: %v, %q", form, text, err, v)
		}
		if err := v.Set(""); err != nil || v.String() != "" {
			t.Errorf("%s '' after %q: %v, %q", form, text, err, v)
		}
	}
	if number != detect.Own {
		t.Errorf("a number of the detector's own is %v", number)
	}
	var rules abortRules
	for _, text := range []string{"failed > 3", "timeout > 5% after 10"} {
		if err := rules.Set(text); err != nil {
			t.Fatal(err)
		}
	}
	if got := rules.String(); !strings.Contains(got, ", ") || len(rules) != 2 {
		t.Errorf("two rules are %q", got)
	}
}

// TestScoresOf: one score is on the scale of the job's detector; several name theirs.
func TestScoresOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, detector string
		set            bool
		want           string // of fmt, or what the error says
	}{
		{"", "yunet", false, "map[]"},
		{"0.6", "yunet", true, "map[yunet:0.6]"},
		{"8", "pigo", true, "map[pigo:8]"},
		{"8", "yunet", true, "--min-score 8: scores of yunet lie between 0 and 1"},
		{"yunet=0.6,pigo=8", "pigo", true, "map[pigo:8 yunet:0.6]"},
	} {
		var s scores
		if err := s.Set(c.text); err != nil {
			t.Fatal(err)
		}
		all, err := s.of(c.detector)
		got := fmt.Sprint(all)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || s.set() != c.set {
			t.Errorf("%q for %s: %s, %t, want %s", c.text, c.detector, got, s.set(), c.want)
		}
	}
}
