package postgres

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestCopyIn writes the ends of each type by COPY, and reads them through pgx, which knows the formats on its
// own.
func TestCopyIn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, _ := openJob(t)
	_, err := j.pool.Exec(ctx, `CREATE TABLE copied (n bigint, i int, s smallint, b boolean, d double precision,
		at timestamptz, w text, v bytea, r real[], l text[])`)
	ok(t, err)
	type row struct {
		N  int64
		I  int32
		S  int16
		B  bool
		D  float64
		At time.Time
		W  *string
		V  []byte
		R  []float32
		L  []string
	}
	word := func(s string) *string { return &s }
	long := strings.Repeat("ü", 50_000) // beyond what is read at once
	rows := []row{
		{math.MinInt64, math.MinInt32, math.MinInt16, true, math.Inf(-1), time.UnixMicro(-1), word("a"),
			[]byte{0, 255}, []float32{-0.5, 2}, []string{"", "NULL", `{"}`}},
		{math.MaxInt64, math.MaxInt32, math.MaxInt16, false, math.SmallestNonzeroFloat64,
			time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), nil, nil, nil, nil},
		{0, 0, 0, false, 0, time.UnixMilli(1_760_000_000_123), word(long), []byte(long), []float32{7},
			[]string{long}},
	}
	columns := []string{"n", "i", "s", "b", "d", "at", "w", "v", "r", "l"}
	write := func(rows []row, late func(f *fields, i int)) error {
		return pgx.BeginFunc(ctx, j.pool, func(tx pgx.Tx) error {
			return copyIn(ctx, tx, "copied", columns, len(rows), func(f *fields, i int) {
				r := rows[i]
				f.bigint(r.N)
				f.int(int(r.I))
				f.smallint(int(r.S))
				f.bool(r.B)
				f.double(r.D)
				f.timestamptz(r.At)
				if r.W == nil {
					f.textOrNull("")
				} else {
					f.text(*r.W)
				}
				f.byteaOrNull(r.V)
				f.reals(r.R)
				late(f, i)
			})
		})
	}
	ok(t, write(rows, func(f *fields, i int) { f.texts(rows[i].L) }))
	got, err := j.pool.Query(ctx, "SELECT * FROM copied ORDER BY i = 0, n")
	ok(t, err)
	read, err := pgx.CollectRows(got, pgx.RowToStructByPos[row])
	ok(t, err)
	for i, want := range rows {
		r := read[i]
		if r.N != want.N || r.I != want.I || r.S != want.S || r.B != want.B || r.D != want.D ||
			!r.At.Equal(want.At) || (r.W == nil) != (want.W == nil) || r.W != nil && *r.W != *want.W ||
			string(r.V) != string(want.V) || len(r.R) != len(want.R) || len(r.L) != len(want.L) {
			t.Errorf("row %d came back as %.300v", i, r)
		}
		for k := range want.R {
			if r.R[k] != want.R[k] {
				t.Errorf("row %d, real %d: %v for %v", i, k, r.R[k], want.R[k])
			}
		}
		for k := range want.L {
			if r.L[k] != want.L[k] {
				t.Errorf("row %d, text %d: %.99q for %.99q", i, k, r.L[k], want.L[k])
			}
		}
	}

	for name, late := range map[string]func(f *fields, i int){
		"not a number of 16 bits": func(f *fields, _ int) { f.smallint(1 << 15) },
		"not a number of 32 bits": func(f *fields, _ int) { f.int(1 << 31) },
		"9 columns for 10":        func(*fields, int) {},
		"11 columns for 10":       func(f *fields, i int) { f.texts(rows[i].L); f.null() },
	} {
		if err := write(rows[:1], late); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var n int
	ok(t, j.pool.QueryRow(ctx, "SELECT count(*) FROM copied").Scan(&n))
	if n != len(rows) {
		t.Errorf("%d rows, and %d were written: a COPY that failed left some", n, len(rows))
	}
}

// TestTextForTheDatabase has text made one that the database takes.
func TestTextForTheDatabase(t *testing.T) {
	for in, want := range map[string]string{"a\x00b": "a%00b", "\xff": "\ufffd", "ä": "ä"} {
		var f fields
		f.text(in)
		if got := string(f.b[4:]); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}
