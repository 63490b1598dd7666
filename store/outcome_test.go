package store

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReadme: README's table of outcomes has the reasons of each class, in their order.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(readme), "\n| class | reasons |\n")
	if !ok {
		t.Fatal("README has no table of outcomes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	word := regexp.MustCompile("`([a-z0-9_]+)`")
	var all []Reason
	for line := range strings.Lines(table) {
		name, text, _ := strings.Cut(strings.Trim(line, "| \n"), " | ")
		if strings.HasPrefix(name, "-") {
			continue
		}
		var said []Reason
		text, _, _ = strings.Cut(text, ":") // behind it stands what is done about them
		for _, m := range word.FindAllStringSubmatch(text, -1) {
			said = append(said, Reason(m[1]))
		}
		if want := Reasons(Class(name)); !slices.Equal(said, want) {
			t.Errorf("README says that these are %s:\n%v, want\n%v", name, said, want)
		}
		all = append(all, said...)
	}
	if !slices.Equal(all, Reasons("")) {
		t.Errorf("README lists %d reasons of %d", len(all), len(Reasons("")))
	}
}

func TestRetried(t *testing.T) {
	for _, c := range []struct {
		reason Reason
		status int
		want   bool
	}{
		{Timeout, 0, true}, {Timeout, 408, true}, {HTTP429, 429, true}, {HTTP5xx, 500, true},
		{HTTP5xx, 503, true},
		{HTTP5xx, 501, false}, {HTTP5xx, 505, false}, {Connect, 501, true}, {Truncated, 200, true},
		{HTTP4xx, 404, false}, {TLS, 0, false}, {OptOut, 200, false}, {"", 0, false}, {"no_reason", 0, false},
	} {
		if c.reason.Retried(c.status) != c.want {
			t.Errorf("%s with status %d: retried %v", c.reason, c.status, !c.want)
		}
	}
}
