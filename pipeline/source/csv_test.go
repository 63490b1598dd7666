package source

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func tableOf(t testing.TB, ext, text string) Spec {
	return written(filepath.Join(t.TempDir(), "list."+ext), []byte(text))
}

func TestCSV(t *testing.T) {
	long := strings.Repeat("x", maxRecord)
	for _, c := range []struct {
		name, text string
		spec       Spec
		want       []Row
	}{
		{"plain", "id,url\n7,http://a/1\n8,http://a/2", Spec{},
			[]Row{{ID: 1, URL: "http://a/1"}, {ID: 2, URL: "http://a/2"}}},
		{"column in any case", "\xef\xbb\xbfURL ,x\r\nu,1\r\n", Spec{}, []Row{{ID: 1, URL: "u"}}},
		{"column in the right case", "URL,url\nu,v\n", Spec{}, []Row{{ID: 1, URL: "v"}}},
		{"quoted", "url,b\n\"a,\"\"b\"\"\nc\r\nd\",\"\"\n\"\",x\n", Spec{},
			[]Row{{ID: 1, URL: "a,\"b\"\nc\r\nd"}, {ID: 2}}},
		{"empty lines", "\n\r\nurl\n\na\n\r\n\nb\n\n", Spec{}, []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}}},
		{"no text", "url,b\n\xff\x00,1\n", Spec{}, []Row{{ID: 1, URL: "%FF%00"}}},
		{"all columns", "n,album,url,note\n5,x,u,\"1,2\"\n9,\xff,v,\n",
			Spec{IDColumn: "N", GroupColumn: "album", KeepColumns: []string{"note", "n"}},
			[]Row{{ID: 5, URL: "u", Group: "x", Kept: []string{"1,2", "5"}},
				{ID: 9, URL: "v", Group: "%FF", Kept: []string{"", "9"}}}},
		{"too few and too many fields", "a,url\nx\nx,y\nx,y,z\n\"q\",\"r\ns\",t\nx,y", Spec{},
			[]Row{{ID: 1, Bad: true}, {ID: 2, URL: "y"}, {ID: 3, URL: "y"}, {ID: 4, URL: "\"r"},
				{ID: 5, URL: "t"}, {ID: 6, URL: "y"}}},
		{"quotes that are none", "url\na\"b\n\"a\"b\n\"c\" \n\"d\"\n", Spec{},
			[]Row{{ID: 1, URL: "a\"b"}, {ID: 2, URL: "\"a\"b"}, {ID: 3, URL: "\"c\" "}, {ID: 4, URL: "d"}}},
		{"a quote that is never closed", "url,b\n1,2\n\"3,4\n5,6\n", Spec{},
			[]Row{{ID: 1, URL: "1"}, {ID: 2, URL: "\"3"}, {ID: 3, URL: "5"}}},
		{"a quote that is never closed, at the end", "url\na\n\"b", Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, URL: "\"b"}}},
		{"a record that is too long", "url,b\n" + long + ",1\na,2\n", Spec{},
			[]Row{{ID: 1, URL: long[:MaxURL+1], Bad: true}, {ID: 2, URL: "a"}}},
		{"a record in quotes that is too long", "url,b\n\"c\n" + long + "\",1\na,2\n", Spec{},
			[]Row{{ID: 1, URL: "\"c"}, {ID: 2, URL: long[:MaxURL+1], Bad: true}, {ID: 3, URL: "a"}}},
		{"a URL that is too long", "url,b\n" + long[:MaxURL+2] + ",1\n" + long[:MaxURL] + ",1\n", Spec{},
			[]Row{{ID: 1, URL: long[:MaxURL+1], Bad: true}, {ID: 2, URL: long[:MaxURL]}}},
		{"only a header", "url,b", Spec{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := tableOf(t, "csv", c.text)
			c.spec.Path = s.Path
			if got := read(t, c.spec); !cmp.Equal(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

// TestRecordLengthDoesNotDependOnReads gives a record just under and over the limit in pieces of many sizes.
func TestRecordLengthDoesNotDependOnReads(t *testing.T) {
	for _, over := range []int{-1024, 0, 1, 1000} {
		record := "\"" + strings.Repeat(strings.Repeat("x", 1023)+"\n", (maxRecord+over)/1024-1) +
			strings.Repeat("y", 1024+(maxRecord+over)%1024-8) + "\",1234\n"
		if len(record) != maxRecord+over {
			t.Fatal(len(record))
		}
		for _, piece := range []int{1 << 12, 100_000, windowSize, maxRecord, 2 * maxRecord} {
			in := io.MultiReader(strings.NewReader("a,url\n"), &pieces{record + "1,2\n", piece})
			r := open(t, Spec{Path: "-", Format: "csv", In: in}, Position{})
			rows, err := readAll(r, 100)
			if err != nil {
				t.Fatal(err)
			}
			if whole := len(rows) == 2 && rows[0].URL == "1234" && rows[1].URL == "2"; whole != (over <= 0) {
				t.Errorf("%d bytes over the limit in pieces of %d: %d rows", over, piece, len(rows))
			}
		}
	}
}

// pieces hands out text in pieces.
type pieces struct {
	text string
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.text == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.text)
	p.text = p.text[n:]
	return n, nil
}

func TestColumnsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		ext, text string
		spec      Spec
		want      string
	}{
		{"csv", "a,b\n1,2\n", Spec{}, "its columns are a, b: choose with --url-column"},
		{"csv", "a,url\n1,2\n", Spec{IDColumn: "nr"}, `"nr"`},
		{"csv", "a,url\n1,2\n", Spec{GroupColumn: "album"}, "--group-column"},
		{"csv", "a,url\n1,2\n", Spec{KeepColumns: []string{"a", "c"}}, "--keep-columns"},
		{"csv", "", Spec{}, "empty"},
		{"csv", "\n\n", Spec{}, "empty"},
		{"csv", "\"a\nb\nc", Spec{}, "its columns are \"a: choose"},
		{"csv", strings.Repeat("a", maxRecord+1), Spec{}, "does not begin with"},
		{"jsonl", "{\"uri\":1,\"x\":2}\n", Spec{}, "its columns are uri, x"},
		{"jsonl", "[]\n\n{\"url\":1,\"x\":2}\n", Spec{GroupColumn: "y"}, `"y"`},
	} {
		for form, give := range forms {
			s := give(filepath.Join(t.TempDir(), "list."+c.ext), []byte(c.text))
			if c.text == "" && form == "zst" {
				continue // an empty frame
			}
			c.spec.Path, c.spec.In, c.spec.Format = s.Path, s.In, s.Format
			_, err := Open(t.Context(), c.spec, Position{})
			var usage *UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %q, %+v: %v", form, c.text, c.spec, err)
			}
		}
	}
}

