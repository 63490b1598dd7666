package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"facescan/store"
	"facescan/store/storetest/must"
)

// some are results of every sort.
var some = []store.Result{
	{ID: 1, URL: "http://a/1.jpg", Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
		Bytes: 81234, Attempts: 1, Detector: "d",
		Faces: []store.Face{{X: 10, Y: 20, Width: 40, Height: 41, Score: 31.456, Confidence: 0.98},
			{X: 0, Y: 1, Width: 2, Height: 3, Score: 9.995}},
		Candidates: []store.Face{{X: 5, Y: 5, Width: 20, Height: 20, Score: 4.5},
			{X: 6, Y: 5, Width: 20, Height: 20, Score: 2}}},
	{ID: 2, URL: "http://user:secret@a/x,\"y\".png", Status: store.OK, HTTPStatus: 200, Format: "png",
		Width: 8, Height: 9, Bytes: 99, Attempts: 2,
		FinalURL: "http://u:p@b/", Partial: true, Group: "album 1", Kept: []string{"k1", "k,2"},
		Detector: "d"},
	{ID: 4, URL: "nonsense", Status: store.Failed, Reason: store.BadURL},
	{ID: 5, URL: "http://a/5", Status: store.Failed, Reason: store.TooManyPixels, HTTPStatus: 200,
		Format: "webp", Width: 90000, Height: 80000, Bytes: 28, Attempts: 1},
	{ID: 1<<40 + 7, Source: 1, URL: "http://é/\n", Status: store.Failed, Reason: store.HTTP5xx,
		HTTPStatus: 503, Attempts: 3, Kept: []string{"z"}},
}

var someSources = []Source{{Name: "/lists/a.txt", Kept: []string{"album", "note"}},
	{Name: "/lists/b.csv", Kept: []string{"note"}}}

func exported(t testing.TB, o Options, results ...store.Result) string {
	t.Helper()
	var b bytes.Buffer
	w := must.Get(New(&b, o))(t)
	must.OK(t, writeAll(w, results))
	must.OK(t, w.Close())
	return b.String()
}

// writeAll writes results up to the first error.
func writeAll(w Writer, results []store.Result) error {
	for _, r := range results {
		if err := w.Write(r); err != nil {
			return err
		}
	}
	return nil
}

func TestCSV(t *testing.T) {
	five, ten := 4.5, 10.0
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"default", Options{}, `id,url,status,reason,http_status,format,width,height,bytes,faces,boxes
1,http://a/1.jpg,ok,,200,jpeg,500,375,81234,2,"[[10,20,40,41,31.46],[0,1,2,3,9.99]]"
2,"http://user:***@a/x,""y"".png",ok,,200,png,8,9,99,0,[]
4,nonsense,failed,bad_url,,,,,0,,
5,http://a/5,failed,too_many_pixels,200,webp,90000,80000,28,,
1099511627783,"http://é/
",failed,http_5xx,503,,,,0,,
`},
		{"kept columns and all others", Options{Sources: someSources, Credentials: true,
			Columns: []string{"ID", "url", "source", "row", "group", "class", "attempts", "final_url",
				"partial", "detector", "confidence", "album", "note"}},
			`id,url,source,row,group,class,attempts,final_url,partial,detector,confidence,album,note
1,http://a/1.jpg,/lists/a.txt,1,,,1,,0,d,0.98,,
2,"http://user:secret@a/x,""y"".png",/lists/a.txt,2,album 1,,2,http://u:p@b/,1,d,,k1,"k,2"
4,nonsense,/lists/a.txt,4,,permanent,0,,0,,,,
5,http://a/5,/lists/a.txt,5,,permanent,1,,0,,,,
1099511627783,"http://é/
",/lists/b.csv,7,,transient,3,,0,,,,z
`},
		{"other threshold, upwards", Options{MinScore: map[string]float64{"": ten},
			Columns: []string{"id", "faces", "boxes"}},
			"id,faces,boxes\n1,1,\"[[10,20,40,41,31.46]]\"\n2,0,[]\n4,,\n5,,\n1099511627783,,\n"},
		{"other threshold, downwards", Options{MinScore: map[string]float64{"": five},
			Columns: []string{"id", "faces", "boxes"}},
			"id,faces,boxes\n1,3,\"[[10,20,40,41,31.46],[0,1,2,3,9.99],[5,5,20,20,4.50]]\"\n" +
				"2,0,[]\n4,,\n5,,\n1099511627783,,\n"},
		{"faces", Options{Rows: "faces"}, `id,url,face,x,y,width,height,score
1,http://a/1.jpg,1,10,20,40,41,31.46
1,http://a/1.jpg,2,0,1,2,3,9.99
`},
		{"faces, other columns", Options{Rows: "faces", Sources: someSources,
			Columns: []string{"face", "confidence", "format", "note"}},
			"face,confidence,format,note\n1,0.98,jpeg,\n2,,jpeg,\n"},
		{"one column, empty", Options{Columns: []string{"reason"}},
			"reason\n\"\"\n\"\"\nbad_url\ntoo_many_pixels\nhttp_5xx\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exported(t, c.o, some...); got != c.want {
				t.Error(cmp.Diff(c.want, got))
			}
		})
	}
}

