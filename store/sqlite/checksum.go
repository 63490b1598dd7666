package sqlite

import (
	"context"
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
	var s summed
	err := t.scan([]any{&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line,
		&s.Position.Rows, &s.Position.Mark, &s.Complete, &s.Paused, &s.Priority, &s.sum},
		func() { all = append(all, s) },
		`SELECT number, name, format, options, offset, line, list_rows, mark, complete, paused, priority,
			checksum
		FROM {sources} `+where, args...)
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

// CheckSealed refuses a job whose sources or settings are not what was stored.
func CheckSealed(ctx context.Context, of store.Job) error {
	var errs []error
	err := of.(*job).verifySealed(ctx, func(p store.Problem) {
		errs = append(errs, store.DamagedValue(p.Text))
	})
	return errors.Join(append(errs, err)...)
}

// verifyResults compares the results of a range, both ends included, with their checksums.
func (j *job) verifyResults(t tx, lo, hi int64, report func(store.Problem)) (unchecked int64, err error) {
	sums := func(lo, hi int64) (page []store.ResultSum, err error) {
		var s store.ResultSum
		err = t.scan([]any{&s.ID, &s.Sum}, func() { page = append(page, s) },
			"SELECT id, checksum FROM {results} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", lo, hi,
			pageRows)
		return page, err
	}
	read := func(from, to int64) ([]store.Result, error) { return j.readResults(t, from, to+1) }
	return store.VerifyResults(lo, hi, pageRows, sums, read, report)
}
