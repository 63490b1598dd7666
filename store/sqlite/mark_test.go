package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/interrupt"
)

// TestUnfitTables tries tables whose Done column cannot be set, or can be in spite of what they have. A trial
// changes nothing, and what is refused says why, where, and what to do.
func TestUnfitTables(t *testing.T) {
	t.Parallel()
	const plain = "CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT DEFAULT 0); INSERT INTO " +
		"urls (url) VALUES ('a'), ('b'), ('c');"
	rows := "INSERT INTO urls (id, url) VALUES (1, 'a'), (2, 'b');"
	for name, c := range map[string]struct{ text, says string }{ // empty: it is fit
		"nothing special": {plain, ""},
		"no rows":         {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT);", ""},
		"no Done column": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT); INSERT INTO urls " +
			"VALUES (1, 'a');", ""},
		"all are done": {plain + "UPDATE urls SET done = 1; CREATE TRIGGER t BEFORE UPDATE " +
			"ON urls BEGIN SELECT raise(abort, 'no'); END;", ""},
		"text": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done TEXT); " + rows,
			""},
		"strict text": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done TEXT) STRICT;" +
			rows, ""},
		"a trigger that notes": {plain + "CREATE TABLE log (x); CREATE TRIGGER t AFTER UPDATE " +
			"ON urls BEGIN INSERT INTO log VALUES (new.id); END;", ""},
		"a mark of its own": {plain + "CREATE TRIGGER t AFTER UPDATE ON urls BEGIN UPDATE urls " +
			"SET done = 7 WHERE id = new.id; END;", ""},
		"ignored": {plain + "CREATE TRIGGER tr BEFORE UPDATE ON urls WHEN new.id = 2 BEGIN " +
			"SELECT raise(ignore); END;", "row 2"},
		"aborted": {plain + "CREATE TRIGGER tr BEFORE UPDATE ON urls WHEN new.id = 3 BEGIN " +
			"SELECT raise(abort, 'not this'); END;", "not this"},
		"failed": {plain + "CREATE TRIGGER tr AFTER UPDATE ON urls WHEN new.id = 3 BEGIN " +
			"SELECT raise(fail, 'not this'); END;", "not this"},
		"rolled back": {plain + "CREATE TRIGGER tr AFTER UPDATE ON urls WHEN new.id = 3 BEGIN " +
			"SELECT raise(rollback, 'not this'); END;", "not this"},
		"undone": {plain + "CREATE TRIGGER tr AFTER UPDATE ON urls " +
			"WHEN new.id = 2 BEGIN UPDATE urls SET done = 0 WHERE id = 2; END;", "row 2"},
		"undone to null": {plain + "CREATE TRIGGER tr AFTER UPDATE ON urls BEGIN UPDATE urls " +
			"SET done = NULL; END;", "row 1"},
		"deleted": {plain + "CREATE TRIGGER tr AFTER UPDATE OF done ON urls BEGIN DELETE " +
			"FROM urls WHERE id = new.id; END;", "row 1"},
		"renumbered": {plain + "CREATE TRIGGER tr AFTER UPDATE OF done ON urls " +
			"WHEN new.id < 100 BEGIN UPDATE urls SET id = id + 100 WHERE id = new.id; END;", "row 1"},
		"a function of the user": {plain + "CREATE TRIGGER tr AFTER UPDATE ON urls BEGIN " +
			"SELECT my_function(new.id); END;", "my_function"},
		"a module of the user": {plain + "CREATE TABLE f (x); CREATE TRIGGER tr AFTER UPDATE " +
			"ON urls BEGIN INSERT INTO nowhere VALUES (1); END;", "nowhere"},
		"words for done": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done TEXT DEFAULT " +
			"'no' CHECK (done IN ('yes', 'no')));" + rows, "CHECK constraint"},
		"a check on others": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT, by_whom " +
			"TEXT, CHECK (done IS NULL OR by_whom <> ''));" + rows, ""},
		"a check that fails": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT, by_whom " +
			"TEXT NOT NULL DEFAULT '', CHECK (done IS NULL OR by_whom <> ''));" + rows, "CHECK constraint"},
		"strict blob": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done BLOB) STRICT;" +
			rows, "BLOB"},
		"unique": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT UNIQUE);" +
			rows, "UNIQUE constraint"},
		"unique with others": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, kind TEXT DEFAULT " +
			"'a', done INT); CREATE UNIQUE INDEX u ON urls (kind, done);" + rows, "UNIQUE constraint"},
		"a collation": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT DEFAULT " +
			"0); " + rows + "PRAGMA writable_schema = 1; UPDATE sqlite_schema " +
			"SET sql = replace(sql, 'done INT', 'done INT COLLATE theirs') " +
			"WHERE name = 'urls'; CREATE INDEX i ON urls (url);", "collation"},
		"a computed column": {"CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT DEFAULT " +
			"0, half AS (1 / (1 - done)) NOT NULL);" + rows, "NOT NULL constraint"},
		"a name that is ours": {plain + "CREATE VIEW Facescan_Results AS SELECT 1;", "Facescan_Results"},
		"an index of our name": {plain + "CREATE INDEX facescan_shards_open ON urls (url);",
			"facescan_shards_open"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			path, db := users(t, c.text)
			state := func() string {
				return fmt.Sprint(dump(t, db, "SELECT * FROM urls"),
					dump(t, db, "SELECT name, sql FROM sqlite_schema"))
			}
			before := state()
			d, err := InspectTable(ctx, path, TableOptions{Table: "urls"})
			ok(t, err)
			err = d.Try(ctx)
			if now := state(); now != before {
				t.Errorf("the trial changed the file:\n%s\n%s", before, now)
			}
			if c.says == "" {
				ok(t, err)
				j := inPlace(t, path, TableOptions{Table: "urls"})
				s, err := j.Join(ctx, store.Owner{}, time.Hour)
				ok(t, err)
				pass(t, s, 10)
				finish(t, s)
				ok(t, s.Leave(ctx))
				return
			}
			var unfit *UnfitError
			if !errors.As(err, &unfit) || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), "--db JOB") {
				t.Errorf("it says %v, not %q", err, c.says)
			}
			if strings.Contains(c.text, "TRIGGER tr ") &&
				!strings.Contains(err.Error(), "its triggers: tr)") {
				t.Errorf("the trigger is not named: %v", err)
			}
		})
	}
}

