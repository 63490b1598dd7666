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

// TestReasonsAreComplete: a line of the table has all its parts, and is there once.
func TestReasonsAreComplete(t *testing.T) {
	for _, c := range []struct {
		word  Reason
		class Class
		hint  string
	}{{BadURL, Permanent, "h"}, {"new", "", "h"}, {"new", Permanent, ""}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was added", c)
				}
			}()
			reason(c.word, c.class, c.hint)
		}()
	}
}

// TestHint: a hint names commands that can be typed.
func TestHint(t *testing.T) {
	want := "the resolver did not answer: `facescan doctor` measures it; then `facescan retry x.db`"
	if got := DNSTimeout.Hint("facescan retry x.db"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestRanked(t *testing.T) {
	got := Ranked(map[Reason]int64{Timeout: 3, TLS: 0, Connect: 5, BadURL: 3, Reset: 1})
	if want := []Reason{Connect, BadURL, Timeout, Reset}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestFacesKnown(t *testing.T) {
	for _, c := range []struct {
		r    Result
		want bool
	}{{Result{Status: OK, Detector: "d"}, true}, {Result{Status: OK, Detector: NoDetector}, false},
		{Result{Status: Failed, Detector: "d"}, false}, {Result{}, false}} {
		if c.r.FacesKnown() != c.want {
			t.Errorf("%+v: known %t", c.r, !c.want)
		}
	}
}
