package source

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// Stamp is what a file that may grow looks like without reading it.
type Stamp struct {
	file, log stat
	seen      time.Time
	young     bool
}

// sameTime is how long after a change a second one may leave a file with the same time of change.
const sameTime = 2 * time.Second

// StampOf takes the stamp of a list. The file is opened for it: of one on another machine that shows what is
// there now.
func StampOf(s Spec) (Stamp, error) {
	file, at, err := statNow(s.Path)
	if err != nil {
		return Stamp{}, err
	}
	st := Stamp{file: file, seen: time.Now()}
	if s.Format == "sqlite" { // its size need not show that rows came
		var logged time.Time
		if st.log, logged, err = statNow(s.Path + "-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Stamp{}, err
		}
		st.young = st.seen.Sub(at) < sameTime || st.seen.Sub(logged) < sameTime
	}
	return st, nil
}

func statNow(path string) (stat, time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return stat{}, time.Time{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return stat{}, time.Time{}, err
	}
	return statOf(fi), fi.ModTime(), nil
}

// Moved reports whether a file may have changed since an earlier stamp.
func (s Stamp) Moved(since Stamp) bool {
	return since.young || s.file != since.file || s.log != since.log
}