// TestMarkThatDoesNotStick begins to refuse marks when the job is under way: the commit is undone whole, says
// which row and why, and nothing counts the row as done. Without the trigger it all goes on.
func TestMarkThatDoesNotStick(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"ignored":     "BEFORE UPDATE ON urls WHEN new.id = 5 BEGIN SELECT raise(ignore); END",
		"aborted":     "BEFORE UPDATE ON urls WHEN new.id = 5 BEGIN SELECT raise(abort, 'no'); END",
		"failed":      "AFTER UPDATE ON urls WHEN new.id = 5 BEGIN SELECT raise(fail, 'no'); END",
		"rolled back": "AFTER UPDATE ON urls WHEN new.id = 5 BEGIN SELECT raise(rollback, 'no'); END",
		"undone": "AFTER UPDATE ON urls WHEN new.id = 5 AND new.done BEGIN UPDATE urls SET done = 0 " +
			"WHERE id = 5; END",
		"deleted": "AFTER UPDATE ON urls WHEN new.id = 5 BEGIN DELETE FROM urls WHERE id = 5; END",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			path, db := users(t, `CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT DEFAULT 0);
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
				WHERE i < 9) INSERT INTO urls (url) SELECT 'http://a.example/' || i FROM n`)
			j := inPlace(t, path, TableOptions{Table: "urls"})
			s, err := j.Join(ctx, store.Owner{}, time.Hour)
			ok(t, err)
			pass(t, s, 100)
			_, err = db.Exec("CREATE TRIGGER late " + body)
			ok(t, err)
			l, err := s.Claim(ctx, 100)
			ok(t, err)
			var batch []store.Result
			for id := range int64(9) {
				batch = append(batch, benchResult(id+1, 1))
			}
			err = s.Commit(ctx, l, batch)
			for _, want := range []string{"the Done column of row 5 cannot be set to 1: ", "table urls",
				"triggers: late", "--db JOB"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the commit says %v, without %q", err, want)
				}
			}
			if got := dump(t, db, "SELECT count(*), sum(done), (SELECT count(*) FROM facescan_results) "+
				"FROM urls"); got[0] != "9|0|0|" {
				t.Errorf("rows, done and results: %v", got)
			}
			_, err = db.Exec("DROP TRIGGER late")
			ok(t, err)
			ok(t, s.Commit(ctx, l, batch))
			_, err = db.Exec("CREATE TRIGGER late " + strings.ReplaceAll(body,
				"AND new.done BEGIN UPDATE urls SET done = 0",
				"AND NOT new.done BEGIN UPDATE urls SET done = 1"))
			ok(t, err)
			if _, err := j.Retry(ctx, store.Selection{OK: true}); err == nil ||
				!strings.Contains(err.Error(), "the Done column of row 5 cannot be set to 0: ") ||
				!strings.Contains(err.Error(), "triggers: late") {
				t.Errorf("a retry says %v", err)
			}
			if got := dump(t, db, "SELECT count(*), sum(done), (SELECT count(*) FROM facescan_results) "+
				"FROM urls"); got[0] != "9|9|9|" {
				t.Errorf("rows, done and results: %v", got)
			}
			ok(t, s.Leave(ctx))
		})
	}
}

