package sqlite

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
	"facescan/store/draft"
)

// wrap says what failed, and turns SQLite's codes into the store's errors. Nil stays nil.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	if isFull(err) {
		return fmt.Errorf("%s: %w (%w)", doing, store.ErrFull, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// isFull reports whether there was no room. SQLite has a code of its own only for ENOSPC on a write;
// a quota, a file size limit and a late ENOSPC arrive as I/O errors with the system's number.
func isFull(err error) bool {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return e.Code == sqlite3.ErrFull || draft.Full(e.SystemErrno)
	}
	return draft.Full(err)
}

// isBusy reports whether another connection holds the lock.
func isBusy(err error) bool { return isCode(err, sqlite3.ErrBusy) }

// isCode reports whether SQLite failed for this reason.
func isCode(err error, code sqlite3.ErrNo) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == code
}
