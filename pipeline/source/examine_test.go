package source

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// random are bytes of no known kind.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	r.Read(b)
	return b
}

func TestWhatIsNoList(t *testing.T) {
	const u = "http://h/a.jpg\nhttp://h/b.jpg\n"
	var png1, jpg, gif1, tarred, zipped bytes.Buffer
	picture := image.NewPaletted(image.Rect(0, 0, 8, 8), palette.Plan9)
	png.Encode(&png1, picture)
	jpeg.Encode(&jpg, picture, nil)
	gif.Encode(&gif1, picture, nil)
	tw := tar.NewWriter(&tarred)
	tw.WriteHeader(&tar.Header{Name: "urls.txt", Size: int64(len(u)), Mode: 0o600})
	io.WriteString(tw, u)
	tw.Close()
	zw := zip.NewWriter(&zipped)
	w, _ := zw.Create("urls.txt")
	io.WriteString(w, u)
	zw.Close()
	unmarked := func(order binary.AppendByteOrder) []byte { return utf16Text([]byte(u), order)[2:] }
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"png", png1.Bytes(), "an image, png"},
		{"jpeg", jpg.Bytes(), "an image, jpg"},
		{"gif", gif1.Bytes(), "an image, gif"},
		{"tar", tarred.Bytes(), "tar"},
		{"zip", zipped.Bytes(), "zip"},
		{"gzip twice", gzipped(gzipped([]byte(u))), "compressed once more"},
		{"png in gzip", gzipped(png1.Bytes()), "an image, png"},
		{"bzip2", append([]byte("BZh91AY&SY"), random(500)...), "bz2"},
		{"xz", append([]byte("\xfd7zXZ\x00\x00\x04"), random(500)...), "xz"},
		{"ELF", append([]byte("\x7fELF\x02\x01\x01\x00"), random(500)...), "looks like application/x-"},
		{"SQLite", append([]byte("SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20"),
			make([]byte, 500)...), "name that ends in .db"},
		{"Parquet", append([]byte("PAR1\x15\x04\x15"), random(500)...), "name that ends in .parquet"},
		{"PDF", []byte("%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"), "a PDF document"},
		{"random", random(1000), "binary data"},
		{"little of it", random(100), "binary data"},
		{"much of it", random(1 << 20), "binary data"},
		{"random in zst", zstded(random(300_000)), "binary data"},
		{"UTF-16LE", unmarked(binary.LittleEndian),
			"UTF-16LE without a byte order mark, not like a list of URLs: convert it: iconv -f UTF-16LE -t " +
				"UTF-8 "},
		{"UTF-16BE", unmarked(binary.BigEndian), "UTF-16BE without"},
		{"UTF-16 with captions", utf16Text([]byte(strings.Repeat("http://h/a.jpg\t写真の説明はここにあります\n", 90)),
			binary.LittleEndian)[2:], "UTF-16LE without"},
		{"UTF-32", []byte("\xff\xfe\x00\x00h\x00\x00\x00t\x00\x00\x00"), "UTF-32"},
		{"UTF-32 without a mark", []byte("h\x00\x00\x00t\x00\x00\x00t\x00\x00\x00p\x00\x00\x00"),
			"UTF-32 without"},
		{"JSON array", []byte(`[{"url":"http://h/a.jpg"},{"url":"http://h/b.jpg"}]`),
			"a JSON array, not like a list of URLs: write one element per line: jq -c '.[]' "},
		{"JSON array over lines",
			[]byte("\xef\xbb\xbf\n[\n  {\"url\": \"http://h/a.jpg\"},\n  {\"url\": \"http://h/b.jpg\"}\n]\n"),
			"a JSON array"},
		{"JSON array of strings", []byte("[ \"http://h/a.jpg\",\n\"http://h/b.jpg\"]"), "jq -r '.[]' "},
		{"JSON array that only begins", []byte("["), "a JSON array"},
		{"JSON arrays", []byte("[\"http://h/a.jpg\"]\n[\"http://h/b.jpg\"]\n"), "a JSON array"},
		{"JSON over lines", []byte("{\n  \"url\": \"http://h/a.jpg\"\n}\n{\n  \"url\": " +
			"\"http://h/b.jpg\"\n}\n"), "jq -c . "},
		{"web page", []byte("\n<!DOCTYPE html>\n<p>404</p>\n"), "a web page"},
		{"XML", []byte("<?xml version=\"1.0\"?>\n<urlset>\n"), "XML"},
	} {
		for _, ext := range []string{"txt", "csv", "tsv", "jsonl"} {
			s := written(filepath.Join(t.TempDir(), "the list."+ext), c.data)
			_, err := Open(t.Context(), s, Position{})
			var usage *UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) ||
				!strings.HasPrefix(err.Error(), s.Path+" looks like ") {
				t.Errorf("%s as %s: %v", c.name, ext, err)
			}
			s = Spec{Path: "-", Format: ext, In: bytes.NewReader(c.data)}
			if err := Check(t.Context(), &s); !errors.As(err, &usage) ||
				!strings.Contains(err.Error(), " looks like ") {
				t.Errorf("%s as %s, in a pipe: %v", c.name, ext, err)
			}
		}
	}
}

