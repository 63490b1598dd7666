package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// gzipped compresses text into two members, so that what follows the first is read too.
func gzipped(text []byte) []byte {
	var b bytes.Buffer
	for _, half := range [][]byte{text[:len(text)/2], text[len(text)/2:]} {
		w := gzip.NewWriter(&b)
		w.Write(half)
		w.Close()
	}
	return b.Bytes()
}

// zstded compresses text into two frames.
func zstded(text []byte) []byte {
	var b bytes.Buffer
	for _, half := range [][]byte{text[:len(text)/2], text[len(text)/2:]} {
		w, err := zstd.NewWriter(&b)
		if err != nil {
			panic(err)
		}
		w.Write(half)
		w.Close()
	}
	return b.Bytes()
}

// forms are the ways in which a list can be given.
var forms = map[string]func(path string, text []byte) Spec{
	"plain":   func(path string, text []byte) Spec { return written(path, text) },
	"gz":      func(path string, text []byte) Spec { return written(path+".gz", gzipped(text)) },
	"no name": func(path string, text []byte) Spec { return written(path, gzipped(text)) },
	"utf16": func(path string, text []byte) Spec {
		return written(path, utf16Text(text, binary.LittleEndian))
	},
	"zst": func(path string, text []byte) Spec { return written(path+".zst", zstded(text)) },
	"pipe": func(path string, text []byte) Spec {
		return Spec{Path: "-", Format: strings.TrimPrefix(filepath.Ext(path), "."), In: bytes.NewReader(text)}
	},
}

// utf16Text is text, which is valid UTF-8, in UTF-16 with a byte order mark.
func utf16Text(text []byte, order binary.AppendByteOrder) (b []byte) {
	for _, unit := range utf16.Encode([]rune("\ufeff" + strings.TrimPrefix(string(text), string(bom)))) {
		b = order.AppendUint16(b, unit)
	}
	return b
}

func written(path string, data []byte) Spec {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		panic(err)
	}
	return Spec{Path: path}
}

// readAll reads to the end in batches of that size.
func readAll(r Reader, batch int) (rows []Row, err error) {
	buf := make([]Row, batch)
	for {
		n, err := r.Next(buf)
		rows = append(rows, buf[:n]...)
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
	}
}