func TestIDs(t *testing.T) {
	for _, c := range []struct{ ext, text, want string }{
		{"csv", "id,url\n1,a\n0,b\n", `record 2: id is "0", and an id is an integer from 1 to`},
		{"csv", "id,url\n1,a\nx,b\n", `record 2: id is "x"`},
		{"csv", "id,url\n1,a\n,b\n", `record 2: id is ""`},
		{"csv", "id,url\n1,a\n-3,b\n", `record 2: id is "-3"`},
		{"csv", "id,url\n1,a\n1099511627776,b\n", "record 2: the id 1099511627776 is not below 2^40"},
		{"csv", "id,url\n4,a\n4,b\n", "record 2: id is 4 after 4"},
		{"csv", "id,url\n4,a\n\"5\n6,b\n", `record 2: id is "\"5"`},
		{"csv", "url,id\na,4\nhttp://h/b\n",
			`record 2: id is "", and an id is an integer from 1 to 1099511627775; correct the record, or number`},
		{"jsonl", "{\"id\":4,\"url\":\"a\"}\n{\"url\":\"b\"}\n", `record 2: id is ""`},
		{"jsonl", "{\"id\":4,\"url\":\"a\"}\n{\"url\":\"b\",\"id\":5\n", `record 2: id is ""`},
		{"jsonl", "{\"id\":4,\"url\":\"a\"}\n{\"id\":\"4\",\"url\":\"b\"}\n", "record 2: id is 4 after 4"},
	} {
		for _, batch := range []int{1, 5} {
			s := tableOf(t, c.ext, c.text)
			s.IDColumn = "id"
			r := open(t, s, Position{})
			rows, err := readAll(r, batch)
			if len(rows) != 1 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %d rows, %v", c.text, len(rows), err)
				continue
			}
			if n, again := r.Next(make([]Row, 3)); n != 0 || again == nil || again.Error() != err.Error() {
				t.Errorf("%q: then %d rows, %v", c.text, n, again)
			}
			// A later run comes to the same place.
			r = open(t, s, r.Position())
			if n, again := r.Next(make([]Row, 3)); n != 0 || again == nil || again.Error() != err.Error() {
				t.Errorf("%q: in another run %d rows, %v", c.text, n, again)
			}
		}
	}
}

