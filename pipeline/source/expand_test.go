package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"b.txt", "a.csv.gz", "lists/2.txt", "lists/10.txt", "lists/deep/x.parquet",
		"lists/.hidden/a.txt",
		"lists/.b.txt", "lists/photo.jpg", "odd[1].txt", "empty/readme.md", "notes.txt.jpg"} {
		os.MkdirAll(filepath.Dir(name), 0o700)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("photos.db", []byte("SQLite format 3\x00more"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"b.txt", "b.txt:txt"},
		{"-", "-:txt"},
		{"b.txt a.csv.gz ./b.txt", "b.txt:txt a.csv.gz:csv"},
		{"lists", "lists/10.txt:txt lists/2.txt:txt lists/deep/x.parquet:parquet"},
		{"lists/ b.txt lists/2.txt",
			"lists/10.txt:txt lists/2.txt:txt lists/deep/x.parquet:parquet b.txt:txt"},
		{"lists/*.txt", "lists/10.txt:txt lists/2.txt:txt"},
		{"odd[1].txt", "odd[1].txt:txt"},
		{"photos.db", "photos.db:sqlite"},
		{"", ""},
	} {
		specs, err := Expand(strings.Fields(c.args), false)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		var got []string
		for _, s := range specs {
			got = append(got, s.Path+":"+s.Format)
		}
		if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
			t.Errorf("%s: %s", c.args, d)
		}
	}
	for _, arg := range []string{"empty", "*.csv", "lists/photo.jpg", "notes.txt.jpg", "[x"} {
		var usage *UsageError
		if got, err := Expand([]string{arg}, false); !errors.As(err, &usage) ||
			!strings.Contains(err.Error(), arg) {
			t.Errorf("%s: %v, %v", arg, got, err)
		}
	}
	if _, err := Expand([]string{"none.txt"}, false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
