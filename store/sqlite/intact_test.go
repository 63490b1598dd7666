package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/store"
)

// TestJobGoesAway takes the file away from a process in several ways: its next write fails and says so.
func TestJobGoesAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		do   func(path string) error
		says string
	}{
		"removed": {os.Remove, "removed"},
		"moved":   {func(path string) error { return os.Rename(path, path+".old") }, "moved"},
		"folder moved": {func(path string) error {
			return os.Rename(filepath.Dir(path),
				filepath.Dir(path)+"-old")
		}, "moved"},
		"replaced": {func(path string) error { return replace(path, path) },
			"another file took the place"},
		"emptied":        {func(path string) error { return os.Truncate(path, 0) }, "cut to 0 bytes"},
		"cut":            {func(path string) error { return os.Truncate(path, 8192) }, "cut to 8192 bytes"},
		"its WAL is off": {func(path string) error { return os.Remove(path + "-wal") }, "-wal was removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "d")
			ok(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "list.facescan.db")
			opened, err := Create(ctx, path)
			ok(t, err)
			defer opened.Close()
			s, err := opened.Join(ctx, store.Owner{ID: "me"}, time.Hour)
			ok(t, err)
			ok(t, opened.Set(ctx, map[string]string{"a": "b"}))
			ok(t, c.do(path))
			for _, err := range []error{opened.Set(ctx, map[string]string{"a": "c"}), s.Leave(ctx)} {
				if !errors.Is(err, store.ErrGone) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("a write to it says %v, not %q", err, c.says)
				}
			}
		})
	}
}

// replace puts a copy of a file in a file's place.
func replace(path, with string) error {
	b, err := os.ReadFile(with)
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}

// TestReplacedJobKeepsItsWAL has another job put into the place of one that is open: closing the old one
// leaves what the new one wrote.
func TestReplacedJobKeepsItsWAL(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, other := target.Create(t), target.Create(t)
	old, err := Open(ctx, path)
	ok(t, err)
	ok(t, old.Set(ctx, map[string]string{"of": "the old one"}))
	ok(t, os.Remove(path))
	ok(t, os.Remove(path+"-wal"))
	ok(t, os.Remove(path+"-shm"))
	ok(t, os.Rename(other, path))
	fresh, err := Open(ctx, path)
	ok(t, err)
	ok(t, fresh.Set(ctx, map[string]string{"of": "the new one"}))
	wal, err := os.Stat(path + "-wal")
	ok(t, err)
	ok(t, old.Close())
	if now, err := os.Stat(path + "-wal"); err != nil || !os.SameFile(wal, now) {
		t.Errorf("the new job's WAL: %v", err)
	}
	settings, err := fresh.Settings(ctx)
	ok(t, err)
	if settings["of"] != "the new one" {
		t.Errorf("settings %v", settings)
	}
	ok(t, fresh.Close())
}

// TestIsCut compares sizes with headers, whose page size of 1 is 65536.
func TestIsCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header string // its bytes from 16 to 31: size of a page, and of the file in pages
		size   int64
		cut    bool
	}{
		{"\x10\x00----------\x00\x00\x00\x0a", 40960, false},
		{"\x10\x00----------\x00\x00\x00\x0a", 40959, true},
		{"\x00\x01----------\x00\x00\x00\x02", 1 << 17, false},
		{"\x00\x01----------\x00\x00\x00\x02", 1<<17 - 1, true},
		{"\x00\x00----------\x00\x00\x00\x02", 1 << 17, true}, {"\x10\x00----------\x00\x00\x00", 40960,
			true},
		{"\x02\x00----------\x00\x01\x00\x00", 1 << 25, false}, {"", 0, true},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		ok(t, err)
		_, err = f.WriteString("SQLite format 3\x00" + c.header)
		ok(t, err)
		if got := (&intact{file: f}).isCut(c.size); got != c.cut {
			t.Errorf("%q with %d bytes is cut: %t", c.header, c.size, got)
		}
		ok(t, f.Close())
	}
}

// TestVacuumIsNoCut makes the file smaller as a user may, while a process works on it.
func TestVacuumIsNoCut(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opened, err := target.Open(ctx, target.Create(t))
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	ok(t, j.Set(ctx, map[string]string{"long": strings.Repeat("x", 1<<20)}))
	checkpoint := func() int64 {
		_, err := j.writer.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		ok(t, err)
		return size(j.file)
	}
	before := checkpoint()
	ok(t, j.Set(ctx, map[string]string{"long": "x"}))
	other, err := sql.Open("sqlite3", j.file)
	ok(t, err)
	_, err = other.Exec("VACUUM")
	ok(t, errors.Join(err, other.Close()))
	if after := checkpoint(); after >= before {
		t.Fatalf("%d bytes, then %d", before, after)
	}
	ok(t, j.Set(ctx, map[string]string{"a": "b"}))
}
