package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"facescan/store"
	"facescan/store/storetest"
)

// users makes a database of a user's by some SQL, and keeps it open as its owner would.
func users(t testing.TB, text string) (string, *sql.DB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "photos.db")
	db, err := sql.Open("sqlite3", path+"?_busy_timeout=10000")
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(text)
	ok(t, err)
	return path, db
}

// inPlace opens the job on a user's table.
func inPlace(t testing.TB, path string, o TableOptions) *job {
	t.Helper()
	j, err := OpenTable(context.Background(), path, o)
	ok(t, err)
	t.Cleanup(func() { ok(t, j.Close()) })
	return j.(*job)
}

// pass takes everything new in the table into the job.
func pass(t testing.TB, s store.Session, shardSize int) {
	t.Helper()
	ctx := context.Background()
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	for next, more := int64(math.MinInt64), true; more; {
		next, more, err = s.(store.Adopter).Adopt(ctx, l, next, shardSize)
		ok(t, err)
	}
	ok(t, s.ReleaseSource(ctx, l))
}

// finish does all rows that are free, the ones whose id ends in 3 without success, and returns ids and URLs.
func finish(t testing.TB, s store.Session) map[int64]string {
	t.Helper()
	ctx := context.Background()
	did := map[int64]string{}
	for {
		l, err := s.Claim(ctx, 7)
		if errors.Is(err, store.ErrNoShard) {
			return did
		}
		ok(t, err)
		rows, err := s.Pending(ctx, l, l.Lo-1, 1000)
		ok(t, err)
		var batch []store.Result
		for _, r := range rows {
			if did[r.ID] = r.URL; r.ID%10 == 3 {
				batch = append(batch, store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout})
			} else {
				batch = append(batch, benchResult(r.ID, int(uint64(r.ID)%3)))
			}
		}
		ok(t, s.Commit(ctx, l, batch))
		ok(t, s.Release(ctx, []store.Lease{l}))
	}
}

// dump is what a query finds, a line per row.
func dump(t testing.TB, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.Query(query)
	ok(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	ok(t, err)
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		ok(t, rows.Scan(values...))
		line := ""
		for _, v := range values {
			line += fmt.Sprintf("%#v|", *v.(*any))
		}
		out = append(out, line)
	}
	ok(t, rows.Err())
	return out
}

const originStory = `
	PRAGMA application_id = 77; PRAGMA user_version = 5; PRAGMA page_size = 8192; PRAGMA auto_vacuum = FULL;
	CREATE TABLE Photos (ID INTEGER PRIMARY KEY AUTOINCREMENT, URL TEXT, Done BOOLEAN, owner TEXT,
	taken DATETIME, raw BLOB);
	CREATE TABLE log (what TEXT);
	CREATE INDEX by_owner ON Photos (owner);
	CREATE VIEW undone AS SELECT * FROM Photos WHERE NOT Done;
	CREATE TRIGGER marked AFTER UPDATE OF Done ON Photos BEGIN INSERT INTO log
	VALUES (new.id || ' is ' || new.Done); END;
	WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
		INSERT INTO Photos SELECT i * 3, 'http://a.example/' || i || ',x y.jpg', i % 10 = 0, 'o' || i % 4,
		'2024-01-02 03:04:05', randomblob(9) FROM n;`

