package pipeline

import (
	"context"
	"fmt"
	"log/slog"

	"facescan/pipeline/source"
	"facescan/store"
)

// listReader reads a list from a position of its source on, and counts its rows.
type listReader struct {
	source.Reader
	spec source.Spec
	rows int64 // of the list, as far as it was read; -1 when those before were not counted
}

func openList(ctx context.Context, spec source.Spec, from store.Position) (*listReader, error) {
	r, err := source.Open(ctx, spec, from)
	if err != nil {
		return nil, err
	}
	return &listReader{r, spec, from.Rows}, nil
}

func (l *listReader) Next(dst []source.Row) (int, error) {
	n, err := l.Reader.Next(dst)
	if l.rows >= 0 {
		for i := range dst[:n] {
			if !dst[i].End {
				l.rows++
			}
		}
	}
	return n, err
}

func (l *listReader) Position() store.Position {
	p := l.Reader.Position()
	p.Rows = l.rows
	return p
}

// noRow is the error of a list that has text and no row, unless it may still get some.
func (l *listReader) noRow() error {
	r, ok := l.Reader.(interface{ OnlyComments() bool })
	if !ok || !r.OnlyComments() || l.spec.Growing || l.spec.As != "" {
		return nil
	}
	return fmt.Errorf("%s has text but no row: each of its lines is blank or begins with #", l.spec.Path)
}

// warnOfDamage says how many records of the list, as the job calls it, were read in spite of damage.
func (l *listReader) warnOfDamage(name string, log *slog.Logger) {
	r, ok := l.Reader.(interface{ Damaged() (n, first int64) })
	if !ok {
		return
	}
	if n, first := r.Damaged(); n > 0 {
		log.Warn("records are damaged: stray quotes, or not the header's number of fields, or not JSON; "+
			"each is read as far as possible", "source", name, "records", n, "first", first)
	}
}

// rowBatch is rows on their way to the job.
type rowBatch struct {
	rows  []store.NewRow
	bytes int // of their URLs
}

func (b *rowBatch) add(row store.NewRow) {
	b.rows = append(b.rows, row)
	b.bytes += len(row.URL)
}

// full reports whether a transaction has enough rows.
func (b *rowBatch) full(rows int) bool { return len(b.rows) >= rows || b.bytes >= importBytes }

func (b *rowBatch) clear() { b.rows, b.bytes = b.rows[:0], 0 }
