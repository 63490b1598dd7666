package sqlite

import (
	"database/sql"
	"testing"

	"pgregory.net/rapid"
)

// TestPacked has SQLite pack what it holds, of any bytes and numbers, and reads it back.
func TestPacked(t *testing.T) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	type row struct {
		n    int64
		s    string
		blob []byte
		f    float64
	}
	rapid.Check(t, func(t *rapid.T) {
		if _, err := db.Exec("DROP TABLE IF EXISTS t; CREATE TABLE t(n INTEGER, s TEXT, b BLOB, f " +
			"REAL)"); err != nil {
			t.Fatal(err)
		}
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()),
			func(b []byte) string { return string(b) }),
			rapid.SampledFrom([]string{"", "\"", "\\", "a\\u0041", "\x00", "\x1f\n", "]", "[1,2]",
				"\xff"}))
		want := rapid.SliceOf(rapid.Custom(func(t *rapid.T) row {
			return row{rapid.Int64().Draw(t, "n"), text.Draw(t, "s"),
				rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "b"), rapid.Float64Range(-1e9, 1e9).Draw(t, "f")}
		})).Draw(t, "rows")
		for _, r := range want {
			if _, err := db.Exec("INSERT INTO t VALUES (?, ?, ?, ?)", r.n, r.s, r.blob, r.f); err != nil {
				t.Fatal(err)
			}
		}
		var p packed
		if err := db.QueryRow("SELECT json_group_array(json_array(n, s, " + packedBlob("b") + ", f, " +
			"nullif(s, ''), f)) FROM t").Scan(&p.rest); err != nil {
			t.Fatal(err)
		}
		whole := p.rest
		for i, r := range want {
			if !p.row() {
				t.Fatalf("row %d is missing: %v", i, p.err)
			}
			if n, s, b, f := p.int64(), p.text(), p.hex(),
				p.float(); n != r.n || s != r.s || string(b) != string(r.blob) || f != r.f {
				t.Fatalf("%v %q %q %v, want %v", n, s, b, f, r)
			}
			if s, f := p.text(), p.float(); s != r.s || f != r.f {
				t.Fatalf("%q %v, want %v", s, f, r)
			}
		}
		if p.row() || p.err != nil {
			t.Fatalf("more than there is, or %v", p.err)
		}
		// Cut off anywhere, it is an error, or seen as the end, and no crash.
		p = packed{rest: whole[:rapid.IntRange(0, len(whole)).Draw(t, "cut")]}
		for p.row() {
			p.int64()
			p.text()
			p.hex()
			p.float()
			p.text()
			p.float()
		}
	})
}