func TestTableInPlace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, db := users(t, originStory)
	state := func() map[string][]string {
		out := map[string][]string{"schema": dump(t, db,
			"SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'facescan%' "+
				"ORDER BY name"), "rows": dump(t, db, "SELECT ID, URL, owner, CAST(taken AS TEXT), raw, "+
			"typeof(Done) FROM Photos ORDER BY ID")}
		for _, p := range []string{"application_id", "user_version", "journal_mode", "page_size",
			"auto_vacuum", "encoding"} {
			out[p] = dump(t, db, "PRAGMA "+p)
		}
		return out
	}
	before := state()
	d, err := InspectTable(ctx, path, TableOptions{Table: "photos"})
	ok(t, err)
	if d.Name != "Photos" || d.ID != "ID" || d.URL != "URL" || d.Done != "Done" || d.AddsDone || !d.New {
		t.Errorf("found %+v", d)
	}
	if got := dump(t, db, "SELECT name FROM sqlite_schema WHERE name LIKE 'facescan%'"); len(got) > 0 {
		t.Errorf("looking at it made %v", got)
	}
	j := inPlace(t, path, TableOptions{Table: "photos"})
	made := dump(t, db, "SELECT 'CREATE ' || upper(type) || ' ' || name FROM sqlite_schema "+
		"WHERE name LIKE 'facescan%' ORDER BY 1")
	printed := d.Changes()
	slices.Sort(printed)
	if d := cmp.Diff(printed, trimmed(made)); d != "" {
		t.Errorf("a dry run printed other changes: -printed +made %s", d)
	}
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	pass(t, s, 40)
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.Total != 450 || c.AlreadyDone != 50 || c.Pending != 450 || len(c.ImportIncomplete) > 0 {
		t.Errorf("counts %+v", c)
	}
	did := finish(t, s)
	if len(did) != 450 || did[3] != "http://a.example/1,x y.jpg" || did[30] != "" {
		t.Errorf("did %d rows, 3 is %q, 30 is %q", len(did), did[3], did[30])
	}
	if got := dump(t, db, "SELECT count(*), sum(Done), sum(typeof(Done) = 'integer') "+
		"FROM Photos"); got[0] != "500|500|500|" {
		t.Errorf("done: %v", got)
	}
	if got := dump(t, db, "SELECT count(*) FROM log"); got[0] != "450|" {
		t.Errorf("the user's trigger saw %v updates", got)
	}
	if d := cmp.Diff(before, state()); d != "" {
		t.Errorf("the user's file changed: %s", d)
	}
	n := 0
	for r, err := range j.Results(ctx, math.MinInt64, math.MaxInt64) {
		ok(t, err)
		if n++; r.ID%30 == 0 || r.URL != did[r.ID] || r.Source != 0 {
			t.Errorf("result %+v", r)
		}
	}
	rows := 0
	for _, err := range j.Rows(ctx, 0, 1<<62) {
		ok(t, err)
		rows++
	}
	if n != 450 || rows != 450 {
		t.Errorf("%d results of %d rows", n, rows)
	}
	retried, err := j.Retry(ctx, store.Selection{Reasons: []store.Reason{store.Timeout}})
	ok(t, err)
	if got := dump(t, db, "SELECT count(*) FROM undone"); got[0] != fmt.Sprintf("%d|", retried) ||
		retried != 50 {
		t.Errorf("retry of %d rows left %v undone", retried, got)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Error(found)
	}
	// A job of our own does not take the user's file for one, nor the other way round.
	if is, err := IsJob(path); is || err != nil {
		t.Errorf("the user's file is a job: %v", err)
	}
	if d, err := InspectTable(ctx, path, TableOptions{}); d.New || err != nil {
		t.Errorf("the user's file has no job: %v", err)
	}
	if _, err := OpenTable(ctx, target.Create(t), TableOptions{Table: "urls"}); err == nil {
		t.Error("a job's own table was opened in place")
	}
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err == nil {
		t.Error("a list was added to a table")
	}
	if err := s.Append(ctx, store.SourceLease{}, nil, store.Position{}, true, 10); err == nil {
		t.Error("rows were appended to a table")
	}
	err = s.AppendAll(ctx, make([]store.Addition, 2), 10)
	if err == nil || !strings.Contains(err.Error(), "the rows of this job are the table's") {
		t.Errorf("rows were appended to a user's table from two lists: %v", err)
	}
}

