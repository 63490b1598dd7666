package postgres

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Sample implements store.Sampler. One process at a time does it, so that n of them stay.
func (j *job) Sample(ctx context.Context, th store.Thumbnail, n int) (bar int64, err error) {
	if n < 1 {
		return 0, nil
	}
	err = j.update(ctx, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, lockAlone, j.lock("thumbnails")); err != nil {
			return err
		}
		bar = math.MaxInt64
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO thumbnails VALUES ($1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET faces = excluded.faces, rank = excluded.rank,
			jpeg = excluded.jpeg`, th.ID, th.Faces, th.Rank, th.JPEG)
		b.Queue(`DELETE FROM thumbnails WHERE faces = $1 AND id NOT IN
			(SELECT id FROM thumbnails WHERE faces = $1 ORDER BY rank, id LIMIT $2)`, th.Faces, n)
		b.Queue("SELECT rank FROM thumbnails WHERE faces = $1 ORDER BY rank, id LIMIT 1 OFFSET $2", th.Faces,
			n-1).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&bar); !errors.Is(err, pgx.ErrNoRows) { // then there is room
				return err
			}
			return nil
		})
		return t.SendBatch(ctx, b).Close()
	})
	return bar, j.wrap("keep a thumbnail", err)
}

// Samples implements store.Sampler.
func (j *job) Samples(ctx context.Context) (out []store.Thumbnail, err error) {
	err = j.retry(ctx, func() error {
		out = nil
		var th store.Thumbnail
		return each(ctx, j.pool, []any{&th.ID, &th.Faces, &th.Rank, &th.JPEG}, func() {
			out = append(out, th)
			th.JPEG = nil
		}, "SELECT id, faces, rank, jpeg FROM thumbnails ORDER BY id")
	})
	return out, j.wrap("read the thumbnails", err)
}
