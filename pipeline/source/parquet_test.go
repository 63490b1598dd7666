package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
)

type parquetRow struct {
	Nr   int64     `parquet:"nr"`
	URL  *string   `parquet:"URL,optional,dict"`
	Side int32     `parquet:"side,optional"`
	Note string    `parquet:"note,snappy"`
	Tags []string  `parquet:"tags,list"`
	Real float64   `parquet:"real,zstd"`
	When time.Time `parquet:"when,timestamp(microsecond)"`
	Back int64     `parquet:"back"`
	Day  int32     `parquet:"day,date"`
}

// parquetFile writes n rows in groups of 100, and pages of a few values.
func parquetFile(t testing.TB, n int) Spec {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[parquetRow](&b, parquet.MaxRowsPerRowGroup(100),
		parquet.PageBufferSize(256))
	for i := range n {
		url := fmt.Sprintf("http://host/%d\xff", i)
		row := parquetRow{Nr: int64(10 * (i + 1)), URL: &url, Note: strings.Repeat("n", i%7),
			Tags: []string{"x", "y"}, Real: float64(i) / 2,
			When: time.Date(2024, 2, 3, 4, 5, i, 6000, time.UTC), Day: 19756, Back: int64(n - i)}
		if i%10 == 3 {
			row.URL = nil
		}
		if i%10 == 4 {
			row.Side = 7
		}
		if _, err := w.Write([]parquetRow{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s := written(filepath.Join(t.TempDir(), "list.parquet"), b.Bytes())
	s.GroupColumn, s.KeepColumns = "note", []string{"side", "real", "when", "day"}
	return s
}

func TestParquet(t *testing.T) {
	const n = 250
	s := parquetFile(t, n)
	var want []Row
	for i := range n {
		row := Row{ID: int64(i + 1), URL: fmt.Sprintf("http://host/%d%%FF", i),
			Group: strings.Repeat("n", i%7), Kept: []string{"", fmt.Sprint(float64(i) / 2),
				time.Date(2024, 2, 3, 4, 5, i, 6000, time.UTC).Format(time.RFC3339Nano), "2024-02-03"}}
		if i%10 == 3 {
			row.URL, row.Bad = "", true
		}
		if i%10 == 4 {
			row.Kept[0] = "7"
		}
		want = append(want, row)
	}
	if got := read(t, s); !cmp.Equal(got, want) {
		t.Fatal(cmp.Diff(want, got))
	}
	for stop := 0; stop <= n; stop += 3 {
		at := stopAt(t, s, stop)
		r := open(t, s, at)
		got, err := readAll(r, 11)
		if err != nil || !cmp.Equal(got, want[stop:]) && len(got)+n-stop > 0 {
			t.Fatalf("after %d rows: %v, %s", stop, err, cmp.Diff(want[stop:], got))
		}
		if p := r.Position(); p.Line != n || r.Progress() != 1 {
			t.Fatal(p, r.Progress())
		}
		if got, err := readAll(open(t, s, r.Position()), 11); len(got) != 0 || err != nil {
			t.Fatal(got, err)
		}
		r.Close()
	}
	s.IDColumn = "nr"
	if got := read(t, s); len(got) != n || got[n-1].ID != 10*n {
		t.Error(len(got))
	}
	if got := read(t, parquetFile(t, 0)); len(got) != 0 {
		t.Error(got)
	}
	for n, want := range map[int]float64{0: 0, 1: 1, 4: 0.25} {
		r := open(t, parquetFile(t, n), Position{})
		if got, err := r.Next(make([]Row, 1)); got != min(n, 1) || (err == io.EOF) != (n == 0) ||
			r.Progress() != want {
			t.Errorf("%d rows: %d, %v, progress %v", n, got, err, r.Progress())
		}
	}
}

func TestParquetThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		set  func(*Spec)
		want string
	}{
		{func(s *Spec) {
			s.URLColumn = "image"
		}, "its columns are nr, URL, side, note, tags, real, when, back, day"},
		{func(s *Spec) { s.URLColumn = "nr" }, "no text but INT64"},
		{func(s *Spec) { s.GroupColumn = "tags" }, "more than one value"},
		{func(s *Spec) { s.Path, s.Format = "-", "parquet" }, "standard input"},
	} {
		s := parquetFile(t, 3)
		c.set(&s)
		var usage *UsageError
		if _, err := Open(t.Context(), s, Position{}); !errors.As(err, &usage) ||
			!strings.Contains(err.Error(), c.want) {
			t.Error(err)
		}
	}
}

func TestChangedParquet(t *testing.T) {
	s := parquetFile(t, 5000)
	at := stopAt(t, s, 2)
	data, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func([]byte) []byte{
		func(b []byte) []byte { b[10]++; return b },
		func(b []byte) []byte { b[len(b)-10]++; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return append(b, 0) },
	} {
		written(s.Path, change(bytes.Clone(data)))
		var changed *ChangedError
		if _, err := Open(t.Context(), s, at); !errors.As(err, &changed) {
			t.Error(err)
		}
	}
	written(s.Path, data) // another time, the same bytes
	if rows, err := readAll(open(t, s, at), 100); len(rows) != 4998 || err != nil {
		t.Error(len(rows), err)
	}
}

// FuzzParquet damages a file: reading it ends in rows or an error, never in a panic.
func FuzzParquet(f *testing.F) {
	s := parquetFile(f, 30)
	data, err := os.ReadFile(s.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(len(data)-20, []byte{0xff}, false)
	f.Add(40, []byte{1, 2, 3}, false)
	f.Add(len(data)/2, []byte{}, true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at int, with []byte, cut bool) {
		if at < 0 || at >= len(data) || len(with) > 64 {
			return
		}
		damaged := bytes.Clone(data)
		copy(damaged[at:], with)
		if cut {
			damaged = damaged[:at]
		}
		s.Path = filepath.Join(dir, "damaged.parquet")
		written(s.Path, damaged)
		r, err := Open(t.Context(), s, Position{})
		if err != nil {
			if !strings.Contains(err.Error(), s.Path) {
				t.Fatal(err)
			}
			return
		}
		defer r.Close()
		rows := make([]Row, 7)
		for last := int64(0); ; {
			n, err := r.Next(rows)
			if err == io.EOF {
				return
			}
			if err != nil {
				if !strings.Contains(err.Error(), s.Path) || n > 0 {
					t.Fatal(n, err)
				}
				return
			}
			if last += int64(n); n == 0 || r.Position().Line != last {
				t.Fatal("no progress")
			}
		}
	})
}
