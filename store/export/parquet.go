package export

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/parquet-go/parquet-go"

	"facescan/store"
)

// rowGroup is how many rows Parquet buffers before it writes them.
const rowGroup = 50_000

// parquetEncoder writes Parquet with zstd: whole numbers INT64, real ones DOUBLE, text STRING, boxes a LIST
// of structs. Unknown values are NULL. Scores and landmarks are rounded as in the text formats.
type parquetEncoder struct {
	w       *parquet.GenericWriter[any]
	columns []column
	row     []parquet.Value
}

// fields is a group whose fields keep their order.
type fields struct {
	parquet.Group
	order []string
}

func (f fields) Fields() []parquet.Field {
	out := f.Group.Fields()
	slices.SortFunc(out, func(a, b parquet.Field) int {
		return slices.Index(f.order, a.Name()) - slices.Index(f.order, b.Name())
	})
	return out
}

func newFields(names []string, node func(name string) parquet.Node) fields {
	f := fields{parquet.Group{}, names}
	for _, name := range names {
		f.Group[name] = node(name)
	}
	return f
}

func newParquet(w io.Writer, columns []column, rows int64) (e *parquetEncoder, err error) {
	defer rescue(&err)
	kinds := map[string]kind{}
	for _, c := range columns {
		kinds[c.name] = c.kind
	}
	schema := newFields(names(columns), func(name string) parquet.Node {
		switch kinds[name] {
		case integer:
			return parquet.Optional(parquet.Int(64))
		case real, score, tenth:
			return parquet.Optional(parquet.Leaf(parquet.DoubleType))
		case text:
			return parquet.Optional(parquet.String())
		}
		if kinds[name] == points {
			return parquet.Optional(parquet.List(newFields(names(pointColumns()), func(string) parquet.Node {
				return parquet.Leaf(parquet.DoubleType)
			})))
		}
		box := newFields([]string{"x", "y", "width", "height", "score"}, func(name string) parquet.Node {
			if name == "score" {
				return parquet.Leaf(parquet.DoubleType)
			}
			return parquet.Int(32)
		})
		return parquet.Optional(parquet.List(box))
	})
	return &parquetEncoder{columns: columns,
		w: parquet.NewGenericWriter[any](w, parquet.NewSchema("results", schema),
			parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rows))}, nil
}

// rescue turns a panic of the library into an error: it checks names and types only at run time.
func rescue(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("write parquet: %v", p)
	}
}

func (e *parquetEncoder) encode(r *record) error {
	e.row = e.row[:0]
	leaf := 0
	put := func(v parquet.Value, repetition, definition int) {
		e.row = append(e.row, v.Level(repetition, definition, leaf))
	}
	for i := range e.columns {
		c := &e.columns[i]
		v := c.get(r)
		switch {
		case c.kind == boxes:
			e.list(len(r.Faces), 5, v.null, leaf, func(i, k int) parquet.Value {
				f := &r.Faces[i]
				if k < 4 {
					return parquet.Int32Value(int32([...]int{f.X, f.Y, f.Width, f.Height}[k]))
				}
				return parquet.DoubleValue(rounded(f.Score, r.detector.Decimals))
			})
			leaf += 5
			continue
		case c.kind == points:
			e.list(len(r.Faces), len(store.Landmarks{}), v.null, leaf, func(i, k int) parquet.Value {
				return parquet.DoubleValue(float64(r.Faces[i].Landmarks[k]) / 10)
			})
			leaf += len(store.Landmarks{})
			continue
		case v.null:
			put(parquet.NullValue(), 0, 0)
		case c.kind == integer:
			put(parquet.Int64Value(v.i), 0, 1)
		case c.kind.fractional():
			put(parquet.DoubleValue(rounded(v.f, c.kind.decimals(r))), 0, 1)
		default:
			put(parquet.ByteArrayValue([]byte(v.s)), 0, 1)
		}
		leaf++
	}
	_, err := e.w.WriteRows([]parquet.Row{e.row})
	return err
}

// list puts the columns of a list of n structs. Definition levels: 0 no list, 1 an empty one, 2 an element.
func (e *parquetEncoder) list(n, columns int, null bool, leaf int, get func(i, column int) parquet.Value) {
	for k := range columns {
		if n == 0 || null {
			definition := 1
			if null {
				definition = 0
			}
			e.row = append(e.row, parquet.NullValue().Level(0, definition, leaf+k))
			continue
		}
		for i := range n {
			repetition := 1
			if i == 0 {
				repetition = 0
			}
			e.row = append(e.row, get(i, k).Level(repetition, 2, leaf+k))
		}
	}
}

// rounded is the number that is read back from text with this number of decimals.
func rounded(f float64, decimals int) float64 {
	var buf [32]byte
	out, _ := strconv.ParseFloat(string(appendReal(buf[:0], f, decimals)), 64) // which takes what it wrote
	return out
}

func (e *parquetEncoder) close() error { return e.w.Close() }
