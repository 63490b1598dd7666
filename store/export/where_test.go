package export

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"pgregory.net/rapid"

	"facescan/store"
	"facescan/store/storetest/must"
)

// passing returns the ids of the results that pass.
func passing(t testing.TB, where string) string {
	t.Helper()
	var ids []string
	for _, line := range strings.Split(exported(t, Options{Where: where, Columns: []string{"row"},
		Sources: someSources}, some...), "\n") {
		if line != "row" && line != "" {
			ids = append(ids, line)
		}
	}
	return strings.Join(ids, " ")
}

func TestWhere(t *testing.T) {
	for where, want := range map[string]string{ // of the rows 1, 2, 4, 5 and 7
		"faces > 0":                                   "1",
		"faces = 0":                                   "2",
		"NOT faces > 0":                               "2",
		"faces > 0 or faces <= 0":                     "1 2",
		"faces IS NULL":                               "4 5 7",
		"faces is not null":                           "1 2",
		"not not faces is null":                       "4 5 7",
		"status = 'failed' AND faces > 0":             "",
		"status != 'ok'":                              "4 5 7",
		"STATUS = 'ok' OR reason = 'http_5xx'":        "1 2 7",
		"reason IN ('bad_url', 'http_5xx')":           "4 7",
		"reason NOT IN ('bad_url')":                   "5 7",
		"http_status IN (200, 503.0)":                 "1 2 5 7",
		"http_status BETWEEN 400 AND 599":             "7",
		"http_status NOT BETWEEN 400 AND 599":         "1 2 5",
		"http_status between 1 and faces":             "",
		"NOT http_status BETWEEN 600 AND faces":       "1 2 5 7",
		"url LIKE 'http://%'":                         "1 2 5 7",
		"url LIKE 'HTTP://%'":                         "",
		"upper(url) LIKE 'HTTP://%'":                  "1 2 5 7",
		"url LIKE '%.jp_'":                            "1",
		"url LIKE 'http://_/%'":                       "1 5 7",
		"url LIKE '%secret%'":                         "2",
		"url NOT LIKE 'http%'":                        "4",
		"url LIKE 'nonsense'":                         "4",
		"length(url) = 8":                             "4",
		"length(url) = 10":                            "5 7",
		"lower('ÄB') = 'Äb' and row = 1":              "1",
		"width * height > 1e6":                        "5",
		"width * height > 1e+6":                       "5",
		"width * height > 1E+6":                       "5",
		"width * 1E-3 < 0.5 and width * 1e-3 = 0.008": "2",
		"bytes / width > 100":                         "1",
		"1 / 2 = 0.5 and 7 - 2 - 1 = 4":               "1 2 4 5 7",
		"1 / (bytes - 99) > 0":                        "1",
		"1 + 2 * 3 = 7 AND (1 + 2) * 3 = 9":           "1 2 4 5 7",
		"-width = -500":                               "1",
		"width - -1 = 501":                            "1",
		"width--1 = 501":                              "1",
		"width = 500 AND height = 375 OR row=4":       "1 4",
		"width = 500 AND (height = 1 OR row=4)":       "",
		"partial = 1":                                 "2",
		"confidence > .9":                             "1",
		"\"group\" = 'album 1'":                       "2",
		"group = 'album 1'":                           "2",
		"note = 'k,2'":                                "2",
		"note = 'z'":                                  "7",
		"source = '/lists/b.csv'":                     "7",
		"class = 'transient' and attempts >= 3":       "7",
		"url = 'it''s'":                               "",
		"(((row = 1)))":                               "1",
		"lower('AZ[@') = 'az[@' and upper('az{`') = 'AZ{`' and row = 1": "1",
		"id > -9223372036854775808 and row = 1":                         "1",
		"\"url\" = 'no\nnsense' or \trow\r=\n4":                         "4",
		"'a' < 'b' and 'B' < 'a'":                                       "1 2 4 5 7",
		"9223372036854775807 = 9223372036854775807 and row = 1":         "1",
	} {
		if got := passing(t, where); got != want {
			t.Errorf("%s: %q, want %q", where, got, want)
		}
	}
	if got := exported(t, Options{Rows: "faces", Where: "score > 10 AND url LIKE '%jpg'",
		Columns: []string{"face"}}, some...); got != "face\n1\n" {
		t.Error(got)
	}
	low := 1.0
	if got := exported(t, Options{MinScore: map[string]float64{"": low}, Where: "faces = 4",
		Columns: []string{"id"}}, some...); got != "id\n1\n" {
		t.Error(got)
	}
}

