package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"facescan/store"
)

// Sample implements store.Sampler.
func (j *job) Sample(ctx context.Context, th store.Thumbnail, n int) (bar int64, err error) {
	if n < 1 {
		return 0, nil
	}
	err = j.writer.update(ctx, "sample", func(t tx) error {
		if _, err := t.exec("INSERT OR REPLACE INTO {thumbnails} VALUES (?, ?, ?, ?)", th.ID, th.Faces,
			th.Rank, th.JPEG); err != nil {
			return err
		}
		_, err := t.exec(`DELETE FROM {thumbnails} WHERE faces = ?1 AND id NOT IN
			(SELECT id FROM {thumbnails} WHERE faces = ?1 ORDER BY rank, id LIMIT ?2)`, th.Faces, n)
		if err != nil {
			return err
		}
		err = t.one("SELECT rank FROM {thumbnails} WHERE faces = ? ORDER BY rank, id LIMIT 1 OFFSET ?",
			[]any{th.Faces, n - 1}, &bar)
		if errors.Is(err, sql.ErrNoRows) { // there is room
			bar, err = math.MaxInt64, nil
		}
		return err
	})
	return bar, wrap("keep a thumbnail", err)
}

// Samples implements store.Sampler.
func (j *job) Samples(ctx context.Context) (out []store.Thumbnail, err error) {
	err = j.view(ctx, func(t tx) error {
		out = nil
		var th store.Thumbnail
		return t.scan([]any{&th.ID, &th.Faces, &th.Rank, &th.JPEG}, func() { out = append(out, th) },
			"SELECT id, faces, rank, jpeg FROM {thumbnails} ORDER BY id")
	})
	return out, wrap("read the thumbnails", err)
}