func TestKeptColumnsThatClash(t *testing.T) {
	o := Options{Sources: []Source{{Kept: []string{"URL", "a", "kept_url"}}, {Kept: []string{"a", "id"}}}}
	got, _, _ := strings.Cut(exported(t, o), "\n")
	want := "id,url,status,reason,http_status,format,width,height,bytes,faces,boxes," +
		"kept_URL,a,kept_kept_url,kept_id"
	if got != want {
		t.Errorf("%s\n%s", got, want)
	}
}

// TestQuotes has every kind of text that has to be quoted, and what need not be.
func TestQuotes(t *testing.T) {
	for text, want := range map[string]string{"a b": "a b", "a,b": `"a,b"`, `"`: `""""`, `a"b"`: `"a""b"""`,
		"a\nb": "\"a\nb\"", "a\rb": "\"a\rb\"", "'": "'"} {
		o := Options{Sources: []Source{{Kept: []string{text}}}, Columns: []string{" id ", text}}
		if got := exported(t, o, store.Result{ID: 7, Kept: []string{text}}); got != "id,"+want+"\n7,"+
			want+"\n" {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestUnknownSource has rows of sources that the export was not told of.
func TestUnknownSource(t *testing.T) {
	o := Options{Sources: []Source{{Name: "/a.txt", Kept: []string{"note"}}},
		Columns: []string{"source", "note"}}
	if got, want := exported(t, o, store.Result{Kept: []string{"n"}},
		store.Result{Source: 1, Kept: []string{"n"}},
		store.Result{Source: 2}), "source,note\n/a.txt,n\n1,\n2,\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestUnknownIsNull has what is not known of a row, or of a face, as null where that differs from empty text.
func TestUnknownIsNull(t *testing.T) {
	row := store.Result{ID: 1, Source: 1, Status: store.Failed, Reason: store.Timeout}
	face := store.Result{ID: 1, Status: store.OK, Detector: "d", Candidates: make([]store.Face, 1),
		Outputs: store.Crops}
	for _, c := range []struct {
		r    store.Result
		rows string
		null []string
	}{
		{row, "images", []string{"http_status", "format", "width", "height", "faces", "boxes", "group",
			"final_url",
			"detector", "confidence", "landmarks", "sha256", "phash", "kept", "crops", "blurred", "note"}},
		{face, "faces", []string{"crop", "confidence", "nose_x", "left_mouth_y", "kept", "note"}},
	} {
		o := Options{Format: "jsonl", Rows: c.rows, Columns: c.null,
			Sources: []Source{{Kept: []string{"note"}}}}
		if c.rows == "faces" {
			o.MinScore = map[string]float64{"": 0}
		}
		want := `{"` + strings.Join(c.null, `":null,"`) + `":null}` + "\n"
		if got := exported(t, o, c.r); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestGroupColumns has every column of rows of groups.
func TestGroupColumns(t *testing.T) {
	at := time.Date(2030, 5, 6, 1, 2, 3, 45e6, time.UTC)
	var b bytes.Buffer
	w := must.Get(New(&b, Options{Rows: "groups", Sources: []Source{{Name: "/a.txt"}},
		Where: "images > 1"}))(t)
	for _, g := range []store.Group{{Name: "g", Images: 9, OK: 7, Failed: 2, Faces: 5, ImagesWithFaces: 4,
		LargestFace: 88, First: at, Last: at.Add(time.Second), Revision: 3}, {Name: "h", Images: 2, First: at,
		Last: at}, {Name: "one", Images: 1}} {
		must.OK(t, w.WriteGroup(g))
	}
	must.OK(t, w.Close())
	want := "group,images,ok,failed,faces,images_with_faces,source,largest_face,first,last,revision\n" +
		"g,9,7,2,5,4,/a.txt,88,2030-05-06T01:02:03.045Z,2030-05-06T01:02:04.045Z,3\n" +
		"h,2,0,0,0,0,/a.txt,,2030-05-06T01:02:03.045Z,2030-05-06T01:02:03.045Z,0\n"
	if b.String() != want {
		t.Error(cmp.Diff(want, b.String()))
	}
}

// TestAnyTextComesBack reads what is written with a reader that is not ours.
func TestAnyTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.OneOf(rapid.String(),
			rapid.SampledFrom([]string{"", "\"", ",", "\n", " ", "\\.", "a\"b,c\nd"})), 3, 3).Draw(t,
			"values")
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], "\r", "\n") // which Go's reader cannot tell from a line end
		}
		var b bytes.Buffer
		w := must.Get(New(&b, Options{Credentials: true, Sources: []Source{{Kept: []string{"a", "b"}}},
			Columns: []string{"url", "a", "b"}}))(t)
		w.Write(store.Result{URL: want[0], Kept: want[1:]})
		w.Close()
		got, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(got) != 2 || !cmp.Equal(got[1], want) {
			t.Fatalf("%v: %q", err, got)
		}
	})
}

