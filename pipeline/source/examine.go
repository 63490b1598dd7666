package source

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/gabriel-vasile/mimetype"

	"facescan/store/hint"
)

const (
	// headSize is how much of a list's text is examined before a row is made of it.
	headSize = 64 << 10
	// magicSize is how many bytes show compression and encoding.
	magicSize = 4
)

// compressionOf names the compression of a file by its first bytes: gz, zst or none. A file that ends within
// them, e.g. because its writing was interrupted, has the compression of its name.
func compressionOf(head []byte, path string) string {
	_, named := FormatOf(path)
	for compression, magic := range map[string]string{"gz": "\x1f\x8b", "zst": "\x28\xb5\x2f\xfd"} {
		cut := compression == named && len(head) > 0 && strings.HasPrefix(magic, string(head))
		if cut || bytes.HasPrefix(head, []byte(magic)) {
			return compression
		}
	}
	// A file by pzstd begins with a frame to skip.
	if len(head) == magicSize && head[0]&0xf0 == 0x50 && string(head[1:]) == "\x2a\x4d\x18" {
		return "zst"
	}
	return ""
}

// isUTF16 reports whether text begins with the byte order mark of UTF-16, and not of UTF-32.
func isUTF16(head []byte) bool {
	little := bytes.HasPrefix(head, []byte("\xff\xfe")) && !isUTF32(head)
	return little || bytes.HasPrefix(head, []byte("\xfe\xff"))
}

func isUTF32(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\xff\xfe\x00\x00")) ||
		bytes.HasPrefix(head, []byte("\x00\x00\xfe\xff"))
}

// refusal says what the first block of a text looks like if it cannot be a list, and what to do. Both are
// empty if it can be one. Lists may have some NUL and invalid UTF-8; a line that begins like a URL shows that
// the text is a list.
func refusal(path string, head []byte, format string) (what, way string) {
	start := bytes.TrimLeft(bytes.TrimPrefix(head, bom), " \t\r\n")
	lower := bytes.ToLower(start[:min(len(start), 16)])
	switch {
	case isUTF32(head):
		return "UTF-32", converted(path, "UTF-32")
	case bytes.HasPrefix(start, []byte("%PDF-")):
		return "a PDF document", "name the list itself"
	case bytes.HasPrefix(lower, []byte("<!doctype html")), bytes.HasPrefix(lower, []byte("<html")):
		return "a web page (HTML)", "name the list itself"
	case bytes.HasPrefix(lower, []byte("<?xml")):
		return "XML", "name a list with one URL per line, or a table of them"
	case isJSONArray(start, format):
		return "a JSON array", "write one element per line: " + unpackedJSON(path, start)
	case isSpreadJSON(start):
		return "JSON with objects over several lines",
			"write one object per line: " + madeByJQ("jq -c .", path, "lines.jsonl")
	case controls(head[:min(len(head), 512)]) > 0:
		if what, way = binaryKind(path, head); what != "" {
			return what, way
		}
	}
	for line := range bytes.Lines(head) {
		if isWeb(string(line[:min(len(line), 16)])) {
			return "", ""
		}
	}
	if name := unmarkedUTF16(head); name != "" {
		return name + " without a byte order mark", converted(path, name)
	}
	if isBinary(head) {
		return "binary data", "name the list itself"
	}
	return "", ""
}

// binaryKind names the kind of file that data begins with, if it is a known one.
func binaryKind(path string, head []byte) (what, way string) {
	kind := mimetype.Detect(head)
	for k := kind; k != nil; k = k.Parent() {
		if k.Is("text/plain") {
			return "", ""
		}
	}
	what = kind.String()
	if extension := strings.TrimPrefix(kind.Extension(), "."); extension != "" {
		what = extension + " (" + what + ")"
	}
	switch {
	case kind.Is("application/octet-stream"):
		return "", ""
	case kind.Is("application/vnd.sqlite3"):
		return "a SQLite database", "give it a name that ends in .db"
	case kind.Is("application/vnd.apache.parquet"):
		return "a Parquet file", "give it a name that ends in .parquet"
	case strings.HasPrefix(kind.String(), "image/"):
		return "an image, " + what, "to find the faces in it: " + hint.On("detect", path)
	case kind.Is("application/gzip"), kind.Is("application/zstd"):
		return what + " compressed once more", "unpack it"
	}
	return what, "unpack it if a list is in it, or name the list itself"
}

// controls counts the bytes that text does not have: control characters except tabs, line ends and the like.
func controls(b []byte) (n int) {
	for _, c := range b {
		if c < ' ' && (c < '\b' || c > '\r') && c != '\x1b' || c == 0x7f {
			n++
		}
	}
	return n
}

