package export

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"facescan/store/storetest/must"
)

// TestFileBehindLinks: what links lead to is written, whether it is there or not, and the links stay.
func TestFileBehindLinks(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	must.OK(t, os.Mkdir(real, 0o700))
	must.OK(t, os.WriteFile(filepath.Join(real, "old.csv"), []byte("old"), 0o600))
	for _, c := range [][2]string{
		{"relative.csv", filepath.Join("real", "old.csv")}, {"absolute.csv", filepath.Join(real, "old.csv")},
		{"dangling.csv", filepath.Join("real", "new.csv")}, {"twice.csv", "dangling.csv"},
	} {
		link, to := c[0], c[1]
		path := filepath.Join(dir, link)
		must.OK(t, os.Symlink(to, path))
		f := must.Get(Create(path))(t)
		must.Get(io.WriteString(f, link))(t)
		must.OK(t, f.Close())
		target := filepath.Join(real, filepath.Base(to))
		if link == "twice.csv" {
			target = filepath.Join(real, "new.csv")
		}
		if b, err := os.ReadFile(target); err != nil || string(b) != link {
			t.Errorf("%s leads to %q, %v", link, b, err)
		}
		if got, err := os.Readlink(path); err != nil || got != to {
			t.Errorf("%s is now %q, %v", link, got, err)
		}
	}
	loop := filepath.Join(dir, "loop.csv")
	must.OK(t, os.Symlink("loop.csv", loop))
	if _, err := Create(loop); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
	if _, err := linked(loop); !errors.Is(err, unix.ELOOP) || !strings.Contains(err.Error(), loop) {
		t.Errorf("a link to itself: %v", err)
	}
	if _, err := Create(filepath.Join(real, "old.csv", "a.csv")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
	if _, err := Create(dir); err == nil || err.Error() != dir+" is a folder; name a file" {
		t.Errorf("a folder: %v", err)
	}
}

// TestFullDevice writes to one that takes nothing, plain and compressed. It stays.
func TestFullDevice(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil { // there is none on macOS
		t.Log(err)
		return
	}
	for _, name := range []string{"a.csv", "a.csv.gz", "a.csv.zst"} {
		path := filepath.Join(t.TempDir(), name)
		must.OK(t, os.Symlink(full, path))
		f := must.Get(Create(path))(t)
		_, err := io.WriteString(f, "x")
		if plain := name == "a.csv"; plain != errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: write: %v", name, err)
		}
		if err := f.Close(); name != "a.csv" && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: close: %v", name, err)
		}
		f.Discard() // which is no harm
		if _, err := f.f.Write(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is still open: %v", name, err)
		}
	}
}
