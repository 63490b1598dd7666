package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// sealSource gives a source its checksum, after a change in the same transaction.
func sealSource(ctx context.Context, t pgx.Tx, number int) error {
	sum := int32(0)
	err := eachSummed(ctx, t, number, number, func(s store.Source, _ *int32) { sum = s.Checksum() })
	if err == nil {
		_, err = t.Exec(ctx, "UPDATE sources SET checksum = $2 WHERE number = $1", number, sum)
	}
	return err
}

// eachSummed calls f for the sources between two numbers, as far as their checksums go.
func eachSummed(ctx context.Context, t pgx.Tx, first, last int, f func(s store.Source, sum *int32)) error {
	var s store.Source
	var sum *int32
	return each(ctx, t, []any{&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line,
		&s.Position.Rows, &s.Position.Mark, &s.Complete, &s.Paused, &s.Priority, &sum}, func() {
		f(s, sum)
	}, `SELECT number, name, format, options, byte_offset, line, list_rows, mark, complete, paused, priority,
		checksum
		FROM sources WHERE number BETWEEN $1 AND $2`, first, last)
}

// verifySealed compares sources and settings with their checksums.
func verifySealed(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	settings, err := readSettings(ctx, t)
	if err != nil {
		return err
	}
	var sum *int32
	if err := t.QueryRow(ctx, "SELECT settings_checksum FROM job").Scan(&sum); err != nil {
		return err
	}
	store.VerifySettings(settings, sum, report)
	return eachSummed(ctx, t, 0, lastSource, func(s store.Source, sum *int32) {
		store.VerifySource(s, sum, report)
	})
}

// verifyResults compares the results of a range, both ends included, with their checksums.
func verifyResults(ctx context.Context, t pgx.Tx, lo, hi int64,
	report func(store.Problem)) (unchecked int64, err error) {
	sums := func(lo, hi int64) (page []store.ResultSum, err error) {
		var s store.ResultSum
		err = each(ctx, t, []any{&s.ID, &s.Sum}, func() {
			page = append(page, s)
			s.Sum = nil
		}, "SELECT id, checksum FROM results WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT $3", lo, hi,
			pageRows)
		return page, err
	}
	read := func(from, to int64) ([]store.Result, error) {
		return readResults(ctx, t, from, to+1, pageRows, false, "true")
	}
	return store.VerifyResults(lo, hi, pageRows, sums, read, report)
}
