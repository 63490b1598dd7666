package sqlite

import (
	"database/sql"
	"math"
	"slices"
	"strings"
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

// TestPackedValues: each kind of value is read to its end, and nothing else is.
func TestPackedValues(t *testing.T) {
	t.Parallel()
	known := map[string]string{"jpeg": "jpeg"}
	integer := func(p *packed) any { return p.int64() }
	float := func(p *packed) any { return p.float() }
	text := func(p *packed) any { return p.text() }
	word := func(p *packed) any { return p.word(known) }
	blob := func(p *packed) any { return string(p.hex()) }
	texts := func(p *packed) any { return strings.Join(p.texts(), "|") }
	row := func(p *packed) any { return p.row() }
	for _, c := range []struct {
		read func(p *packed) any
		from string
		want any
		rest string // "!" for an error
	}{
		{integer, "0,1", int64(0), "1"}, {integer, "90]x", int64(90), "x"}, {integer, "-7,", int64(-7), ""},
		{integer, "null,5", int64(0), "5"}, {integer, "9223372036854775807]", int64(math.MaxInt64), ""},
		{integer, "-9223372036854775808]", int64(math.MinInt64), ""},
		{integer, ",", int64(0), "!"}, {integer, "-,", int64(0), "!"}, {integer, "1.5,", int64(0), "!"},
		{integer, "1:,", int64(0), "!"}, {integer, "/,", int64(0), "!"}, {integer, "", int64(0), "!"},
		{integer, "12", int64(0), "!"}, {integer, "null", int64(0), "!"}, {integer, "nul,", int64(0), "!"},
		{float, "1.5e3,x", 1500.0, "x"}, {float, "-0.25]", -0.25, ""}, {float, "x,", 0.0, "!"},
		{float, "null,", 0.0, "!"}, {float, "", 0.0, "!"},
		{text, `"ab",x`, "ab", "x"}, {text, `""]`, "", ""}, {text, "null]x", "", "x"},
		{text, `"a\"\\\/\b\f\n\r\t\u0000\u001f",x`, "a\"\\/\b\f\n\r\t\x00\x1f", "x"},
		{text, `"\u001F",x`, "\x1f", "x"},
		{text, `"\u0141",`, "", "!"}, {text, `"\u00g1",`, "", "!"}, {text, `"\u001",`, "", "!"},
		{text, `"\u001`, "", "!"}, {text, `"\u0012`, "", "!"}, {text, `"\u0012"`, "\x12", "!"},
		{text, `"a\`, "", "!"}, {text, `"a\"`, "", "!"}, {text, `"a\"",`, `a"`, ""}, {text, `"ab`, "", "!"},
		{text, `"ab"`, "ab", "!"}, {text, `"ab":`, "ab", "!"}, {text, "ab,", "", "!"}, {text, "", "", "!"},
		{word, `"jpeg",x`, "jpeg", "x"}, {word, `"png"]`, "png", ""}, {word, `"png"]x`, "png", "x"},
		{word, `"jpeg"`, "jpeg", "!"}, {word, `"jp`, "", "!"}, {word, "", "", "!"}, {word, "null,", "", ""},
		{word, `"a\\",x`, `a\`, "x"}, {word, `"a\"b",x`, `a"b`, "x"},
		{blob, `"00FF",`, "\x00\xff", ""}, {blob, "null,x", "", "x"}, {blob, `"0",`, "", "!"},
		{blob, `"zz",`, "", "!"},
		{texts, `"[\"a\",\"b\"]",x`, "a|b", "x"}, {texts, `"",x`, "", "x"}, {texts, `"[1]",`, "", "!"},
		{texts, `"[",`, "", "!"},
		{row, "[[1]]", true, "1]]"}, {row, ",[2]]", true, "2]]"}, {row, "[]", false, ""}, {row, "", false, "!"},
		{row, "]", false, ""}, {row, "[1]", false, "!"}, {row, "1", false, "!"}, {row, "[]1", false, "!"},
		{row, "[][", false, "!"},
		{row, "]]", false, "!"},
	} {
		p := packed{rest: c.from}
		got := c.read(&p)
		if failed := p.err != nil; failed != (c.rest == "!") {
			t.Errorf("%s: error %v, left is %q", c.from, p.err, p.rest)
		} else if !failed && (got != c.want || p.rest != c.rest) {
			t.Errorf("%s: %#v, and left is %q; want %#v and %q", c.from, got, p.rest, c.want, c.rest)
		}
		if p.err != nil && p.row() {
			t.Errorf("%s: another row behind an error", c.from)
		}
	}
	// The first error is the one that counts.
	p := packed{rest: `"[1]",x,`}
	p.texts()
	first := p.err
	if p.int64(); first == nil || first == errPackedRows || p.err != first {
		t.Errorf("%v, and then %v", first, p.err)
	}
	if p.texts(); p.err != first {
		t.Errorf("%v, and then %v", first, p.err)
	}
}

// TestInOrder sorts what SQLite gathered, if it is not in order already.
func TestInOrder(t *testing.T) {
	t.Parallel()
	for _, in := range [][]int{nil, {1}, {1, 2, 3}, {2, 1, 3}, {1, 3, 2}, {3, 2, 1}, {1, 1, 2}} {
		want := slices.Sorted(slices.Values(in))
		got := slices.Clone(in)
		if inOrder(got, func(a, b *int) int { return *a - *b }); !slices.Equal(got, want) {
			t.Errorf("%v became %v", in, got)
		}
	}
}
