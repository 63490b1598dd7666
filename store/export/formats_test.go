package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"facescan/store"
	"facescan/store/storetest/must"
)

func TestJSONLines(t *testing.T) {
	want := `{"id":1,"url":"http://a/1.jpg","status":"ok","reason":null,"http_status":200,"format":"jpeg","width":500,"height":375,"bytes":81234,"faces":2,"boxes":[[10,20,40,41,31.46],[0,1,2,3,9.99]]}
{"id":2,"url":"http://user:***@a/x,\"y\".png","status":"ok","reason":null,"http_status":200,"format":"png","width":8,"height":9,"bytes":99,"faces":0,"boxes":[]}
{"id":4,"url":"nonsense","status":"failed","reason":"bad_url","http_status":null,"format":null,"width":null,"height":null,"bytes":0,"faces":null,"boxes":null}
{"id":5,"url":"http://a/5","status":"failed","reason":"too_many_pixels","http_status":200,"format":"webp","width":90000,"height":80000,"bytes":28,"faces":null,"boxes":null}
{"id":1099511627783,"url":"http://é/\n","status":"failed","reason":"http_5xx","http_status":503,"format":null,"width":null,"height":null,"bytes":0,"faces":null,"boxes":null}
`
	if got := exported(t, Options{Format: "jsonl"}, some...); got != want {
		t.Error(cmp.Diff(want, got))
	}
	want = `{"face":1,"confidence":0.98,"note":""}` + "\n" + `{"face":2,"confidence":null,"note":""}` + "\n"
	r := some[0]
	r.Kept = []string{"", ""}
	if got := exported(t, Options{Format: "jsonl", Rows: "faces",
		Columns: []string{"face", "confidence", "note"}, Sources: someSources}, r); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestAnyStringIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "text") + string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		var got string
		must.OK(t, json.Unmarshal(appendString(nil, want), &got))
		if want = string([]rune(want)); got != want { // bytes that are not text as U+FFFD
			t.Fatalf("%q: %q", want, got)
		}
	})
}

