package source

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestJSONL(t *testing.T) {
	long := strings.Repeat("x", maxRecord)
	for _, c := range []struct {
		name, text string
		spec       Spec
		want       []Row
	}{
		{"plain", "{\"url\":\"http://a/1\"}\n\n{\"id\":3,\"url\":\"http://a/2\"}", Spec{},
			[]Row{{ID: 1, URL: "http://a/1"}, {ID: 3, URL: "http://a/2"}}},
		{"any key, in any case", "\xef\xbb\xbf{\"Image\":\"a\"}\r\n{\"IMAGE\":\"b\"}\r\n",
			Spec{URLColumn: "image"}, []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}}},
		{"escapes", `{"url":"\u0068\u00e9\n\"\ud83d\ude00\u0000"}`, Spec{},
			[]Row{{ID: 1, URL: "hé\n\"😀%00"}}},
		{"no text", "{\"url\":\"\xff\x00é\"}", Spec{}, []Row{{ID: 1, URL: "%FF%00é"}}},
		{"all columns", `{"n":5,"album":"x","url":"u","note":{"a": 1}}` + "\n" +
			`{"n":"9","url":"v","album":null}`,
			Spec{IDColumn: "n", GroupColumn: "album", KeepColumns: []string{"note", "n"}},
			[]Row{{ID: 5, URL: "u", Group: "x", Kept: []string{`{"a": 1}`, "5"}},
				{ID: 9, URL: "v", Kept: []string{"", "9"}}}},
		{"broken lines",
			"{\"url\":\"a\"}\n{\"url\":\"b\"\n[]\nnull\n\"u\"\n{\"url\":7}\n{\"url\":null}\n{\"x\":\"u\"}\n{\"url\":\"c\"}{}\n#\n{\"url\":\"d\"}\n{\"url\":\"e\",", Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b", Bad: true}, {ID: 3, Bad: true}, {ID: 4, Bad: true},
				{ID: 5, Bad: true}, {ID: 6, URL: "7", Bad: true}, {ID: 7, Bad: true},
				{ID: 8, Bad: true}, {ID: 9, URL: "c", Bad: true}, {ID: 10, Bad: true}, {ID: 11, URL: "d"},
				{ID: 12, URL: "e", Bad: true}}},
		{"values that JSON does not have", `{"a":NaN,"b":[-Infinity,{"c":Infinity}],"url":"u","d":NaN}` +
			"\n{\"url\":\"v\",\"a\":-Infinity}\n{\"url\":NaN}\n{\"url\":\"w\",\"a\":nan}",
			Spec{KeepColumns: []string{"a"}},
			[]Row{{ID: 1, URL: "u", Kept: []string{"NaN"}}, {ID: 2, URL: "v", Kept: []string{"-Infinity"}},
				{ID: 3, URL: "NaN", Bad: true, Kept: []string{""}},
				{ID: 4, URL: "w", Bad: true, Kept: []string{""}}}},
		{"strings that JSON does not have",
			"{\"url\":\"u\",\"x\":\"a\tb\\d\\u12\"}\n{\"x\":\"\\\\\",\"url\":\"v\\d\"}", Spec{},
			[]Row{{ID: 1, URL: "u"}, {ID: 2, URL: "v\\d"}}},
		{"broken lines with ids", "{\"id\":3,\"url\":\"a\"}\n{\"id\":5}\n{\"id\":7,\"url\":\"b\",",
			Spec{IDColumn: "id"}, []Row{{ID: 3, URL: "a"}, {ID: 5, Bad: true}, {ID: 7, URL: "b", Bad: true}}},
		{"lines that are cut", `{"url":"a","x":[1,2` + "\n" + `{"url":"b","x":{"c":"d` + "\n" +
			`{"url":"c","x"` +
			"\n" + `{"url":"d","x":` + "\n" + `{"url":"e","x":]}` + "\n" + `{"url":"f","x":[}}` +
			"\n{\n{}\n{ }",
			Spec{}, []Row{{ID: 1, URL: "a", Bad: true}, {ID: 2, URL: "b", Bad: true},
				{ID: 3, URL: "c", Bad: true}, {ID: 4, URL: "d", Bad: true}, {ID: 5, URL: "e", Bad: true},
				{ID: 6, URL: "f"}, {ID: 7, Bad: true}, {ID: 8, Bad: true}, {ID: 9, Bad: true}}},
		{"one key twice", `{"url":"a","URL":"b"}` + "\n" + `{"URL":"a","url":"b"}` + "\n" +
			`{"Url":"a","URL":"b"}` + "\n" + `{"url":"a","url":"b"}`, Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}, {ID: 3, URL: "b"}, {ID: 4, URL: "b"}}},
		{"nothing but broken lines", "x\ny", Spec{}, []Row{{ID: 1, Bad: true}, {ID: 2, Bad: true}}},
		{"a line that is too long", "{\"url\":\"a\",\"x\":\"" + long + "\"}\n{\"x\":\"" + long +
			"\",\"url\":\"b\"}\n{\"url\":\"c\"}\n", Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, Bad: true}, {ID: 3, URL: "c"}}},
		{"a line at the limit", `{"url":"a","x":"` + long[:maxRecord-18] + "\"}\n" + `{"x":"` +
			long[:maxRecord-16] +
			"\",\"url\":\"b\"}\n" + `{"x":"` + long[:maxRecord-18] + "\",\"url\":\"c\"}\n", Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, Bad: true}, {ID: 3, URL: "c"}}},
		{"a URL that is too long", "{\"url\":\"" + long[:MaxURL+2] + "\"}\n", Spec{},
			[]Row{{ID: 1, URL: long[:MaxURL+1], Bad: true}}},
		{"empty", "", Spec{}, nil},
		{"blanks", " \n\t", Spec{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spec.Path = tableOf(t, "jsonl", c.text).Path
			if got := read(t, c.spec); !cmp.Equal(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

// FuzzJSONL compares with the same rules read off a whole line at a time.
func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{"{\"url\":\"a\"}\n{}", "{\"url\":\"\\ud800\"}\r\n\n[",
		"{\"url\":\"\xff\"}\n{\"url\":1}\n", "{\"URL\":\"x\",\"url\":\"y\"}"} {
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		if len(text) > 1<<14 {
			return // small pieces of a long text take long
		}
		r, err := Open(t.Context(),
			Spec{Path: "-", Format: "jsonl", In: &pieces{string(text), int(size) + 16}}, Position{})
		if err != nil {
			return // no object has such a key
		}
		defer r.Close()
		rows, err := readAll(r, int(size)+1)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, '\n') < 0 {
			text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
		}
		key := r.(*objects).columns[r.(*objects).url]
		for i, line := range bytes.Split(bytes.TrimPrefix(text, bom), []byte("\n")) {
			if len(bytes.Trim(line, " \t\r\v\f")) == 0 {
				continue
			}
			if len(rows) == 0 || rows[0].ID != int64(i+1) || !utf8.ValidString(rows[0].URL) {
				t.Fatalf("line %d: %+v", i+1, rows)
			}
			var object map[string]any
			url, ok := "", false
			if json.Unmarshal([]byte(clean(string(line))), &object) == nil {
				url, ok = object[key].(string)
			}
			if ok && (rows[0].Bad || rows[0].URL != clean(url)) {
				t.Fatalf("line %d: %+v, want %q", i+1, rows[0], url)
			}
			rows = rows[1:]
		}
		if len(rows) > 0 {
			t.Fatalf("too many rows: %+v", rows)
		}
	})
}

// TestObjectsOfPipe: the keys of the first object are enough to begin with.
func TestObjectsOfPipe(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	if _, err := out.WriteString(`{"url":"a"}` + "\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Open(ctx, Spec{Path: "-", Format: "jsonl", In: in}, Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := make([]Row, 9)
	if n, err := r.Next(rows); n != 1 || err != nil || rows[0].URL != "a" || ctx.Err() != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestDamagedObjects counts the lines that are not objects, or are damaged, from the first one on.
func TestDamagedObjects(t *testing.T) {
	for text, want := range map[string][2]int64{
		"{\"url\":\"a\"}\n{}\n{ }\n{\"url\":7}\n":                          {0, 0},
		"{\"url\":\"a\"}\n\n[]\n{\"url\":\"b\"\n{\"url\":\"c\"}\n{\"url\"": {3, 3},
		"x": {1, 1},
	} {
		r := open(t, tableOf(t, "jsonl", text), Position{})
		if _, err := readAll(r, 2); err != nil {
			t.Fatal(err)
		}
		if n, first := r.(*objects).Damaged(); n != want[0] || first != want[1] {
			t.Errorf("%q: %d damaged, from %d on; want %d", text, n, first, want)
		}
	}
}