func open(t testing.TB, s Spec, from Position) Reader {
	t.Helper()
	r, err := Open(t.Context(), s, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// list is a txt list with this text.
func list(t testing.TB, text string) Spec {
	return written(filepath.Join(t.TempDir(), "list.txt"), []byte(text))
}

func read(t testing.TB, s Spec) []Row {
	t.Helper()
	rows, err := readAll(open(t, s, Position{}), 7)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// plainRows says what the rows of a list are, the slow way.
func plainRows(text []byte) (rows []Row) {
	text = bytes.TrimPrefix(text, bom)
	if bytes.IndexByte(text, '\n') < 0 { // short as it is
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	for id := int64(1); len(text) > 0; id++ {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		text = rest
		if ended {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		if len(bytes.Trim(line, " \t\r\v\f")) == 0 || line[0] == '#' {
			continue
		}
		row := Row{ID: id}
		if len(line) > MaxURL {
			line, row.Bad = line[:MaxURL+1], true
		}
		var url strings.Builder
		for len(line) > 0 {
			r, n := utf8.DecodeRune(line)
			if r == utf8.RuneError && n == 1 || r == 0 {
				fmt.Fprintf(&url, "%%%02X", line[0])
			} else {
				url.Write(line[:n])
			}
			line = line[n:]
		}
		row.URL = url.String()
		rows = append(rows, row)
	}
	return rows
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []Row
	}{
		{"empty", "", nil},
		{"one, no newline", "http://a/1", []Row{{ID: 1, URL: "http://a/1"}}},
		{"line ends", "a\nb\r\nc\r\r\nd\r", []Row{{ID: 1, URL: "a"}, {ID: 2, URL: "b"}, {ID: 3, URL: "c\r"},
			{ID: 4, URL: "d\r"}}},
		{"byte order mark", "\xef\xbb\xbfa\n\xef\xbb\xbfb\n",
			[]Row{{ID: 1, URL: "a"}, {ID: 2, URL: "\ufeffb"}}},
		{"only a byte order mark", "\xef\xbb\xbf", nil},
		{"comment behind the byte order mark", "\xef\xbb\xbf#a\nb", []Row{{ID: 2, URL: "b"}}},
		{"no rows, but counted", "\n \t \n# no\n\r\n #yes\n#", []Row{{ID: 5, URL: " #yes"}}},
		{"bytes as they are", "http://a/x, y z.jpg?q=1&amp;é\n ab \n",
			[]Row{{ID: 1, URL: "http://a/x, y z.jpg?q=1&amp;é"}, {ID: 2, URL: " ab "}}},
		{"no text", "a\xffb\x00\xc3\né\n", []Row{{ID: 1, URL: "a%FFb%00%C3"}, {ID: 2, URL: "é"}}},
		{"no URL at all", "ftp:x\nnonsense\n", []Row{{ID: 1, URL: "ftp:x"}, {ID: 2, URL: "nonsense"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := read(t, list(t, c.text)); !cmp.Equal(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
			if got := plainRows([]byte(c.text)); !cmp.Equal(got, c.want) {
				t.Error("the tests' own reader is wrong", cmp.Diff(c.want, got))
			}
		})
	}
}

func TestLongLines(t *testing.T) {
	for _, n := range []int{MaxURL, MaxURL + 1, windowSize - 1, windowSize, 2*windowSize + 5} {
		for _, fill := range []string{"x", " "} {
			for _, first := range []string{"", "#", "y", "y#"} {
				line := first + strings.Repeat(fill, n/len(fill))
				for _, end := range []string{"", "\r\n", "\nz\n"} {
					text := "a\n" + line + end
					got, want := read(t, list(t, text)), plainRows([]byte(text))
					if !cmp.Equal(got, want) {
						t.Errorf("%d times %q after %q, then %q: %d rows, want %d", n, fill, first, end,
							len(got), len(want))
					}
				}
			}
		}
	}
}

// endless is a line of n bytes, which no memory holds.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := min(e.n, len(p))
	for i := range p[:n] {
		p[i] = 'x'
	}
	e.n -= n
	return n, nil
}

func TestHugeLineNeedsNoMemory(t *testing.T) {
	var r Reader
	used := testing.AllocsPerRun(1, func() {
		r = open(t, Spec{Path: "-", In: io.MultiReader(&endless{1 << 26}, strings.NewReader("\nnext\n"))},
			Position{})
		rows, err := readAll(r, 10)
		if err != nil || len(rows) != 2 || len(rows[0].URL) != MaxURL+1 || !rows[0].Bad ||
			rows[1].URL != "next" || rows[1].ID != 2 {
			t.Fatal(err, len(rows))
		}
	})
	if used > 1000 {
		t.Errorf("%v allocations", used)
	}
	if n := len(r.(*lines).buf); n != windowSize {
		t.Errorf("the window grew to %d", n)
	}
}

// TestEveryCut stops lists of all kinds at every row and goes on there with another reader.
func TestEveryCut(t *testing.T) {
	line := rapid.OneOf(
		rapid.SampledFrom([]string{"", " ", "# c", "http://a/b", "é", "\xff\x00", "\r", "a\r", "#", "\"",
			strings.Repeat("u", MaxURL+2)}),
		rapid.StringN(0, 40, -1))
	dir := t.TempDir()
	list := rapid.Custom(func(t *rapid.T) []byte {
		return []byte(rapid.SampledFrom([]string{"", "\xef\xbb\xbf", "\xef"}).Draw(t, "start") +
			strings.Join(rapid.SliceOfN(line, 0, 30).Draw(t, "lines"),
				rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "end")))
	}).Filter(func(text []byte) bool {
		what, _ := refusal("", text, "txt")
		return what == ""
	})
	rapid.Check(t, func(t *rapid.T) {
		text := list.Draw(t, "text")
		cuts(t, filepath.Join(dir, "list.txt"), text, Spec{}, plainRows(text))
	})
}

// cuts checks that a list in all its forms has these rows, in batches of any size and wherever it is
// interrupted.
func cuts(t *rapid.T, path string, text []byte, columns Spec, want []Row) {
	names := []string{"plain", "gz", "zst", "pipe", "no name"}
	if utf8.Valid(text) && !bytes.HasPrefix(text, []byte{0}) { // with which it would begin like UTF-32
		names = append(names, "utf16")
	}
	form := rapid.SampledFrom(names).Draw(t, "form")
	given := forms[form](path, text)
	columns.Path, columns.Format = given.Path, given.Format
	spec := func() Spec {
		columns.In = bytes.NewReader(text) // for a pipe
		return columns
	}
	for stop := 0; stop <= len(want); stop++ {
		batch := rapid.IntRange(1, 9).Draw(t, "batch")
		r, err := Open(context.Background(), spec(), Position{})
		if err != nil {
			t.Fatal(form, err)
		}
		head := make([]Row, stop)
		for n := 0; n < stop; {
			k, err := r.Next(head[n:min(stop, n+batch)])
			if err != nil {
				t.Fatal(form, err)
			}
			n += k
		}
		at := r.Position()
		r.Close()
		r, err = Open(context.Background(), spec(), at)
		if err != nil {
			t.Fatalf("%s, after %d rows: %v", form, stop, err)
		}
		if again := r.Position(); again.Offset != at.Offset || again.Line != at.Line {
			t.Fatalf("%s, after %d rows: position moved from %d, %d to %d, %d", form, stop, at.Offset,
				at.Line, again.Offset, again.Line)
		}
		tail, err := readAll(r, batch)
		if err != nil {
			t.Fatal(form, err)
		}
		end := r.Position()
		r.Close()
		if got := append(head, tail...); !cmp.Equal(got, want) && len(got)+len(want) > 0 {
			t.Fatalf("%s, cut after %d rows: %s", form, stop, cmp.Diff(want, got))
		}
		if r, err = Open(context.Background(), spec(), end); err != nil {
			t.Fatal(form, err)
		}
		if n, err := r.Next(make([]Row, 1)); n != 0 || err != io.EOF {
			t.Fatalf("%s: after the end there is more: %d, %v", form, n, err)
		}
		r.Close()
	}
}

func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "a\nb\r\n#c\n\n d", "\xef\xbb\xbfa\r", "\x00\xff\n\xc3\xa9",
		"a\n\n\n"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, batch uint8) {
		s := Spec{Path: "-", In: bytes.NewReader(text)}
		r, err := Open(t.Context(), s, Position{})
		if err != nil {
			var usage *UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), "looks like") {
				t.Fatal(err)
			}
			return
		}
		defer r.Close()
		if isUTF16(text) || compressionOf(text[:min(len(text), magicSize)], "") != "" {
			return
		}
		got, err := readAll(r, int(batch)+1)
		if err != nil {
			t.Fatal(err)
		}
		if want := plainRows(text); !cmp.Equal(got, want) {
			t.Fatal(cmp.Diff(want, got))
		}
	})
}

