package segment

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// TestChangedValue changes a value in a segment: reading it, taking it in and folding it end with an error
// that names it, and it stays as it is. A segment without checksums, of an earlier release, is read.
func TestChangedValue(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	for version := range 2 {
		w.do(5, version+1)
		must.OK(t, w.Publish(t.Context()))
	}
	want := len(published(t, dir))
	path := filepath.Join(dir, names(t, dir)[1])
	whole := must.Get(os.ReadFile(path))(t)
	for _, c := range []struct{ change, says string }{
		{"UPDATE results SET bytes = bytes + 1 WHERE id = (SELECT min(id) FROM results)",
			"not what was stored"},
		{"UPDATE results SET attempts = attempts + 1", "not what was stored"},
		{"UPDATE results SET reason = 'x', checksum = NULL", `reason "x"`},
		{"UPDATE sources SET line = line + 1", "not what was stored"},
		{"UPDATE settings SET value = '[1]' WHERE key = '" + rowsSetting + "'", "not what was stored"},
		{"UPDATE results SET checksum = NULL", ""},
		{"UPDATE sources SET checksum = NULL", ""},
	} {
		db := must.Get(sql.Open("sqlite3", path))(t)
		must.Get(db.Exec(c.change))(t)
		must.OK(t, db.Close())
		bad := must.Get(os.ReadFile(path))(t)
		check := func(what string, err error) {
			t.Helper()
			if c.says == "" {
				must.OK(t, err)
			} else if err == nil || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("%s, %s: %v", c.change, what, err)
			}
			if c.says != "" && !slices.Equal(must.Get(os.ReadFile(path))(t), bad) {
				t.Errorf("%s, %s: the segment is another one", c.change, what)
			}
		}
		parts, err := OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList)
		check("read", err)
		if err == nil {
			if got := len(versions(t, parts.Jobs[0])); got != want {
				t.Errorf("%s: %d rows, want %d", c.change, got, want)
			}
			must.OK(t, parts.Close())
		}
		if c.says != "" {
			check("folded", w.FoldAll(t.Context()))
			job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
			p := publisherOf(job, dir)
			check("taken in", p.Start(t.Context()))
			p.Close()
			must.OK(t, p.Job.Close())
		}
		must.OK(t, os.WriteFile(path, whole, 0o600))
	}
}
