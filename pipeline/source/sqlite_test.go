package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// databaseOf makes a database, by statements, at a path that has to be quoted.
func databaseOf(t testing.TB, statements ...string) Spec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "photos of 100%?#.db")
	execute(t, path, statements...)
	return Spec{Path: path}
}

func execute(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+strings.NewReplacer("%", "%25", "?", "%3F", "#",
		"%23").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(s, err)
		}
	}
}

func TestDatabase(t *testing.T) {
	const origin = `CREATE TABLE Urls(ID INTEGER PRIMARY KEY, URL TEXT, Done INTEGER, added DATETIME, "odd ""name" REAL);
		INSERT INTO urls VALUES (2, 'http://a/2', 0, '2024-01-02 03:04:05', 1.5), (7, NULL, 0, NULL, NULL), (5, x'ff00c3a9', 1, '', 2), (9, 42, 0, 'x', 'y')`
	for _, c := range []struct {
		name, sql string
		spec      Spec
		want      []Row
	}{
		{"a table with its key", origin, Spec{Table: "urls"},
			[]Row{{ID: 2, URL: "http://a/2"}, {ID: 5, URL: "%FF%00é"}, {ID: 7, Bad: true},
				{ID: 9, URL: "42"}}},
		{"all columns", origin, Spec{Table: "Urls", IDColumn: "id", GroupColumn: "done",
			KeepColumns: []string{"added", `odd "name`, "id", "url"}},
			[]Row{{ID: 2, URL: "http://a/2", Group: "0", Kept: []string{"2024-01-02 03:04:05", "1.5", "2",
				"http://a/2"}}, {ID: 5, URL: "%FF%00é", Group: "1",
				Kept: []string{"", "2.0", "5", "%FF%00é"}},
				{ID: 7, Bad: true, Group: "0", Kept: []string{"", "", "7", ""}},
				{ID: 9, URL: "42", Group: "0", Kept: []string{"x", "y", "9", "42"}}}},
		{"a table without a key", `CREATE TABLE u(url, rowid); INSERT INTO u VALUES ('a', 'x'), ('b', 'y')`,
			Spec{Table: "u"}, []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}}},
		{"another key", `CREATE TABLE u(nr INT, url); INSERT INTO u VALUES (9, 'a'), (3, 'b')`,
			Spec{Table: "u", IDColumn: "NR"}, []Row{{ID: 3, URL: "b"}, {ID: 9, URL: "a"}}},
		{"a view", origin +
			`; CREATE VIEW v AS SELECT id + 1 AS nr, 'x' || url AS image FROM urls WHERE id < 3`,
			Spec{Table: "v", IDColumn: "nr", URLColumn: "image"}, []Row{{ID: 3, URL: "xhttp://a/2"}}},
		{"without rowid",
			`CREATE TABLE u(k INTEGER PRIMARY KEY, url) WITHOUT ROWID; INSERT INTO u VALUES (4, 'a')`,
			Spec{Table: "u"}, []Row{{ID: 4, URL: "a"}}},
		{"empty", `CREATE TABLE u(url)`, Spec{Table: "u"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spec.Path = databaseOf(t, c.sql).Path
			if got := read(t, c.spec); !cmp.Equal(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

func TestDatabaseThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		sql  string
		spec Spec
		want string
	}{
		{`CREATE TABLE b(url); CREATE TABLE a(url)`, Spec{}, "it has a, b: choose with --table"},
		{`CREATE TABLE a(uri, x)`, Spec{Table: "a"}, "its columns are uri, x"},
		{`CREATE VIEW v AS SELECT 1 AS url`, Spec{Table: "v"}, "--id-column"},
		{`CREATE TABLE a(x, y, url, PRIMARY KEY (x, y)) WITHOUT ROWID`, Spec{Table: "a"}, "no integer key"},
	} {
		c.spec.Path = databaseOf(t, c.sql).Path
		var usage *UsageError
		if _, err := Open(t.Context(), c.spec, Position{}); !errors.As(err, &usage) ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
	for _, c := range []struct{ sql, id, want string }{
		{`CREATE TABLE a(id INTEGER PRIMARY KEY, url); INSERT INTO a VALUES (-4, 'a'), (1, 'b')`, "",
			`id is "-4" in a row, and ids are different integers from 1 to 1099511627775`},
		{`CREATE TABLE a(id INTEGER PRIMARY KEY, url); INSERT INTO a VALUES (0, 'a'), (1, 'b')`, "",
			`id is "0"`},
		{`CREATE TABLE a(k, url); INSERT INTO a VALUES (NULL, 'a'), (1, 'b')`, "k", `k is ""`},
		{`CREATE TABLE a(k TEXT, url); INSERT INTO a VALUES (1, 'b')`, "k", `k is "1"`},
		{`CREATE TABLE a(k, url); INSERT INTO a VALUES (1, 'a'), (1, 'b')`, "k", `k is "1"`},
		{`CREATE TABLE a(k, url); INSERT INTO a VALUES (1, 'a'), (1 << 40, 'b')`, "k",
			`record 2: the id 1099511627776 is not below 2^40`},
	} {
		s := databaseOf(t, c.sql)
		s.Table, s.IDColumn = "a", c.id
		r, err := Open(t.Context(), s, Position{})
		if err == nil {
			_, err = readAll(r, 5)
			if _, again := r.Next(make([]Row, 1)); again == nil || err == nil ||
				again.Error() != err.Error() {
				t.Errorf("%v, then %v", err, again)
			}
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.sql, err)
		}
	}
}

func TestDatabaseGrowthAndChange(t *testing.T) {
	const n = 300
	for _, key := range []string{"", "k"} {
		s := databaseOf(t, fmt.Sprintf(`CREATE TABLE u(id INTEGER PRIMARY KEY, k INT, url);
			WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < %d)
			INSERT INTO u SELECT value * 3, value * 3, 'http://a/' || value FROM s`, n))
		s.Table, s.IDColumn = "u", key
		for stop := 0; stop <= n; stop += 7 {
			at := stopAt(t, s, stop)
			r := open(t, s, at)
			rows, err := readAll(r, 11)
			if err != nil || len(rows) != n-stop || len(rows) > 0 &&
				(rows[0].ID != int64(stop+1)*3 || rows[0].URL != fmt.Sprintf("http://a/%d", stop+1)) {
				t.Fatalf("after %d: %d rows, %v", stop, len(rows), err)
			}
			r.Close()
		}
		at := stopAt(t, s, 200)
		execute(t, s.Path, `INSERT INTO u VALUES (5000, 5000, 'new')`,
			`UPDATE u SET url = 'x' WHERE id = 201 * 3`)
		if rows, err := readAll(open(t, s, at), 50); len(rows) != 101 || err != nil || rows[0].URL != "x" ||
			rows[100].URL != "new" {
			t.Errorf("%d rows, %v", len(rows), err)
		}
		m, err := parseMark(at.Mark)
		if err != nil || len(m.IDs) < maxBlocks/2 {
			t.Error(len(m.IDs), err)
		}
		for _, change := range []string{`UPDATE u SET url = 'x' WHERE id = 600`,
			`UPDATE u SET url = 'x' WHERE id = 3`,
			`UPDATE u SET k = 1000000 + id, id = 1000000 + id WHERE id = 600`} {
			execute(t, s.Path, `CREATE TABLE IF NOT EXISTS old AS SELECT * FROM u`, change)
			var changed *ChangedError
			if _, err := Open(t.Context(), s, at); !errors.As(err, &changed) {
				t.Errorf("%s: %v", change, err)
			}
			execute(t, s.Path, `DELETE FROM u`, `INSERT INTO u SELECT * FROM old`)
		}
		if _, err := Open(t.Context(), s, at); err != nil {
			t.Error(err)
		}
	}
}

// TestDatabasePages: a table is read in pages by its own key, and progress goes by that; by another key it is
// one query, and progress is not known.
func TestDatabasePages(t *testing.T) {
	for _, n := range []int{pageRows - 1, pageRows, pageRows + 1, 2*pageRows + 1} {
		s := databaseOf(t, fmt.Sprintf(`CREATE TABLE u(id INTEGER PRIMARY KEY, k INT, url);
			WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < %d)
			INSERT INTO u SELECT value * 2, value, 'u' FROM s`, n))
		s.Table = "u"
		for _, key := range []string{"", "id", "rowid", "k"} {
			s.IDColumn = key
			if key == "rowid" { // has no name among the columns
				continue
			}
			r := open(t, s, Position{})
			if p := r.Progress(); p != 0 {
				t.Errorf("at first: %v", p)
			}
			rows := make([]Row, n/2)
			if k, err := r.Next(rows); k != n/2 || err != nil {
				t.Fatal(k, err)
			}
			want := float64(n/2) / float64(n)
			if key == "k" {
				want = 0
			}
			if p := r.Progress(); p != want {
				t.Errorf("by %q, after %d of %d rows: %v, want %v", key, n/2, n, p, want)
			}
			if d := r.(*database); d.paged != (key != "k") {
				t.Errorf("by %q in pages: %v", key, d.paged)
			}
			rest, err := readAll(r, 1000)
			if err != nil || len(rest) != n-n/2 {
				t.Errorf("by %q: %d rows of %d, %v", key, len(rest), n-n/2, err)
			}
			execute(t, s.Path, "INSERT INTO u VALUES (999999, 999999, 'new')")
			if rows, err := readAll(r, 3); len(rows) != 1 || err != nil || r.Progress() > 1 {
				t.Errorf("by %q: %d new rows, %v, progress %v", key, len(rows), err, r.Progress())
			}
			execute(t, s.Path, "DELETE FROM u WHERE id = 999999")
			r.Close()
		}
	}
}

// TestDatabaseThatIsNone: a file that is gone or damaged is named.
func TestDatabaseThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), Spec{Path: filepath.Join(dir, "a.db"), Format: "sqlite", Table: "u"},
		Position{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	s := databaseOf(t, "CREATE TABLE u(id INTEGER PRIMARY KEY, url)")
	s.Table = "u"
	if _, err := Open(t.Context(), s, Position{Line: 1, Mark: []byte("{")}); err == nil ||
		!strings.Contains(err.Error(), s.Path) {
		t.Errorf("a damaged position: %v", err)
	}
	for text, want := range map[string]string{"SQLite format 3\x00" +
		strings.Repeat("x", 5000): "not a database"} {
		s := written(filepath.Join(dir, "b.db"), []byte(text))
		s.Table = "u"
		if _, err := Open(t.Context(), s, Position{}); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), s.Path) {
			t.Errorf("%v", err)
		}
	}
	empty := databaseOf(t, "CREATE TABLE u(url)", "DROP TABLE u")
	none := databaseOf(t, "CREATE TABLE u(url, both AS (url || url))", "INSERT INTO u(url) VALUES ('a')")
	for _, c := range []struct {
		s    Spec
		want string
	}{
		{Spec{Path: empty.Path}, "is a SQLite database without tables"},
		{Spec{Path: none.Path}, "its table of URLs is not named: it has u: choose with --table"},
		{Spec{Path: none.Path, Table: "v"}, `has no table "v"; it has u: choose with --table`},
		{Spec{Path: none.Path, Table: "u", URLColumn: "both"}, "its columns are url"},
	} {
		var usage *UsageError
		if _, err := Open(t.Context(), c.s, Position{}); !errors.As(err, &usage) ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, Spec{Path: none.Path, Table: "u"}, Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	for range 2 {
		if n, err := r.Next(make([]Row, 3)); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("ended: %d rows, %v", n, err)
		}
	}
}