// unmarkedUTF16 names the encoding of UTF-16 or UTF-32 without a byte order mark, by the places of NULs.
func unmarkedUTF16(head []byte) string {
	var at [4]int
	for i, c := range head {
		if c == 0 {
			at[i%4]++
		}
	}
	nuls := at[0] + at[1] + at[2] + at[3]
	most := func(n int) bool { return n >= nuls*9/10 }
	switch {
	case len(head) < 16 || nuls < len(head)/5:
		return ""
	case nuls > len(head)*3/5:
		return "UTF-32"
	case most(at[1] + at[3]):
		return "UTF-16LE"
	case most(at[0] + at[2]):
		return "UTF-16BE"
	}
	return ""
}

// isBinary reports whether data is not text, although it may contain some. Text in an older encoding has
// bytes that are invalid in UTF-8, but no control characters.
func isBinary(head []byte) bool {
	const shortest = 32 // less is not enough to decide
	if len(head) < shortest || controls(head) == 0 {
		return false
	}
	odd := controls(head)
	for rest := head; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == utf8.RuneError && size == 1 {
			odd++
		}
		rest = rest[size:]
	}
	return odd > len(head)*3/10
}

// isWeb reports whether text begins as http and https URLs do.
func isWeb(text string) bool {
	text = strings.TrimLeft(text, " ")
	for _, scheme := range []string{"http://", "https://"} {
		if len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
			return true
		}
	}
	return false
}

// isSpreadJSON reports whether text begins with a JSON object that has each member on its own line.
func isSpreadJSON(start []byte) bool {
	line, rest, _ := bytes.Cut(start, []byte("\n"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return string(bytes.TrimRight(line, " \t\r")) == "{" && bytes.HasPrefix(rest, []byte(`"`))
}

// isJSONArray reports whether text is a JSON array instead of lines. A jsonl list may have an array as its
// first record, a broken one, if the next line has an object.
func isJSONArray(start []byte, format string) bool {
	if len(start) == 0 || start[0] != '[' {
		return false
	}
	inside := bytes.TrimLeft(start[1:], " \t\r\n")
	if len(inside) > 0 && bytes.IndexByte([]byte(`[]{"`), inside[0]) < 0 {
		return false
	}
	line, rest, _ := bytes.Cut(start, []byte("\n"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	ended := bytes.HasSuffix(bytes.TrimRight(line, " \t\r"), []byte("]"))
	return format != "jsonl" || !ended || len(rest) == 0 || rest[0] != '{'
}

// converted and unpackedJSON are commands that make a list from a file.
func converted(path, encoding string) string {
	if path == "-" {
		return "convert it with iconv -f " + encoding + " -t UTF-8"
	}
	to := hint.Quote("utf8-" + filepath.Base(path))
	return "convert it: iconv -f " + encoding + " -t UTF-8 " + hint.Quote(hint.Name(path)) + " > " + to
}

func unpackedJSON(path string, start []byte) string {
	of, name := "jq -c '.[]'", "lines.jsonl"
	if inside := bytes.TrimLeft(start[1:], " \t\r\n"); bytes.HasPrefix(inside, []byte(`"`)) {
		of, name = "jq -r '.[]'", "lines.txt"
	}
	return madeByJQ(of, path, name)
}

func madeByJQ(command, path, name string) string {
	if path == "-" {
		return command
	}
	return command + " " + hint.Quote(hint.Name(path)) + " > " + name
}

// takeStarted returns the stream of the pipe that Check began to read, once.
func (s Spec) takeStarted(ctx context.Context) *stream {
	if s.started == nil {
		return nil
	}
	started := s.started.Swap(nil)
	if started != nil {
		started.ctx, started.pump.ctx = ctx, ctx
	}
	return started
}

// IsPipe reports whether the list can be read only once.
func (s Spec) IsPipe() bool {
	if s.Path == "-" {
		return true
	}
	fi, err := os.Stat(s.Path)
	return err == nil && !fi.Mode().IsRegular() && !fi.IsDir()
}

// Check returns a *UsageError if s cannot be a list, or lacks columns that were named. Of a pipe it reads
// only the first block, for which it waits, and leaves it in s for Open.
func Check(ctx context.Context, s *Spec) error {
	if HasImages(s.Format) {
		return checkImages(ctx, *s)
	}
	if !s.IsPipe() {
		r, err := Open(ctx, *s, Position{})
		if err != nil {
			return err
		}
		return errors.Join(r.Close(), checkHashes(ctx, *s))
	}
	if s.Format == "parquet" || s.Format == "sqlite" {
		return nil
	}
	begun, err := newStream(ctx, *s)
	if err != nil {
		return err
	}
	if err := begun.examine(s.Format); err != nil {
		_ = begun.Close()
		return err
	}
	s.started = &atomic.Pointer[stream]{}
	s.started.Store(begun)
	return nil
}
