package postgres

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/storetest/pgtest"
)

// TestPoolers opens a job through PgBouncer in each of its modes. Session mode works; the others are refused
// by name, and nothing is made through them.
func TestPoolers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.Start(t)
	for _, c := range []struct {
		mode     string
		settings []string
		pooler   Pooler
		refused  string
	}{
		{"transaction", nil, TransactionPooler, "in transaction mode"},
		{"transaction", []string{"server_round_robin = 1", "min_pool_size = 3"}, TransactionPooler,
			"in transaction mode"},
		{"transaction", []string{"server_round_robin = 1", "min_pool_size = 2", "default_pool_size = 2"},
			TransactionPooler, "in transaction mode"},
		{"statement", nil, StatementPooler, "in statement mode"},
		{"session", nil, SessionPooler, ""},
		{"session", []string{"default_pool_size = 1"}, SessionPooler, ""},
	} {
		through := pgtest.Bouncer(t, url, c.mode, c.settings...)
		h, err := Examine(ctx, through)
		if err != nil || h.Pooler != c.pooler || (h.PoolerErr != nil) != (c.refused != "") {
			t.Errorf("%s %v: %+v, %v", c.mode, c.settings, h, err)
		}
		if len(c.settings) > 0 && c.pooler == SessionPooler {
			continue // one connection is too few for a job
		}
		j, err := Create(ctx, through)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) ||
				!strings.Contains(err.Error(), "pool_mode = session") {
				t.Errorf("%s: %v", c.mode, err)
			}
			if there := schemaThere(t, url); there {
				t.Errorf("%s: a job was made", c.mode)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.mode, err)
			continue
		}
		s, err := j.Join(ctx, store.Owner{}, time.Minute)
		ok(t, err)
		fill(t, j.(*job), s.(*session), 4)
		l, err := s.Claim(ctx, 10)
		ok(t, err)
		ok(t, s.Commit(ctx, l, []store.Result{result(1, 1), result(2, 0)}))
		ok(t, s.Leave(ctx))
		ok(t, j.Close())
	}
	h, err := Examine(ctx, url)
	ok(t, err)
	if h.Pooler != NoPooler || h.RoundTrip <= 0 || h.Commits <= 0 || h.CommitErr != nil ||
		h.MaxConnections <= h.Used || h.MaxConnections > 200 ||
		h.FreezeMax <= 0 || h.Version == "" || h.TooOld || h.ReadOnly || h.Durable || !h.Autovacuum ||
		h.PerProcess != connections {
		t.Errorf("the server itself: %+v", h) // the tests' server does without fsync
	}
}

// schemaThere reports whether a job was made in the default schema.
func schemaThere(t *testing.T, url string) (there bool) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, url)
	ok(t, err)
	defer c.Close(ctx)
	ok(t, c.QueryRow(ctx, "SELECT to_regnamespace('facescan') IS NOT NULL").Scan(&there))
	return there
}
