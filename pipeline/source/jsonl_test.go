package source

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
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
		{"plain", "{\"url\":\"http://a/1\"}\n\n{\"id\":3,\"url\":\"http://a/2\"}", Spec{}, []Row{{ID: 1, URL: "http://a/1"}, {ID: 3, URL: "http://a/2"}}},
		{"any key, in any case", "\xef\xbb\xbf{\"Image\":\"a\"}\r\n{\"IMAGE\":\"b\"}\r\n", Spec{URLColumn: "image"}, []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}}},
		{"escapes", `{"url":"\u0068\u00e9\n\"\ud83d\ude00\u0000"}`, Spec{}, []Row{{ID: 1, URL: "hé\n\"😀%00"}}},
		{"no text", "{\"url\":\"\xff\x00é\"}", Spec{}, []Row{{ID: 1, URL: "%FF%00é"}}},
		{"all columns", `{"n":5,"album":"x","url":"u","note":{"a": 1}}` + "\n" + `{"n":"9","url":"v","album":null}`,
			Spec{IDColumn: "n", GroupColumn: "album", KeepColumns: []string{"note", "n"}},
			[]Row{{ID: 5, URL: "u", Group: "x", Kept: []string{`{"a": 1}`, "5"}}, {ID: 9, URL: "v", Kept: []string{"", "9"}}}},
		{"broken lines", "{\"url\":\"a\"}\n{\"url\":\"b\"\n[]\nnull\n\"u\"\n{\"url\":7}\n{\"url\":null}\n{\"x\":\"u\"}\n{\"url\":\"c\"}{}\n#\n{\"url\":\"d\"}", Spec{},
			[]Row{{ID: 1, URL: "a"}, {ID: 2, URL: "{\"url\":\"b\"", Bad: true}, {ID: 3, URL: "[]", Bad: true}, {ID: 4, URL: "null", Bad: true}, {ID: 5, URL: "\"u\"", Bad: true},
				{ID: 6, URL: "{\"url\":7}", Bad: true}, {ID: 7, URL: "{\"url\":null}", Bad: true}, {ID: 8, URL: "{\"x\":\"u\"}", Bad: true},
				{ID: 9, URL: "{\"url\":\"c\"}{}", Bad: true}, {ID: 10, URL: "#", Bad: true}, {ID: 11, URL: "d"}}},
		{"nothing but broken lines", "x\ny", Spec{}, []Row{{ID: 1, URL: "x", Bad: true}, {ID: 2, URL: "y", Bad: true}}},
		{"a line that is too long", "{\"url\":\"a\",\"x\":\"" + long + "\"}\n{\"url\":\"b\"}\n", Spec{},
			[]Row{{ID: 1, URL: ("{\"url\":\"a\",\"x\":\"" + long)[:MaxURL+1], Bad: true}, {ID: 2, URL: "b"}}},
		{"a URL that is too long", "{\"url\":\"" + long[:MaxURL+2] + "\"}\n", Spec{}, []Row{{ID: 1, URL: long[:MaxURL+1], Bad: true}}},
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
	for _, seed := range []string{"{\"url\":\"a\"}\n{}", "{\"url\":\"\\ud800\"}\r\n\n[", "{\"url\":\"\xff\"}\n{\"url\":1}\n", "{\"URL\":\"x\",\"url\":\"y\"}"} {
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		if len(text) > 1<<14 {
			return // small pieces of a long text take long
		}
		r, err := Open(t.Context(), Spec{Path: "-", Format: "jsonl", In: &pieces{string(text), int(size) + 16}}, Position{})
		if err != nil {
			return // no object has such a key
		}
		defer r.Close()
		rows, err := readAll(r, int(size)+1)
		if err != nil {
			t.Fatal(err)
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