// TestColumnsTopic: the topic of columns has a table per table of columns, with the same columns in their
// order.
func TestColumnsTopic(t *testing.T) {
	topic := must.Get(os.ReadFile("../../cmd/help/columns.md"))(t)
	tables := strings.Split(string(topic), "\n| column | meaning |\n|---|---|\n")[1:]
	want := [][]column{imageColumns, moreImageColumns, faceColumns,
		slices.Concat(moreFaceColumns, pointColumns()), groupColumns, duplicateColumns}
	if len(tables) != len(want) {
		t.Fatalf("%d tables, want %d", len(tables), len(want))
	}
	for i, table := range tables {
		var got []string
		for line := range strings.Lines(table) {
			name, isRow := strings.CutPrefix(line, "| `")
			if !isRow {
				break
			}
			name, _, _ = strings.Cut(name, "`")
			got = append(got, name)
		}
		if !slices.Equal(got, names(want[i])) {
			t.Errorf("the topic has the columns\n%v, want\n%v", got, names(want[i]))
		}
	}
}

// TestColumnTables: every format takes its columns from the tables, and each has a value.
func TestColumnTables(t *testing.T) {
	for _, rows := range RowKinds() {
		table := must.Get(newTable(Options{Rows: rows}))(t)
		all := names(table.columns)
		for i, c := range table.columns {
			if c.get == nil || slices.Contains(all[:i], c.name) {
				t.Errorf("column %s of rows of %s has no value, or stands twice", c.name, rows)
			}
		}
		if rows == "groups" {
			continue
		}
		r := store.Result{ID: 1, URL: "u", Status: store.OK, Detector: "d",
			Faces: []store.Face{{X: 1, Y: 2, Width: 3, Height: 4, Score: 5, HasLandmarks: true}}}
		header, _, _ := strings.Cut(exported(t, Options{Rows: rows, Columns: all}, r), "\n")
		if header != strings.Join(all, ",") {
			t.Errorf("CSV of %s has %s", rows, header)
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(exported(t, Options{Format: "jsonl", Rows: rows, Columns: all}, r)),
			&object); err != nil ||
			len(object) != len(all) {
			t.Errorf("JSON Lines of %s have %d of %d columns: %v", rows, len(object), len(all), err)
		}
		file := exported(t, Options{Format: "parquet", Rows: rows, Columns: all}, r)
		f := must.Get(parquet.OpenFile(strings.NewReader(file), int64(len(file))))(t)
		for i, c := range f.Root().Columns() {
			if c.Name() != all[i] {
				t.Errorf("Parquet of %s has %s as column %d, want %s", rows, c.Name(), i, all[i])
			}
		}
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	for _, o := range []Options{
		{Format: "xls"}, {Rows: "cats"}, {Columns: []string{"nose"}}, {Columns: []string{"id", "ID"}},
		{Rows: "faces", Columns: []string{"boxes"}}, {Format: "coco", Rows: "faces"},
		{Format: "coco", Columns: []string{"id"}}, {Rows: "groups", MinScore: map[string]float64{"": 1}},
	} {
		var b bytes.Buffer
		var usage *UsageError
		if _, err := New(&b, o); !errors.As(err, &usage) || b.Len() > 0 {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := ParseFilter("id = 1", o); (o.Rows == "cats" || o.MinScore != nil) != errors.As(err, &usage) {
			t.Errorf("a filter of %+v: %v", o, err)
		}
	}
	if got := exported(t, Options{Format: "coco", Rows: "images"}, some...); got != exported(t,
		Options{Format: "coco"}, some...) {
		t.Errorf("COCO of images is %s", got)
	}
}

type fullDisk struct{ left int }

var errFull = errors.New("disk full")

func (f *fullDisk) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n := f.left
		f.left = 0
		return n, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

func TestAFailingWriterIsSeen(t *testing.T) {
	w, err := New(&fullDisk{100_000}, Options{})
	for i := 0; err == nil && i < 100_000; i++ {
		err = w.Write(some[0])
	}
	if !errors.Is(err, errFull) {
		t.Error(err)
	}
	if w, err = New(&fullDisk{100_000}, Options{Rows: "faces"}); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil && i < 100_000; i++ {
		err = w.Write(some[0])
	}
	if !errors.Is(err, errFull) {
		t.Errorf("rows of faces: %v", err)
	}
	w = must.Get(New(&fullDisk{10}, Options{}))(t)
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	plain := func(r io.Reader) (io.Reader, error) { return r, nil }
	for name, read := range map[string]func(io.Reader) (io.Reader, error){
		"a.csv":     plain,
		"a.csv.gz":  func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"a.csv.ZST": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	} {
		path := filepath.Join(dir, name)
		must.OK(t, os.WriteFile(path, []byte("old"), 0o600))
		for _, close := range []bool{false, true} {
			f := must.Get(Create(path))(t)
			io.WriteString(f, "new")
			if old, err := os.ReadFile(path); err != nil || string(old) != "old" {
				t.Errorf("%s changed before its time: %q, %v", name, old, err)
			}
			if !close {
				f.Discard()
				continue
			}
			must.OK(t, f.Close())
		}
		f := must.Get(os.Open(path))(t)
		defer f.Close()
		r := must.Get(read(f))(t)
		if got, err := io.ReadAll(r); err != nil || string(got) != "new" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Error("files were left over:", left, err)
	}
	if _, err := Create(dir); err == nil {
		t.Error("a folder was taken for a file")
	}
	if _, err := Create(filepath.Join(dir, "none", "a.csv")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	null := must.Get(Create(os.DevNull))(t)
	if _, err := io.WriteString(null, "x"); err != nil {
		t.Error(err)
	}
	if err := null.Close(); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(os.DevNull); err != nil || fi.Mode().IsRegular() {
		t.Error(fi, err)
	}
}

// results makes rows as a run finds them: one image in three has faces.
func results(n int) []store.Result {
	out := make([]store.Result, n)
	for i := range out {
		r := store.Result{ID: int64(i + 1),
			URL: fmt.Sprintf("https://images.example-%d.com/albums/%d/photo-%012d-large.jpg?size=%d", i%500,
				i, i*7919, i%3000),
			Status: store.OK, HTTPStatus: 200, Format: "jpeg", Width: 500, Height: 375,
			Bytes: 60_000 + int64(i%9999), Attempts: 1, Detector: "fingerprint"}
		if i%10 == 0 {
			r.Status, r.Reason, r.HTTPStatus, r.Format, r.Width, r.Height = store.Failed,
				store.HTTP4xx, 404, "", 0, 0
		}
		for k := range i % 3 * (i % 2) {
			r.Faces = append(r.Faces, store.Face{X: i % 400, Y: i % 300, Width: 50 + k, Height: 50,
				Score: 30.123 / float64(k+1)})
		}
		out[i] = r
	}
	return out
}

func BenchmarkExport(b *testing.B) {
	rows := results(10_000)
	for _, format := range []string{"csv", "jsonl", "parquet", "coco"} {
		b.Run(format, func(b *testing.B) {
			w := must.Get(New(io.Discard, Options{Format: format}))(b)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				must.OK(b, writeAll(w, rows))
				n += len(rows)
			}
			must.OK(b, w.Close())
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
