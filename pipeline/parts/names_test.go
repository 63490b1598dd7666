package parts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/open"
)

// TestJobOf: the job of a list is beside it, without the suffixes that stand for its form.
func TestJobOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list string
		node store.Node
		want string
	}{
		{"urls.txt", store.Node{}, "urls.facescan.db"},
		{"dir/urls.CSV.gz", store.Node{}, "dir/urls.facescan.db"},
		{"a.tar", store.Node{}, "a.facescan.db"},
		{"a.txt.csv", store.Node{}, "a.facescan.db"}, // in any order
		{"a.txt", store.Node{I: 0, Of: 1}, "a.node-0-of-1.facescan.db"},
		{"a.b.jsonl.zst", store.Node{I: 2, Of: 7}, "a.b.node-2-of-7.facescan.db"},
		{"dir/.txt", store.Node{}, "dir/.txt.facescan.db"}, // a name is not a suffix alone
		{"plain", store.Node{I: 0, Of: 2}, "plain.node-0-of-2.facescan.db"},
	} {
		if got := JobOf(c.list, c.node); got != c.want {
			t.Errorf("%s, %v: %s, want %s", c.list, c.node, got, c.want)
		}
	}
	if got := ListName("dir/urls.txt.gz"); got != "urls" {
		t.Error(got)
	}
}

// TestBeside: parts are found by their names, and the command that unites them names all, with a job that was
// moved away.
func TestBeside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := filepath.Join(dir, "urls.txt")
	for _, name := range []string{"urls.node-0-of-2.facescan.db", "urls.node-1-of-2.facescan.db",
		"urls.node-01-of-2.facescan.db", "urls.node-x.facescan.db", "other.node-0-of-2.facescan.db",
		"urls.facescan.db"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	beside := Beside(list)
	if len(beside) != 2 || beside[1] != (Part{filepath.Join(dir, "urls.node-1-of-2.facescan.db"),
		store.Node{I: 1, Of: 2}}) {
		t.Fatalf("%v", beside)
	}
	if none := Beside(filepath.Join(dir, "nowhere", "urls.txt")); none != nil {
		t.Errorf("%v", none)
	}
	ctx := t.Context()
	job, err := open.OrCreate(ctx, filepath.Join(dir, "moved.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	if text, err := MergeHint(ctx, job); text != "" || err != nil {
		t.Errorf("of a job without lists: %q, %v", text, err)
	}
	if _, err := MergeHint(ctx, unreadable{job, "sources"}); !errors.Is(err, errUnreadable) {
		t.Errorf("of a job whose lists cannot be read: %v", err)
	}
	if _, err := job.AddSource(ctx, store.Source{Name: "urls.txt", Format: "txt",
		Options: "{}"}); err != nil {
		t.Fatal(err)
	}
	text, err := MergeHint(ctx, job)
	want := "facescan merge " + strings.Join([]string{JobOf(list, store.Node{}), beside[0].Path,
		beside[1].Path,
		job.Path()}, " ")
	if err != nil || text != want {
		t.Errorf("%q, %v, want %q", text, err, want)
	}
}