// TestWhatLooksOddIsAList has lists that are near to what is refused.
func TestWhatLooksOddIsAList(t *testing.T) {
	const u = "http://h/a.jpg\n"
	latin := strings.Repeat("\xe4\xf6\xfc\xdf ", 30)
	for name, text := range map[string]string{
		"NUL":                    "http://h/\x00\xff.jpg\n",
		"Latin-1":                "BM" + latin + "\n" + u,
		"an older encoding":      strings.Repeat("\x8e\xca\x90\x5e", 100) + "\n",
		"control characters":     u + strings.Repeat("\x00\x01\x02\x03", 100) + "\n",
		"little":                 "\x00\xff\x01",
		"an end of file mark":    u + "\x1a",
		"a name in brackets":     "[::1]/a.jpg\n",
		"a link of Markdown":     "[a](http://h/a.jpg)\n",
		"an empty list":          "",
		"a byte order mark only": "\xff\xfe",
		"a tag":                  "<script>alert(1)</script>\n" + u,
	} {
		if _, err := readAll(open(t, list(t, text), Position{}), 9); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := []Row{{ID: 1, Bad: true}, {ID: 2, URL: "u"}}
	if got := read(t, tableOf(t, "jsonl", "[]\n{\"url\":\"u\"}\n")); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestNamesDoNotSayHow has compression and encoding that the name does not give, or gives wrongly.
func TestNamesDoNotSayHow(t *testing.T) {
	const text = "url,x\r\nhttp://h/é.jpg,1\r\nhttp://h/\U0001f600.jpg,2\r\n"
	want := []Row{{ID: 1, URL: "http://h/é.jpg"}, {ID: 2, URL: "http://h/\U0001f600.jpg"}}
	skipped := append([]byte("\x53\x2a\x4d\x18\x03\x00\x00\x00abc"), zstded([]byte(text))...)
	for name, data := range map[string][]byte{
		"list.csv": gzipped([]byte(text)), "l.csv": zstded([]byte(text)), "m.csv": skipped,
		"list.csv.gz": []byte(text), "list.csv.zst": gzipped([]byte(text)),
		"le.csv":    utf16Text([]byte(text), binary.LittleEndian),
		"be.csv":    utf16Text([]byte(text), binary.BigEndian),
		"le.csv.gz": gzipped(utf16Text([]byte(text), binary.LittleEndian)),
	} {
		if got := read(t, written(filepath.Join(t.TempDir(), name), data)); !cmp.Equal(got, want) {
			t.Error(name, cmp.Diff(want, got))
		}
		in := Spec{Path: "-", Format: "csv", In: &pieces{string(data), 3}}
		if got := read(t, in); !cmp.Equal(got, want) {
			t.Error(name, "in a pipe", cmp.Diff(want, got))
		}
	}
}

func TestLinesThatEndInCR(t *testing.T) {
	for _, c := range []struct{ ext, text string }{
		{"txt", "http://h/a\r\r#c\rhttp://h/b\r"}, {"txt", "http://h/a\rhttp://h/b"},
		{"txt", "\xef\xbb\xbfhttp://h/a\rhttp://h/b"},
		{"csv", "url,x\rhttp://h/a,\"1\r2\"\rhttp://h/b,2\r"},
		{"tsv", "x\turl\r\t\thttp://h/a\r\thttp://h/b"},
		{"jsonl", "{\"url\":\"http://h/a\"}\r{\"url\":\"http://h/b\"}"},
	} {
		for form, give := range forms {
			path := filepath.Join(t.TempDir(), "list."+c.ext)
			s := give(path, []byte(c.text))
			var got []string
			for _, row := range read(t, s) {
				got = append(got, row.URL)
			}
			if strings.Join(got, " ") != "http://h/a http://h/b" {
				t.Errorf("%s of %q: %q", form, c.text, got)
			}
			// It is resumed after the first row, and after it has grown, even by lines that end otherwise.
			at := stopAt(t, give(path, []byte(c.text)), 1)
			for _, more := range []string{"", "\r{}\r", "\n{}\n"} {
				if c.ext != "txt" && more != "" {
					continue
				}
				rows, err := readAll(open(t, give(path, []byte(c.text+more)), at), 3)
				if err != nil || len(rows) < 1 || rows[0].URL != "http://h/b" || more != "" &&
					rows[len(rows)-1].URL != "{}" {
					t.Errorf("%s of %q: then %+v, %v", form, c.text+more, rows, err)
				}
				from, err := Start(at)
				if err != nil {
					t.Fatal(err)
				}
				if rows, err = readAll(open(t, give(path, []byte(c.text+more)), from), 3); err != nil ||
					len(rows) < 2 || rows[0].URL != "http://h/a" {
					t.Errorf("%s of %q: from its start %+v, %v", form, c.text+more, rows, err)
				}
			}
		}
	}
	// With a \n in it, \r belongs to the URL.
	if got, want := read(t, list(t, "a\rb\n")), urls("a\rb"); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
	if got := read(t, list(t, strings.Repeat("http://h/a\r", 100_000))); len(got) != 100_000 ||
		!cmp.Equal(got[99_999], Row{ID: 100_000, URL: "http://h/a"}) {
		t.Error(len(got))
	}
	long := strings.Repeat("x", 2*windowSize)
	if got := read(t, list(t, "a\r"+long+"\rb\r")); len(got) != 3 || !got[1].Bad || got[2].URL != "b" ||
		got[2].ID != 3 {
		t.Error(len(got))
	}
}

// TestLineEndsShowLater has lists of one line, whose line end comes after it was read.
func TestLineEndsShowLater(t *testing.T) {
	for _, c := range []struct{ before, after, want string }{
		{"a", "a\r\nb\r\n", "2 b"}, {"a", "a\rb\r", "2 b"}, {"a", "a\r", ""}, {"a\r", "a\rb", "2 b"},
		{"a\r", "a\r\nb\r\nc", "2 b 3 c"}, {"a\r", "a\r\n", ""},
		{"a", "a\nb\n", "2 b"}, {"#\r", "#\r\nb\r\n", "2 b"},
	} {
		for form, give := range forms {
			path := filepath.Join(t.TempDir(), "list.txt")
			r := open(t, give(path, []byte(c.before)), Position{})
			if _, err := readAll(r, 3); err != nil {
				t.Fatal(err)
			}
			rows, err := readAll(open(t, give(path, []byte(c.after)), r.Position()), 3)
			var got []string
			for _, row := range rows {
				got = append(got, fmt.Sprint(row.ID, " ", row.URL))
			}
			if strings.Join(got, " ") != c.want || err != nil {
				t.Errorf("%s: %q, then %q: %q, %v", form, c.before, c.after, got, err)
			}
		}
	}
}

// TestCheckKeepsWhatItReads checks a pipe that goes on only later, and is read under another context.
func TestCheckKeepsWhatItReads(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	io.WriteString(out, "http://h/a\nhttp://h/b\n")
	s := Spec{Path: "-", Format: "txt", In: in}
	if err := Check(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, s, Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := make([]Row, 9)
	if n, err := r.Next(rows); n != 2 || err != nil ||
		!cmp.Equal(rows[:n], urls("http://h/a", "http://h/b")) {
		t.Fatal(n, err)
	}
	io.WriteString(out, "http://h/c\n")
	if n, err := r.Next(rows); n != 1 || err != nil || rows[0].URL != "http://h/c" {
		t.Fatal(n, err)
	}
	go cancel()
	if n, err := r.Next(rows); n != 0 || !errors.Is(err, context.Canceled) {
		t.Fatal(n, err)
	}
	out.Close()
}

// TestControls counts the bytes that text does not have.
func TestControls(t *testing.T) {
	text := "\b\t\n\v\f\r\x1b !~\x80\xff"
	for c := range 256 {
		b := []byte{'a', byte(c), byte(c)}
		want := 2
		if c >= '!' && c < 0x7f || strings.IndexByte(text, byte(c)) >= 0 || c > 0x7f {
			want = 0
		}
		if got := controls(b); got != want {
			t.Errorf("%q: %d, want %d", b, got, want)
		}
	}
}

// TestUnmarkedEncodings: where the NULs are, and that they are many, shows UTF-16 and UTF-32.
func TestUnmarkedEncodings(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"a\x00", 8, "UTF-16LE"}, {"\x00a", 8, "UTF-16BE"}, {"a\x00", 7, ""}, {"a\x00b\x00c", 9, ""},
		{"a\x00bc", 8, "UTF-16LE"}, {"a\x00bcdefg", 20, ""}, {"a\x00\x00\x00", 4, "UTF-32"},
		{"\x00\x00\x00a", 4, "UTF-32"},
		{"a\x00\x00\x00a", 4, ""}, {"\x00\x00aa", 5, ""},
	} {
		head := []byte(strings.Repeat(c.text, c.n))
		if got := unmarkedUTF16(head); got != c.want {
			t.Errorf("%d times %q: %q, want %q", c.n, c.text, got, c.want)
		}
	}
}

// TestIsPipe: what can be read only once.
func TestIsPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, file, "")
	for path, want := range map[string]bool{"-": true, pipe: true, file: false, dir: false,
		filepath.Join(dir, "none"): false} {
		if got := (Spec{Path: path}).IsPipe(); got != want {
			t.Errorf("%s is a pipe: %v", path, got)
		}
	}
}