// TestMarkErrorsSay which row it is, as far as that is known.
func TestMarkErrorsSay(t *testing.T) {
	for rows, want := range map[int]string{1: "row 5", 2: "one of 2 rows from row 5 on"} {
		err := &markError{id: 5, rows: rows, err: errNotStuck}
		if want := "the Done column of " + want + " cannot be set to 0: "; !strings.HasPrefix(err.Error(), want) ||
			!errors.Is(err, errNotStuck) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestTriggerWithoutEnd has a trigger that never ends, when a table is tried out and later.
func TestTriggerWithoutEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const endless = `AFTER UPDATE ON urls BEGIN
		SELECT raise(abort, 'over') WHERE (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
		SELECT count(*) FROM n) < 0; END`
	path, db := users(t, "CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT); INSERT INTO urls "+
		"(url) VALUES ('a')")
	j := inPlace(t, path, TableOptions{Table: "urls"})
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	pass(t, s, 100)
	_, err = db.Exec("CREATE TRIGGER late " + endless)
	ok(t, err)
	d, err := InspectTable(ctx, path, TableOptions{})
	ok(t, err)
	err = d.trial(ctx, 100*time.Millisecond)
	for _, want := range []string{"took longer than", "triggers: late", "--db JOB"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the trial says %v, without %q", err, want)
		}
	}
	l, err := s.Claim(ctx, 100)
	ok(t, err)
	j.patience, j.writer.patience = 100*time.Millisecond, 100*time.Millisecond
	err = s.Commit(ctx, l, []store.Result{benchResult(1, 1)})
	j.patience, j.writer.patience = minPatience, minPatience
	for _, want := range []string{"took longer than", "triggers: late", "--db JOB"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the commit says %v, without %q", err, want)
		}
	}
	ok(t, s.Leave(ctx))
}

// TestColumnsNamedLikeTokens has columns whose names are this package's own tokens.
func TestColumnsNamedLikeTokens(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, db := users(t, `CREATE TABLE "{results}" ("{id}" INT UNIQUE, "{urls}" TEXT, "{pending}" INT,
		"{group_column}" TEXT, "{kept}" TEXT, "{kept_column_0}" TEXT, "a""{faces}'" TEXT);
		INSERT INTO "{results}" VALUES (1, 'http://a.example/1', 0, 'g', 'k', 'l', 'm'), (2,
		'http://a.example/2', 1, 'g', 'k', 'l', 'm'), (4, 'http://a.example/4', NULL, 'h', 'k2', 'l2', 'm2')`)
	o := TableOptions{Table: "{results}", ID: "{id}", URL: "{urls}", Done: "{pending}",
		Group: "{group_column}", Keep: []string{"{kept_column_0}", "{kept}", `a"{faces}'`}}
	d, err := InspectTable(ctx, path, o)
	ok(t, err)
	ok(t, d.Try(ctx))
	j := inPlace(t, path, o)
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	pass(t, s, 100)
	if did := finish(t, s); len(did) != 2 || did[4] != "http://a.example/4" {
		t.Errorf("did %v", did)
	}
	ok(t, s.Leave(ctx))
	var got []string
	for r, err := range j.Results(ctx, 0, 100) {
		ok(t, err)
		got = append(got, fmt.Sprintf("%d %s %s %s", r.ID, r.URL, r.Group, r.Kept))
	}
	want := []string{"1 http://a.example/1 g [l k m]", "4 http://a.example/4 h [l2 k2 m2]"}
	if !slices.Equal(got, want) {
		t.Errorf("results %q, want %q", got, want)
	}
	if got := dump(t, db, `SELECT sum("{pending}"), count(*) FROM "{results}"`); got[0] != "3|3|" {
		t.Errorf("done: %v", got)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Errorf("verify says %v", found)
	}
}

// TestInterruptedTrial: a trial that is interrupted, at any step, says so, and does not refuse the table.
func TestInterruptedTrial(t *testing.T) {
	t.Parallel()
	path, _ := users(t, "CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INT); "+
		"INSERT INTO urls (url) VALUES ('a'), ('b')")
	d, err := InspectTable(t.Context(), path, TableOptions{Table: "urls"})
	ok(t, err)
	interrupt.Each(t, 3, func(ctx context.Context) error {
		err := d.Try(ctx)
		var unfit *UnfitError
		if errors.As(err, &unfit) {
			t.Errorf("refused: %v", err)
		}
		return err
	})
}
