package pipeline

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"facescan/pipeline/source"
	"facescan/store"
)

// TestPublishedLists finds the list of the job that a published source is.
func TestPublishedLists(t *testing.T) {
	i := newImports(t)
	spec := i.list("urls.txt", lines(0, 100))
	l := PublishedLists{Job: i.job, Specs: []source.Spec{spec}}
	other := newImports(t)
	same, another := other.list("urls.txt", lines(0, 100)), other.list("others.txt", lines(500, 100))
	other.read(same, another)
	published, err := other.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range published {
		published[n].Name = filepath.Join(other.dir, published[n].Name)
	}
	match := func(s store.Source) string {
		t.Helper()
		name, ok, err := l.Match(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(filepath.Base(name), " ", ok)
	}
	if got := match(published[0]); got != "urls.txt true" {
		t.Errorf("the same list elsewhere: %s", got)
	}
	if got := match(published[1]); got != "others.txt true" {
		t.Errorf("a list that the job has not: %s", got)
	}
	wrong := published[1]
	wrong.Name = filepath.Join(other.dir, "urls.txt")
	if got := match(wrong); got != ". false" {
		t.Errorf("another list of that name: %s", got)
	}
	i.read(spec)
	if got := match(published[0]); got != "urls.txt true" {
		t.Errorf("imported: %s", got)
	}
	if got := l.Place("urls.txt"); got != spec.Path {
		t.Errorf("it lies at %s", got)
	}
	if got := l.Place("-"); got != "-" {
		t.Errorf("stdin lies at %s", got)
	}
	notRead := published[1]
	notRead.Position.Line = 0
	elsewhere := published[1]
	elsewhere.Number = 0
	broken := published[1]
	broken.Name, broken.Options = filepath.Join(other.dir, "urls.txt"), "["
	changed := published[1]
	changed.Name = spec.Path
	if got := match(notRead); got != "others.txt true" {
		t.Errorf("a list that was not read: %s", got)
	}
	if got := match(elsewhere); got != "urls.txt false" {
		t.Errorf("another list at its number: %s", got)
	}
	if _, err := i.job.AddSource(t.Context(), store.Source{Name: "new.txt", Format: "txt"}); err != nil {
		t.Fatal(err)
	}
	if got := match(published[1]); got != "others.txt true" {
		t.Errorf("beside a list that was not read: %s", got)
	}
	for what, c := range map[string]struct {
		job  store.Job
		s    store.Source
		says string
	}{
		"the job":     {brokenJob{i.job, "Sources", new(int)}, published[1], errBroken.Error()},
		"its options": {i.job, broken, "the options of source"},
		"the list":    {i.job, changed, "changed"},
	} {
		l.Job = c.job
		if name, ok, err := l.Match(t.Context(), c.s); err == nil || !strings.Contains(err.Error(), c.says) ||
			ok || name != "" {
			t.Errorf("%s is not what it was: %q, %t, %v", what, name, ok, err)
		}
	}
}
