package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestStamp: a list has moved when its file is another one, or has another size or time; a database also when
// its log has, or when it was just written.
func TestStamp(t *testing.T) {
	t.Parallel()
	before, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	touch := func(t *testing.T, path string, at time.Time) {
		t.Helper()
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		format string
		begin  func(t *testing.T, path string)
		change func(t *testing.T, path string)
		want   bool
	}{
		"nothing":           {"txt", nil, nil, false},
		"text just written": {"txt", func(t *testing.T, path string) { touch(t, path, soon) }, nil, false},
		"more text": {"txt", nil, func(t *testing.T, path string) {
			write(t, path, "ab")
			touch(t, path, before)
		}, true},
		"another time": {"txt", nil, func(t *testing.T, path string) { touch(t, path, before.Add(1)) }, true},
		"another file": {"txt", nil, func(t *testing.T, path string) {
			write(t, path+".new", "a")
			touch(t, path+".new", before)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, true},
		"a file beside text": {"txt", nil, func(t *testing.T, path string) { write(t, path+"-wal", "a") }, false},
		"a database":         {"sqlite", nil, nil, false},
		"a database just written": {"sqlite", func(t *testing.T, path string) { touch(t, path, soon) }, nil,
			true},
		"a log that comes": {"sqlite", nil, func(t *testing.T, path string) { write(t, path+"-wal", "a") }, true},
		"an old log": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", before)
		}, nil, false},
		"a log just written": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", soon)
		}, nil, true},
		"more in the log": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", before)
		}, func(t *testing.T, path string) {
			write(t, path+"-wal", "ab")
			touch(t, path+"-wal", before)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "list")
			write(t, path, "a")
			touch(t, path, before)
			if c.begin != nil {
				c.begin(t, path)
			}
			stamp := func() Stamp {
				st, err := StampOf(Spec{Path: path, Format: c.format})
				if err != nil {
					t.Fatal(err)
				}
				return st
			}
			first := stamp()
			if c.change != nil {
				c.change(t, path)
			}
			if got := stamp().Moved(first); got != c.want {
				t.Errorf("moved: %v, want %v", got, c.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "list")
	if _, err := StampOf(Spec{Path: path}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, path, "a")
	if err := os.Symlink("list-wal", path+"-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := StampOf(Spec{Path: path, Format: "sqlite"}); err == nil {
		t.Error("a log that cannot be opened is taken for none")
	}
}
