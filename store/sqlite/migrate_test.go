package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

// restore makes a job file from a dump.
func restore(t *testing.T, dump string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", dump))
	ok(t, err)
	path := filepath.Join(t.TempDir(), "old.facescan.db")
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	_, err = db.Exec(string(text))
	ok(t, err)
	ok(t, db.Close())
	return path
}

// TestOldJobsGoOn opens a job that an older release left behind, killed in mid-run, and finishes it.
func TestOldJobsGoOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := restore(t, "version1.sql")
	opened, err := Open(ctx, path)
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	version := 0
	ok(t, j.view(ctx, func(t tx) (err error) { version, err = schemaVersionOf(t); return err }))
	if version != schemaVersion {
		t.Errorf("version %d, want %d", version, schemaVersion)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Errorf("migrated, with problems: %v", found)
	}
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.Total != 24 || c.Done != 8 || c.Faces != 6 || c.Failures[store.Timeout] != 3 ||
		c.Failures[store.BadURL] != 2 {
		t.Errorf("counts %+v", c)
	}
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	for {
		l, err := s.Claim(ctx, 100)
		if errors.Is(err, store.ErrNoShard) {
			break
		}
		ok(t, err)
		rows, err := s.Pending(ctx, l, l.Lo-1, 100)
		ok(t, err)
		var batch []store.Result
		for _, r := range rows {
			batch = append(batch, benchResult(r.ID, 1))
		}
		ok(t, s.Commit(ctx, l, batch))
		ok(t, s.Release(ctx, []store.Lease{l}))
	}
	n := 0
	for r, err := range j.Results(ctx, 0, 1<<62) {
		ok(t, err)
		if n++; r.Source == 1 && (r.Group != "g" || len(r.Kept) != 2) {
			t.Errorf("row %d lost its group or columns: %+v", r.ID, r)
		}
	}
	if n != 24 {
		t.Errorf("%d results of 24 rows", n)
	}
	for g, err := range j.Groups(ctx, 0) {
		ok(t, err)
		if g.Name != "g" || g.Images != 12 || g.Revision != 1 {
			t.Errorf("group %+v", g)
		}
		n--
	}
	if n != 23 {
		t.Errorf("%d groups were finished, want 1", 24-n)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Errorf("finished, with problems: %v", found)
	}
}

// TestMigrationIsWholeOrNotAtAll makes a version's statements fail half-way.
func TestMigrationIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := restore(t, "version1.sql")
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE INDEX in_the_way ON sources (already_done)") // the column cannot go
	ok(t, err)
	if _, err := Open(ctx, path); err == nil {
		t.Fatal("migrated")
	}
	version, columns := 0, 0
	ok(t, db.QueryRow("SELECT version, (SELECT count(*) FROM pragma_table_info('shards') "+
		"WHERE name = 'already') FROM job").Scan(&version, &columns))
	if version != 1 || columns != 0 {
		t.Errorf("version %d, with %d new columns", version, columns)
	}
	_, err = db.Exec("DROP INDEX in_the_way")
	ok(t, err)
	j, err := Open(ctx, path)
	ok(t, err)
	ok(t, j.Close())
}