func TestTableColumnsAreFound(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, c := range map[string]struct {
		sql  string
		o    TableOptions
		want string // ID URL Done, + for one that is added; or part of the error
	}{
		"the usual": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER)",
			TableOptions{Table: "T"}, "id url done"},
		"no done": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t"}, "id url done+"},
		"a done of its own": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t", Done: "Ready"}, "id url Ready+"},
		"a key by its kind": {"CREATE TABLE t (k INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t"}, "k url done+"},
		"other names": {"CREATE TABLE t (k INTEGER PRIMARY KEY, Link TEXT, ok BOOLEAN)",
			TableOptions{Table: "t", ID: "K", URL: "link", Done: "OK"}, "k Link ok"},
		"awkward names": {`CREATE TABLE "my ""own"" table" ("group" INTEGER PRIMARY KEY,
			"select" TEXT, "a b" INT)`, TableOptions{Table: `MY "own" table`, ID: "GROUP", URL: "Select",
			Done: "A B"}, "group select a b"},
		"a unique column": {"CREATE TABLE t (k INTEGER PRIMARY KEY, id BIGINT UNIQUE, url TEXT)",
			TableOptions{Table: "t"}, "id url done+"},
		"a key that is not a row number": {"CREATE TABLE t (id INT PRIMARY KEY, url TEXT); INSERT INTO t " +
			"VALUES (-5, 'x'), (7, 'y')", TableOptions{Table: "t"}, "id url done+"},
		"words among integers": {"CREATE TABLE t (id INT PRIMARY KEY, url TEXT); INSERT INTO t " +
			"VALUES (1, 'x'), ('two', 'y')", TableOptions{Table: "t"}, "text"},
		"nothing among integers": {"CREATE TABLE t (id INT PRIMARY KEY, url TEXT); INSERT INTO t " +
			"VALUES (1, 'x'), (NULL, 'y')", TableOptions{Table: "t"}, "null"},
		"a text key": {"CREATE TABLE t (id TEXT PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t"}, "--db"},
		"a key of two": {"CREATE TABLE t (id INTEGER, b INTEGER, url TEXT, PRIMARY KEY (id, " +
			"b))", TableOptions{Table: "t"}, "not unique"},
		"unique in part": {"CREATE TABLE t (id INTEGER, url TEXT); CREATE UNIQUE INDEX i " +
			"ON t (id) WHERE url <> ''", TableOptions{Table: "t"}, "not unique"},
		"a view": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT); CREATE VIEW v " +
			"AS SELECT * FROM t", TableOptions{Table: "v"}, "--db"},
		"without rowid": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT) WITHOUT ROWID",
			TableOptions{Table: "t"}, "--db"},
		"a virtual table": {"CREATE VIRTUAL TABLE t USING fts3(url)", TableOptions{Table: "t"},
			"--db"},
		"no table": {"CREATE TABLE t (id INTEGER PRIMARY KEY)", TableOptions{Table: "x"},
			"no table x"},
		"none named": {"CREATE TABLE t (id INTEGER PRIMARY KEY)", TableOptions{}, "--table"},
		"no url": {"CREATE TABLE t (id INTEGER PRIMARY KEY, link TEXT)",
			TableOptions{Table: "t"}, "--url-column: id, link"},
		"no such key": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t", ID: "key"}, "no column key"},
		"no such group": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t", Group: "album"}, "no column album"},
		"done computed": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done AS (url = " +
			"''))", TableOptions{Table: "t"}, "computed"},
		"one column for two": {"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)",
			TableOptions{Table: "t", Done: "url"}, "three"},
		"SQLite's own": {"CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT)",
			TableOptions{Table: "sqlite_sequence"}, "not a table of yours"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, _ := users(t, c.sql)
			d, err := InspectTable(ctx, path, c.o)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("refused: %v; want %s", err, c.want)
				}
				if _, err := OpenTable(ctx, path, c.o); err == nil {
					t.Error("opened nevertheless")
				}
				return
			}
			got := d.ID + " " + d.URL + " " + d.Done
			if d.AddsDone {
				got += "+"
			}
			if got != c.want {
				t.Errorf("columns %s, want %s", got, c.want)
			}
			j := inPlace(t, path, c.o)
			_, err = InspectTable(ctx, path, TableOptions{}) // the job knows them now
			ok(t, err)
			s, err := j.Join(ctx, store.Owner{}, time.Hour)
			ok(t, err)
			pass(t, s, 10)
			finish(t, s)
			if found := storetest.Problems(t, j, false); len(found) > 0 {
				t.Error(found)
			}
		})
	}
	if _, err := InspectTable(ctx, filepath.Join(t.TempDir(), "nothing.db"),
		TableOptions{Table: "t"}); err == nil {
		t.Error("looked into a file that is not there")
	}
}

func TestTableDoneColumnIsAdded(t *testing.T) {
	t.Parallel()
	path, db := users(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT); INSERT INTO t VALUES (1, 'x')")
	inPlace(t, path, TableOptions{Table: "t"})
	inPlace(t, path, TableOptions{Table: "t"})
	want := []string{`"CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, \"done\" INTEGER DEFAULT 0)"|`}
	if got := dump(t, db, "SELECT sql FROM sqlite_schema WHERE name = 't'"); !slices.Equal(got, want) {
		t.Errorf("table %v, want %v", got, want)
	}
	for _, o := range []TableOptions{{Table: "other"}, {URL: "id"}, {Keep: []string{"id"}}, {Group: "url"}} {
		if _, err := OpenTable(context.Background(), path, o); err == nil {
			t.Errorf("the job was opened with %+v", o)
		}
	}
}

