package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Hashes implements store.Hashed.
func (j *job) Hashes(ctx context.Context, from, to int64) iter.Seq2[store.HashedRow, error] {
	return pages(from, to, func(from, to int64) (page []store.HashedRow, err error) {
		err = j.retry(ctx, func() error {
			rows, _ := j.pool.Query(ctx, `SELECT id, sha256, phash FROM results
				WHERE id >= $1 AND id < $2 AND reason IS NULL AND (sha256 IS NOT NULL OR phash IS NOT NULL)
				ORDER BY id LIMIT $3`, from, to, pageRows) // rows have the error, too
			page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r store.HashedRow, err error) {
				var sha256, phash []byte
				if err = row.Scan(&r.ID, &sha256, &phash); err == nil {
					r.Hashes, err = store.StoredHashes(sha256, phash)
				}
				return r, err
			})
			return err
		})
		return page, j.wrap("read hashes", err)
	}, func(r store.HashedRow) int64 { return r.ID })
}

// ResultsOf implements store.Hashed.
func (j *job) ResultsOf(ctx context.Context, ids []int64) (results []store.Result, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = j.view(ctx, func(t pgx.Tx) error {
		results, err = readResults(ctx, t, ids[0], ids[len(ids)-1]+1, len(ids), false, "r.id = ANY($4)", ids)
		return err
	})
	return results, j.wrap("read results", err)
}
