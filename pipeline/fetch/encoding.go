package fetch

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
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

// decoded undoes a body's content encodings. We ask for none, since images are compressed already, but servers send
// what they like. It also returns how much memory the decoders take. An encoding without meaning is passed over, as
// browsers do. A result that is an io.Closer has to be closed.
func decoded(r io.Reader, header []string) (io.Reader, int64, error) {
	if len(header) == 0 {
		return r, 0, nil
	}
	codings := strings.Split(strings.ToLower(strings.Join(header, ",")), ",")
	memory, layers := int64(0), 0
	for i := len(codings) - 1; i >= 0; i-- { // they are listed in the order they were applied
		var err error
		inner := r
		switch strings.TrimSpace(codings[i]) {
		case "gzip", "x-gzip":
			r, err = gzip.NewReader(r)
			memory += flateMemory
		case "deflate":
			r, err = inflate(r)
			memory += flateMemory
		case "br":
			r = brotliBody{brotli.NewReader(io.MultiReader(r, strings.NewReader("\xff")))}
			memory += brMemory
		case "zstd":
			var d *zstd.Decoder
			d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(zstdWindow))
			if err == nil {
				r = d.IOReadCloser()
			}
			memory += zstdMemory
		default:
			continue
		}
		if err != nil {
			return inner, 0, err
		}
		if layers++; layers > 2 {
			return inner, 0, errors.New("more than two layers")
		}
	}
	return r, memory, nil
}

// inflate reads deflate as the standard has it, inside zlib, or bare, as some servers send it.
func inflate(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		return nil, err
	}
	if head[0]&0x0f == 8 && (uint16(head[0])<<8|uint16(head[1]))%31 == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// brotliBody tells a stream that ended from one that was cut, which its decoder does not: one byte more than there is
// is fed to it, and only a stream that ended finds that too much.
type brotliBody struct{ r *brotli.Reader }

func (b brotliBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	switch {
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case err != nil && err.Error() == "brotli: excessive input":
		err = io.EOF
	}
	return n, err
}
