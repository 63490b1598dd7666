package sidecar

import (
	"strings"
	"testing"
)

// TestURLs: where the requests for a URL go, how messages name it, and with which token.
func TestURLs(t *testing.T) {
	const base = "http://host:8000/v2/models/face"
	for raw, want := range map[string][3]string{
		"http://host:8000":  {base, "http://host:8000", ""},
		"http://host:8000/": {base, "http://host:8000/", ""},
		"http://host:8000/v2/models/other/": {"http://host:8000/v2/models/other",
			"http://host:8000/v2/models/other/", ""},
		"https://host/at/v2/models/face": {"https://host/at/v2/models/face",
			"https://host/at/v2/models/face", ""},
		"http://user:secret@host:8000":           {base, "http://host:8000", "secret"},
		"http://secret@host:8000/v2/models/face": {base, base, "secret"},
		"http://user:@host:8000":                 {base, "http://host:8000", ""},
		"unix:///run/x.sock": {"http://localhost/v2/models/face", "unix:///run/x.sock",
			""},
		"unix://:secret@/run/x.sock": {"http://localhost/v2/models/face", "unix:///run/x.sock",
			"secret"},
	} {
		e, err := newEndpoint(raw, 1)
		if err != nil || e.base != want[0] || e.name != want[1] || e.token != want[2] {
			t.Errorf("%s: %+v, %v, want %q", raw, e, err, want)
		}
	}
	const model, way = "give the model's URL",
		"give http://host:8000/v2/models/face, or unix:///path/of/the.sock"
	for raw, says := range map[string]string{
		"http://x/other": model, "https://x/v2/models": model, "http://x:8000/v2": model, "": way,
		"host:8000":              way,
		"ftp://x/v2/models/face": way, "http://": way, "http:///v2/models/face": way, "unix://host/x": way,
		"unix://": way, "unix:": way, "http://x/v2/models/face?a=b": way, "http://x/v2/models/face#a": way,
		"/v2/models/face": way, "http://[::1": "a sidecar's URL cannot be read",
	} {
		if err := CheckURL(raw); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", raw, err, says)
		}
	}
}
