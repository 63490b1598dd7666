package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUnsortedIDs reads lists whose ids are in no order, with a stop at every row.
func TestUnsortedIDs(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const n = 40
	texts := map[string]*bytes.Buffer{"csv": bytes.NewBufferString("nr,url,album\n"), "jsonl": {}}
	var want []Row
	for i := range n {
		id := (i*17)%n + 1
		fmt.Fprintf(texts["csv"], "%d,\"u,%d\",%d\n", id, id, id%3)
		fmt.Fprintf(texts["jsonl"], `{"nr":%d,"url":"u,%d","album":%d}`+"\n", id, id, id%3)
		want = append(want, Row{ID: int64(i + 1), URL: fmt.Sprintf("u,%d", i+1),
			Group: fmt.Sprint((i + 1) % 3), Kept: []string{fmt.Sprint(i + 1)}})
	}
	for ext, text := range texts {
		for _, form := range []string{"plain", "gz", "zst"} {
			s := forms[form](filepath.Join(t.TempDir(), "list."+ext), text.Bytes())
			s.IDColumn, s.GroupColumn, s.KeepColumns = "NR", "album", []string{"nr"}
			for stop := 0; stop <= n; stop += 4 {
				at := stopAt(t, s, stop)
				r := open(t, s, at)
				if p := r.Position(); p.Line != int64(stop) {
					t.Fatal(p)
				}
				rows, err := readAll(r, 3)
				if err != nil || len(rows)+n-stop > 0 && !cmp.Equal(rows, want[stop:]) {
					t.Fatalf("%s, %s, after %d rows: %v, %s", ext, form, stop, err,
						cmp.Diff(want[stop:], rows))
				}
				again := open(t, s, r.Position())
				if _, ok := again.(finished); !ok {
					t.Errorf("it is sorted again: %T", again)
				}
				if rows, err := readAll(again, 3); len(rows) > 0 || err != nil {
					t.Error(rows, err)
				}
			}
			at := stopAt(t, s, 5)
			written(s.Path, append(text.Bytes(), '\n'))
			var changed *ChangedError
			if _, err := Open(t.Context(), s, at); !errors.As(err, &changed) {
				t.Error(err)
			}
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Error("files were left over:", left, err)
	}
}

// TestUnsortedIDsOfEmptyList: a list that had a header only gets rows in no order.
func TestUnsortedIDsOfEmptyList(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list.csv")
	s := Spec{Path: path, Format: "csv", IDColumn: "nr"}
	written(path, []byte("nr,url\n"))
	at := stopAt(t, s, 0)
	empty := open(t, s, at)
	if rows, err := readAll(empty, 3); len(rows) > 0 || err != nil {
		t.Fatal(rows, err)
	}
	written(path, []byte("nr,url\n3,c\n1,a\n2,b\n"))
	rows, err := readAll(open(t, s, empty.Position()), 3)
	if want := []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}, {ID: 3, URL: "c"}}; err != nil ||
		!cmp.Equal(rows, want) {
		t.Errorf("%v, %s", err, cmp.Diff(want, rows))
	}
}

func TestUnsortedIDsThatCannotBe(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"id,url\n2,a\n1,b\n2,c\n", "the id 2 is there more than once"},
		{"id,url\n2,a\n1,b\n0,c\n", `record 3: id is "0"`},
		{"id,url\n2,a\n1,b\n\"c\n", `record 3: id is "\"c"`},
	} {
		s := tableOf(t, "csv", c.text)
		s.IDColumn = "id"
		r := open(t, s, Position{})
		for range 2 {
			if n, err := r.Next(make([]Row, 1)); n > 0 || err == nil ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v", c.text, err)
			}
		}
	}
	// Out of order where nobody looks before rows are handed out: behind the look-ahead, and in a pipe.
	late := bytes.NewBufferString("id,url\n")
	for i := range lookAhead + 10 {
		fmt.Fprintf(late, "%d,u\n", i+1)
	}
	late.WriteString("5,u\n")
	for _, c := range []struct {
		text string
		rows int
		give func(string, []byte) Spec
	}{{late.String(), lookAhead + 10, forms["plain"]}, {"id,url\n3,a\n2,b\n", 1, forms["pipe"]}} {
		s := c.give(filepath.Join(t.TempDir(), "list.csv"), []byte(c.text))
		s.IDColumn = "id"
		rows, err := readAll(open(t, s, Position{}), 5000)
		if len(rows) != c.rows || err == nil || !strings.Contains(err.Error(), "sort the list by id") {
			t.Error(len(rows), err)
		}
	}
}

