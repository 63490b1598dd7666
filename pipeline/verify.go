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
func VerifySource(ctx context.Context, job store.Job, s store.Source, spec source.Spec, settings map[string]string,
	report func(store.Problem)) error {
	parts, err := store.Parts(settings, s)
	if err != nil {
		return err
	}
	start, err := source.Start(listPosition(s.Position))
	if err != nil {
		report(store.Problem{Check: "source-rows", Text: fmt.Sprintf("%s: %v", s.Name, err)})
		return nil
	}
	list, err := source.Open(ctx, spec, start)
	var usage *source.UsageError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.As(err, &usage):
		report(store.Problem{Check: "source-rows", Text: usage.Error()})
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", spec.Path, err)
	}
	defer list.Close()
	offset := int64(s.Number) << store.SourceShift
	next, stop := iter.Pull2(job.Rows(ctx, offset, offset+1<<store.SourceShift))
	defer stop()

	problem := func(id int64, format string, args ...any) {
		report(store.Problem{Check: "source-rows", ID: id, Text: fmt.Sprintf(format, args...)})
	}
	missing, known := store.Missing(settings, s)
	ends := endCheck{job: job, source: s, whole: known && missing == 0}
	defer ends.begin(ctx)()
	row, err, more := next()
	var seen int64 // rows of the list that the job should have, of which Rows are imported
	chunk := make([]source.Row, readRows)
	for {
		n, rerr := list.Next(chunk)
		for _, want := range chunk[:n] {
			if err != nil {
				return err
			}
			id := offset + want.ID
			if want.End {
				if err := ends.compare(ctx, id, want.Group, list.Position().Line, problem); err != nil {
					return err
				}
				continue
			}
			for more && row.ID < id {
				problem(row.ID, "the job has a row that is missing from %s", s.Name)
				if row, err, more = next(); err != nil {
					return err
				}
			}
			present := more && row.ID == id
			if !parts.Takes(id) && !(present && store.IsMerge(settings)) {
				continue
			}
			if seen++; seen > s.Rows {
				break
			}
			switch {
			case !present:
				problem(id, "%s has a row that is missing from the job", s.Name)
				continue
			case !store.SameURL(row.URL, want.URL):
				problem(id, "the job has %q, %s has %q", row.URL, s.Name, want.URL)
			case store.IsErased(row.URL): // and the rest with it
			case row.Group != want.Group:
				problem(id, "the job has the group %q, %s has %q", row.Group, s.Name, want.Group)
			case !slices.Equal(row.Kept, want.Kept):
				problem(id, "the job keeps %q, %s has %q", row.Kept, s.Name, want.Kept)
			}
			row, err, more = next()
		}
		switch {
		case errors.Is(rerr, io.EOF), seen > s.Rows:
			for ; more && err == nil; row, err, more = next() {
				problem(row.ID, "the job has a row that is missing from %s", s.Name)
			}
			if err == nil {
				err = ends.finish(problem)
			}
			return err
		case rerr != nil:
			return fmt.Errorf("read %s: %w", spec.Path, rerr)
		}
	}
}

// endCheck compares the groups that are ended in the job with the end records of its list.
type endCheck struct {
	job    store.Job
	source store.Source
	whole  bool     // no part is missing; until then a merge notes no ends
	erased []string // names of groups that were removed with their rows, as far as they were compared

	next func() (store.GroupEnd, error, bool)
	end  store.GroupEnd
	err  error
	more bool
}

type reportRow = func(id int64, format string, args ...any)

func (c *endCheck) begin(ctx context.Context) (stop func()) {
	c.next, stop = iter.Pull2(c.job.Ends(ctx, c.source.Number))
	c.end, c.err, c.more = c.next()
	return stop
}

// compare takes the next end record of the list, which is read up to a line at least. The job notes the first
// one of each group.
func (c *endCheck) compare(ctx context.Context, id int64, group string, line int64, report reportRow) error {
	if !c.whole {
		return nil
	}
	for c.err == nil && c.more && c.end.ID < id {
		c.superfluous(report)
	}
	if c.err != nil {
		return c.err
	}
	if c.more && c.end.ID == id && store.SameURL(c.end.Group, group) {
		if store.IsErased(c.end.Group) {
			c.erased = append(c.erased, c.end.Group)
		}
		c.end, c.err, c.more = c.next()
		return c.err
	}
	if line > c.source.Position.Line {
		return nil // maybe not imported yet
	}
	first, err := c.job.EndOf(ctx, c.source.Number, group)
	if first == 0 && slices.ContainsFunc(c.erased, func(name string) bool { return store.SameURL(name, group) }) {
		return err
	}
	if err == nil && (first == 0 || first > id) {
		report(id, "%s ends the group %q here, and the job has not noted it", c.source.Name, group)
	}
	return err
}

// finish is called when the list has no more end records.
func (c *endCheck) finish(report reportRow) error {
	for c.whole && c.err == nil && c.more {
		c.superfluous(report)
	}
	return c.err
}

func (c *endCheck) superfluous(report reportRow) {
	report(c.end.ID, "the job has the group %q ended here, and %s does not end it", c.end.Group, c.source.Name)
	c.end, c.err, c.more = c.next()
}