func TestGrowthOfTables(t *testing.T) {
	for _, c := range []struct{ ext, before, after, want string }{
		{"csv", "x,url", "x,url\n1,a\n", "a"},
		{"csv", "x,url\n1,a", "x,url\n1,a\n2,b\n", "b"},
		{"csv", "x,url\n1,\"a\"", "x,url\n1,\"a\"\r\n2,b", "b"},
		{"csv", "x,url\n1,a", "x,url\n1,ab\n", "changed"},
		{"csv", "x,url\n1,a\n", "y,url\n1,a\n", "changed"},
		{"csv", "x,url\n1,a\n", "x,url\n1,a\n\"b,c", "c"},
		{"jsonl", "", "{\"url\":\"a\"}", "a"},
		{"jsonl", "{\"url\":\"a\"}", "{\"url\":\"a\"}\n{\"url\":\"b\"}", "b"},
		{"jsonl", "{\"url\":\"a\"}\n{", "{\"url\":\"a\"}\n{\"url\":\"b\"}", "changed"},
	} {
		for form, give := range forms {
			path := filepath.Join(t.TempDir(), "list."+c.ext)
			if len(c.before) == 0 && form != "plain" {
				continue
			}
			r := open(t, give(path, []byte(c.before)), Position{})
			if _, err := readAll(r, 3); err != nil {
				t.Fatal(err)
			}
			r, err := Open(t.Context(), give(path, []byte(c.after)), r.Position())
			if err != nil {
				var changed *ChangedError
				if c.want != "changed" || !errors.As(err, &changed) {
					t.Errorf("%s, %q: %v", form, c.after, err)
				}
				continue
			}
			rows, err := readAll(r, 3)
			r.Close()
			if err != nil || len(rows) != 1 || rows[0].URL != c.want {
				t.Errorf("%s, %q: %+v, %v", form, c.after, rows, err)
			}
		}
	}
}

