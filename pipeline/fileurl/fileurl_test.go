package fileurl

import (
	"path"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	for file, want := range map[string]string{
		"/a/b.jpg":             "file:///a/b.jpg",
		"/a b/#1 100%?.jpg":    "file:///a%20b/%231%20100%25%3F.jpg",
		"/new\nline/\xff\x00é": "file:///new%0Aline/%FF%00%C3%A9",
		"/(1)+[2];x=y:@&!.jpg": "file:///%281%29%2B%5B2%5D%3Bx%3Dy%3A%40%26%21.jpg",
		"/~u/a-b_c.D.jpg":      "file:///~u/a-b_c.D.jpg",
		"/azAZ09@[`{:":         "file:///azAZ09%40%5B%60%7B%3A",
	} {
		if got := Of(file); got != want {
			t.Errorf("Of(%q) = %s, want %s", file, got, want)
		}
	}
	if got, want := OfMember("/t.tar", "é#"), "file:///t.tar#%C3%A9%23"; got != want {
		t.Errorf("OfMember gave %s, want %s", got, want)
	}
	if got, want := OfMember("/t#.tar", "./a #/%41.jpg"),
		"file:///t%23.tar#./a%20%23/%2541.jpg"; got != want {
		t.Errorf("OfMember gave %s, want %s", got, want)
	}
}

func TestIs(t *testing.T) {
	for text, want := range map[string]bool{"file:": true, "File:a": true, "file:///a": true, "": false,
		"file": false, "files:///a": false, "http://a/b": false} {
		if Is(text) != want {
			t.Errorf("Is(%q) = %t", text, !want)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, text := range []string{"", "file:", "http://a/b", "file://a b", "file:///a%2fb", "file:///%zz",
		"file:///%4a", "file:///a#%4a", "file:///a#%zz", "FILE:///a", "/a", "file:/a"} {
		if file, member, ok := Split(text); ok {
			t.Errorf("Split(%q) took it as %q, %q", text, file, member)
		}
	}
}

func TestPathOfLists(t *testing.T) {
	for text, want := range map[string]string{
		"file:///a/b.jpg":               "/a/b.jpg",
		"FILE://localhost/a/b.jpg":      "/a/b.jpg",
		"file:/a/b.jpg":                 "/a/b.jpg",
		"file:%2Fa.jpg":                 "/a.jpg",
		"file:///a b/100%.jpg":          "/a b/100%.jpg",
		"file:///a%20b/%e4%2E%2e/c.jpg": "/a b/\xe4../c.jpg",
		"file:///a%41":                  "/aA",
		"file:///a%4":                   "/a%4",
		"file:///a%":                    "/a%",
		"file:///a/%2e%2e/../../etc/x":  "/etc/x",
		"file:///a//b/./c.jpg":          "/a/b/c.jpg",
		"file:///a.jpg?w=1#top":         "/a.jpg",
		"file:///a%3F%23.jpg":           "/a?#.jpg",
		"file://host/a.jpg":             "",
		"file://h/a.jpg":                "",
		"file://a.jpg":                  "",
		"file:a.jpg":                    "",
		"file:":                         "",
		"file:///a%00.jpg":              "",
		"http://a/b.jpg":                "",
	} {
		got, ok := Path(text)
		if got != want || ok != (want != "") {
			t.Errorf("Path(%q) = %q, %t, want %q", text, got, ok, want)
		}
	}
}

// FuzzURLs holds that every path comes back byte for byte, that no other text counts as such a URL, and
// that what a list names is a clean absolute path.
func FuzzURLs(f *testing.F) {
	f.Add("/a b/#.jpg", "x/%y")
	f.Add("file:///a%2fb", "#")
	f.Add("//../\xff", "")
	f.Fuzz(func(t *testing.T, file, member string) {
		if got, none, ok := Split(Of(file)); !ok || got != file || none != "" {
			t.Errorf("%q came back as %q, %q", file, got, none)
		}
		if got, name, ok := Split(OfMember(file, member)); !ok || got != file || name != member {
			t.Errorf("%q in %q came back as %q in %q", member, file, name, got)
		}
		if a, b, ok := Split(file); ok && Of(a) != file && OfMember(a, b) != file {
			t.Errorf("%q was split into %q and %q", file, a, b)
		}
		for _, text := range []string{file, "file:" + file, Of(file)} {
			got, ok := Path(text)
			if ok && (got != path.Clean(got) || got[0] != '/' || strings.Contains(got, "\x00")) {
				t.Errorf("Path(%q) = %q", text, got)
			}
		}
	})
}
