package source

import "sync/atomic"

// wholeFile is what readers share that do not read a file from front to back: such a list cannot grow, and a
// difference in any of the compared blocks means that it has changed.
type wholeFile struct {
	path        string
	mark        mark         // of the file, and where the returned rows end
	total, done atomic.Int64 // rows; total is 0 until it is known
}

// open compares the file with what it was at a position, from whose mark m it takes the last id.
func (w *wholeFile) open(path string, from Position, m mark) (err error) {
	w.path = path
	if w.mark, err = markOf(path); err != nil {
		return err
	}
	if from.Line > 0 {
		if what := w.mark.changedSince(m); what != "" {
			return &ChangedError{path, what}
		}
	}
	w.mark.ID = m.ID
	w.done.Store(from.Line)
	return nil
}

func (w *wholeFile) Position() Position {
	return Position{Line: w.done.Load(), Mark: w.mark.encode()}
}

func (w *wholeFile) Progress() float64 {
	total := w.total.Load()
	if total == 0 {
		return 0
	}
	return float64(w.done.Load()) / float64(total)
}