func TestWhereThatCannotBeRead(t *testing.T) {
	for where, want := range map[string]string{
		"faces":                                  "this is a number, and a condition is wanted",
		"url":                                    "this is text, and a condition",
		"faces >":                                "missing, at the end (character 8)",
		"faces > 'x'":                            `this is text, and a number is wanted, at "'x'"`,
		"url = 5":                                "this is a number, and text is wanted",
		"boxes = 'x'":                            "a list of boxes",
		"boxes IS NULL":                          "a list of boxes",
		"nose = 1":                               `"nose" is not a column: there are id, url`,
		"faces <> 1":                             "missing",
		"faces == 1":                             "missing",
		"faces ! 1":                              "no meaning",
		"faces = 1; DROP TABLE urls":             `';' has no meaning`,
		"faces = 1 -- x":                         "not a column",
		"url = 'x":                               "not closed",
		"url = \"x\"":                            "not a column",
		"faces = 1 faces = 2":                    "operator is missing",
		"(faces = 1":                             ") is missing",
		"faces = 1)":                             "too much",
		"faces IN ()":                            "missing",
		"faces IN (width)":                       "missing",
		"faces IN (1, 'x')":                      "this is text",
		"faces IN (SELECT 1)":                    "missing",
		"faces BETWEEN 1":                        "AND is missing",
		"url LIKE reason":                        "missing",
		"url LIKE 5":                             "text is wanted",
		"faces LIKE '1'":                         "text is wanted",
		"NOT faces":                              "a condition is wanted",
		"faces NOT 1":                            "IN, BETWEEN or LIKE is missing",
		"faces IS 1":                             "NULL is missing",
		"load_extension('x') = 'y'":              "no function load_extension",
		"length(5) = 1":                          "text is wanted",
		"lower(url":                              ") is missing",
		"1x = 1":                                 "not a number",
		"0x10 = 16":                              "not a number",
		"1e999 = 1":                              "not a number",
		"inf = 1":                                "not a column",
		"url + 1 = 2":                            "this is text",
		"(faces = 1) = (faces = 2)":              "a condition, and a number or text is wanted",
		"(faces = 1) + 1 = 2":                    "a condition, and a number is wanted",
		"faces = NULL":                           "not a column",
		"url = '\x00'":                           "is not text",
		"url = '\xff'":                           "is not text",
		strings.Repeat("(", 5000) + "1":          "too deeply",
		strings.Repeat("NOT ", 5000):             "too deeply",
		strings.Repeat("- ", 5000) + "1":         "too deeply",
		"faces = 1" + strings.Repeat("+1", 5000): "may have 200",
		"faces = 1" + strings.Repeat(" OR faces = 1", 5000): "may have 200",
		"faces IN (1" + strings.Repeat(",1", 40000) + ")":   "and 30000",
		" ":             "missing",
		"url IN (-'x')": "a number or 'text' is missing",
		"faces IN (1" + strings.Repeat(",1", 30_000) +
			")": "it has 0 operators and 30001 literals",
		strings.Repeat("(", 50) + "row = 1" + strings.Repeat(")", 50): "it is nested too deeply",
	} {
		var usage *UsageError
		_, err := ParseFilter(where, Options{})
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "--where: ") {
			t.Errorf("%.50s: %v", where, err)
		}
		if _, err := New(nil, Options{Where: where}); err == nil {
			t.Errorf("%.50s was taken", where)
		}
	}
}