func TestDatabaseIsLeftAlone(t *testing.T) {
	s := databaseOf(t, `CREATE TABLE u(url)`, `INSERT INTO u VALUES ('a')`)
	s.Table = "u"
	r := open(t, s, Position{})
	if _, err := r.(*database).db.Exec(`INSERT INTO u VALUES ('b')`); err == nil {
		t.Error("it was written to")
	}
	rows := make([]Row, 1)
	if n, err := r.Next(rows); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := r.Next(rows); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	execute(t, s.Path, `INSERT INTO u VALUES ('b')`) // at the end no read holds up a writer
	if n, err := r.Next(rows); n != 1 || err != nil || rows[0].URL != "b" || rows[0].ID != 2 {
		t.Error(n, err, rows)
	}
}

func BenchmarkFiles(b *testing.B) {
	const n = 50_000
	for name, s := range map[string]Spec{
		"parquet": parquetFile(b, n),
		"sqlite": databaseOf(b, fmt.Sprintf(`CREATE TABLE u(id INTEGER PRIMARY KEY, url TEXT, done INTEGER);
			WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s WHERE value < %d)
			INSERT INTO u SELECT value, 'https://images.example.com/albums/1234/photo-' || value || '-large-original.jpg', 0 FROM s`, n)),
	} {
		b.Run(name, func(b *testing.B) {
			s.Table, s.GroupColumn, s.KeepColumns = "u", "", nil
			dst := make([]Row, 5000)
			b.ReportAllocs()
			for b.Loop() {
				rows := 0
				r, err := Open(b.Context(), s, Position{})
				for err == nil {
					var k int
					k, err = r.Next(dst)
					rows += k
				}
				if err != io.EOF || rows != n {
					b.Fatal(rows, err)
				}
				r.Close()
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
