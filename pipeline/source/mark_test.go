package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// stopAt reads that many rows and returns the position after them.
func stopAt(t testing.TB, s Spec, rows int) Position {
	t.Helper()
	r := open(t, s, Position{})
	for rows > 0 {
		n, err := r.Next(make([]Row, rows))
		if err != nil {
			t.Fatal(err)
		}
		rows -= n
	}
	defer r.Close()
	return r.Position()
}

// readOn opens a list at a position and returns the position after the rows that remain, or the same one if
// there are some.
func readOn(t testing.TB, s Spec, at Position) Position {
	t.Helper()
	r := open(t, s, at)
	defer r.Close()
	if n, err := r.Next(make([]Row, 1)); n > 0 || err != io.EOF {
		return at
	}
	return r.Position()
}

func TestGrowthAndChange(t *testing.T) {
	const grows, changed = true, false
	for _, c := range []struct {
		name, before, after string
		rows                int // read before
		want                bool
		more                string // URLs that follow
	}{
		{"the same", "a\nb\n", "a\nb\n", 2, grows, ""},
		{"the same, not at its end", "a\nb\nc\n", "a\nb\nc\n", 1, grows, "b c"},
		{"lines added", "a\nb\n", "a\nb\nc\n", 2, grows, "c"},
		{"lines added before we were there", "a\nb\n", "a\nb\nc\n", 1, grows, "b c"},
		{"changed ahead of us only", "a\nb\n", "a\nx\n", 1, grows, "x"},
		{"begun with nothing", "", "a\n", 0, grows, "a"},
		{"comments at the end", "a\n#x\n", "a\n#x\nb\n", 1, grows, "b"},
		{"a comment that became longer", "a\n#x", "a\n#xyz\nb\n", 1, grows, "b"},
		{"blanks that became a row", "a\n ", "a\n b\n", 1, grows, " b"},
		{"a last line that was ended", "a\nb", "a\nb\nc\n", 2, grows, "c"},
		{"a last line that was ended by CRLF", "a\r\nb", "a\r\nb\r\nc\r\n", 2, grows, "c"},
		{"a last line that was ended, and no more", "a\nb", "a\nb\n", 2, grows, ""},
		{"a last line that ended in CR", "a\nb\r", "a\nb\r\r\nc", 2, grows, "c"},
		{"a last line that became longer", "a\nb", "a\nbc\n", 2, changed, ""},
		{"a last line that lost a CR", "a\nb\r", "a\nb\r\n", 2, changed, ""},
		{"a last line that got a CR", "a\nb", "a\nb\r", 2, changed, ""},
		{"a long last line that became longer", "a\n" + strings.Repeat("x", 400_000),
			"a\n" + strings.Repeat("x", 400_001), 2, changed, ""},
		{"shorter", "a\nb\nc\n", "a\nb\n", 3, changed, ""},
		{"emptied", "a\nb\nc\n", "", 3, changed, ""},
		{"first line changed", "a\nb\nc\n", "x\nb\nc\n", 2, changed, ""},
		{"line put in", "a\nb\nc\n", "a\nx\nb\nc\n", 2, changed, ""},
	} {
		for form, give := range forms {
			t.Run(c.name+"/"+form, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "list.txt")
				at := stopAt(t, give(path, []byte(c.before)), c.rows)
				at = readOn(t, give(path, []byte(c.before)), at) // finds nothing new, and changes nothing
				spec := give(path, []byte(c.after))
				r, err := Open(t.Context(), spec, at)
				if c.want == changed {
					var e *ChangedError
					if !errors.As(err, &e) {
						t.Fatalf("went on: %v", err)
					}
					way := "--db JOB"
					if spec.Path == "-" {
						way = "--as NAME"
					}
					if e.Path != spec.Path || e.What == "" || !strings.Contains(e.Error(), way) {
						t.Error(e)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				rows, err := readAll(r, 3)
				if err != nil {
					t.Fatal(err)
				}
				var more []string
				for _, row := range rows {
					more = append(more, row.URL)
				}
				if got := strings.Join(more, " "); got != c.more {
					t.Errorf("then read %q, want %q", got, c.more)
				}
			})
		}
	}
}