func TestParquet(t *testing.T) {
	type box struct {
		X, Y, Width, Height int32
		Score               float64
	}
	type row struct {
		ID     int64   `parquet:"id,optional"`
		URL    string  `parquet:"url,optional"`
		Reason *string `parquet:"reason,optional"`
		Width  *int64  `parquet:"width,optional"`
		Faces  *int64  `parquet:"faces,optional"`
		Boxes  []box   `parquet:"boxes,optional,list"`
		Odd    *string `parquet:"an odd, name,optional"`
	}
	o := Options{Format: "parquet", Columns: []string{"id", "url", "reason", "width", "faces", "boxes",
		"an odd, name"}, Sources: []Source{{Kept: []string{"an odd, name"}}, {}}}
	data := exported(t, o, some...)
	f := must.Get(parquet.OpenFile(strings.NewReader(data), int64(len(data))))(t)
	var order []string
	for _, c := range f.Root().Columns() {
		order = append(order, c.Name())
	}
	if !cmp.Equal(order, o.Columns) {
		t.Errorf("columns are %q", order)
	}
	if leaf := f.Root().Column("boxes").Columns()[0].Columns()[0].Columns(); len(leaf) != 5 ||
		leaf[0].Name() != "x" || leaf[4].Name() != "score" {
		t.Errorf("boxes have %v", leaf)
	}
	got := make([]row, len(some)+1)
	r := parquet.NewReader(strings.NewReader(data))
	for i := range some {
		raw := make([]parquet.Row, 1)
		if n, err := r.ReadRows(raw); n != 1 || err != nil && err != io.EOF {
			t.Fatal(n, err)
		}
		// The library maps structs to groups by names in their own order, so values are taken by column here.
		for _, v := range raw[0] {
			if v.IsNull() {
				continue
			}
			text, number := v.String(), int64(0)
			if v.Kind() == parquet.Int64 {
				number = v.Int64()
			}
			g := &got[i]
			if v.Column() >= 5 && v.Column() <= 9 && len(g.Boxes) <= v.RepetitionLevel() &&
				(v.RepetitionLevel() == 0 || v.Column() == 5) {
				g.Boxes = append(g.Boxes, box{})
			}
			switch v.Column() {
			case 0:
				g.ID = number
			case 1:
				g.URL = text
			case 2:
				g.Reason = &text
			case 3:
				g.Width = &number
			case 4:
				g.Faces = &number
			case 5:
				g.Boxes[len(g.Boxes)-1].X = v.Int32()
			case 9:
				g.Boxes[v.RepetitionLevel()].Score = v.Double()
			case 10:
				g.Odd = &text
			}
		}
	}
	pointer := func(s string) *string { return &s }
	number := func(n int64) *int64 { return &n }
	want := []row{
		{ID: 1, URL: "http://a/1.jpg", Width: number(500), Faces: number(2),
			Boxes: []box{{X: 10, Score: 31.46}, {X: 0, Score: 9.99}}},
		{ID: 2, URL: "http://user:***@a/x,\"y\".png", Width: number(8), Faces: number(0), Odd: pointer("k1")},
		{ID: 4, URL: "nonsense", Reason: pointer("bad_url")},
		{ID: 5, URL: "http://a/5", Reason: pointer("too_many_pixels"), Width: number(90000)},
		{ID: 1<<40 + 7, URL: "http://é/\n", Reason: pointer("http_5xx")},
	}
	if got := got[:len(some)]; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestRowGroupsStream(t *testing.T) {
	data := exported(t, Options{Format: "parquet"}, results(2*rowGroup+10)...)
	f := must.Get(parquet.OpenFile(strings.NewReader(data), int64(len(data))))(t)
	if n := len(f.RowGroups()); n != 3 || f.NumRows() != 2*rowGroup+10 {
		t.Errorf("%d row groups, %d rows", n, f.NumRows())
	}
}

func TestCOCO(t *testing.T) {
	var got struct {
		Images []struct {
			ID            int64
			FileName      string `json:"file_name"`
			Width, Height int
		}
		Annotations []struct {
			ID       int64
			Image    int64 `json:"image_id"`
			Category int64 `json:"category_id"`
			Box      []int `json:"bbox"`
			Area     int
			Score    float64
		}
		Categories []struct {
			ID   int64
			Name string
		}
	}
	if err := json.Unmarshal([]byte(exported(t, Options{Format: "coco", Where: "row != 5"}, some...)),
		&got); err != nil {
		t.Fatal(err)
	}
	const images = `[{1 http://a/1.jpg 500 375} {2 http://user:***@a/x,"y".png 8 9}]`
	if s := fmt.Sprint(got.Images); s != images {
		t.Error(s)
	}
	if s := fmt.Sprint(got.Annotations); s != "[{1 1 1 [10 20 40 41] 1640 31.46} {2 1 1 [0 1 2 3] 6 9.99}]" {
		t.Error(s)
	}
	if s := fmt.Sprint(got.Categories); s != "[{1 face}]" {
		t.Error(s)
	}
	if err := json.Unmarshal([]byte(exported(t, Options{Format: "coco"})), &got); err != nil {
		t.Error("of no rows:", err)
	}
	// More than is gathered at once.
	if err := json.Unmarshal([]byte(exported(t, Options{Format: "coco"}, results(5000)...)),
		&got); err != nil || len(got.Images) != 4500 {
		t.Error(err, len(got.Images))
	}
}

func TestSplit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "split") + "/"
	rows := append([]store.Result{}, some...)
	rows = append(rows, store.Result{ID: 9, Group: "../a b", Status: store.OK},
		store.Result{ID: 10, Group: ".hidden", Status: store.OK},
		store.Result{ID: 11, Group: strings.Repeat("é", 300), Status: store.OK},
		store.Result{ID: 12, Group: "album 1", Status: store.OK}, store.Result{ID: 13, Group: "album 2"})
	w, _, err := NewSplit(dir, "GROUP", Options{Columns: []string{"id", "url"}, Where: "row != 13"})
	if err != nil {
		t.Fatal(err)
	}
	must.OK(t, writeAll(w, rows))
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder is there before its time")
	}
	must.OK(t, w.Close())
	got := map[string]string{}
	entries := must.Get(os.ReadDir(dir))(t)
	for _, e := range entries {
		data := must.Get(os.ReadFile(filepath.Join(dir, e.Name())))(t)
		name := e.Name()
		if len(name) > 100 {
			name = name[:12] + "…"
		}
		got[name] = string(data)
	}
	want := map[string]string{
		"%empty.csv":       "id,url\n1,http://a/1.jpg\n4,nonsense\n5,http://a/5\n1099511627783,\"http://é/\n\"\n",
		"album%201.csv":    "id,url\n2,\"http://user:***@a/x,\"\"y\"\".png\"\n12,\n",
		"%2E.%2Fa%20b.csv": "id,url\n9,\n",
		"%2Ehidden.csv":    "id,url\n10,\n",
		"%C3%A9%C3%A9…":    "id,url\n11,\n",
	}
	if !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if left, err := os.ReadDir(filepath.Dir(filepath.Clean(dir))); err != nil || len(left) != 1 {
		t.Error("files were left over:", left, err)
	}
}