// TestEveryCutOfTables stops csv and jsonl lists at every row.
func TestEveryCutOfTables(t *testing.T) {
	dir := t.TempDir()
	lines := map[string]*rapid.Generator[string]{
		"csv": rapid.SampledFrom([]string{"", "a,b,c", "1,2", "\"x\ny\",z,", "\"p,\"\"q\",\"\",r", "\"open",
			"bad\"quote,x,y", "\xff,\x00,é", "é\r", "\"\n\n\n\",,", "a", "a,b,c,d", "\"a\\\",b\",c,d",
			"\"a\" x,http://b,c",
			strings.Repeat("u", MaxURL+2) + ",,", "\"" + strings.Repeat("\n", 30) + "\",b,c"}),
		"jsonl": rapid.SampledFrom([]string{"", "  ", `{"url":"a","g":"b","k":1}`,
			`{"url":"\u00e9\u0000","g":null}`, `{"url":7}`, `{"k":[1,2],"url":"x"}`, "{", "[1]", "\xff",
			"{\"url\":\"\xff\x00\"}", `{"URL":"u","G":"v"}`,
			`{"url":"` + strings.Repeat("u", MaxURL+2) + `"}`}),
	}
	for ext, line := range lines {
		rapid.Check(t, func(t *rapid.T) {
			start := map[string]string{"csv": "g,url,k\n",
				"jsonl": "{\"g\":\"1\",\"url\":\"2\",\"k\":\"3\"}\n"}[ext]
			text := []byte(start + strings.Join(rapid.SliceOfN(line, 0, 20).Draw(t, "lines"),
				rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")))
			columns := Spec{GroupColumn: "g", KeepColumns: []string{"k"}}
			whole := Spec{Path: "-", Format: ext, In: bytes.NewReader(text), GroupColumn: "g",
				KeepColumns: []string{"k"}}
			r, err := Open(t.Context(), whole, Position{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			want, err := readAll(r, 1000)
			if err != nil {
				t.Fatal(err)
			}
			cuts(t, filepath.Join(dir, "list."+ext), text, columns, want)
		})
	}
}

func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"url,b\n1,2\n", "\"u\nv\",url\n1,2\n", "a,url\r\n\"x\"\"y\",z\r\n",
		"url\n\"a\nb\"\n\n\"c", "url\na\"b\n\"c\"d\n,\n", "url\n\r"} {
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		if len(text) > 1<<14 {
			return // small pieces of a long text take long
		}
		in := &pieces{string(text), int(size) + 16}
		r, err := Open(t.Context(), Spec{Path: "-", Format: "csv", In: in}, Position{})
		reference := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, bom)))
		want, wantErr := reference.ReadAll()
		if err != nil {
			if wantErr == nil && len(want) > 0 && hasURL(want[0]) &&
				!strings.Contains(err.Error(), "looks like") && !ownRules(text, want[0]) {
				t.Fatalf("%v, but there is a header %q", err, want[0])
			}
			return
		}
		defer r.Close()
		rows, err := readAll(r, int(size)+1)
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			if row.ID != int64(i+1) || !utf8.ValidString(row.URL) {
				t.Fatalf("row %d is %+v", i+1, row)
			}
		}
		damaged, first := r.(*table).Damaged()
		if wantErr != nil || ownRules(text, want[0]) {
			return
		}
		if damaged > 0 || len(rows) != len(want)-1 {
			t.Fatalf("%d rows, %d of them damaged, from %d on, want %d", len(rows), damaged, first,
				len(want)-1)
		}
		url := r.(*table).url
		for i, row := range rows {
			// Go's reader has \n for \r\n in quotes.
			if got, want := strings.ReplaceAll(row.URL, "\r\n", "\n"), clean(want[i+1][url]); got != want ||
				row.Bad {
				t.Fatalf("row %d: %+v, want %q", i+1, row, want)
			}
		}
	})
}

// ownRules reports whether lines may end in CR, records be told apart by their URLs, or the header span
// lines.
func ownRules(text []byte, header []string) bool {
	cr := bytes.IndexByte(text, '\r') >= 0 && bytes.IndexByte(text, '\n') < 0
	return cr || bytes.Contains(text, []byte("://")) || strings.Contains(strings.Join(header, ""), "\n")
}

func hasURL(header []string) bool {
	for _, h := range header {
		if strings.EqualFold(strings.TrimSpace(clean(h)), "url") {
			return true
		}
	}
	return false
}

func BenchmarkTables(b *testing.B) {
	const rows = 100_000
	texts := map[string]*bytes.Buffer{"csv": {}, "jsonl": {}}
	texts["csv"].WriteString("key,url,album\n")
	for i := range rows {
		url := fmt.Sprintf("https://images.example-%d.com/albums/%d/photo-%012d-large.jpg?size=%d", i%5000,
			i/100, i*7919, i%3000)
		fmt.Fprintf(texts["csv"], "%d,%s,\"album %d\"\n", i, url, i/100)
		fmt.Fprintf(texts["jsonl"], "{\"key\":%d,\"url\":%q,\"album\":\"album %d\"}\n", i, url, i/100)
	}
	for ext, text := range texts {
		b.Run(ext, func(b *testing.B) {
			dst := make([]Row, 5000)
			b.ReportAllocs()
			for b.Loop() {
				r, err := Open(b.Context(), Spec{Path: "-", Format: ext, In: bytes.NewReader(text.Bytes()),
					GroupColumn: "album", KeepColumns: []string{"key"}}, Position{})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for err == nil {
					var k int
					k, err = r.Next(dst)
					n += k
				}
				r.Close()
				if err != io.EOF || n != rows {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
