package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"facescan/store"
)

// sealSource gives a source its checksum, after a change in the same transaction.
func sealSource(t tx, number int) error {
	return eachSummed(t, "WHERE number = ?", []any{number}, func(s store.Source, _ *int32) error {
		_, err := t.exec("UPDATE {sources} SET checksum = ? WHERE number = ?", s.Checksum(), number)
		return err
	})
}

// eachSummed calls f for sources, as far as their checksums go.
func eachSummed(t tx, where string, args []any, f func(s store.Source, sum *int32) error) error {
	type summed struct {
		store.Source
		sum *int32
	}
	var all []summed
	err := t.each(`SELECT number, name, format, options, offset, line, list_rows, mark, complete, paused,
		priority, checksum
		FROM {sources} `+where, args, func(r *sql.Rows) error {
		var s summed
		err := r.Scan(&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line,
			&s.Position.Rows, &s.Position.Mark, &s.Complete, &s.Paused, &s.Priority, &s.sum)
		all = append(all, s)
		return err
	})
	for _, s := range all {
		if err == nil {
			err = f(s.Source, s.sum)
		}
	}
	return err
}

// verifySealed compares sources and settings with their checksums.
func (j *job) verifySealed(ctx context.Context, report func(store.Problem)) error {
	return j.check(ctx, report, func(t tx, report func(store.Problem)) error {
		settings, err := readSettings(t)
		if err != nil {
			return err
		}
		var sum *int32
		if err := t.one("SELECT settings_checksum FROM {job}", nil, &sum); err != nil {
			return err
		}
		store.VerifySettings(settings, sum, report)
		return eachSummed(t, "", nil, func(s store.Source, sum *int32) error {
			store.VerifySource(s, sum, report)
			return nil
		})
	})
}

// verifyResults compares the results of a range, both ends included, with their checksums.
func (j *job) verifyResults(t tx, lo, hi int64, report func(store.Problem)) (unchecked int64, err error) {
	read := func(from, to int64) ([]store.Result, error) { return j.readResults(t, from, to+1) }
	isDamage := func(err error) bool {
		return errors.Is(err, errPacked) || errors.Is(err, errPackedRows) || store.IsDamage(err)
	}
	for more := true; more; {
		sums := make([]store.ResultSum, 0, pageRows)
		err := t.each("SELECT id, checksum FROM {results} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
			[]any{lo, hi, pageRows}, func(r *sql.Rows) error {
				var s store.ResultSum
				err := r.Scan(&s.ID, &s.Sum)
				sums = append(sums, s)
				if s.Sum == nil {
					unchecked++
				}
				return err
			})
		if err == nil {
			err = store.VerifyResults(sums, read, isDamage, report)
		}
		if err != nil {
			return unchecked, err
		}
		if more = len(sums) == pageRows; more {
			lo = sums[pageRows-1].ID + 1
		}
	}
	return unchecked, nil
}
