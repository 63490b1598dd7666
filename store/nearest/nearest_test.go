package nearest

import (
	"strings"
	"testing"
)

func TestWord(t *testing.T) {
	t.Parallel()
	words := []string{"run", "status", "export", "report", "min-face", "http_4xx", "http_5xx", "csv", "url"}
	for word, want := range map[string]string{
		"ruun": "run", "stats": "status", "exprot": "export", "Export": "export", "repotr": "report",
		"minface": "min-face", "min_face": "min-face", "http_4x": "http_4xx", "cvs": "csv", "urll": "url",
		"sxatxs": "status", "sxatx": "",
		"": "", "x": "", "haar": "", "fetch": "", "u": "", "status of all that there is": "",
	} {
		if got := Word(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	if got := Word("a", []string{"b"}); got != "" {
		t.Errorf("a word without a letter of the given one is meant: %q", got)
	}
	if got := Hint("ruun", words); got != "; did you mean run?" {
		t.Error(got)
	}
	for word, want := range map[string]string{"xs": "; did you mean xy? there are xy, csv",
		"nothing": ": there are xy, csv"} {
		if got := Among(word, []string{"xy", "csv"}); got != want {
			t.Error(got)
		}
	}
	if got := Hint("fetch", words); got != "" {
		t.Error(got)
	}
	for want, few := range map[string][]string{"it is xyz": {"xyz"}, "it is csv or url": {"csv", "url"},
		"it is csv, url or xyz; did you mean xyz?": {"csv", "url", "xyz"}} {
		if got := OneOf("xy_z", few); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	long := strings.Repeat("a", 64)
	if Word(long, []string{long}) != long || Word(long+"a", []string{long}) != "" {
		t.Error("words of 64 letters are compared, longer ones are not")
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"ca", "abc",
		3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