// TestChangedBlocks changes one byte of a list far longer than the blocks that are kept, in each kept block.
func TestChangedBlocks(t *testing.T) {
	var text bytes.Buffer
	for i := 0; text.Len() < 68*blockSize; i++ {
		fmt.Fprintf(&text, "http://host/%d\n", i)
	}
	for form, give := range forms {
		t.Run(form, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "list.txt")
			r := open(t, give(path, text.Bytes()), Position{})
			rows, err := readAll(r, 5000)
			if err != nil {
				t.Fatal(err)
			}
			at := stopAt(t, give(path, text.Bytes()), len(rows)-100)
			m, err := decodeMark(path, at.Mark)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Blocks) <= maxBlocks/2 || m.Step != 2 {
				t.Fatalf("%d blocks kept, one in %d", len(m.Blocks), m.Step)
			}
			if len(at.Mark) > 2048 {
				t.Errorf("the mark has %d bytes", len(at.Mark))
			}
			places := []int64{0, 5 * blockSize * m.Step, int64(len(m.Blocks)-1)*blockSize*m.Step +
				blockSize - 1, at.Offset - 1, at.Offset / blockSize * blockSize,
				at.Offset/blockSize*blockSize - 1}
			if form != "plain" {
				places = places[2:4] // compressing takes its time
			}
			for _, place := range places {
				other := bytes.Clone(text.Bytes())
				other[place] ^= 1
				var e *ChangedError
				if r, err := Open(t.Context(), give(path, other), at); !errors.As(err, &e) {
					t.Errorf("byte %d was changed, and nobody saw it: %v", place, err)
					r.Close()
				}
			}
			// What comes after the position does not matter, nor does the time of the file.
			other := append(bytes.Clone(text.Bytes()), "http://new/\n"...)
			other[at.Offset] ^= 1
			spec := give(path, other)
			r = open(t, spec, at)
			if tail, err := readAll(r, 999); err != nil || len(tail) != 100+1 {
				t.Error(len(tail), err)
			}
		})
	}
}

func TestAnUntouchedArchiveIsNotReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	s := forms["gz"](path, []byte("a\nb\n"))
	r := open(t, s, Position{})
	if rows, err := readAll(r, 3); err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	end := r.Position()
	again := open(t, s, end)
	if _, ok := again.(finished); !ok {
		t.Errorf("%T", again)
	}
	if n, err := again.Next(make([]Row, 1)); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if p := again.Position(); p.Offset != end.Offset || p.Line != end.Line ||
		!bytes.Equal(p.Mark, end.Mark) || again.Progress() != 1 {
		t.Error(p)
	}
	// Touched, but the same.
	if err := os.Chtimes(s.Path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	again = open(t, s, end)
	if n, err := again.Next(make([]Row, 1)); n != 0 || err != io.EOF ||
		again.Position().Offset != end.Offset {
		t.Error(n, err)
	}
}

// TestFingerprintDependsOnBytesOnly adds the same bytes in different pieces, and reads them back from a file.
func TestFingerprintDependsOnBytesOnly(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcde\n"), 150*blockSize/16)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, len(data)).Draw(t, "length")
		if rapid.Bool().Draw(t, "whole blocks") {
			n -= n % blockSize
		}
		a, b := newFingerprint(), newFingerprint()
		a.add(data[:n])
		for rest := data[:n]; len(rest) > 0; {
			k := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			copied := b
			copied.add(rest) // must leave b alone
			b.add(rest[:k])
			rest = rest[k:]
		}
		if d := a.mark().differs(b.mark()); d != "" {
			t.Fatal(d)
		}
		c, err := a.mark().reread(bytes.NewReader(data), int64(n))
		if err != nil {
			t.Fatal(err)
		}
		c.add(data)
		a.add(data)
		if d := a.mark().differs(c.mark()); d != "" {
			t.Fatal(d)
		}
	})
}

