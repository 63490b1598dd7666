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

// decoded undoes a body's content encodings. We ask for none, since images are compressed already, but
// servers send what they like. It also returns how much memory the decoders take. An encoding without meaning
// is passed over, as browsers do, and an empty body is empty in every encoding. Bytes behind a complete
// stream are ignored; for one that was cut the reader returns io.ErrUnexpectedEOF. A result that is an
// io.Closer has to be closed.
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

// brotliBody tells a stream that ended from one that was cut, which its decoder does not: one byte more than
// there is is fed to it, and only a stream that ended finds that too much.
type brotliBody struct {
	r    *brotli.Reader
	more *strings.Reader // the byte
}

func unbrotli(r *bufio.Reader) (io.Reader, error) {
	more := strings.NewReader("\xff")
	return brotliBody{brotli.NewReader(io.MultiReader(r, more)), more}, nil
}

// errBehind is what the decoder says of bytes behind a complete stream, such as the empty one here.
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
	case b.more.Len() == 0: // it asked for more than there was
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// zstdBody ends behind a frame that no other one follows.
type zstdBody struct {
	io.ReadCloser
	some bool // bytes came out: what is no frame stands behind one
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
