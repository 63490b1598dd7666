package open

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/pgtest"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// user makes a SQLite database with a table of URLs.
func user(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "user.db")
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	_, err = db.Exec("CREATE TABLE pictures (id INTEGER PRIMARY KEY, url TEXT); INSERT INTO pictures " +
		"VALUES (1, 'http://a.invalid/')")
	ok(t, err)
	ok(t, db.Close())
	return path
}

// TestOpen: each kind of name leads to its database, and back to the same job.
func TestOpen(t *testing.T) {
	ctx := context.Background()
	table := user(t)
	j, err := sqlite.OpenTable(ctx, table, sqlite.TableOptions{Table: "pictures"})
	ok(t, err)
	ok(t, j.Close())
	for what, name := range map[string]string{
		"file": filepath.Join(t.TempDir(), "job.db"), "server": pgtest.Start(t), "table": table,
	} {
		if what != "table" {
			for _, open := range []func(context.Context, string) (store.Job, error){Existing, ForReading} {
				if _, err := open(ctx, name); !errors.Is(err, fs.ErrNotExist) ||
					errors.Is(err, ErrNoJob) != (what == "file") {
					t.Errorf("%s: opened before it was made: %v", what, err)
				}
			}
			for range 2 {
				j, err := OrCreate(ctx, name)
				ok(t, err)
				ok(t, j.Set(ctx, map[string]string{"key": "value"}))
				ok(t, j.Close())
			}
		}
		for _, open := range []func(context.Context, string) (store.Job, error){Existing, ForReading} {
			j, err := open(ctx, name)
			ok(t, err)
			settings, err := j.Settings(ctx)
			ok(t, err)
			if want := map[string]string{"file": "value", "server": "value"}[what]; settings["key"] != want {
				t.Errorf("%s: settings %v", what, settings)
			}
			ok(t, j.Close())
		}
	}
}

// TestOthers: what is not a job is refused, and stays as it is.
func TestOthers(t *testing.T) {
	ctx := context.Background()
	text := filepath.Join(t.TempDir(), "urls.txt")
	ok(t, os.WriteFile(text, []byte("http://a.invalid/\n"), 0o600))
	for _, path := range []string{text, user(t)} {
		was, err := os.ReadFile(path)
		ok(t, err)
		for _, open := range []func(context.Context, string) (store.Job, error){Existing, ForReading} {
			if _, err := open(ctx, path); !errors.Is(err, ErrNoJob) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if _, err := OrCreate(ctx, path); err == nil || !strings.Contains(err.Error(), "--db") {
			t.Errorf("%s: %v", path, err)
		}
		now, err := os.ReadFile(path)
		ok(t, err)
		if string(now) != string(was) {
			t.Errorf("%s has changed", path)
		}
	}
	nowhere := filepath.Join(t.TempDir(), "no", "job.db")
	if j, err := OrCreate(ctx, nowhere); err == nil || j != nil {
		t.Errorf("a job below a folder that is not there: %v, %v", j, err)
	}
	below := text + "/job.db"
	for _, open := range []func(context.Context, string) (store.Job, error){Existing, ForReading} {
		if _, err := open(ctx, below); err == nil || errors.Is(err, fs.ErrNotExist) ||
			!strings.HasPrefix(err.Error(), "read "+below+": ") {
			t.Error(err)
		}
	}
}

// TestNames: what is shown of a name has no password.
func TestNames(t *testing.T) {
	const url = "postgres://me:secret@host/db"
	if !IsURL(url) || IsURL("job.db") || WithoutPassword("job.db") != "job.db" || strings.Contains(
		WithoutPassword(url), "secret") || strings.Contains(Redact("cannot open "+url), "secret") {
		t.Errorf("%s, %s", WithoutPassword(url), Redact("cannot open "+url))
	}
}

// TestLostTable: a job on a table that is gone is an error that says so, not a job that was never made.
func TestLostTable(t *testing.T) {
	path := user(t)
	j, err := sqlite.OpenTable(t.Context(), path, sqlite.TableOptions{Table: "pictures"})
	ok(t, err)
	ok(t, j.Close())
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	_, err = db.Exec("DROP TABLE pictures")
	ok(t, err)
	ok(t, db.Close())
	for _, open := range []func(context.Context, string) (store.Job, error){Existing, ForReading} {
		if j, err := open(t.Context(), path); err == nil || errors.Is(err, ErrNoJob) {
			t.Errorf("%v, %v", j, err)
		}
	}
}