// TestWhereErrorsSayWhere has a place behind letters of several bytes, and texts that are cut.
func TestWhereErrorsSayWhere(t *testing.T) {
	const over = "--where: an operator is missing, or this is too much, at "
	for where, want := range map[string]string{
		"url = 'é' äöü90123456789012":       over + `"äöü90123456789012" (character 11)`,
		"url = 'é' äöü901234567890123":      over + `"äöü90123456789012…" (character 11)`,
		"url = 'é' 1234567890123456789éabc": over + `"1234567890123456789…" (character 11)`,
		"faces = 1" + strings.Repeat("+1",
			201): "--where: it has 201 operators and 202 literals, and may have " +
			`200 and 30000, at "faces = 1+1+1+1+1+1+…" (character 1)`,
	} {
		if _, err := ParseFilter(where, Options{}); err == nil || err.Error() != want {
			t.Errorf("%.50s: %v, want %s", where, err, want)
		}
	}
}

// TestWhereLimits has filters that are just within what is allowed.
func TestWhereLimits(t *testing.T) {
	for _, where := range []string{"faces = 1" + strings.Repeat("+1", 200),
		"faces IN (1" + strings.Repeat(",1", 29_999) + ")",
		strings.Repeat("(", 49) + "row = 1" + strings.Repeat(")", 49)} {
		if _, err := ParseFilter(where, Options{}); err != nil {
			t.Errorf("%.50s: %v", where, err)
		}
	}
}

// TestWhereKeywords has columns that are called like keywords: they are meant in quotes.
func TestWhereKeywords(t *testing.T) {
	for _, word := range []string{"and", "OR", "Not", "in", "between", "like", "is", "null"} {
		o := Options{Sources: []Source{{Kept: []string{word}}}}
		f := must.Get(ParseFilter(`"`+word+`" = 'x'`, o))(t)
		if !f.Match(store.Result{Kept: []string{"x"}}) || f.Match(store.Result{Kept: []string{"y"}}) {
			t.Errorf("the column %q is not compared", word)
		}
		if _, err := ParseFilter("id = 1 OR "+word+" = 'x'", o); err == nil {
			t.Errorf("%s is taken for a column", word)
		}
	}
}

