package sqlite

import (
	"context"
	"database/sql"
	"iter"

	"facescan/store"
)

// Hashes implements store.Hashed.
func (j *job) Hashes(ctx context.Context, from, to int64) iter.Seq2[store.HashedRow, error] {
	return wrapped("read hashes", pages(ctx, j, from, to, boundResults,
		func(t tx, from, to int64) (page []store.HashedRow, err error) {
			var r store.HashedRow
			var sha256, phash []byte
			err = t.each("SELECT id, sha256, phash FROM {results} WHERE id >= ? AND id < ? "+
				"AND reason IS NULL AND (sha256 IS NOT NULL OR phash IS NOT NULL) ORDER BY id",
				[]any{from, to}, func(rows *sql.Rows) error {
					err := rows.Scan(&r.ID, &sha256, &phash)
					if err == nil {
						r.Hashes, err = store.StoredHashes(sha256, phash)
					}
					page = append(page, r)
					return err
				})
			return page, err
		}))
}

// ResultsOf implements store.Hashed.
func (j *job) ResultsOf(ctx context.Context, ids []int64) (results []store.Result, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = j.view(ctx, func(t tx) error {
		results, err = j.readSelected(t, ids[0], ids[len(ids)-1]+1, false,
			"r.id IN (SELECT value FROM json_each(?))", []any{idList(ids)})
		return err
	})
	return results, wrap("read results", err)
}
