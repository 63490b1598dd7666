package tables

import (
	"database/sql"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

// database makes a database in memory.
func database(t *testing.T, schema string) Each {
	t.Helper()
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		t.Fatal(err)
	}
	return func(query string, args []any, row func(*sql.Rows) error) error {
		rows, err := db.Query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

func TestTables(t *testing.T) {
	each := database(t, `CREATE TABLE "É" (a, b); CREATE TABLE "é" (a);
		CREATE TABLE Urls (Id integer PRIMARY KEY AUTOINCREMENT, URL text, half AS (id / 2));
		CREATE TABLE named (rowid text, _ROWID_ INT PRIMARY KEY);
		CREATE TABLE pair (a, oid INT, rowid, _rowid_, PRIMARY KEY (oid, a));
		CREATE TABLE bare (k INT PRIMARY KEY) WITHOUT ROWID;
		CREATE VIEW seen AS SELECT 1 AS id`)
	all, err := List(each)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Names(all, func(t Table) bool { return t.Kind == "table" }),
		"Urls, bare, named, pair, É, é"; got != want {
		t.Errorf("tables %s, want %s", got, want)
	}
	if got := Names(all, func(Table) bool { return false }); got != "none" {
		t.Errorf("no tables are called %s", got)
	}
	for name, want := range map[string]Table{
		"é": {Name: "é", Kind: "table", Columns: []Column{{Name: "a"}}},
		"É": {Name: "É", Kind: "table", Columns: []Column{{Name: "a"}, {Name: "b"}}},
		"URLS": {Name: "Urls", Kind: "table", Columns: []Column{{"Id", "INTEGER", 1, false},
			{"URL", "TEXT", 0, false}, {"half", "", 0, true}}},
		"bare": {Name: "bare", Kind: "table", WithoutRowid: true, Columns: []Column{{"k", "INT", 1, false}}},
		"Seen": {Name: "seen", Kind: "view", Columns: []Column{{Name: "id"}}},
	} {
		got, ok := Find(all, name)
		if err := got.Read(each); !ok || err != nil {
			t.Errorf("%s: %t %v", name, ok, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, name := range []string{"none", "sqlite_sequence", ""} {
		if got, ok := Find(all, name); ok {
			t.Errorf("%q is found: %+v", name, got)
		}
	}
	for name, want := range map[string]struct{ rowid, key string }{
		"Urls": {"rowid", "Id"}, "named": {"oid", "_ROWID_"}, "pair": {"", ""}, "bare": {"", "k"},
		"seen": {"", ""}, "é": {"rowid", ""},
	} {
		table, _ := Find(all, name)
		if err := table.Read(each); err != nil {
			t.Fatal(err)
		}
		key, hasKey := table.Key()
		if table.Rowid() != want.rowid || key.Name != want.key || hasKey != (want.key != "") {
			t.Errorf("%s has rowid %q and key %q", name, table.Rowid(), key.Name)
		}
	}
	table, _ := Find(all, "Urls")
	if err := table.Read(each); err != nil {
		t.Fatal(err)
	}
	if c, ok := table.Column("url"); !ok || c.Name != "URL" {
		t.Errorf("column %+v", c)
	}
	if _, ok := table.Column("other"); ok {
		t.Error("a column that is not there is found")
	}
	if got := Quote(`a"b`); got != `"a""b"` {
		t.Errorf("quoted: %s", got)
	}
}

// TestFind: a name is found exactly, or else the first one in any case.
func TestFind(t *testing.T) {
	all := []Table{{Name: "AB"}, {Name: "Ab"}, {Name: "aB"}}
	for name, want := range map[string]string{"ab": "AB", "Ab": "Ab", "aB": "aB", "a": ""} {
		if got, known := Find(all, name); got.Name != want || known != (want != "") {
			t.Errorf("%s is found as %q, %t", name, got.Name, known)
		}
	}
}