func TestUnsortedParquet(t *testing.T) {
	s := parquetFile(t, 20)
	s.IDColumn, s.URLColumn, s.KeepColumns = "nr", "url", nil
	inOrder := read(t, s)
	s.IDColumn = "back" // nr, from the last to the first
	rows := read(t, s)
	slices.Reverse(rows)
	for i := range rows {
		if rows[i].URL != inOrder[i].URL {
			t.Errorf("%+v, %+v", rows[i], inOrder[i])
		}
	}
	if _, err := open(t, s, Position{}).Next(make([]Row, 1)); err == io.EOF {
		t.Error("nothing came")
	}
}

// TestUnsortedIDsFlags: a row keeps everything through the sorting, damaged records are counted, and progress
// is known once it is sorted.
func TestUnsortedIDsFlags(t *testing.T) {
	t.Parallel()
	s := tableOf(t, "csv", "id,url,g,h,k\n4,$,a,,z\n3,http://a/3,a,ff,\n2,\"http://a/\"2\",a,,\n1,"+
		strings.Repeat("u", MaxURL+1)+",b,,x\n")
	s.IDColumn, s.GroupColumn, s.GroupEnd, s.HashColumn, s.KeepColumns = "id", "g", "$", "h", []string{"k",
		"id"}
	r := open(t, s, Position{})
	if p := r.Progress(); p != 0 {
		t.Errorf("progress %v before the first row", p)
	}
	rows := make([]Row, 4)
	for i := range rows {
		if n, err := r.Next(rows[i : i+1]); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if p := r.Progress(); p != float64(i+1)/4 {
			t.Errorf("after row %d: progress %v", i+1, p)
		}
		if p := r.Position(); p.Line != int64(i+1) {
			t.Errorf("after row %d: %+v", i+1, p)
		}
	}
	want := []Row{{ID: 1, URL: strings.Repeat("u", MaxURL+1), Group: "b", Kept: []string{"x", "1"},
		Bad: true},
		{ID: 2, URL: `http://a/"2`, Group: "a", Kept: []string{"", "2"}},
		{ID: 3, URL: "http://a/3", Group: "a", Hash: "ff", Kept: []string{"", "3"}},
		{ID: 4, URL: "$", Group: "a", Kept: []string{"z", "4"}, End: true}}
	if !cmp.Equal(rows, want) {
		t.Error(cmp.Diff(want, rows))
	}
	if n, first := r.(*sorted).Damaged(); n != 1 || first != 3 {
		t.Errorf("%d damaged, from record %d", n, first)
	}
	if _, err := Open(t.Context(), s, Position{Line: 1, Mark: []byte("{")}); err == nil {
		t.Error("a damaged position was taken")
	}
	gone := s
	gone.Path += ".none.csv"
	if _, err := Open(t.Context(), gone, Position{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	p := parquetFile(t, 5)
	p.IDColumn = "back"
	r = open(t, p, Position{})
	if n, first := r.(*sorted).Damaged(); n != 0 || first != 0 {
		t.Errorf("parquet: %d damaged, from record %d", n, first)
	}
	// A change behind the position is told with why.
	at := stopAt(t, s, 1)
	written(s.Path, []byte("id,url,g,h,k\n"))
	var changed *ChangedError
	if _, err := Open(t.Context(), s, at); !errors.As(err, &changed) ||
		!strings.HasSuffix(changed.What, "(its ids are not in order, so it cannot grow either)") ||
		!strings.HasPrefix(changed.What, "it has 13 bytes and had ") {
		t.Errorf("%v", err)
	}
}
