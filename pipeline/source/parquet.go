package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// rowFile reads the columns of a parquet file that were named, one page of each at a time. Ids are record
// numbers.
type rowFile struct {
	wholeFile
	chosen
	ctx  context.Context
	file *os.File

	parts  []*part // of the wanted columns
	fields []string
}

// part is a column, from some row on.
type part struct {
	column *parquet.Column
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buf    []parquet.Value
	rest   []parquet.Value // of buf
}

func openParquet(ctx context.Context, spec Spec, from Position) (_ Reader, err error) {
	if spec.Path == "-" {
		return nil, usagef("a parquet file cannot be read from standard input; name the file")
	}
	m, err := decodeMark(spec.Path, from.Mark)
	if err != nil {
		return nil, err
	}
	r := &rowFile{ctx: ctx}
	defer r.rescue(&err)
	if r.file, err = os.Open(spec.Path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	fi, err := r.file.Stat()
	if err != nil {
		return nil, err
	}
	if err := r.open(spec.Path, from, m); err != nil {
		return nil, err
	}
	if err := checkHead(spec.Path, r.file); err != nil {
		return nil, err
	}
	if err := checkFooter(r.file, fi.Size()); err != nil {
		return nil, fmt.Errorf("%s is not a complete parquet file: %w", spec.Path, err)
	}
	f, err := parquet.OpenFile(r.file, fi.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("%s is not a complete parquet file: %w", spec.Path, err)
	}
	columns := f.Root().Columns()
	var names []string
	for _, c := range columns {
		names = append(names, c.Name())
	}
	if r.chosen, err = choose(spec, names, m.ID); err != nil {
		return nil, err
	}
	r.total.Store(f.NumRows())
	r.fields = make([]string, len(columns))
	for _, i := range r.wanted {
		c := columns[i]
		if !c.Leaf() || c.MaxRepetitionLevel() > 0 {
			return nil, usagef("%s: the column %s holds more than one value a row", spec.Path, c.Name())
		}
		if k := c.Type().Kind(); i == r.url && k != parquet.ByteArray {
			return nil, usagef("%s: the column %s holds no text but %s: choose another with --url-column",
				spec.Path, c.Name(), k)
		}
		p := &part{column: c, pages: c.Pages(), buf: make([]parquet.Value, 1024)}
		r.parts = append(r.parts, p)
		if err := p.pages.SeekToRow(from.Line); err != nil && from.Line < f.NumRows() {
			return nil, r.damaged(err)
		}
	}
	return r, nil
}

// checkHead returns a *UsageError if a file does not begin like a parquet file.
func checkHead(path string, f io.ReaderAt) error {
	head, err := io.ReadAll(io.NewSectionReader(f, 0, 512))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if bytes.HasPrefix(head, []byte("PAR1"[:min(len(head), 4)])) {
		return nil
	}
	what, _ := binaryKind(path, head)
	if what == "" {
		what = "another kind of file"
	}
	return usagef("%s looks like %s, not like a Parquet file: give it a name that ends as its format asks",
		path, what)
}

// checkFooter checks the footer's length as stated in the file, because the decoder does not.
func checkFooter(f io.ReaderAt, size int64) error {
	var end [8]byte
	if _, err := f.ReadAt(end[:], size-int64(len(end))); err != nil || string(end[4:]) != "PAR1" {
		return errors.New("it does not end as one")
	}
	if n := int64(binary.LittleEndian.Uint32(end[:])); n > size-12 {
		return fmt.Errorf("its footer would be %d bytes long", n)
	}
	return nil
}

// rescue turns a panic of the decoder, which damaged files can cause, into an error.
func (r *rowFile) rescue(err *error) {
	if p := recover(); p != nil {
		*err = r.damaged(fmt.Errorf("%v", p))
	}
}

func (r *rowFile) damaged(err error) error {
	return fmt.Errorf("%s cannot be read on after record %d: %w", r.path, r.done.Load(), err)
}

func (r *rowFile) Next(dst []Row) (int, error) { return fill(dst, r.next) }

func (r *rowFile) next(row *Row, _ bool) (err error) {
	defer r.rescue(&err)
	done := r.done.Load()
	if done >= r.total.Load() {
		return io.EOF
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	null := false
	for i, p := range r.parts {
		v, err := p.peek()
		if err != nil {
			return r.damaged(err)
		}
		column := r.wanted[i]
		r.fields[column] = parquetText(v, p.column.Type().LogicalType())
		null = null || column == r.url && v.IsNull()
	}
	if err := r.row(row, done+1, r.fields); err != nil {
		return err
	}
	spoil(row, null)
	for _, p := range r.parts {
		p.rest = p.rest[1:]
	}
	r.mark.ID = r.lastID
	r.done.Store(done + 1)
	return nil
}

// peek returns the next value, which is rest[0].
func (p *part) peek() (parquet.Value, error) {
	for len(p.rest) == 0 {
		if p.values == nil {
			page, err := p.pages.ReadPage()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return parquet.Value{}, err
			}
			p.page, p.values = page, page.Values()
		}
		n, err := p.values.ReadValues(p.buf)
		if err != nil && err != io.EOF {
			return parquet.Value{}, err
		}
		p.rest = p.buf[:n]
		if n == 0 && err == io.EOF {
			parquet.Release(p.page)
			p.page, p.values = nil, nil
		}
	}
	return p.rest[0], nil
}

// parquetText is a value as text: times in RFC 3339, days as 2006-01-02.
func parquetText(v parquet.Value, as *format.LogicalType) string {
	switch {
	case v.IsNull():
		return ""
	case v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray:
		b := v.ByteArray()
		return string(b[:min(len(b), maxRecord)])
	case as == nil:
		return v.String()
	}
	switch t := as.Value.(type) {
	case *format.DateType:
		return time.Unix(int64(v.Int32())*24*60*60, 0).UTC().Format(time.DateOnly)
	case *format.TimestampType:
		at := v.Int64()
		var when time.Time
		switch t.Unit.Value.(type) {
		case *format.MilliSeconds:
			when = time.UnixMilli(at)
		case *format.MicroSeconds:
			when = time.UnixMicro(at)
		default:
			when = time.Unix(at/1e9, at%1e9)
		}
		return when.UTC().Format(time.RFC3339Nano)
	}
	return v.String()
}

func (r *rowFile) Close() error {
	for _, p := range r.parts {
		_ = p.pages.Close()
	}
	return r.file.Close()
}
