package fetch

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// What the decoders may take besides the body, in bytes.
const (
	flateMemory = 64 << 10
	zstdWindow  = 8 << 20 // the largest that RFC 9659 lets a server use
	zstdMemory  = 2 * zstdWindow
	brMemory    = 24 << 20
)

// decoded undoes a body's content encodings. Requests accept none, since images are compressed already, but
// some servers use them anyway. It also returns how much memory the decoders take. As in browsers, an unknown
// encoding is ignored. An empty body is empty in every encoding. Bytes after a complete stream are ignored; a
// cut stream gives io.ErrUnexpectedEOF. If the result is an io.Closer, close it.
func decoded(r io.Reader, header []string) (io.Reader, int64, error) {
	if len(header) == 0 {
		return r, 0, nil
	}
	codings := strings.Split(strings.ToLower(strings.Join(header, ",")), ",")
	memory, layers := int64(0), 0
	for i := len(codings) - 1; i >= 0; i-- { // they are listed in the order they were applied
		undo := decoders[strings.TrimSpace(codings[i])]
		if undo.open == nil {
			continue
		}
		inner := r
		b := bufio.NewReader(r)
		if _, err := b.Peek(1); err == io.EOF {
			return r, memory, nil
		}
		var err error
		if r, err = undo.open(b); err != nil {
			return inner, 0, err
		}
		memory += undo.memory
		if layers++; layers > 2 {
			return inner, 0, errors.New("more than two layers")
		}
	}
	return r, memory, nil
}

type decoder struct {
	open   func(*bufio.Reader) (io.Reader, error)
	memory int64
}

var decoders = map[string]decoder{
	"gzip":    {gunzip, flateMemory},
	"x-gzip":  {gunzip, flateMemory},
	"deflate": {inflate, flateMemory},
	"br":      {unbrotli, brMemory},
	"zstd":    {unzstd, zstdMemory},
}

// brotliBody detects a cut stream, which the decoder does not report: it feeds one byte more than there is,
// which only a complete stream rejects.
type brotliBody struct {
	r    *brotli.Reader
	more *strings.Reader // the byte
}

func unbrotli(r *bufio.Reader) (io.Reader, error) {
	more := strings.NewReader("\xff")
	return brotliBody{brotli.NewReader(io.MultiReader(r, more)), more}, nil
}

// errBehind is the decoder's error for bytes after a complete stream, such as the empty one here.
var errBehind = func() error {
	_, err := brotli.NewReader(strings.NewReader("\x3b\xff")).Read(make([]byte, 1))
	return err
}()

func (b brotliBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	switch {
	case err == nil:
	case err == errBehind:
		err = io.EOF
	case b.more.Len() == 0: // it wanted more than there was
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// zstdBody ends after a frame that is not followed by another one.
type zstdBody struct {
	io.ReadCloser
	some bool // there was output: the bytes after the frame are not a frame
}

func unzstd(r *bufio.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		return nil, err
	}
	return &zstdBody{ReadCloser: d.IOReadCloser()}, nil
}

func (z *zstdBody) Read(p []byte) (int, error) {
	n, err := z.ReadCloser.Read(p)
	z.some = z.some || n > 0
	if z.some && errors.Is(err, zstd.ErrMagicMismatch) {
		err = io.EOF
	}
	return n, err
}
