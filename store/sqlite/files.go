package sqlite

import (
	"context"
	"iter"

	"facescan/store"
)

// insertFiles adds the files of rows.
func insertFiles(t tx, files []store.FileRow) error {
	values := make([]any, 0, 4*len(files))
	for _, f := range files {
		values = append(values, f.ID, f.File.Size, f.File.Mtime, f.File.Offset)
	}
	return t.bulk("INSERT INTO {files} (id, size, mtime, offset)", 4, values, "")
}

// Files implements store.Job.
func (j *job) Files(ctx context.Context, from, to int64) iter.Seq2[store.FileRow, error] {
	return wrapped("read files", pages(ctx, j, from, to, boundRows, readFiles))
}

func readFiles(t tx, from, to int64) (page []store.FileRow, err error) {
	var row store.FileRow
	err = t.scan([]any{&row.ID, &row.File.Size, &row.File.Mtime, &row.File.Offset, &row.URL, &row.Done,
		&row.Reason}, func() { page = append(page, row) },
		`SELECT u.{id}, coalesce(f.size, 0), coalesce(f.mtime, 0), coalesce(f.offset, 0), {address},
			r.id IS NOT NULL, coalesce(r.reason, '')
		FROM {urls} AS u LEFT JOIN {files} AS f ON f.id = u.{id} LEFT JOIN {results} AS r ON r.id = u.{id}
		WHERE u.{id} >= ? AND u.{id} < ? AND {ours} ORDER BY u.{id} LIMIT ?`, from, to, maxPage+1)
	return page, err
}

// SetFiles implements store.Job.
func (j *job) SetFiles(ctx context.Context, files []store.FileRow) error {
	return wrap("note files", j.writer.update(ctx, "note files", func(t tx) error {
		for _, f := range files {
			if _, err := t.exec("INSERT OR REPLACE INTO {files} (id, size, mtime, offset) "+
				"VALUES (?, ?, ?, ?)", f.ID, f.File.Size, f.File.Mtime, f.File.Offset); err != nil {
				return err
			}
		}
		return nil
	}))
}
