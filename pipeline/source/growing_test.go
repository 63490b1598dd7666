package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStamp: a list has moved when its file is another one, or has another size or time; a database also when
// its log has, or when it was just written.
func TestStamp(t *testing.T) {
	t.Parallel()
	before, soon := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	touch := func(t *testing.T, path string, at time.Time) {
		t.Helper()
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		format string
		begin  func(t *testing.T, path string)
		change func(t *testing.T, path string)
		want   bool
	}{
		"nothing":           {"txt", nil, nil, false},
		"text just written": {"txt", func(t *testing.T, path string) { touch(t, path, soon) }, nil, false},
		"more text": {"txt", nil, func(t *testing.T, path string) {
			write(t, path, "ab")
			touch(t, path, before)
		}, true},
		"another time": {"txt", nil, func(t *testing.T, path string) { touch(t, path, before.Add(1)) }, true},
		"another file": {"txt", nil, func(t *testing.T, path string) {
			write(t, path+".new", "a")
			touch(t, path+".new", before)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, true},
		"a file beside text": {"txt", nil, func(t *testing.T, path string) { write(t, path+"-wal", "a") },
			false},
		"a database": {"sqlite", nil, nil, false},
		"a database just written": {"sqlite", func(t *testing.T, path string) { touch(t, path, soon) }, nil,
			true},
		"a log that comes": {"sqlite", nil, func(t *testing.T, path string) { write(t, path+"-wal", "a") },
			true},
		"an old log": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", before)
		}, nil, false},
		"a log just written": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", soon)
		}, nil, true},
		"more in the log": {"sqlite", func(t *testing.T, path string) {
			write(t, path+"-wal", "a")
			touch(t, path+"-wal", before)
		}, func(t *testing.T, path string) {
			write(t, path+"-wal", "ab")
			touch(t, path+"-wal", before)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "list")
			write(t, path, "a")
			touch(t, path, before)
			if c.begin != nil {
				c.begin(t, path)
			}
			stamp := func() Stamp {
				st, err := StampOf(Spec{Path: path, Format: c.format})
				if err != nil {
					t.Fatal(err)
				}
				return st
			}
			first := stamp()
			if c.change != nil {
				c.change(t, path)
			}
			if got := stamp().Moved(first); got != c.want {
				t.Errorf("moved: %v, want %v", got, c.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "list")
	if _, err := StampOf(Spec{Path: path}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, path, "a")
	if err := os.Symlink("list-wal", path+"-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := StampOf(Spec{Path: path, Format: "sqlite"}); err == nil {
		t.Error("a log that cannot be opened is taken for none")
	}
}

// TestGrowing reads lists that are being written, as far as they are whole at each step: what has no newline
// yet is no row, and a list without its header has not begun. Without Growing the same text is read to its
// end.
func TestGrowing(t *testing.T) {
	t.Parallel()
	const notBegun = -1
	long := strings.Repeat("x", windowSize)
	for name, c := range map[string]struct {
		file  string
		steps []string // what is added
		rows  []int    // that come then
		whole int      // in the end, of a list that is not written any more
	}{
		"txt": {"l.txt", []string{"http://a/1", "\nhttp://a", "/2\n", "http://a/3"}, []int{0, 1, 1, 0},
			3},
		"txt, empty": {"l.txt", []string{"", "http://a/1\n"}, []int{0, 1}, 1},
		"txt, long":  {"l.txt", []string{"http://a/" + long, long, "\nhttp://a/2"}, []int{0, 0, 1}, 2},
		"txt, a long comment": {"l.txt", []string{"#" + long, long + "\n", "http://a/1\n"}, []int{0, 0, 1},
			1},
		"csv": {"l.csv", []string{"", "n,ur", "l\n", "1,http://a/1", "\n2,http://a/2\n3"},
			[]int{notBegun, notBegun, 0, 0, 2}, 3},
		"csv, quoted": {"l.csv", []string{"n,url\n", "\"1", "\n1\",http://a/1", "\n"}, []int{0, 0, 0, 1}, 1},
		"csv, header over lines": {"l.csv", []string{"\"n", "\nn\",url\n", "1,http://a/1\n"},
			[]int{notBegun, notBegun, 1}, 1},
		"tsv": {"l.tsv", []string{"n\turl", "\n1\thttp://a/1", "\n"}, []int{notBegun, 0, 1}, 1},
		"jsonl": {"l.jsonl", []string{`{"url":"a"}`, "\n" + `{"url"`, `:"b"}` + "\n", "\n\n"},
			[]int{0, 1, 1, 0}, 2},
		"jsonl, long": {"l.jsonl", []string{`{"url":"a","x":"` + strings.Repeat("x", maxRecord), long,
			"\"}\n"},
			[]int{0, 0, 1}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), c.file)
			text, at, total := "", Position{}, 0
			for i, more := range c.steps {
				text += more
				write(t, path, text)
				r, err := Open(t.Context(), Spec{Path: path, Growing: true}, at)
				if c.rows[i] == notBegun {
					if !errors.Is(err, ErrNotBegun) {
						t.Errorf("step %d: %v", i, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				rows, err := readAll(r, 2)
				if err != nil || len(rows) != c.rows[i] {
					t.Errorf("step %d: %d rows, %v; want %d", i, len(rows), err, c.rows[i])
				}
				total += len(rows)
				at = r.Position()
				r.Close()
			}
			rows, err := readAll(open(t, Spec{Path: path}, at), 2)
			if err != nil || total+len(rows) != c.whole {
				t.Errorf("at last: %d rows and %d, %v; want %d in all", total, len(rows), err, c.whole)
			}
		})
	}
}

// TestGrowingCompressed: a compressed list may end anywhere while it is written.
func TestGrowingCompressed(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&text, "http://host/%d/%x\n", i, random(8))
	}
	for ext, whole := range map[string][]byte{"gz": gzipped([]byte(text.String())),
		"zst": zstded([]byte(text.String()))} {
		path := filepath.Join(t.TempDir(), "l.txt."+ext)
		at, total := Position{}, 0
		for _, part := range []int{0, 2, len(whole) / 2, len(whole) - 3, len(whole)} {
			write(t, path, string(whole[:part]))
			r, err := Open(t.Context(), Spec{Path: path, Growing: true}, at)
			if part == 0 {
				if err != nil && !errors.Is(err, ErrNotBegun) {
					t.Errorf("%s, nothing: %v", ext, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s, %d bytes: %v", ext, part, err)
			}
			rows, err := readAll(r, 1000)
			if err != nil {
				t.Errorf("%s, %d bytes: %v", ext, part, err)
			}
			total += len(rows)
			at = r.Position()
			r.Close()
			if part < len(whole)-3 {
				r, err := Open(t.Context(), Spec{Path: path}, Position{})
				if err == nil {
					_, err = readAll(r, 1000)
					r.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "ends too early") {
					t.Errorf("%s, %d bytes of a list that is not written any more: %v", ext, part, err)
				}
			}
		}
		if total != 2000 {
			t.Errorf("%s: %d rows", ext, total)
		}
	}
}
