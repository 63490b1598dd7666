package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/hint"
)

// A merge of jobs that were not all parts of their list lacks rows, and so does a job that took in what was
// published of a part. Its position in the list is nevertheless where the parts stopped. So the import of the
// list first goes through it again, from the start to that position, and adds the rows that are not there.
// Cut off, it begins again: rows that it added already are then found there.

// fillEvery is how often what was found missing goes to the job.
const fillEvery = 5 * time.Second

// fill adds the rows that such a job lacks of a source. For any other job it does nothing.
func (im *Importer) fill(ctx context.Context, settings map[string]string, spec source.Spec, s store.Source,
	lease store.SourceLease) (store.SourceLease, error) {
	published := store.MustFill(settings, s)
	if missing, known := store.Missing(settings, s); known && missing == 0 && !published {
		return lease, nil
	}
	var parts store.Nodes // whose rows are all there
	if !published {
		var err error
		if parts, err = store.Parts(settings, s); err != nil {
			return lease, err
		}
	}
	// The rows have to be those that the parts had, not what columns are named now; and the list has to be
	// the same.
	spec, err := asImported(spec, s)
	if err != nil {
		return lease, err
	}
	if spec.IsPipe() {
		return lease, fmt.Errorf("rows of %s are missing, and a pipe cannot be read twice: save the list "+
			"to a file, "+
			"and name that with --db %s", s.Name, im.Job.Path())
	}
	end := lease.Position
	whole, err := source.Open(ctx, spec, end)
	if err != nil {
		return lease, err
	}
	_ = whole.Close()
	start, err := source.Start(end)
	if err != nil {
		return lease, err
	}
	list := prefix{spec: spec, end: end.Line, at: start, chunk: make([]source.Row, readRows)}
	if list.list, err = openList(ctx, spec, start); err != nil {
		return lease, err
	}
	defer func() { list.list.Close() }()

	var batch rowBatch
	written := time.Now()
	for {
		rows, err := list.next(ctx)
		over := errors.Is(err, io.EOF)
		switch {
		case err != nil && !over:
			return lease, fmt.Errorf("read %s: %w", spec.Path, err)
		case ctx.Err() != nil:
			return lease, nil // what was not added is found missing later
		}
		for _, row := range rows {
			row.ID += store.FirstOf(s.Number)
			if row.End || !parts.Takes(row.ID) && im.Node.Takes(row.ID) {
				batch.add(row)
			}
		}
		if !over && !batch.full(importBatch) && time.Since(written) < fillEvery {
			continue
		}
		if over {
			end.Rows = list.at.Rows
		}
		written = time.Now()
		if err := im.Session.Fill(ctx, lease, batch.rows, end, over, im.ShardSize); err != nil {
			return lease, fmt.Errorf("import what is missing of %s: %w", spec.Path, err)
		}
		im.imported(s.Name, len(batch.rows), list.list.Progress())
		batch.clear()
		if over {
			lease.Position = end
			if published {
				return lease, im.Job.Set(ctx, store.Filled(s.Number))
			}
			return lease, nil
		}
	}
}

// prefix reads a list from its start up to some line, or record, of it.
type prefix struct {
	spec  source.Spec
	end   int64
	list  *listReader
	at    store.Position // of list
	chunk []source.Row
}

// next returns more rows, or io.EOF at the end. How many lines the next row takes is known only when it is
// read: rows that were read beyond the end are read again, one by one.
func (p *prefix) next(ctx context.Context) ([]source.Row, error) {
	if p.at.Line >= p.end {
		return nil, io.EOF
	}
	n, err := p.list.Next(p.chunk)
	if err != nil {
		return nil, err
	}
	at := p.list.Position()
	switch {
	case at.Line <= p.end:
		p.at = at
		return p.chunk[:n], nil
	case len(p.chunk) == 1:
		return nil, io.EOF
	}
	again, err := openList(ctx, p.spec, p.at)
	if err != nil {
		return nil, err
	}
	_ = p.list.Close()
	p.list, p.chunk = again, p.chunk[:1]
	return p.next(ctx)
}

// mergedName is what a list is called in a merge. Parts may have lain elsewhere when they were made, and so
// may the list: it is known by its contents then, since under another name its rows would come in a second
// time.
func (im *Importer) mergedName(ctx context.Context, spec source.Spec, name string) (string, error) {
	sources, err := im.Job.Sources(ctx)
	if err != nil || slices.ContainsFunc(sources, func(s store.Source) bool { return s.Name == name }) {
		return name, err
	}
	for _, s := range sources {
		as, err := asImported(spec, s)
		if err != nil || s.Format != spec.Format || as.IsPipe() {
			continue
		}
		if list, err := source.Open(ctx, as, s.Position); err == nil {
			_ = list.Close()
			return s.Name, nil
		}
	}
	return name, nil
}

// asImported is a list with the columns that a source was imported with.
func asImported(spec source.Spec, s store.Source) (source.Spec, error) {
	path := spec.Path
	spec.GroupEnd, spec.HashColumn, spec.As = "", "", "" // which options leave out
	spec.KeepColumns = nil                               // or its names would be overwritten where they are
	if err := json.Unmarshal([]byte(s.Options), &spec); err != nil {
		return spec, fmt.Errorf("the options of source %s: %w", s.Name, err)
	}
	spec.Path = path
	return spec, nil
}

// asBegun is a list that is read as its source was imported: what is not given is that of the import. Other
// columns, or another end of groups, are refused, as rows before the position were read without them.
func asBegun(spec source.Spec, options string, s store.Source) (source.Spec, error) {
	if options == s.Options { // there may be very many lists
		return spec, nil
	}
	was, err := asImported(spec, s)
	if err != nil {
		return spec, err
	}
	before := columnFlags(&was)
	for i, now := range columnFlags(&spec) {
		begun := *before[i].value
		if *now.value == "" || !now.exact && strings.EqualFold(cmp.Or(begun, now.same), *now.value) {
			*now.value = begun
		}
		if *now.value != begun {
			return spec, otherThan(s, now.name, begun)
		}
	}
	spec.KeepColumns = was.KeepColumns
	return spec, nil
}

// otherThan refuses a flag with another value than at the import of a source.
func otherThan(s store.Source, flag, was string) error {
	how := "without " + flag
	if was != "" {
		how = hint.Words("with", flag, was)
	}
	return &source.UsageError{Text: fmt.Sprintf("%s was imported %s: go on like that, or import it into "+
		"another job with --db JOB", s.Name, how)}
}
