package fetch

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// packed returns a text in every coding.
func packed(t testing.TB, plain []byte) map[string][]byte {
	streams := map[string][]byte{}
	for name, open := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) {
			z := gzip.NewWriter(w)
			z.Name, z.Comment, z.Extra = "a name", "a comment", []byte("extra")
			return z, nil
		},
		"zlib": func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil },
		"raw":  func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 5) },
		"br":   func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) {
			return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		},
	} {
		var b bytes.Buffer
		w, err := open(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		streams[name] = b.Bytes()
	}
	return streams
}

var codings = map[string]string{"zlib": "deflate", "raw": "deflate"} // others are called what they are

// undone decodes a body.
func undone(name string, r io.Reader) ([]byte, error) {
	if coding := codings[name]; coding != "" {
		name = coding
	}
	r, _, err := decoded(r, []string{name})
	if err != nil {
		return nil, err
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	return io.ReadAll(r)
}

// texts are compressible, not compressible, and so short that headers and trailers are most of the stream.
func texts() [][]byte {
	noise := make([]byte, 3000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	return [][]byte{[]byte(strings.Repeat("all work and no play ", 150)), noise, []byte("x")}
}

// TestCutCoding cuts streams at every byte. A cut differs from damage, and a missing trailer of deflate is
// not an error.
func TestCutCoding(t *testing.T) {
	trailers := map[string]int{"gzip": 8, "zlib": 4}
	for _, plain := range texts() {
		for name, s := range packed(t, plain) {
			for n := range len(s) + 1 {
				got, err := undone(name, iotest.OneByteReader(bytes.NewReader(s[:n])))
				switch {
				case n == 0 && (err != nil || len(got) != 0):
					t.Errorf("an empty body said to be %s: %q, %v", name, got, err)
				case n >= len(s)-trailers[name] && (err != nil || !bytes.Equal(got, plain)):
					t.Errorf("%s of %d bytes cut at %d: %d bytes, %v", name, len(s), n, len(got), err)
				case 0 < n && n < len(s)-trailers[name] && !errors.Is(err, io.ErrUnexpectedEOF):
					t.Errorf("%s of %d bytes cut at %d: %v", name, len(s), n, err)
				}
			}
		}
	}
}

func TestBehindCoding(t *testing.T) {
	for _, plain := range texts() {
		for name, s := range packed(t, plain) {
			zeros := strings.Repeat("\x00", 600)
			for _, behind := range []string{"\x00", zeros, "<html>", strings.Repeat("\x1f", 9), "\x1f\x8b"} {
				if name == "zstd" && len(behind) < 4 {
					continue // could be the begin of another frame
				}
				got, err := undone(name, io.MultiReader(bytes.NewReader(s), strings.NewReader(behind)))
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %.9q behind: %d of %d bytes, %v", name, behind, len(got), len(plain), err)
				}
			}
			if name == "gzip" || name == "zstd" { // which may have several parts
				got, err := undone(name, bytes.NewReader(bytes.Repeat(s, 3)))
				if err != nil || !bytes.Equal(got, bytes.Repeat(plain, 3)) {
					t.Errorf("%s three times: %d of 3 x %d bytes, %v", name, len(got), len(plain), err)
				}
			}
			if name != "gzip" && name != "zlib" {
				continue
			}
			wrong := bytes.Clone(s)
			wrong[len(s)-1] ^= 1
			if _, err := undone(name, bytes.NewReader(wrong)); !errors.Is(err, errChecksum) {
				t.Errorf("%s with a wrong trailer: %v", name, err)
			}
		}
	}
}

// TestZstdWindow: a window of 8 MiB is the largest that is decoded, and a frame that needs more is refused.
func TestZstdWindow(t *testing.T) {
	for window, want := range map[int]error{8 << 20: nil, 16 << 20: zstd.ErrWindowSizeExceeded} {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		plain := make([]byte, window+1) // more than fits into one
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := undone("zstd", &b)
		if !errors.Is(err, want) || want == nil && !bytes.Equal(got, plain) {
			t.Errorf("a window of %d: %d bytes, %v", window, len(got), err)
		}
	}
}

// FuzzInflate: what the standard library undoes, ours undoes, to the same bytes.
func FuzzInflate(f *testing.F) {
	for _, plain := range texts() {
		for name, s := range packed(f, plain) {
			if name == "gzip" || codings[name] != "" {
				f.Add(s)
			}
		}
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		for _, std := range []struct {
			coding string
			open   func(io.Reader) (io.ReadCloser, error)
		}{
			{"gzip", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
			{"deflate", zlib.NewReader},
		} {
			got, err := undone(std.coding, io.LimitReader(bytes.NewReader(s), 1<<16))
			r, e := std.open(bytes.NewReader(s))
			if e != nil {
				continue
			}
			want, e := io.ReadAll(io.LimitReader(r, 1<<20))
			if e == nil && len(want) < 1<<20 && len(s) < 1<<16 && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("%s: %d bytes, %v; want %d", std.coding, len(got), err, len(want))
			}
		}
	})
}
