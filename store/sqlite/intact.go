package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"facescan/store"
)

// intact notices that a job's file goes away under a process that writes to it. SQLite itself does not: what
// is removed stays open, takes every write and is gone when the process ends.
type intact struct {
	file  *os.File // stays open as long as the connections, since closing it would drop their locks
	path  string
	size  int64       // as of the last look
	wal   os.FileInfo // once it was seen
	isWAL bool        // the file is a job's own, with a write-ahead log
}

func watch(path string, isWAL bool) (*intact, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &intact{file: f, path: path, isWAL: isWAL}, nil
}

// check fails if the file is not the one that was opened, or was cut.
func (i *intact) check() error {
	mine, err := i.file.Stat()
	if err != nil {
		return err
	}
	now, err := os.Stat(i.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s was removed or moved while it was in use; put it back, or begin again",
			store.ErrGone, i.path)
	case err != nil:
		return err
	case !os.SameFile(mine, now):
		return fmt.Errorf("%w: another file took the place of %s while it was in use; put the job back, or "+
			"begin again", store.ErrGone, i.path)
	case now.Size() < i.size && i.isCut(now.Size()):
		return fmt.Errorf("%w: %s was cut to %d bytes while it was in use; restore it, or begin again",
			store.ErrGone, i.path, now.Size())
	}
	i.size = now.Size()
	if !i.isWAL {
		return nil
	}
	switch wal, err := os.Stat(i.path + "-wal"); {
	case i.wal == nil && err == nil:
		i.wal = wal
	case i.wal != nil && (err != nil || !os.SameFile(i.wal, wal)):
		return fmt.Errorf("%w: %s-wal was removed or replaced while it was in use, and with it what was "+
			"written last", store.ErrGone, i.path)
	}
	return nil
}

// strangeWAL reports whether the -wal beside the file is not the one this process writes to, but of a file
// that took the place.
func (i *intact) strangeWAL() bool {
	now, err := os.Stat(i.path + "-wal")
	return err == nil && i.wal != nil && !os.SameFile(i.wal, now)
}

// isCut reports whether a file of this size lacks pages that its header counts. Else it was made smaller by
// VACUUM.
func (i *intact) isCut(size int64) bool {
	h := make([]byte, 32)
	if _, err := i.file.ReadAt(h, 0); err != nil {
		return true
	}
	page := int64(binary.BigEndian.Uint16(h[16:]))
	if page == 1 {
		page = 1 << 16
	}
	return page == 0 || int64(binary.BigEndian.Uint32(h[28:]))*page > size
}