func TestTableWordsForDone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, db := users(t, `CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done);
		INSERT INTO t (done) VALUES (1), (2), (-1), (0.5), ('1'), ('true'), (' TRUE '), ('t'), ('Yes'), ('y'),
		('on'), ('2.5'), (x'31');
		INSERT INTO t (id, done) VALUES (101, 0), (102, NULL), (103, 0.0), (104, '0'), (105, ''), (106,
		'false'), (107, 'no'), (108, 'pending'), (109, x'');
		UPDATE t SET url = 'http://a.example/' || id; UPDATE t SET url = NULL WHERE id = 101; UPDATE t
		SET url = 17 WHERE id = 102`)
	j := inPlace(t, path, TableOptions{Table: "t", Group: "url", Keep: []string{"id", "done"}})
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	pass(t, s, 4)
	did := finish(t, s)
	if len(did) != 9 || did[101] != "" || did[102] != "17" || did[103] != "http://a.example/103" {
		t.Errorf("did %v", did)
	}
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.AlreadyDone != 13 || c.Done != 9 {
		t.Errorf("%d were done on arrival, %d are done", c.AlreadyDone, c.Done)
	}
	for r, err := range j.Results(ctx, 103, 104) {
		ok(t, err)
		if r.Group != "http://a.example/103" || !slices.Equal(r.Kept, []string{"103", "1"}) {
			t.Errorf("group %q, kept %q", r.Group, r.Kept)
		}
	}
	if got := dump(t, db, "SELECT DISTINCT done FROM t WHERE id > 100"); !slices.Equal(got, []string{"1|"}) {
		t.Errorf("done is %v", got)
	}
}

