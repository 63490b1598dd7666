package fetch

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"io"
)

// inflater undoes deflate: inside gzip, inside zlib or bare. The packages compress/gzip and compress/zlib do
// not serve, since to them a lost trailer, and bytes behind a complete stream, are faults.
type inflater struct {
	r     *bufio.Reader
	flate io.Reader
	sum   hash.Hash32 // of what came out of the member; nil for a bare stream, which has none
	size  uint32
	gzip  bool
	err   error // that the stream ended with
}

var (
	errNotGzip  = errors.New("not gzip")
	errNotZlib  = errors.New("zlib with a dictionary")
	errChecksum = errors.New("wrong checksum")
)

// gunzip undoes gzip.
func gunzip(r *bufio.Reader) (io.Reader, error) {
	z := &inflater{r: r, sum: crc32.NewIEEE(), gzip: true}
	if err := gzipHeader(r); err != nil {
		return nil, err
	}
	z.flate = flate.NewReader(r)
	return z, nil
}

// inflate undoes deflate as the standard has it, inside zlib, or bare, as some servers send it.
func inflate(r *bufio.Reader) (io.Reader, error) {
	z := &inflater{r: r}
	head, err := r.Peek(2)
	if err != nil {
		return nil, unexpected(err)
	}
	if head[0]&0x0f == 8 && head[0]>>4 <= 7 && binary.BigEndian.Uint16(head)%31 == 0 {
		if head[1]&0x20 != 0 {
			return nil, errNotZlib
		}
		z.sum = adler32.New()
		_, _ = r.Discard(2) // it was peeked at
	}
	z.flate = flate.NewReader(r)
	return z, nil
}

// unexpected is the error for a stream that was cut.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (z *inflater) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.flate.Read(p)
	if z.sum != nil {
		z.sum.Write(p[:n])
		z.size += uint32(n)
	}
	if err == io.EOF {
		err = z.next()
	}
	z.err = err
	return n, err
}

// next ends a stream: with io.EOF, unless its trailer is wrong or, in gzip, another member follows.
func (z *inflater) next() error {
	if z.sum == nil {
		return io.EOF
	}
	want := binary.BigEndian.AppendUint32(nil, z.sum.Sum32())
	if z.gzip {
		want = binary.LittleEndian.AppendUint32(nil, z.sum.Sum32())
		want = binary.LittleEndian.AppendUint32(want, z.size)
	}
	trailer, err := z.r.Peek(len(want))
	switch {
	case err != nil:
		return io.EOF // the trailer was cut, the stream before it is complete
	case string(trailer) != string(want):
		return errChecksum
	}
	_, _ = z.r.Discard(len(want)) // they were peeked at
	if more, _ := z.r.Peek(len(gzipMagic)); !z.gzip || string(more) != gzipMagic {
		return io.EOF
	}
	if err := gzipHeader(z.r); err != nil {
		return err
	}
	z.sum.Reset()
	z.size = 0
	return z.flate.(flate.Resetter).Reset(z.r, nil)
}

const gzipMagic = "\x1f\x8b\x08"

// gzipHeader reads the header of a gzip member (RFC 1952).
func gzipHeader(r *bufio.Reader) error {
	const fixed, crc, extra, name, comment = 10, 2, 4, 8, 16
	head, err := r.Peek(fixed)
	if n := min(len(head), len(gzipMagic)); string(head[:n]) != gzipMagic[:n] {
		return errNotGzip
	}
	if err != nil {
		return unexpected(err)
	}
	flags := head[3]
	_, _ = r.Discard(fixed) // they were peeked at
	if flags&extra != 0 {
		n, err := r.Peek(2)
		if err != nil {
			return unexpected(err)
		}
		if _, err := r.Discard(2 + int(binary.LittleEndian.Uint16(n))); err != nil {
			return unexpected(err)
		}
	}
	for _, text := range []byte{name, comment} {
		if flags&text == 0 {
			continue
		}
		for n := 0; ; n++ {
			b, err := r.ReadByte()
			if err != nil {
				return unexpected(err)
			}
			if b == 0 {
				break
			}
			if n > maxHead {
				return errNotGzip
			}
		}
	}
	if flags&crc != 0 {
		_, err = r.Discard(2)
	}
	return unexpected(err)
}
