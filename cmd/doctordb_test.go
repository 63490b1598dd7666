package cmd

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/pgtest"
)

// query runs SQL that returns a number.
func query(t *testing.T, url, text string) (n int64) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, text).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDoctorOfDatabase: doctor measures a server, with a job and without one, and leaves nothing there.
func TestDoctorOfDatabase(t *testing.T) {
	t.Parallel()
	url := database(t)
	dir := t.TempDir()
	const relations = "SELECT count(*) FROM pg_class"
	before := query(t, url, relations)
	doctor := func(want int, at string, has ...string) string {
		t.Helper()
		code, out, errs := here(t, "doctor", at, "--dir", dir)
		noPassword(t, out, errs)
		if code != want {
			t.Errorf("exit %d, want %d\n%s%s", code, want, out, errs)
		}
		for _, text := range append([]string{"database", "PostgreSQL"}, has...) {
			if !strings.Contains(out, text) {
				t.Errorf("no %q in\n%s", text, out)
			}
		}
		if strings.Contains(out, "names per second") {
			t.Errorf("names were looked up:\n%s", out)
		}
		return out
	}
	doctor(exitOK, url, "round trip", "per second", "room for ", "processes with up to 4 each",
		"autovacuum_freeze_max_age", "there is none yet")
	if after := query(t, url, relations); after != before {
		t.Errorf("%d tables and indexes, then %d", before, after)
	}
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	lines, _ := badList(s, 30)
	mustHere(t, "run", writeList(t, dir, lines), "--db", url, "--allow-private", "--progress", "none")
	doctor(exitOK, url, "30 rows, 30 done", "the job's tables have ")

	// A role with few connections.
	mustExec(t, url, `CREATE ROLE few LOGIN PASSWORD 's3cret%word' CONNECTION LIMIT 5;
		GRANT USAGE ON SCHEMA facescan TO few;
		GRANT SELECT ON ALL TABLES IN SCHEMA facescan TO few`)
	t.Cleanup(func() { mustExec(t, url, "DROP OWNED BY few; DROP ROLE few") })
	doctor(exitOK, strings.Replace(url, "facescan:", "few:", 1), "warn  connections", "of 5 are left",
		"raise max_connections")
	if code, out, _ := here(t, "doctor", "postgres://facescan@127.0.0.1:1/x", "--dir",
		dir); code != exitError || !strings.Contains(out, "cannot be reached") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func mustExec(t *testing.T, url, text string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, text); err != nil {
		t.Fatal(err)
	}
}

// TestPgBouncer: in transaction mode PgBouncer is named by doctor and by a run, with the way out, and in
// session mode a job is done through it.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	url := database(t)
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 60)
	list := writeList(t, dir, lines)
	for mode, want := range map[string]string{"transaction": "is in transaction mode",
		"statement": "is in statement mode"} {
		at := pgtest.Bouncer(t, url, mode)
		for _, args := range [][]string{{"doctor", at, "--dir", dir},
			{"run", list, "--db", at, "--allow-private", "--progress", "none"}, {"status", at}} {
			code, out, errs := here(t, args...)
			noPassword(t, out, errs)
			if text := out + errs; code != exitError || !strings.Contains(text, "PgBouncer") ||
				!strings.Contains(text, want) || !strings.Contains(text, "pool_mode = session") {
				t.Errorf("%s, %s: exit %d\n%s", mode, args[0], code, text)
			}
		}
	}
	at := pgtest.Bouncer(t, url, "session")
	mustHere(t, "run", list, "--db", at, "--allow-private", "--progress", "none")
	checkExport(t, at, lines, outcomes)
	if out := mustHere(t, "doctor", at, "--dir", dir); !strings.Contains(out, "session mode") {
		t.Errorf("doctor says\n%s", out)
	}
	mustHere(t, "verify", at, "--deep", "-q")
}
