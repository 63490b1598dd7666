package store

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTopic: the topic of outcomes has the reasons of each class in their order, and explains each one.
func TestTopic(t *testing.T) {
	topic, err := os.ReadFile("../cmd/help/outcomes.md")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile("`([a-z0-9_]+)`")
	var all, explained []Reason
	for _, row := range tableBelow(t, string(topic), "| class | reasons |") {
		name, text, _ := strings.Cut(strings.Trim(row, "| "), " | ")
		var said []Reason
		for _, m := range word.FindAllStringSubmatch(text, -1) {
			said = append(said, Reason(m[1]))
		}
		if want := Reasons(Class(name)); !slices.Equal(said, want) {
			t.Errorf("the topic says that these are %s:\n%v, want\n%v", name, said, want)
		}
		all = append(all, said...)
	}
	if !slices.Equal(all, Reasons("")) {
		t.Errorf("the topic lists %d reasons of %d", len(all), len(Reasons("")))
	}
	for _, row := range tableBelow(t, string(topic), "| reason | meaning | what to do |") {
		explained = append(explained, Reason(word.FindStringSubmatch(row)[1]))
	}
	if !slices.Equal(explained, all) {
		t.Errorf("the topic explains\n%v, want\n%v", explained, all)
	}
}

// tableBelow are the rows of the table with this header.
func tableBelow(t *testing.T, markdown, header string) []string {
	t.Helper()
	_, table, ok := strings.Cut(markdown, "\n"+header+"\n")
	if !ok {
		t.Fatalf("no table %s", header)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	return strings.Split(strings.TrimSpace(table), "\n")[1:] // without the line of dashes
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
