package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"facescan/pipeline/source"
	"facescan/store"
)

// VerifySource compares a source's rows in the job with the list they came from, as far as it is imported: the
// same ids with the same URLs, none more and none less. It reads both in step, so memory does not grow with them.
// A list that is not there is fs.ErrNotExist.
func VerifySource(ctx context.Context, job store.Job, s store.Source, spec source.Spec, node Node, report func(store.Problem)) error {
	list, err := source.Open(ctx, spec, source.Position{})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fs.ErrNotExist
		}
		return fmt.Errorf("read %s: %w", spec.Path, err)
	}
	defer list.Close()
	offset := int64(s.Number) << store.SourceShift
	next, stop := iter.Pull2(job.Rows(ctx, offset, offset+1<<store.SourceShift))
	defer stop()

	problem := func(id int64, format string, args ...any) {
		report(store.Problem{Check: "source-rows", ID: id, Text: fmt.Sprintf(format, args...)})
	}
	row, err, more := next()
	var seen int64 // rows of the list that the node takes, of which Rows are imported
	chunk := make([]source.Row, readRows)
	for {
		n, rerr := list.Next(chunk)
		for _, want := range chunk[:n] {
			if err != nil {
				return err
			}
			if !node.Takes(offset + want.ID) {
				continue
			}
			if seen++; seen > s.Rows {
				break
			}
			id := offset + want.ID
			for more && row.ID < id {
				problem(row.ID, "the job has a row that %s has not", s.Name)
				if row, err, more = next(); err != nil {
					return err
				}
			}
			switch {
			case !more || row.ID > id:
				problem(id, "%s has a row that the job has not", s.Name)
				continue
			case row.URL != want.URL:
				problem(id, "the job has %q, %s has %q", row.URL, s.Name, want.URL)
			}
			row, err, more = next()
		}
		switch {
		case errors.Is(rerr, io.EOF), seen > s.Rows:
			for ; more && err == nil; row, err, more = next() {
				problem(row.ID, "the job has a row that %s has not", s.Name)
			}
			return err
		case rerr != nil:
			return fmt.Errorf("read %s: %w", spec.Path, rerr)
		}
	}
}