// TestCheckOfPipes refuses what cannot be a list; formats that cannot come through a pipe are left to Open.
func TestCheckOfPipes(t *testing.T) {
	var usage *UsageError
	for _, c := range []struct {
		s    Spec
		want bool
	}{
		{Spec{Path: "-", Format: "txt", In: strings.NewReader("http://h/a\n")}, true},
		{Spec{Path: "-", Format: "txt", In: strings.NewReader("%PDF-1.4\n")}, false},
		{Spec{Path: "-", Format: "parquet", In: strings.NewReader("%PDF-1.4\n")}, true},
	} {
		err := Check(t.Context(), &c.s)
		if (err == nil) != c.want || err != nil && !errors.As(err, &usage) {
			t.Errorf("%+v: %v", c.s, err)
		}
		if began := c.s.started != nil; began != (c.want && c.s.Format == "txt") {
			t.Errorf("%s: begun %v", c.s.Format, began)
		}
		if c.want && c.s.Format == "txt" {
			if rows := read(t, c.s); len(rows) != 1 {
				t.Errorf("%d rows", len(rows))
			}
		}
	}
	if err := Check(t.Context(), &Spec{Path: filepath.Join(t.TempDir(), "none.txt")}); !errors.Is(err,
		fs.ErrNotExist) {
		t.Error(err)
	}
}
