package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// copyFiles adds the files of rows.
func copyFiles(ctx context.Context, t pgx.Tx, files []store.FileRow) error {
	return copyIn(ctx, t, "files", []string{"id", "size", "mtime", "byte_offset"}, len(files),
		func(f *fields, i int) {
			f.bigint(files[i].ID)
			f.bigint(files[i].File.Size)
			f.bigint(files[i].File.Mtime)
			f.bigint(files[i].File.Offset)
		})
}

// Files implements store.Job.
func (j *job) Files(ctx context.Context, from, to int64) iter.Seq2[store.FileRow, error] {
	return pages(from, to, func(from, to int64) (page []store.FileRow, err error) {
		err = j.view(ctx, func(t pgx.Tx) error {
			page = nil
			var r store.FileRow
			// The range is found first, so that each table is read by its key and in its part.
			return each(ctx, t, []any{&r.ID, &r.File.Size, &r.File.Mtime, &r.File.Offset, &r.URL, &r.Done,
				&r.Reason}, func() { page = append(page, r) },
				`SELECT u.id, coalesce(f.size, 0), coalesce(f.mtime, 0), coalesce(f.byte_offset, 0), u.url,
					r.id IS NOT NULL, coalesce(r.reason, '')
				FROM (SELECT id, url FROM rows WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3) AS u
				LEFT JOIN files AS f ON f.id = u.id LEFT JOIN results AS r ON r.id = u.id ORDER BY u.id`,
				from, to, pageRows)
		})
		return page, j.wrap("read files", err)
	}, func(r store.FileRow) int64 { return r.ID })
}

// SetFiles implements store.Job.
func (j *job) SetFiles(ctx context.Context, files []store.FileRow) error {
	return j.wrap("note files", j.update(ctx, func(t pgx.Tx) error {
		_, err := t.Exec(ctx, `INSERT INTO files (id, size, mtime, byte_offset)
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
			ON CONFLICT (id) DO UPDATE SET size = excluded.size, mtime = excluded.mtime,
				byte_offset = excluded.byte_offset`,
			values(files, func(f store.FileRow) int64 { return f.ID }),
			values(files, func(f store.FileRow) int64 { return f.File.Size }),
			values(files, func(f store.FileRow) int64 { return f.File.Mtime }),
			values(files, func(f store.FileRow) int64 { return f.File.Offset }))
		return err
	}))
}
