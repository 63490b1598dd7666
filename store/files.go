package store

import (
	"context"
	"iter"

	"facescan/store/listed"
)

// File is what a row's file looked like when it was read last, or imported if it was not read yet: a later
// import compares it with the file that is there now. Its Offset may be Vanished.
type File = listed.File

// Vanished is the offset of a member that was not in its tar when that was read last.
const Vanished = -1

// FileRow is a row with its file.
type FileRow struct {
	ID   int64
	File File // zero if it has none, or was forgotten

	// What Files adds.
	URL    string
	Done   bool
	Reason Reason // of a done row that failed
}

// Filed is the part of a Job that knows the files of rows.
type Filed interface {
	// Files yields all rows with from <= id < to, in id order, paged as Results is.
	Files(ctx context.Context, from, to int64) iter.Seq2[FileRow, error]
	// SetFiles notes the files of rows in place of those noted before, in one transaction.
	SetFiles(ctx context.Context, files []FileRow) error
}

// FilesOf are the files of rows to append.
func FilesOf(rows []NewRow) (files []FileRow) {
	for i := range rows {
		if f := rows[i].File; f != nil {
			files = append(files, FileRow{ID: rows[i].ID, File: *f})
		}
	}
	return files
}