// TestWhereWords has every kind of letter that a word may have without quotes.
func TestWhereWords(t *testing.T) {
	for _, word := range []string{"az", "ZA", "_", "é", "\U0001f600", "a09_", "mn"} {
		o := Options{Sources: []Source{{Kept: []string{word}}}}
		f, err := ParseFilter(word+" = 'x' AND 09.50 = 9.5 AND .5 < 9", o)
		if err != nil || !f.Match(store.Result{Kept: []string{"x"}}) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// oracle is SQLite with a table of results, for what filters mean.
type oracle struct {
	db   *sql.DB
	rows []store.Result
}

func newOracle(t testing.TB) oracle {
	o := oracle{rows: append([]store.Result{}, some...)}
	for i, s := range []string{"", "a", "A", "ab", "%", "_", "*?[a]", "é", "éa", "a\nb", "it's"} {
		o.rows = append(o.rows, store.Result{ID: int64(100 + i), URL: s, Format: s, Width: i, Height: -i,
			Faces: make([]store.Face, i), Status: store.OK})
	}
	db := must.Get(sql.Open("sqlite3", ":memory:"))(t)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	must.Get(db.Exec(`CREATE TABLE r(id INTEGER, url TEXT COLLATE NOCASE, format TEXT, width INTEGER,
		height INTEGER, faces INTEGER, confidence REAL)`))(t)
	table := must.Get(newTable(Options{}))(t)
	for _, r := range o.rows {
		var args []any
		for _, name := range []string{"id", "url", "format", "width", "height", "faces", "confidence"} {
			c := table.columns[table.find(name)]
			switch v := c.get(&record{Result: r, detector: &foreign}); {
			case v.null:
				args = append(args, nil)
			case c.kind == text:
				args = append(args, v.s)
			case c.kind == real:
				args = append(args, v.f)
			default:
				args = append(args, v.i)
			}
		}
		must.Get(db.Exec(`INSERT INTO r VALUES (?,?,?,?,?,?,?)`, args...))(t)
	}
	o.db = db
	return o
}

var errNoColumn = errors.New("a column that the oracle does not have")

// check compares what a filter passes with what its translation passes.
func (o oracle) check(f *Filter) error {
	condition, args, err := f.SQL(store.SQLite, 1, func(name string) string {
		if strings.Contains(" id url format width height faces confidence ", " "+name+" ") {
			return name
		}
		return ""
	})
	if err != nil {
		return errNoColumn
	}
	var got, want []int64
	for _, r := range o.rows {
		if f.match(&record{Result: r, detector: &foreign}) {
			got = append(got, r.ID)
		}
	}
	rows, err := o.db.Query("SELECT id FROM r WHERE "+condition+" ORDER BY rowid", args...)
	if err != nil {
		return fmt.Errorf("%s: %w", condition, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		want = append(want, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", condition, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%v pass, and %v as %s with %q", got, want, condition, args)
	}
	return nil
}

// drawn makes a filter; depth bounds it.
func drawn(t *rapid.T, of kind, depth int) string {
	pick := func(what ...string) string { return rapid.SampledFrom(what).Draw(t, "part") }
	sub := func(k kind) string { return drawn(t, k, depth-1) }
	literal := func() string {
		if of == text {
			return pick("''", "'a'", "'A'", "'%a%'", "'_'", "'é'", "'*?[a]'", "'it''s'")
		}
		return pick("0", "1", "2", "-3", "0.5", "1e300", "200", "9007199254740992")
	}
	switch {
	case of == condition && depth > 0:
		k := rapid.SampledFrom([]kind{integer, text}).Draw(t, "kind")
		switch pick("or", "and", "not", "compare", "in", "between", "like", "null") {
		case "or":
			return "(" + sub(condition) + " OR " + sub(condition) + ")"
		case "and":
			return "(" + sub(condition) + " AND " + sub(condition) + ")"
		case "not":
			return "NOT " + sub(condition)
		case "in":
			return sub(k) + pick(" IN (", " NOT IN (") + drawn(t, k, -1) + "," + drawn(t, k, -1) + ")"
		case "between":
			return sub(k) + pick(" BETWEEN ", " NOT BETWEEN ") + sub(k) + " AND " + sub(k)
		case "like":
			return sub(text) + pick(" LIKE ", " NOT LIKE ") + drawn(t, text, -1)
		case "null":
			return sub(k) + pick(" IS NULL", " IS NOT NULL")
		}
		return sub(k) + pick(" = ", " != ", " < ", " <= ", " > ", " >= ") + sub(k)
	case of == condition:
		return "faces > 0"
	case depth < 0:
		return literal()
	case depth == 0 || rapid.Bool().Draw(t, "leaf"):
		if of == text {
			return pick("url", "format", literal())
		}
		return pick("id", "width", "height", "faces", "confidence", literal())
	case of == text:
		return pick("lower(", "upper(") + sub(text) + ")"
	}
	return pick("length("+sub(text)+")", "("+sub(integer)+pick(" + ", " - ", " * ", " / ")+sub(integer)+")",
		"-"+sub(integer))
}

// TestWhereMeansTheSameInSQL compares filters with their translations.
func TestWhereMeansTheSameInSQL(t *testing.T) {
	o := newOracle(t)
	for _, long := range []string{"faces = 1" + strings.Repeat(" OR faces = 1", 200),
		"0 < faces" + strings.Repeat(" - 1", 200), "id IN (1" + strings.Repeat(",2", 29_999) + ")",
		strings.Repeat("NOT (", 30) + "id IN (1" + strings.Repeat(", 2", 100) + ")" +
			strings.Repeat(")", 30)} {
		f := must.Get(ParseFilter(long, Options{}))(t)
		if err := o.check(f); err != nil {
			t.Errorf("%.20s…: %.200v", long, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		where := drawn(t, condition, rapid.IntRange(1, 4).Draw(t, "depth"))
		f, err := ParseFilter(where, Options{})
		if err != nil {
			t.Fatal(where, err)
		}
		if err := o.check(f); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
	})
}

func TestSQL(t *testing.T) {
	const where = "lower(url) LIKE '%x' AND (faces / 2 >= -1.5 OR reason IN ('a', 'b')) AND NOT id = 7"
	f := must.Get(ParseFilter(where, Options{}))(t)
	column := func(name string) string { return "r." + name }
	got, args, err := f.SQL(store.Postgres, 3, column)
	want := `(((lower((((r.url)) COLLATE "C"))) COLLATE "C") LIKE $3 ESCAPE '')` +
		` AND (((CAST(((r.faces)) AS double precision)` +
		` / NULLIF(CAST((CAST($4 AS bigint)) AS double precision), 0)) >= (CAST($5 AS double precision)))` +
		` OR ((((r.reason)) COLLATE "C") IN (CAST($6 AS text), CAST($7 AS text))))` +
		` AND (NOT (((r.id)) = (CAST($8 AS bigint))))`
	if err != nil || got != want || fmt.Sprint(args) != "[%x 2 -1.5 a b 7]" {
		t.Errorf("%s\n%s\n%v, %v", got, want, args, err)
	}
	var usage *UsageError
	if _, _, err := f.SQL(store.SQLite, 1, func(string) string { return "" }); !errors.As(err, &usage) {
		t.Error(err)
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		s, pattern string
		want       bool
	}{
		{"", "", true}, {"", "%", true}, {"", "_", false}, {"a", "", false}, {"abc", "a%c", true},
		{"abc", "a_c", true}, {"abc", "%b", false},
		{"aXbXc", "%X%X%", true}, {"éé", "__", true}, {"éé", "%é", true}, {"aaa", "%aa_", true},
		{"a%b", "a%b", true}, {strings.Repeat("a", 5000), strings.Repeat("%a", 2000) + "b", false},
	} {
		if got := like(c.s, c.pattern); got != c.want {
			t.Errorf("%.20q LIKE %.20q: %v", c.s, c.pattern, got)
		}
	}
}

// FuzzWhere sees that any text is either refused, as a usage error, or a filter, and means the same in SQL.
func FuzzWhere(f *testing.F) {
	for _, seed := range []string{"faces > 0", "url LIKE '%a' OR NOT (id + 1) * 2 = -3.5",
		"format IN ('a','b') AND width BETWEEN 1 AND 2", "lower(url) != upper('x')",
		"1; DROP TABLE r", "url = '", "confidence IS NOT NULL", "\"url\" = 'a' -- c",
		"length(format) / 0 = 1"} {
		f.Add(seed)
	}
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, where string) {
		filter, err := ParseFilter(where, Options{})
		var usage *UsageError
		if err != nil {
			if !errors.As(err, &usage) {
				t.Fatal(err)
			}
			return
		}
		if err := o.check(filter); err != nil && err != errNoColumn {
			t.Fatal(err)
		}
		var n int
		if err := o.db.QueryRow("SELECT count(*) FROM r").Scan(&n); err != nil || n != len(o.rows) {
			t.Fatal("the table was touched", n, err)
		}
	})
}

func BenchmarkWhere(b *testing.B) {
	const where = "status = 'ok' AND faces BETWEEN 1 AND 10 AND url LIKE 'https://%.jpg%'"
	f := must.Get(ParseFilter(where, Options{}))(b)
	r := record{Result: results(2)[1], detector: &foreign}
	n := 0
	for b.Loop() {
		if f.match(&r) {
			n++
		}
	}
	if n == 0 {
		b.Fatal(n)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
