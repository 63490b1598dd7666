package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store/storetest"
)

// TestForgetLeavesNothing looks for a forgotten row in the bytes of all files of the job, and for its id in
// all tables. What an earlier release deleted, without overwriting it, goes too.
func TestForgetLeavesNothing(t *testing.T) {
	ctx := context.Background()
	path := target.Create(t)
	j, err := Open(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Marked(t, ctx, j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	earlier, err := sql.Open("sqlite3", path+"?_secure_delete=false")
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE TABLE old (text TEXT)",
		fmt.Sprintf("WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) "+
			"INSERT INTO old SELECT '%s' || i FROM n", storetest.Mark),
		"DROP TABLE old",
	} {
		if _, err := earlier.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := earlier.Close(); err != nil {
		t.Fatal(err)
	}
	holds := func() (n int) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n += bytes.Count(b, []byte(storetest.Mark))
		}
		return n
	}
	if n := holds(); n < 300 {
		t.Fatalf("the mark is there %d times only", n)
	}
	if j, err = Open(ctx, path); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Forget(ctx, []int64{storetest.MarkedID}, true); err != nil {
		t.Fatal(err)
	}
	if limits, err := j.Expunge(ctx); err != nil || limits != "" {
		t.Fatal(limits, err)
	}
	if n := holds(); n > 0 {
		t.Errorf("the mark is still there %d times", n)
	}
	var tables []string
	err = j.(*job).view(ctx, func(tx tx) error {
		for _, table := range append(ownTables, "urls") {
			var columns []string
			err := tx.each("SELECT name FROM pragma_table_info(?)", []any{table}, func(r *sql.Rows) error {
				var name string
				err := r.Scan(&name)
				columns = append(columns, `"`+name+`" = ?1`)
				return err
			})
			var there bool
			if err == nil {
				err = tx.one("SELECT EXISTS (SELECT 1 FROM "+table+" WHERE "+strings.Join(columns, " OR ")+
					")",
					[]any{storetest.MarkedID}, &there)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
			if there {
				tables = append(tables, table)
			}
		}
		return nil
	})
	// shards and sources have it as the last id of a range
	if want := "results sources shards urls"; err != nil || strings.Join(tables, " ") != want {
		t.Errorf("tables that have the row: %q, %v; want %s", tables, err, want)
	}
}