func TestDamagedLists(t *testing.T) {
	dir := t.TempDir()
	var text bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&text, "http://host%d/%x\n", i%977, i*i*7919)
	}
	for name, whole := range map[string][]byte{"list.txt.gz": gzipped(text.Bytes()),
		"list.txt.zst": zstded(text.Bytes())} {
		path := filepath.Join(dir, name)
		for _, c := range []struct {
			what string
			data []byte
		}{
			{"empty", nil},
			{"cut in its header", whole[:3]},
			{"cut", whole[:len(whole)-5]},
			{"cut in its first half", whole[:len(whole)/3]},
			{"followed by other bytes", append(bytes.Clone(whole), "garbage"...)},
		} {
			r, err := Open(t.Context(), written(path, c.data), Position{})
			var rows []Row
			if err == nil {
				rows, err = readAll(r, 1000)
				at := r.Position()
				r.Close()
				if len(rows) > 0 && at.Line != rows[len(rows)-1].ID {
					t.Errorf("%s, %s: position at line %d after row %d", name, c.what, at.Line,
						rows[len(rows)-1].ID)
				}
				if err == nil {
					t.Errorf("%s, %s: ended in silence after %d rows", name, c.what, len(rows))
					continue
				}
				if !cmp.Equal(rows, plainRows(text.Bytes())[:len(rows)]) {
					t.Errorf("%s, %s: %d rows, not those of the list", name, c.what, len(rows))
				}
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%s, %s: %v", name, c.what, err)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string][2]string{
		"-": {"txt", ""}, "a.txt": {"txt", ""}, "a/B.TXT.GZ": {"txt", "gz"}, "x.csv.zst": {"csv", "zst"},
		"y.jsonl":   {"jsonl", ""},
		"p.parquet": {"parquet", ""}, "p.parquet.gz": {"", "gz"}, "a": {"", ""}, "a.gz": {"", "gz"},
		"a.txt/b": {"", ""}, "z.tsv": {"tsv", ""},
	} {
		if f, c := FormatOf(path); f != want[0] || c != want[1] {
			t.Errorf("%s: %q, %q", path, f, c)
		}
	}
	dir := t.TempDir()
	for _, s := range []Spec{written(filepath.Join(dir, "a.jpg"), nil),
		{Path: list(t, "a").Path, URLColumn: "x"}, {Path: dir, Format: "txt"}, {Path: "-", Format: "xls"}} {
		var usage *UsageError
		if _, err := Open(t.Context(), s, Position{}); !errors.As(err, &usage) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := Open(t.Context(), Spec{Path: filepath.Join(dir, "none.txt")}, Position{}); !errors.Is(err,
		os.ErrNotExist) {
		t.Error(err)
	}
}

// TestOnlyComments tells a list that has text, and no row, from one that is empty or has rows, also when it
// is read on.
func TestOnlyComments(t *testing.T) {
	long := strings.Repeat("x", windowSize)
	for text, want := range map[string]bool{"": false, "\n \n": false, " ": false, "#a\n": true, "#a": true,
		"\n# a\n\n": true, "a\n#a\n": false, "#a\na\n": false, "#a\na": false, "#a\n#" + long: true,
		"#a\n" + long + "\n": false} {
		for _, batch := range []int{1, 5} {
			s := list(t, text)
			r := open(t, s, Position{})
			if _, err := readAll(r, batch); err != nil {
				t.Fatal(err)
			}
			if got := r.(*lines).OnlyComments(); got != want {
				t.Errorf("%.20q: only comments %v, want %v", text, got, want)
			}
			again := open(t, s, r.Position())
			if _, err := readAll(again, batch); err != nil {
				t.Fatal(err)
			}
			if l, is := again.(*lines); is && l.OnlyComments() != want {
				t.Errorf("%.20q, read on: only comments %v, want %v", text, !want, want)
			}
		}
	}
}

// TestProgress is the share of the file that is read, of a compressed one in its own bytes; of a pipe it is
// not known.
func TestProgress(t *testing.T) {
	var text bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&text, "http://host/%x/%d\n", i*i*7919, i)
	}
	for form, give := range forms {
		r := open(t, give(filepath.Join(t.TempDir(), "list.txt"), text.Bytes()), Position{})
		begin := r.Progress()
		if n, err := r.Next(make([]Row, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		first := r.Progress()
		if _, err := readAll(r, 10_000); err != nil {
			t.Fatal(err)
		}
		last := r.Progress()
		if form == "pipe" {
			if begin != 0 || first != 0 || last != 0 {
				t.Errorf("%s: %v, %v, %v", form, begin, first, last)
			}
		} else if begin < 0 || begin > 0.5 || first < begin || first > 0.5 || first == 0 || last != 1 {
			t.Errorf("%s: %v, after a row %v, at the end %v", form, begin, first, last)
		}
	}
}

func BenchmarkLines(b *testing.B) {
	var text bytes.Buffer
	const rows = 200_000
	for i := range rows {
		fmt.Fprintf(&text, "https://images.example-%d.com/albums/%d/photo-%012d-large-original.jpg?size=%d\n",
			i%5000, i/100, i*7919, i%3000)
	}
	dst := make([]Row, 10_000)
	for _, form := range []string{"plain", "gz", "zst", "pipe"} {
		b.Run(form, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "list.txt")
			spec := forms[form](path, text.Bytes())
			b.ReportAllocs()
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				if form == "pipe" {
					spec.In = bytes.NewReader(text.Bytes())
				}
				r, err := Open(b.Context(), spec, Position{})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for {
					k, err := r.Next(dst)
					n += k
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					r.Position()
				}
				r.Close()
				if n != rows {
					b.Fatal(n)
				}
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
