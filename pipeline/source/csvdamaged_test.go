package source

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// urls are rows with these URLs, numbered from 1.
func urls(urls ...string) (rows []Row) {
	for i, u := range urls {
		rows = append(rows, Row{ID: int64(i + 1), URL: u})
	}
	return rows
}

func TestDamageElsewhereCostsNothing(t *testing.T) {
	const a, b, c, d = "http://h/a", "HTTPS://h/b", "http://h/c", "http://h/d"
	for _, test := range []struct {
		name, ext, text string
		want            []Row
	}{
		{"tsv: quotes are text", "tsv", "url\tcaption\n" + a + "\tthe \"best\"\n" + b +
			"\t\"To be\" - a stage\n" + c + "\t\"open\n" + d + "\t27\"\n", urls(a, b, c, d)},
		{"tsv: a URL in quotes", "tsv", "caption\turl\nx\t\"" + a + "\"\n", urls("\"" + a + "\"")},
		{"tsv: more and fewer fields", "tsv", "caption\turl\nx\ty\t" + a + "\n" + b + "\nx\t" + c +
			"\t\t\n\r\n", urls(a, b, c)},
		{"bare quotes", "csv", "url,caption\n" + a + ",the \"best\"\n" + b + ",27\"\n" + c + ",\"\n" + d +
			",\"\"\"\n", urls(a, b, c, d)},
		{"bare quotes before it", "csv", "caption,url\nthe \"best\"," + a + "\n\"27\" wide," + b +
			"\n\"To be, or\" not," + c + "\n\"," + d + "\n", urls(a, b, c, d)},
		{"quotes in quotes", "csv", "caption,url\n\"the \"best\" one\"," + a + "\n\"so \"far, so\" good\"," +
			b + "\n", urls(a, b)},
		{"backslash quotes", "csv", "caption,url,x\n\"a \\\" b\"," + a + ",\n\"a \\\", b\"," + b +
			",\n\"a\\\\\"," + c + ",\"\\\"\"\n", urls(a, b, c)},
		{"commas", "csv", "url,caption\n" + a + ",one, two\n" + b + "\n" + c + ",\n" + d + ",,,,\n",
			urls(a, b, c, d)},
		{"commas before it", "csv", "id,caption,url\n1,one, two," + a + "\n2," + b + "\n3,,,,," + c +
			"\n4,x," + d + ",\n", urls(a, b, c, d)},
		{"commas on both sides", "csv", "x,url,y\none, two," + a + ",three, four\n", urls(a)},
		{"several URLs", "csv", "page,url,caption\nhttp://p/1," + a + ",one, two\nhttp://p/2,see " + c +
			",one, two," + b + "\n", urls(a, "see "+c)},
		{"blanks behind a quote", "csv", "url,caption\n\"" + a + "\" ,x\n\"" + b + "\",x\n", urls(a+" ", b)},
		{"one column", "csv", "url\n" + a + ",w_1/x\n\"" + b + ",w_1\"\n\"" + c + "\" \n",
			urls(a+",w_1/x", b+",w_1", c+" ")},
		{"quotes over lines", "csv", "url,caption\n" + a + ",\"one\n\ntwo, \"\"three\"\"\n" + d + "\"\r\n" +
			b + ",\"\n\"\n", urls(a, b)},
		{"quotes over lines before it", "csv", "caption,url\n\"one, two\nthree\"," + a +
			"\n\"\n\"\",\n\",\"" + b + "\"\n", urls(a, b)},
		{"an open quote that a later one closes", "csv", "url,caption\n" + a + ",\"open\n" + b + ",plain\n" +
			c + ",27\"\n" + d + ",x\n", urls(a, b, c, d)},
		{"the same before it", "csv", "caption,url\n\"open," + a + "\nplain," + b + "\n27\"," + c + "\nx," +
			d + "\n", urls(a, b, c, d)},
		{"the same with commas", "csv", "caption,url\n\"open, wide," + a + "\nx, y, 27\"," + b + "\n",
			urls(a, b)},
		{"the same in two columns", "csv", "url,x,y\n" + a + ",\"open,1\n" + b + ",27\",2\n" + c +
			",\"x\",3\n", urls(a, b, c)},
		{"an open quote that a quoted caption seems to close", "csv", "url,caption\n" + a + ",\"open\n" + b +
			",\"closed\"\n" + c + ",x\n", urls(a, b, c)},
		{"an open quote at the end", "csv", "url,caption\n" + a + ",x\n" + b + ",\"open\n" + c + ",y",
			urls(a, b, c)},
		{"a header over lines", "csv", "\"the\nURL\",url\nx," + a + "\n", urls(a)},
		{"a header with an open quote", "csv", "url,\"caption\n" + a + ",x\n" + b + ",27\"\n", urls(a, b)},
		{"a header with an open quote, and nothing behind it", "csv", "url,\"caption\n" + a + ",27\"\n",
			urls(a)},
		{"no URL", "csv", "x,y,url\n1,2,3,4\n1,2\n", []Row{{ID: 1, URL: "3"}, {ID: 2, Bad: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tableOf(t, test.ext, test.text)
			if got := read(t, s); !cmp.Equal(got, test.want) {
				t.Error(cmp.Diff(test.want, got))
			}
			for _, size := range []int{1, 7} {
				in := &pieces{test.text, size}
				rows, err := readAll(open(t, Spec{Path: "-", Format: test.ext, In: in}, Position{}), 5)
				if err != nil || !cmp.Equal(rows, test.want) {
					t.Error("in pieces:", err, cmp.Diff(test.want, rows))
				}
			}
		})
	}
}

// TestQuotesOfAWriter reads what a program wrote that quotes, with captions that look like records.
func TestQuotesOfAWriter(t *testing.T) {
	for _, rows := range []int{6, 5000} {
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		w.Write([]string{"caption", "url"})
		var want []Row
		for i := range rows {
			caption := []string{"plain", "a, \"b\"", "see\nthis,http://x/1", "x,http://x/2\ny,http://x/3\n",
				"\""}[i%5]
			u := fmt.Sprintf("http://h/%d", i)
			w.Write([]string{caption, u})
			want = append(want, Row{ID: int64(i + 1), URL: u, Kept: []string{caption}})
		}
		w.Flush()
		for form, give := range forms {
			if form == "pipe" && rows < 10 {
				continue // its end is not seen in time
			}
			spec := func() Spec {
				s := give(filepath.Join(t.TempDir(), "list.csv"), text.Bytes())
				s.KeepColumns = []string{"caption"}
				return s
			}
			if got := read(t, spec()); !cmp.Equal(got, want) {
				t.Fatal(rows, form, cmp.Diff(want, got))
			}
			for _, n := range []int{1, 2, rows / 2, rows} {
				rest, err := readAll(open(t, spec(), stopAt(t, spec(), n)), 9)
				if err != nil || len(rest)+n != rows || n < rows && !cmp.Equal(rest, want[n:]) {
					t.Fatal(rows, form, n, len(rest), err)
				}
			}
		}
		// What the first part of the list looked like counts when it has grown, too.
		s := written(filepath.Join(t.TempDir(), "list.csv"), text.Bytes())
		s.KeepColumns = []string{"caption"}
		from, err := Start(stopAt(t, s, rows))
		if err != nil {
			t.Fatal(err)
		}
		written(s.Path, append(bytes.Clone(text.Bytes()), "a \"b\" c,http://h/x\n"...))
		if got, err := readAll(open(t, s, from), 9); err != nil || len(got) != rows+1 ||
			!cmp.Equal(got[:rows], want) {
			t.Error(rows, len(got), err)
		}
	}
}

// TestTrustInQuotes: a record over two lines that both look like records is one if the quotes of the list
// were right so far: most of a short list's, or eight. Else each line is a record.
func TestTrustInQuotes(t *testing.T) {
	const spans = "\"x,http://x/2\ny,http://x/3\",http://h/z\n"
	quoted := func(n int) string { return strings.Repeat("\"a,b\",http://h/q\n", n) }
	const plains = 3 + headSize/13
	plain := strings.Repeat("a,http://h/p\n", plains) // fills the first block
	for name, c := range map[string]struct {
		text string
		rows int
		one  bool
	}{
		"short, none":                {spans, 2, false},
		"short, as many":             {quoted(1) + spans, 3, false},
		"short, more":                {quoted(2) + spans, 3, true},
		"short, behind it":           {spans + quoted(2), 3, true},
		"short, doubled quotes":      {strings.Repeat("\"a\"\"b\",http://h/q\n", 2) + spans, 3, true},
		"short, leading commas":      {strings.Repeat("\",b\",http://h/q\n", 2) + spans, 3, true},
		"short, needless quotes":     {strings.Repeat("\"ab\",http://h/q\n", 9) + spans, 11, false},
		"long, seven":                {quoted(7) + plain + spans, plains + 9, false},
		"long, eight":                {quoted(8) + plain + spans, plains + 9, true},
		"long, one behind the seven": {quoted(7) + plain + quoted(1) + spans, plains + 9, true},
		"long, a stray quote between": {quoted(8) + plain + "a \"b,http://h/q\n" + spans, plains + 11,
			false},
		"long, a damaged one between": {quoted(8) + plain + "\"a\" b,http://h/q\n" + spans, plains + 11,
			false},
	} {
		s := tableOf(t, "csv", "caption,url\n"+c.text)
		s.KeepColumns = []string{"caption"}
		rows := read(t, s)
		one := slices.ContainsFunc(rows, func(r Row) bool {
			return r.URL == "http://h/z" &&
				r.Kept[0] == "x,http://x/2\ny,http://x/3"
		})
		if len(rows) != c.rows || one != c.one {
			t.Errorf("%s: %d rows, want %d; one record %v", name, len(rows), c.rows, one)
		}
		// Another process goes on with the trust that there was.
		last := len(rows) - 2
		rest, err := readAll(open(t, s, stopAt(t, s, last)), 5)
		if err != nil || !cmp.Equal(rest, rows[last:], cmpopts.EquateEmpty()) {
			t.Errorf("%s, read on: %v, %s", name, err, cmp.Diff(rows[last:], rest))
		}
	}
}

// TestOtherColumnsOfDamagedRecords asks for ids, groups and captions too.
func TestOtherColumnsOfDamagedRecords(t *testing.T) {
	const a = "http://h/a"
	for _, c := range []struct {
		header, record string
		id             int64
		group          string
		kept           []string
	}{
		{"n,caption,url,album", "5,one, two," + a + ",x", 5, "x", []string{"one"}},
		{"n,caption,url,album", "5," + a + ",x", 5, "x", []string{""}},
		{"caption,n,url,album", "one, two,5," + a + ",x", 5, "x", []string{"one"}},
		{"caption,n,url,album", "1,2,5," + a + ",x", 5, "x", []string{"1"}},
		{"n,url,caption,album", "5," + a + ",one, two,x", 5, "x", []string{"one"}},
		{"n,album,url,caption", "5,x," + a + ",one, two", 5, "x", []string{"one"}},
		{"n,album,url,caption", "5,x," + a, 5, "x", []string{""}},
		{"n,url,other,album,caption", "5," + a + ",\"o,x,c", 5, "x", []string{"c"}},
		{"url,caption,n,other,album", a + ",one, two,5,o,x", 5, "x", []string{"one"}},
		// Of ways to read its quotes that fit as well the first counts, and a backslash may come before one.
		{"n,url,caption,album", "5," + a + ",\"say \"b\" c\",x", 5, "x", []string{"say \"b\" c"}},
		{"n,url,caption,album", "5," + a + ",\"say \\\"b\\\", c\",x", 5, "x", []string{"say \"b\", c"}},
		{"n,url,caption,album", "5," + a + ",\"say\\,x", 5, "x", []string{"\"say\\"}},
		{"n,url,caption,album", "5," + a + ",\"one\" and two,x", 5, "x", []string{"\"one\" and two"}},
		{"n,url,caption,album", "5," + a + ",\"a, \"\"b\"\" c\" d,x", 5, "x", []string{"a, \"b\" c d"}},
	} {
		s := tableOf(t, "csv", c.header+"\n"+c.record+"\n")
		s.IDColumn, s.GroupColumn, s.KeepColumns = "n", "album", []string{"caption"}
		want := []Row{{ID: c.id, URL: a, Group: c.group, Kept: c.kept}}
		if got := read(t, s); !cmp.Equal(got, want) {
			t.Errorf("%s of %s: %s", c.record, c.header, cmp.Diff(want, got))
		}
	}
	// In tsv quotes are text there, too.
	tabs := tableOf(t, "tsv", "caption\tn\turl\n\"one\ttwo\"\t5\t"+a+"\n\"x\t6\t"+a+"\n")
	tabs.IDColumn, tabs.KeepColumns = "n", []string{"caption"}
	if got, want := read(t, tabs), []Row{{ID: 5, URL: a, Kept: []string{`"one`}}, {ID: 6, URL: a,
		Kept: []string{`"x`}}}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	// Of one whose URL cannot be read the id is.
	s := tableOf(t, "csv", "n,x,url\n5,a,http://h/a\n7,b\n")
	s.IDColumn = "n"
	if got, want := read(t, s), []Row{{ID: 5, URL: a}, {ID: 7, Bad: true}}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestLongLinesOfTables(t *testing.T) {
	long := strings.Repeat("x", maxRecord)
	for _, c := range []struct {
		header, record string
		want           Row
	}{
		{"n,url,caption", "3,http://h/a," + long, Row{ID: 3, URL: "http://h/a"}},
		{"n,caption,url", "3," + long + ",http://h/a", Row{ID: 3, Bad: true}},
		{"n,url,caption", "3,http://h/" + long, Row{ID: 3, URL: ("http://h/" + long)[:MaxURL+1], Bad: true}},
		{"n,url,caption", "3,http://h/a,\"\n" + long + "\"", Row{ID: 3, URL: "http://h/a"}},
	} {
		text := c.header + "\n" + c.record + "\n"
		s := tableOf(t, "csv", text)
		s.IDColumn = "n"
		got := make([]Row, 1)
		r := open(t, s, Position{})
		if n, err := r.Next(got); n != 1 || err != nil || !cmp.Equal(got[0], c.want) {
			t.Errorf("%s: %d, %v, %s", c.header, n, err, cmp.Diff(c.want, got[0]))
		}
		if n, first := r.(*table).Damaged(); n != 1 || first != 1 {
			t.Errorf("%d damaged, from %d on", n, first)
		}
	}
}

// TestDamageDoesNotHoldBackAPipe sees the rows before a record that is not whole yet.
func TestDamageDoesNotHoldBackAPipe(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	go io.WriteString(out, "url,caption\nhttp://h/a,x\nhttp://h/b,\"open\n")
	r := open(t, Spec{Path: "-", Format: "csv", In: in}, Position{})
	rows := make([]Row, 10)
	if n, err := r.Next(rows); n != 1 || err != nil || rows[0].URL != "http://h/a" {
		t.Fatal(n, err, rows[0])
	}
	go func() {
		io.WriteString(out, "end\"\n")
		out.Close()
	}()
	if n, err := r.Next(rows); n != 1 || err != nil || rows[0].URL != "http://h/b" {
		t.Fatal(n, err, rows[0])
	}
	if n, err := r.Next(rows); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
}

// FuzzRagged writes captions into tables without quoting them: every record keeps its URL, wherever its
// column is, and none is part of another.
func FuzzRagged(f *testing.F) {
	for _, seed := range []string{"\"open\x00plain\x0027\"\x00", "a \\\" b\x00one, two\x00\"To be\" - x",
		"\"\"\x00\"\x00,,\",\x00\",\"", "\"a,b\x00c\",d\x00\"\x00\\\""} {
		f.Add([]byte(seed), uint8(3))
	}
	const alphabet = "\",\\ aé\";\"," // twice what does harm
	layouts := []string{"url,caption", "caption,url", "x,url,caption", "x,y,caption,url", "x,caption,url,y"}
	f.Fuzz(func(t *testing.T, captions []byte, size uint8) {
		if len(captions) > 1<<10 {
			return
		}
		layout := layouts[int(size)%len(layouts)]
		var text strings.Builder
		text.WriteString(layout + "\n")
		fmt.Fprintln(&text, strings.NewReplacer("url", "http://h/0", "caption",
			"nobody quotes \"").Replace(layout))
		want := urls("http://h/0")
		for i, caption := range strings.Split(string(captions), "\x00") {
			var c strings.Builder
			for _, b := range []byte(caption) {
				c.WriteString(string([]rune(alphabet)[int(b)%len([]rune(alphabet))]))
			}
			url := fmt.Sprintf("http://h/%d", i+1)
			want = append(want, Row{ID: int64(i + 2), URL: url})
			fmt.Fprintln(&text, strings.NewReplacer("url", url, "caption", c.String()).Replace(layout))
		}
		s := Spec{Path: "-", Format: "csv", In: &pieces{text.String(), int(size) + 16}}
		rows, err := readAll(open(t, s, Position{}), int(size)+1)
		if err != nil || !cmp.Equal(rows, want) {
			t.Fatalf("%v\n%s\n%s", err, text.String(), cmp.Diff(want, rows))
		}
		s = Spec{Path: "-", Format: "tsv",
			In: strings.NewReader(strings.ReplaceAll(text.String(), ",", "\t"))}
		if rows, err = readAll(open(t, s, Position{}), int(size)+1); err != nil || !cmp.Equal(rows, want) {
			t.Fatalf("tsv: %v\n%s\n%s", err, text.String(), cmp.Diff(want, rows))
		}
	})
}
