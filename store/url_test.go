package store

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"http://a/b":                 "http://a/b",
		"http://u:p@a/b":             "http://u:***@a/b",
		"HTTPS://u:p@a":              "HTTPS://u:***@a",
		"http://u@a/b":               "http://u@a/b",
		"http://:p@a/b":              "http://:***@a/b",
		"http://u:p@q@a/b":           "http://u:***@a/b",
		"http://u:p:q@a:80/b":        "http://u:***@a:80/b",
		"http://a/b:c@d":             "http://a/b:c@d",
		"http://a:80/@b":             "http://a:80/@b",
		"http://a?x=u:p@b":           "http://a?x=u:p@b",
		"http://u@a:80/":             "http://u@a:80/",
		"http:u:p@a/":                "http:u:***@a/",
		`http:\\u:p@a\b`:             `http:\\u:***@a\b`,
		" http://u:p@a/":             " http://u:***@a/",
		"ftp://u:p@a/":               "ftp://u:***@a/",
		"mailto:u:p@a":               "mailto:u:p@a",
		"@":                          "@",
		"@x://u:p@a/":                "@x://u:***@a/",
		"http://u:@a/":               "http://u:***@a/",
		"http://u:p@a/http://v:w@b/": "http://u:***@a/http://v:w@b/",
		"http:////u:p@a":             "http:////u:***@a",
		"http:\t//u:p@a/":            "http:\t//u:***@a/",
		"ht\ttp:u:p@a/":              "ht\ttp:u:***@a/",
		"ftp:/\t/u:p@a/":             "ftp:/\t/u:***@a/",
		"http:/\r\n/u:p@a":           "http:/\r\n/u:***@a",
		"no url: at all@":            "no url: at all@",
		"":                           "",
		"http://u:se@cr:et@a?b@c":    "http://u:***@a?b@c",
	} {
		if got := Redact(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestFileName(t *testing.T) {
	t.Parallel()
	a60 := strings.Repeat("a", 30) + strings.Repeat("\u00e9", 30)
	for address, want := range map[string]string{
		"http://a/b/c.jpg?x=1#y": "c.jpg", "http://a/b/": "b", "http://a/%61%ff.jpg": "a\ufffd.jpg",
		"http://a/": "", "http://a": "", "": "", "http://a/%zz": "",
		"http://a/" + a60: a60,
		"http://a/x" + a60 + "y": "x" + a60[:30] + strings.Repeat("\u00e9", 8) + "\u2026" +
			strings.Repeat("\u00e9", 19) + "y",
	} {
		if got := FileName(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestLink: a page links to the web and to files, and never with a password.
func TestLink(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://a/b c": "http://a/b%20c", "https://u@a/b": "https://u@a/b", "file:///a": "file:///a",
		"https://u:p@a/b": "", "ftp://a/b": "", "javascript:alert(1)": "", "a/b": "", "http://a/%zz": "",
	} {
		if got := Link(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
