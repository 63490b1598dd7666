package pipeline

import (
	"testing"

	"facescan/pipeline/source"
	"facescan/store"
)

// TestSourceName: a list in the job's folder has a relative name, any other one its path; both lead back.
func TestSourceName(t *testing.T) {
	for _, c := range []struct{ job, list, name string }{
		{"/d/job.db", "/d/a.txt", "a.txt"}, {"/d/job.db", "/d/e/a.txt", "e/a.txt"},
		{"/d/job.db", "/e/a.txt", "/e/a.txt"}, {"/d/job.db", "-", "-"},
		{"postgres://db.invalid/d", "/d/a.txt", "/d/a.txt"},
	} {
		if got := SourceName(c.job, c.list); got != c.name {
			t.Errorf("%s of %s is called %s, want %s", c.list, c.job, got, c.name)
		}
		if got := SourcePath(c.job, c.name); got != c.list {
			t.Errorf("%s of %s is %s, want %s", c.name, c.job, got, c.list)
		}
	}
	if got := SourcePath("postgres://db.invalid/d", "a.txt"); got != "a.txt" {
		t.Errorf("a relative name in a database: %s", got)
	}
	for name, spec := range map[string]source.Spec{
		"monday":           {Path: "-", As: "monday"},
		"/d/album":         {Path: "/d/album", Format: source.Folder},
		"file:///d/%FF.db": {Path: "/d/\xff.db", Format: source.Tar},
		"a.txt":            {Path: "/d/a.txt", Format: "txt"},
	} {
		if got := NameOf("/d/job.db", spec); got != name {
			t.Errorf("%+v is called %s, want %s", spec, got, name)
		}
	}
	for options, as := range map[string]string{`{"As":"monday"}`: "monday", "{}": "", "[": ""} {
		s := store.Source{Name: "x", Options: options}
		if AsName(s) != as || IsStdin(s) != (as != "") {
			t.Errorf("%s: --as %q, from stdin: %t", options, AsName(s), IsStdin(s))
		}
	}
	if !IsStdin(store.Source{Name: "-", Options: "{}"}) {
		t.Error("- is not from stdin")
	}
}