// TestTableIsTheTruth changes the user's rows at random between the job's steps; after a pass, or verify, the
// job must agree with the table, and in the end every row is done.
func TestTableIsTheTruth(outer *testing.T) {
	outer.Parallel()
	ctx := context.Background()
	rapid.Check(outer, func(t *rapid.T) {
		path, db := users(outer, `CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER, album TEXT);
			INSERT INTO t VALUES (0, 'zero', 0, 'a'), (50, 'fifty', 1, 'b')`)
		if rapid.Bool().Draw(t, "wal") {
			_, err := db.Exec("PRAGMA journal_mode = WAL")
			ok(outer, err)
		}
		j := inPlace(outer, path, TableOptions{Table: "t", Group: "album"})
		s, err := j.Join(ctx, store.Owner{}, time.Hour)
		ok(outer, err)
		album := func() string { return rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "album") }
		id := func() int64 { return rapid.Int64Range(-100, 100).Draw(t, "id") }
		change := func(text string, args ...any) {
			_, err := db.Exec(text, args...)
			ok(outer, err)
		}
		one := func(query string) (n int64) {
			ok(outer, db.QueryRow(query).Scan(&n))
			return n
		}
		agree := func() {
			c, err := j.Counts(ctx)
			ok(outer, err)
			want := [4]int64{one("SELECT count(*) FROM t WHERE done = 0"),
				one("SELECT count(*) FROM t WHERE done <> 0 AND id IN (SELECT id FROM facescan_results)"),
				one("SELECT count(*) FROM t WHERE done <> 0 AND id NOT IN (SELECT id " +
					"FROM facescan_results)"), one("SELECT count(*) FROM facescan_results")}
			if got := [4]int64{c.Pending, c.Done, c.AlreadyDone, c.Done}; got != want {
				t.Fatalf("pending, done, already, results: %v, want %v", got, want)
			}
			// A group is finished when none of its rows is pending.
			there := dump(outer, db, `SELECT album, count(*), count(r.id), count(*) = count(r.id) FROM t
				LEFT JOIN facescan_results AS r USING (id)
				WHERE coalesce(album, '') <> '' AND (done = 0 OR r.id IS NOT NULL) GROUP BY album
				ORDER BY album`)
			counted := dump(outer, db, "SELECT name, images, ok + failed, finished IS NOT NULL "+
				"FROM facescan_groups WHERE images > 0 ORDER BY name")
			if !slices.Equal(there, counted) {
				t.Fatalf("groups are %v, counted %v", there, counted)
			}
			if found := storetest.Problems(outer, j, false); len(found) > 0 {
				t.Fatal(found)
			}
		}
		var held []store.Lease
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(*rapid.T) {
				change("INSERT OR IGNORE INTO t VALUES (?, 'x', ?, ?)", id(),
					rapid.IntRange(0, 1).Draw(t, "done"), album())
			},
			"regroup": func(*rapid.T) {
				change("UPDATE t SET album = ? WHERE id BETWEEN ?2 AND ?2 + 5",
					album(), id())
			},
			"delete": func(*rapid.T) { change("DELETE FROM t WHERE id BETWEEN ?1 AND ?1 + 5", id()) },
			"do": func(*rapid.T) {
				change("UPDATE t SET done = 1 WHERE id BETWEEN ?1 AND ?1 + 5",
					id())
			},
			"undo": func(*rapid.T) {
				change("UPDATE t SET done = 0 WHERE id BETWEEN ?1 AND ?1 + 5",
					id())
			},
			"pass": func(*rapid.T) {
				pass(outer, s, rapid.IntRange(1, 20).Draw(t,
					"shard size"))
				agree()
			},
			"verify": func(*rapid.T) { storetest.Problems(outer, j, false) },
			"retry": func(*rapid.T) {
				_, err := j.Retry(ctx, store.Selection{Reasons: []store.Reason{store.Timeout}})
				ok(outer, err)
			},
			"release": func(*rapid.T) { ok(outer, s.Release(ctx, held)); held = nil },
			"work": func(*rapid.T) {
				l, err := s.Claim(ctx, rapid.IntRange(1, 30).Draw(t, "rows"))
				if errors.Is(err, store.ErrNoShard) {
					return
				}
				ok(outer, err)
				held = append(held, l)
				rows, err := s.Pending(ctx, l, l.Lo-1, 1000)
				ok(outer, err)
				var batch []store.Result
				for _, r := range rows {
					if rapid.Bool().Draw(t, "commit") {
						batch = append(batch, store.Result{ID: r.ID, Status: store.Failed,
							Reason: store.Timeout})
					}
				}
				ok(outer, s.Commit(ctx, l, batch))
			},
		})
		ok(outer, s.Release(ctx, held))
		pass(outer, s, 10)
		finish(outer, s)
		agree()
		if left := one("SELECT count(*) FROM t WHERE done = 0"); left > 0 {
			t.Fatalf("%d rows are left", left)
		}
	})
}

// TestForgetInPlace forgets rows of a user's table by their results: also those whose Done flags the user
// cleared since, and none that the user set.
func TestForgetInPlace(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, db := users(t, `CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER);
		INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 0), (4, 'd', 1), (5, 'e', 0)`)
	j := inPlace(t, path, TableOptions{Table: "t"})
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	pass(t, s, 10)
	finish(t, s)
	_, err = db.Exec("INSERT INTO t VALUES (6, 'f', 0); UPDATE t SET done = 0 WHERE id = 2")
	ok(t, err)
	pass(t, s, 10)
	_, err = db.Exec("UPDATE t SET done = 0 WHERE id = 1")
	ok(t, err)
	ok(t, j.Forget(ctx, []int64{1, 2, 4, 5, 6}, false))
	if d := cmp.Diff([]string{`1|"forgotten"|`, `5|"forgotten"|`},
		dump(t, db, "SELECT id, reason FROM facescan_results ORDER BY id")); d != "" {
		t.Errorf("results: -want +got %s", d)
	}
	if d := cmp.Diff([]string{"1|1|", "2|0|", "4|1|", "5|1|", "6|0|"},
		dump(t, db, "SELECT id, done FROM t ORDER BY id")); d != "" {
		t.Errorf("marks: -want +got %s", d)
	}
	if n := dump(t, db, "SELECT count(*) FROM facescan_faces"); n[0] != "0|" {
		t.Errorf("%s faces of forgotten rows", n)
	}
	if n := dump(t, db, "SELECT sum(pending) FROM facescan_shards"); n[0] != "2|" {
		t.Errorf("shards count %s pending rows, want 2", n)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Error(found)
	}
}

// trimmed is what dump returns for one column of text, without quotes and bars.
func trimmed(lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, strings.Trim(l, "\"|"))
	}
	return out
}