func TestSplitThatCannotBe(t *testing.T) {
	full := t.TempDir()
	must.OK(t, os.WriteFile(filepath.Join(full, "a.csv"), nil, 0o600))
	root := t.TempDir()
	fresh := filepath.Join(root, "split")
	for _, c := range []struct {
		dir, by string
		o       Options
	}{
		{full, "status", Options{}}, {fresh, "nose", Options{}}, {fresh, "boxes", Options{}},
		{fresh, "status", Options{Format: "coco"}}, {fresh, "status", Options{Format: "xls"}},
	} {
		var usage *UsageError
		if _, _, err := NewSplit(c.dir, c.by, c.o); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, format := range []string{"csv", "parquet"} {
		w, discard, err := NewSplit(fresh, "id", Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for err == nil {
			n++
			err = w.Write(store.Result{ID: int64(n)})
		}
		var usage *UsageError
		if n != 1025 || !errors.As(err, &usage) {
			t.Errorf("%s: %d files, then %v", format, n-1, err)
		}
		discard()
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 0 {
		t.Error("files were left over:", left, err)
	}
	var usage *UsageError
	if _, _, err := NewSplit(filepath.Join(full, "a.csv"), "id", Options{}); err == nil ||
		errors.As(err, &usage) {
		t.Errorf("a file in the folder's place: %v", err)
	}
}

// TestSplitFails has a file of a split fail, when it is made and when it is closed.
func TestSplitFails(t *testing.T) {
	for made, want := range map[bool]error{false: os.ErrNotExist, true: os.ErrClosed} {
		dir := t.TempDir()
		w, discard, err := NewSplit(filepath.Join(dir, "split"), "id", Options{})
		must.OK(t, err)
		split := w.(*exporter).out.(*splitEncoder)
		if made {
			must.OK(t, w.Write(some[0]))
			must.OK(t, split.parts["1"].f.Close())
			err = w.Close()
		} else {
			must.OK(t, os.RemoveAll(split.folder.Name()))
			err = w.Write(some[0])
		}
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		discard()
		if left := must.Get(os.ReadDir(dir))(t); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestSplitByNumbers has files for numbers, and for none.
func TestSplitByNumbers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "split")
	w, _, err := NewSplit(dir, "width", Options{Format: "jsonl", Columns: []string{"id"}})
	must.OK(t, err)
	must.OK(t, writeAll(w, some))
	must.OK(t, w.Close())
	var got []string
	for _, e := range must.Get(os.ReadDir(dir))(t) {
		got = append(got, e.Name(), string(must.Get(os.ReadFile(filepath.Join(dir, e.Name())))(t)))
	}
	want := []string{"%empty.jsonl", "{\"id\":4}\n{\"id\":1099511627783}\n", "500.jsonl", "{\"id\":1}\n",
		"8.jsonl", "{\"id\":2}\n", "90000.jsonl", "{\"id\":5}\n"}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestMemoryIsFlat writes many rows in every format and looks at what is held.
func TestMemoryIsFlat(t *testing.T) {
	rows := results(rowGroup)
	for _, format := range []string{"csv", "jsonl", "parquet", "coco"} {
		w := must.Get(New(io.Discard, Options{Format: format}))(t)
		held := func() float64 {
			must.OK(t, writeAll(w, rows))
			// What goroutines on their way hold, and what pools let go with the second collection only, is
			// not held.
			least := math.Inf(1)
			for range 5 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				least = min(least, float64(m.HeapAlloc)/(1<<20))
			}
			return least
		}
		first := held()
		last := first
		for range 5 {
			last = held()
		}
		if math.Max(first, 30)+20 < last {
			t.Errorf("%s holds %.1f MiB after %d rows, and %.1f MiB after %d", format, first, rowGroup, last,
				6*rowGroup)
		}
		must.OK(t, w.Close())
	}
}

// TestFullDiskIsSeen lets the disk fill up at each of many places of every format: Write or Close returns it.
func TestFullDiskIsSeen(t *testing.T) {
	rows := results(3000)
	for _, format := range []string{"csv", "jsonl", "parquet", "coco"} {
		write := func(to io.Writer) error {
			w, err := New(to, Options{Format: format})
			if err != nil {
				return err
			}
			return errors.Join(writeAll(w, rows), w.Close())
		}
		var whole bytes.Buffer
		must.OK(t, write(&whole))
		for i := range 12 {
			room := (whole.Len() - 1) * i / 11
			if err := write(&fullDisk{room}); !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d of %d bytes: %v", format, room, whole.Len(), err)
			}
		}
	}
}

// TestCOCOSpoolIsSeen has the temporary file fail that COCO's annotations wait in, early and at the end.
func TestCOCOSpoolIsSeen(t *testing.T) {
	face := store.Face{X: 1, Y: 2, Width: 30, Height: 40, Score: 9}
	for _, faces := range []int{1, 3 * flushSize / 100} { // a line has about 100 bytes
		w := must.Get(New(io.Discard, Options{Format: "coco"}))(t)
		must.OK(t, w.(*exporter).out.(*cocoEncoder).spool.Close())
		err := w.Write(store.Result{ID: 1, Status: store.OK, Detector: "d", Width: 100, Height: 100,
			Faces: slices.Repeat([]store.Face{face}, faces)})
		if early := faces > 1; early != errors.Is(err, os.ErrClosed) {
			t.Errorf("%d faces: %v", faces, err)
		}
		if err := w.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%d faces, at the end: %v", faces, err)
		}
	}
	w := must.Get(New(io.Discard, Options{Format: "coco"}))(t)
	w.(*exporter).out.(*cocoEncoder).annotations.w = &fullDisk{}
	must.OK(t, w.Write(store.Result{ID: 1, Status: store.OK, Detector: "d", Faces: []store.Face{face}}))
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("a disk that is full at the end: %v", err)
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if _, err := New(io.Discard, Options{Format: "coco"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder for it: %v", err)
	}
}

// TestParquetTakesAnyNames has columns whose names are not names in Go, or the same but for what Go leaves
// out.
func TestParquetTakesAnyNames(t *testing.T) {
	kept := []string{"", " ", "é", "1", "a b", "a_b", "A B", "_", "type", "😀", "a.b", "\n", "x,optional"}
	data := exported(t, Options{Format: "parquet", Sources: []Source{{Kept: kept}}},
		store.Result{URL: "u", Kept: kept})
	f := must.Get(parquet.OpenFile(strings.NewReader(data), int64(len(data))))(t)
	columns := f.Root().Columns()[len(imageColumns):]
	row := make([]parquet.Row, 1)
	if n, err := f.RowGroups()[0].Rows().ReadRows(row); n != 1 || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	values := row[0][len(row[0])-len(kept):]
	for i, want := range kept {
		if name := columns[i].Name(); values[i].String() != want || !strings.HasSuffix(name, want) {
			t.Errorf("%q is under %q, and has %q", want, name, values[i].String())
		}
	}
}

func TestParquetErrorsAreSeen(t *testing.T) {
	w := must.Get(New(&fullDisk{1000}, Options{Format: "parquet"}))(t)
	err := writeAll(w, results(1000))
	if err == nil {
		err = w.Close()
	}
	if !errors.Is(err, errFull) {
		t.Error(err)
	}
	var b bytes.Buffer
	w = must.Get(New(&b, Options{Format: "parquet"}))(t)
	must.OK(t, w.Close())
	if f, err := parquet.OpenFile(bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil ||
		f.NumRows() != 0 {
		t.Error("of no rows:", err)
	}
}