func TestDamagedPosition(t *testing.T) {
	s := list(t, "a\nb\n")
	for _, m := range []string{"x", "{}", `{"step":-1}`, `{"step":0}`, `{"step":1,"blocks":[` +
		strings.Repeat("1,", 64) + `1]}`, `{"step":1,"blocks":[1],"ids":[1,2]}`} {
		_, err := Open(t.Context(), s, Position{Offset: 2, Line: 1, Mark: []byte(m)})
		if err == nil || !strings.HasPrefix(err.Error(), s.Path+": the stored position is damaged") {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// TestSlowPipe sees rows of a pipe as they come, and a reader that hangs in it end with its context.
func TestSlowPipe(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := make(chan Reader, 1), make(chan error, 1)
	go func() {
		opened, e := Open(ctx, Spec{Path: "-", In: in}, Position{})
		err <- e
		r <- opened
	}()
	io.WriteString(out, "http://a/1\nhttp://a/2\nhttp://")
	if e := <-err; e != nil {
		t.Fatal(e)
	}
	reader := <-r
	defer reader.Close()
	rows := make([]Row, 1000)
	if n, err := reader.Next(rows); n != 2 || err != nil || rows[1].URL != "http://a/2" {
		t.Fatal(n, err)
	}
	io.WriteString(out, "a/3\n")
	if n, err := reader.Next(rows); n != 1 || err != nil || rows[0].URL != "http://a/3" || rows[0].ID != 3 {
		t.Fatal(n, err)
	}
	go cancel()
	if n, err := reader.Next(rows); n != 0 || !errors.Is(err, context.Canceled) {
		t.Fatal(n, err)
	}
	if p := reader.Position(); p.Line != 3 || p.Offset != 33 {
		t.Error(p)
	}
}

func TestCancelInALongLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan struct{})
	in := io.MultiReader(strings.NewReader("a\n"), &endless{1 << 20}, readerFunc(func([]byte) (int, error) {
		<-opened
		cancel()
		return 0, io.ErrClosedPipe
	}))
	r, err := Open(ctx, Spec{Path: "-", In: in}, Position{})
	if err != nil {
		t.Fatal(err)
	}
	close(opened)
	defer r.Close()
	rows, err := readAll(r, 1)
	if len(rows) != 1 || err == nil {
		t.Fatal(len(rows), err)
	}
	if p := r.Position(); p.Offset != 2 || p.Line != 1 {
		t.Error("the position moved into the line that was not read to its end:", p)
	}
}

// TestCancelOfFiles: once its context has ended, no list in a file yields more.
func TestCancelOfFiles(t *testing.T) {
	var text, table, objects strings.Builder
	table.WriteString("url\n")
	for i := range 100_000 { // more than a window has
		fmt.Fprintf(&text, "http://host/%d\n", i)
		fmt.Fprintf(&table, "http://host/%d\n", i)
		fmt.Fprintf(&objects, "{\"url\":\"http://host/%d\"}\n", i)
	}
	dir := t.TempDir()
	for name, s := range map[string]Spec{
		"txt":     written(filepath.Join(dir, "l.txt"), []byte(text.String())),
		"gz":      written(filepath.Join(dir, "l.txt.gz"), gzipped([]byte(text.String()))),
		"csv":     written(filepath.Join(dir, "l.csv"), []byte(table.String())),
		"jsonl":   written(filepath.Join(dir, "l.jsonl"), []byte(objects.String())),
		"parquet": parquetFile(t, 10),
	} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Open(ctx, s, Position{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := r.Next(make([]Row, 1)); n != 1 || err != nil {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
		cancel()
		rows, err := readAll(r, 1000)
		if !errors.Is(err, context.Canceled) || len(rows) > 50_000 {
			t.Errorf("%s, ended: %d rows, %v", name, len(rows), err)
		}
		if p := r.Position(); p.Line != int64(len(rows)+1) {
			t.Errorf("%s: %d rows, and line %d", name, len(rows)+1, p.Line)
		}
		r.Close()
		if r, err := Open(ctx, s, Position{}); !errors.Is(err, context.Canceled) && name != "parquet" {
			t.Errorf("%s, opened after the end: %v", name, err)
			r.Close()
		}
		cancel()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestLastLineReadAgain imports a list whose last line has no newline twice. Then the line may get its
// newline, which is not a line of its own, but not grow.
func TestLastLineReadAgain(t *testing.T) {
	for ext, text := range map[string]string{
		"txt":   "http://a/1\nhttp://a/2",
		"csv":   "url\nhttp://a/1\nhttp://a/2",
		"tsv":   "n\turl\n1\thttp://a/1\n2\thttp://a/2",
		"jsonl": `{"url":"http://a/1"}` + "\n" + `{"url":"http://a/2"}`,
	} {
		t.Run(ext, func(t *testing.T) {
			s := Spec{Path: filepath.Join(t.TempDir(), "list."+ext)}
			write := func(text string) {
				if err := os.WriteFile(s.Path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(text)
			at := stopAt(t, s, 2)
			for range 3 {
				at = readOn(t, s, at)
			}
			record := text[strings.LastIndexByte(text, '\n')+1:]
			write(text + "\n" + strings.Replace(record, "/2", "/3", 1))
			if rows, err := readAll(open(t, s, at), 9); err != nil || len(rows) != 1 || rows[0].ID != 3 ||
				rows[0].URL != "http://a/3" {
				t.Errorf("%+v, %v", rows, err)
			}
			write(text + "0\n")
			var e *ChangedError
			if r, err := Open(t.Context(), s, at); !errors.As(err, &e) {
				t.Errorf("went on: %v", err)
				r.Close()
			}
		})
	}
}

// TestPartsOfDifferentLists compares how far two lists were read, when one was read further than the other:
// they may be the same list only where the bytes that both have are the same.
func TestPartsOfDifferentLists(t *testing.T) {
	list := func(name string, rows int) string {
		var b strings.Builder
		for i := range rows {
			fmt.Fprintf(&b, "http://%s.example.org/%d.jpg\n", name, i)
		}
		return b.String()
	}
	for _, rows := range []int{2, 60, 1000, 20_000} {
		for _, c := range []struct {
			name  string
			other string
			want  bool
		}{
			{"the same list, longer", list("photos", rows+rows/2), true},
			{"another list, longer", list("images", rows+rows/2), false},
			{"another list, half as long", list("images", rows/2), false},
		} {
			dir := t.TempDir()
			end := func(name, text string) Position {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				return stopAt(t, Spec{Path: path, Format: "txt"}, strings.Count(text, "\n"))
			}
			a, b := end("a", list("photos", rows)), end("b", c.other)
			if got := MayBeSame(a, b); got != c.want || MayBeSame(b, a) != got {
				t.Errorf("%d rows and %s: may be the same: %t, and the other way round %t", rows, c.name,
					got, !got)
			}
		}
	}
}

// TestFingerprintOfBeginning has hashes of the first 16, 32, … bytes, to 32 KiB, however they come.
func TestFingerprintOfBeginning(t *testing.T) {
	t.Parallel()
	data := random(3 * blockSize)
	for _, n := range []int{0, 15, 16, 17, 31, 32, 33, 1000, 1024, 32<<10 - 1, 32 << 10, 64 << 10,
		len(data)} {
		var want []uint64
		for size := 16; size <= min(n, 32<<10); size *= 2 {
			want = append(want, xxhash.Sum64(data[:size]))
		}
		for _, step := range []int{1, 7, 16, 4096, 1 << 20} {
			f := newFingerprint()
			for at := 0; at < n; at += step {
				f.add(data[at:min(at+step, n)])
			}
			m := f.mark()
			if !slices.Equal(m.Heads, want) || f.n != int64(n) || len(m.Blocks) != n/blockSize {
				t.Errorf("%d bytes, %d at a time: %d hashes of the beginning, want %d; %d blocks", n, step,
					len(m.Heads), len(want), len(m.Blocks))
			}
		}
	}
}

// TestStart: a list is read again in the way in which it was read first, also after more was added.
func TestStart(t *testing.T) {
	s := list(t, "http://a/1\rhttp://a/2\r")
	at := stopAt(t, s, 2)
	written(s.Path, []byte("http://a/1\rhttp://a/2\rhttp://a/3\nhttp://a/4\r"))
	again, err := Start(at)
	if err != nil || again.Line != 0 || again.Offset != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
	if rows, err := readAll(open(t, s, again), 5); err != nil || len(rows) != 4 ||
		rows[1].URL != "http://a/2" {
		t.Errorf("%v, %v", rows, err)
	}
	if rows, err := readAll(open(t, s, Position{}), 5); err != nil || len(rows) != 2 {
		t.Errorf("as a new list: %v, %v", rows, err)
	}
	if _, err := Start(Position{Mark: []byte("{")}); err == nil {
		t.Error("a damaged position has a start")
	}
}

// TestSame: positions are the same place if line, offset and bytes before them are.
func TestSame(t *testing.T) {
	t.Parallel()
	const text = "http://a/1\nhttp://a/2\nhttp://a/3\n"
	a, b := list(t, text), list(t, text)
	changed := list(t, strings.Replace(text, "1", "7", 1))
	for name, c := range map[string]struct {
		one, other Position
		same, may  bool
	}{
		"equal":          {stopAt(t, a, 2), stopAt(t, b, 2), true, true},
		"further":        {stopAt(t, a, 2), stopAt(t, b, 3), false, true},
		"another text":   {stopAt(t, a, 2), stopAt(t, changed, 2), false, false},
		"another line":   {Position{Line: 1}, Position{Line: 2}, false, true},
		"another offset": {Position{Offset: 1}, Position{Offset: 2}, false, true},
		"nothing read":   {Position{}, Position{}, true, true},
		"damaged":        {Position{Mark: []byte("{")}, Position{Mark: []byte("{")}, false, false},
		"one is damaged": {Position{}, Position{Line: 1, Mark: []byte("{")}, false, false},
	} {
		if got := Same(c.one, c.other); got != c.same || Same(c.other, c.one) != got {
			t.Errorf("%s: the same %v, want %v", name, got, c.same)
		}
		if got := MayBeSame(c.one, c.other); got != c.may || MayBeSame(c.other, c.one) != got {
			t.Errorf("%s: may be the same %v, want %v", name, got, c.may)
		}
	}
}
