package store

import "testing"

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
