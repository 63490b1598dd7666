package fetch

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// TestGzipHeader: every set of fields in a gzip header is skipped, and a cut anywhere in it is one.
func TestGzipHeader(t *testing.T) {
	var body bytes.Buffer
	w, _ := flate.NewWriter(&body, 5)
	io.WriteString(w, "image")
	w.Close()
	trailer := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte("image")))
	trailer = binary.LittleEndian.AppendUint32(trailer, 5)
	member := func(flags byte, name string) (stream []byte, header int) {
		s := []byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255}
		if flags&4 != 0 {
			s = append(s, 3, 1)
			s = append(s, make([]byte, 0x103)...)
		}
		for _, f := range []byte{8, 16} {
			if flags&f != 0 {
				s = append(s, name+"\x00"...)
			}
		}
		if flags&2 != 0 {
			s = append(s, 0xaa, 0xbb)
		}
		header = len(s)
		s = append(s, body.Bytes()...)
		return append(s, trailer...), header
	}
	for flags := range byte(32) {
		s, header := member(flags, "a name")
		if got, err := undone("gzip", bytes.NewReader(s)); err != nil || string(got) != "image" {
			t.Errorf("flags %05b: %q, %v", flags, got, err)
		}
		for n := 1; n <= header; n++ {
			if _, err := undone("gzip", bytes.NewReader(s[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("flags %05b, cut at %d of %d: %v", flags, n, header, err)
			}
			// Of a second member that begins, a cut is one, too. Fewer bytes are not the begin of one.
			got, err := undone("gzip", bytes.NewReader(append(bytes.Clone(s), s[:n]...)))
			if string(got) != "image" || (err != nil) != (n >= 3) ||
				err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("flags %05b, the second cut at %d of %d: %q, %v", flags, n, header, got, err)
			}
		}
	}
	for long, want := range map[int]error{256 << 10: nil, 256<<10 + 1: nil, 256<<10 + 2: errNotGzip} {
		s, _ := member(8, strings.Repeat("x", long))
		if _, err := undone("gzip", bytes.NewReader(s)); err != want {
			t.Errorf("a name of %d bytes: %v, want %v", long, err, want)
		}
	}
	for _, s := range []string{"\x1e", "\x1f\x8c\x08", "\x1f\x8b\x07",
		"\x1f\x8b\x07\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if _, err := undone("gzip", strings.NewReader(s)); err != errNotGzip {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestZlibHeader: what is not the header of zlib to the last bit is deflate without one.
func TestZlibHeader(t *testing.T) {
	// A block that is stored begins with any five bits, and the last one with one more.
	stored := func(first byte, size int) string {
		s := string([]byte{first, byte(size), 0, ^byte(size), 0xff}) + strings.Repeat("x", size)
		if first&1 == 0 {
			s += "\x01\x00\x00\xff\xff"
		}
		return s
	}
	for _, c := range []struct {
		first byte
		size  int
	}{{0x88, 28}, {0x79, 24}, {0x78, 5}, {0x08, 29}} {
		head := binary.BigEndian.Uint16([]byte{c.first, byte(c.size)})
		want := strings.Repeat("x", c.size)
		got, err := undone("raw", strings.NewReader(stored(c.first, c.size)))
		if zlib := c.first == 0x08; zlib != (string(got) != want) || zlib != (err != nil) || zlib &&
			head%31 != 0 {
			t.Errorf("%#x: %q, %v", head, got, err)
		}
	}
	if _, err := undone("zlib", strings.NewReader("\x78\x20")); err != errNotZlib {
		t.Errorf("zlib with a dictionary: %v", err)
	}
}

// TestAfterTheEnd: a stream goes on saying how it ended.
func TestAfterTheEnd(t *testing.T) {
	for name, s := range packed(t, []byte("image")) {
		if name != "gzip" && codings[name] == "" {
			continue
		}
		for _, damaged := range []bool{false, true} {
			if damaged {
				s[len(s)-1] ^= 1
			}
			coding := name
			if codings[name] != "" {
				coding = codings[name]
			}
			r, err := decoders[coding].open(bufio.NewReader(bytes.NewReader(s)))
			if err != nil {
				t.Fatal(err)
			}
			_, first := io.ReadAll(r)
			n, second := r.Read(make([]byte, 9))
			if first == nil {
				first = io.EOF
			}
			if n != 0 || second != first {
				t.Errorf("%s, damaged %t: %v, then %d bytes and %v", name, damaged, first, n, second)
			}
		}
	}
}
