package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"facescan/store/storetest/must"
)

// TestServer stops a server and starts it again: what was committed is there, and in the end nothing is left.
func TestServer(t *testing.T) {
	ctx := context.Background()
	var dir string
	t.Run("life", func(t *testing.T) {
		s := New(t)
		dir = s.dir
		url := s.Database(t)
		query := func(text string) (n int) {
			t.Helper()
			c := must.Get(pgx.Connect(ctx, url))(t)
			defer c.Close(ctx)
			if err := c.QueryRow(ctx, text).Scan(&n); err != nil && !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
			return n
		}
		query("CREATE TABLE t AS SELECT 7 AS n")
		s.Stop(t)
		if c, err := pgx.Connect(ctx, url); err == nil {
			c.Close(ctx)
			t.Error("connected to a stopped server")
		}
		s.Start(t)
		if n := query("SELECT n FROM t"); n != 7 {
			t.Errorf("n is %d after a restart", n)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

// TestDatabases has one server for all, and a database for each.
func TestDatabases(t *testing.T) {
	if a, b := Start(t), Start(t); a == b {
		t.Error("two tests have one database")
	}
}
