package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"

	"facescan/pipeline/source"
	"facescan/store"
)

// VerifySource compares a source's rows in the job with the list they came from, as far as it is imported:
// the same ids with the same URLs, groups and kept values, none more and none less. It reads both in step, so
// memory does not grow with them. A list that is absent is fs.ErrNotExist; one that cannot be read as a list
// any more is a problem. A merge that lacks parts of the list may have rows of them all the same.
func VerifySource(ctx context.Context, job store.Job, s store.Source, spec source.Spec,
	settings map[string]string, report func(store.Problem)) error {
	parts, err := store.Parts(settings, s)
	if err != nil {
		return err
	}
	problem := func(id int64, format string, args ...any) {
		report(store.Problem{Check: "source-rows", ID: id, Text: fmt.Sprintf(format, args...)})
	}
	start, err := source.Start(s.Position)
	if err != nil {
		problem(0, "%s: %v", s.Name, err)
		return nil
	}
	list, err := source.Open(ctx, spec, start)
	var usage *source.UsageError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.As(err, &usage):
		problem(0, "%s", usage.Text)
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", spec.Path, err)
	}
	defer list.Close()
	first := store.FirstOf(s.Number)
	rows := rowCheck{source: s, parts: parts, isMerge: store.IsMerge(settings), problem: problem}
	defer rows.begin(job.Rows(ctx, first, store.FirstOf(s.Number+1)))()
	missing, known := store.Missing(settings, s)
	ends := endCheck{job: job, source: s, whole: known && missing == 0, problem: problem}
	defer ends.begin(job.Ends(ctx, s.Number))()

	chunk := make([]source.Row, readRows)
	for over := false; !over; {
		n, err := list.Next(chunk)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", spec.Path, err)
		}
		over = err != nil
		for _, row := range chunk[:n] {
			row.ID += first
			if row.End {
				err = ends.compare(ctx, row, list.Position().Line)
			} else {
				over, err = rows.compare(row)
			}
			if err != nil {
				return err
			}
			if over {
				break
			}
		}
	}
	if err := rows.finish(); err != nil {
		return err
	}
	return ends.finish()
}

// cursor is a place in a sequence that a job yields.
type cursor[T any] struct {
	next func() (T, error, bool)
	now  T
	more bool // there is now
	err  error
}

func (c *cursor[T]) begin(all iter.Seq2[T, error]) (stop func()) {
	c.next, stop = iter.Pull2(all)
	_ = c.advance()
	return stop
}

// advance goes on to the next one. Its error stays.
func (c *cursor[T]) advance() error {
	c.now, c.err, c.more = c.next()
	c.more = c.more && c.err == nil
	return c.err
}

type reportRow = func(id int64, format string, args ...any)

// rowCheck compares the rows of a job with those of their list.
type rowCheck struct {
	cursor[store.Row]
	source  store.Source
	parts   store.Nodes // whose rows are all there
	isMerge bool
	problem reportRow
	seen    int64 // rows of the list that the job should have, of which source.Rows are imported
}

// compare takes the next row of the list. It reports whether that is behind those that are imported.
func (c *rowCheck) compare(want source.Row) (over bool, err error) {
	for c.more && c.now.ID < want.ID {
		c.superfluous()
	}
	if c.err != nil {
		return false, c.err
	}
	present := c.more && c.now.ID == want.ID
	if !c.parts.Takes(want.ID) && !(present && c.isMerge) {
		return false, nil
	}
	c.seen++
	switch {
	case c.seen > c.source.Rows:
		return true, nil
	case !present:
		c.problem(want.ID, "%s has a row that is missing from the job", c.source.Name)
		return false, nil
	case !store.SameURL(c.now.URL, want.URL):
		c.problem(want.ID, "the job has %q, %s has %q", c.now.URL, c.source.Name, want.URL)
	case store.IsErased(c.now.URL): // and the rest with it
	case c.now.Group != want.Group:
		c.problem(want.ID, "the job has the group %q, %s has %q", c.now.Group, c.source.Name, want.Group)
	case !slices.Equal(c.now.Kept, want.Kept):
		c.problem(want.ID, "the job keeps %q, %s has %q", c.now.Kept, c.source.Name, want.Kept)
	}
	return false, c.advance()
}

// finish is called when the list has no more rows that are imported.
func (c *rowCheck) finish() error {
	for c.more {
		c.superfluous()
	}
	return c.err
}

func (c *rowCheck) superfluous() {
	c.problem(c.now.ID, "the job has a row that is missing from %s", c.source.Name)
	_ = c.advance() // the caller looks at err
}

// endCheck compares the groups that are ended in the job with the end records of its list.
type endCheck struct {
	cursor[store.GroupEnd]
	job     store.Job
	source  store.Source
	whole   bool // no part is missing; until then a merge notes no ends
	problem reportRow
	erased  []string // names of groups that were removed with their rows, as far as they were compared
}

// compare takes the next end record of the list, which is read up to a line at least. The job notes the first
// one of each group.
func (c *endCheck) compare(ctx context.Context, end source.Row, line int64) error {
	if !c.whole {
		return nil
	}
	for c.more && c.now.ID < end.ID {
		c.superfluous()
	}
	if c.err != nil {
		return c.err
	}
	if c.more && c.now.ID == end.ID && store.SameURL(c.now.Group, end.Group) {
		if store.IsErased(c.now.Group) {
			c.erased = append(c.erased, c.now.Group)
		}
		return c.advance()
	}
	if line > c.source.Position.Line {
		return nil // maybe not imported yet
	}
	first, err := c.job.EndOf(ctx, c.source.Number, end.Group)
	isEnded := func(name string) bool { return store.SameURL(name, end.Group) }
	if err == nil && (first > end.ID || first == 0 && !slices.ContainsFunc(c.erased, isEnded)) {
		c.problem(end.ID, "%s ends the group %q here, and the job has not noted it", c.source.Name, end.Group)
	}
	return err
}

// finish is called when the list has no more end records.
func (c *endCheck) finish() error {
	for c.whole && c.more {
		c.superfluous()
	}
	return c.err
}

func (c *endCheck) superfluous() {
	c.problem(c.now.ID, "the job has the group %q ended here, and %s does not end it", c.now.Group,
		c.source.Name)
	_ = c.advance() // the caller looks at err
}
