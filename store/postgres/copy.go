package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// copyIn writes n rows into a table by COPY in PostgreSQL's binary format. row appends the fields of a row,
// in the order of the columns and in their types. Encoding costs a third of what it does through pgx, which
// looks up how to write each value.
func copyIn(ctx context.Context, t pgx.Tx, table string, columns []string, n int,
	row func(f *fields, i int)) error {
	if n == 0 {
		return nil
	}
	r := &rowReader{columns: len(columns), n: n, row: row}
	// The signature; no flags, no extension.
	r.f.b = append(r.f.b, "PGCOPY\n\xff\r\n\x00"+"\x00\x00\x00\x00"+"\x00\x00\x00\x00"...)
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = pgx.Identifier{c}.Sanitize()
	}
	_, err := t.Conn().PgConn().CopyFrom(ctx, r, fmt.Sprintf("COPY %s (%s) FROM STDIN BINARY",
		pgx.Identifier{table}.Sanitize(), strings.Join(names, ", ")))
	return err
}

// rowReader is the stream of a COPY: rows are encoded when they are read.
type rowReader struct {
	columns, n int
	row        func(f *fields, i int)

	f    fields
	read int // bytes of f that were read
	next int // row
	end  bool
}

// Read implements io.Reader.
func (r *rowReader) Read(p []byte) (int, error) {
	if r.read == len(r.f.b) {
		r.f.b, r.read = r.f.b[:0], 0
	}
	for r.next < r.n && len(r.f.b)-r.read < len(p) {
		r.f.b = binary.BigEndian.AppendUint16(r.f.b, uint16(r.columns))
		r.f.count = 0
		r.row(&r.f, r.next)
		if r.f.err == nil && r.f.count != r.columns {
			r.f.err = fmt.Errorf("a row of %d columns for %d", r.f.count, r.columns)
		}
		if r.f.err != nil {
			return 0, r.f.err
		}
		r.next++
	}
	if r.next == r.n && !r.end {
		r.f.b, r.end = append(r.f.b, 0xff, 0xff), true // the trailer
	}
	n := copy(p, r.f.b[r.read:])
	r.read += n
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// fields appends values in the binary format of their types: a length of four bytes and the value,
// big-endian.
type fields struct {
	b     []byte
	count int // of the present row
	err   error
}

func (f *fields) size(n int) {
	f.b = binary.BigEndian.AppendUint32(f.b, uint32(n))
	f.count++
}

func (f *fields) null() { f.size(-1) }

func (f *fields) bigint(v int64) {
	f.size(8)
	f.b = binary.BigEndian.AppendUint64(f.b, uint64(v))
}

func (f *fields) int(v int) {
	if v != int(int32(v)) {
		f.err = fmt.Errorf("%d is not a number of 32 bits", v)
	}
	f.size(4)
	f.b = binary.BigEndian.AppendUint32(f.b, uint32(v))
}

func (f *fields) smallint(v int) {
	if v != int(int16(v)) {
		f.err = fmt.Errorf("%d is not a number of 16 bits", v)
	}
	f.size(2)
	f.b = binary.BigEndian.AppendUint16(f.b, uint16(v))
}

func (f *fields) bool(v bool) {
	f.size(1)
	if v {
		f.b = append(f.b, 1)
	} else {
		f.b = append(f.b, 0)
	}
}

func (f *fields) double(v float64) {
	f.size(8)
	f.b = binary.BigEndian.AppendUint64(f.b, math.Float64bits(v))
}

// epoch is the zero of a timestamptz, which counts microseconds.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func (f *fields) timestamptz(v time.Time) { f.bigint(v.UnixMicro() - epoch) }

// text is a string as every database can keep it.
func (f *fields) text(s string) {
	s = store.Storable(s)
	f.size(len(s))
	f.b = append(f.b, s...)
}

// textOrNull stores an empty string as NULL, which takes no room.
func (f *fields) textOrNull(s string) {
	if s == "" {
		f.null()
		return
	}
	f.text(s)
}

// byteaOrNull stores no bytes as NULL.
func (f *fields) byteaOrNull(v []byte) {
	if len(v) == 0 {
		f.null()
		return
	}
	f.size(len(v))
	f.b = append(f.b, v...)
}

// column is a field of a result.
func (f *fields) column(c *store.ResultColumn, r *store.Result) {
	switch c.Type {
	case store.SmallInt:
		f.smallint(int(c.Number(r)))
	case store.Int:
		f.int(int(c.Number(r)))
	case store.BigInt:
		f.bigint(c.Number(r))
	case store.Bool:
		f.bool(c.Number(r) != 0)
	case store.Timestamp: // with its microseconds, as groups have them
		f.timestamptz(r.Time)
	case store.Bytes:
		f.byteaOrNull([]byte(*c.Text(r)))
	default:
		f.textOrNull(*c.Text(r))
	}
}

// Types of arrays' elements, as PostgreSQL numbers them.
const (
	oidReal = 700
	oidText = 25
)

// array is one field: an array of n elements of a type, which append writes as fields. Nothing in it is NULL
// where there is none: then the field is.
func (f *fields) array(oid, n int, element func(i int)) {
	if n == 0 {
		f.null()
		return
	}
	f.count++
	at := len(f.b)
	f.b = append(f.b, 0, 0, 0, 0)
	for _, v := range []int{1, 0, oid, n, 1} { // dimensions, whether some are NULL, type, length, first index
		f.b = binary.BigEndian.AppendUint32(f.b, uint32(v))
	}
	for i := range n {
		element(i)
		f.count--
	}
	binary.BigEndian.PutUint32(f.b[at:], uint32(len(f.b)-at-4))
}

func (f *fields) reals(v []float32) {
	f.array(oidReal, len(v), func(i int) {
		f.size(4)
		f.b = binary.BigEndian.AppendUint32(f.b, math.Float32bits(v[i]))
	})
}

func (f *fields) texts(v []string) {
	f.array(oidText, len(v), func(i int) { f.text(v[i]) })
}
