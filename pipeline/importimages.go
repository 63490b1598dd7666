package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"facescan/pipeline/fileurl"
	"facescan/pipeline/source"
	"facescan/store"
)

// Images in folders and tars have no place to go on from: files come and go anywhere. So every import reads
// all names, in byte order, beside the rows that the job has, in the same order:
//
//	folder or tar ─▶ path, size, time ─┐
//	                                   ├─▶ new: appended, with the next ids; changed: pending again
//	rows of the job, by path ──────────┘
//
// The rows that the first import appended are in this order by their ids, and are read page by page. Those of
// later ones are sorted first, on the disk if they are many. One import that was killed and another one that
// goes on come to the same as one that was not.

// changedBatch is how many changed files go to the job at a time.
const changedBatch = 1000

// readImages imports what is new in a folder or tar.
func (im *Importer) readImages(ctx context.Context, spec source.Spec, s store.Source,
	lease store.SourceLease) error {
	list, err := source.OpenImages(ctx, spec)
	if err != nil {
		return err
	}
	defer list.Close()
	was := lease.Position
	if list.Unchanged(was) {
		return nil
	}
	known, err := im.knownImages(ctx, s, lease)
	if err != nil {
		return fmt.Errorf("import %s: %w", spec.Path, err)
	}
	defer known.close()
	p := imagesPass{im: im, list: list, spec: spec, source: s, lease: lease, size: firstBatch, last: was.Line,
		ascending: known.ascending}
	known.passed = func(row store.FileRow) error { return p.vanished(ctx, row) }
	chunk := make([]source.Row, readRows)
	for {
		n, err := list.Next(chunk)
		for i := range chunk[:n] {
			if e := p.compare(ctx, known, &chunk[i]); e != nil {
				return e
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil // what was not appended is found again later
		case errors.Is(err, io.EOF):
			if err := known.passRest(); err != nil {
				return err
			}
			return p.finish(ctx, was)
		case err != nil:
			return errors.Join(err, p.flush(ctx, false))
		}
	}
}

// imagesPass is one import of a folder or tar.
type imagesPass struct {
	im     *Importer
	list   source.Images
	spec   source.Spec
	source store.Source
	lease  store.SourceLease

	last      int64 // id within the source
	ascending int64 // up to which id rows ascend by path
	size      int   // of a batch of new rows
	fresh     rowBatch
	reopen    []store.FileRow // changed files of done rows
	moved     []store.FileRow // members of a tar that lie elsewhere now
	found     int64
	added     int64
	reopened  int64
}

// compare finds out whether an image is new or changed.
func (p *imagesPass) compare(ctx context.Context, known *knownImages, row *source.Row) error {
	path, ok := imagePath(row.URL)
	if !ok {
		return fmt.Errorf("%s is not the URL of a file", row.URL)
	}
	p.found++
	k, err := known.at(path)
	if err != nil {
		return err
	}
	file := *row.File
	switch {
	case k == nil && known.erased.Has(row.URL), k != nil && k.Reason == store.Forgotten:
		// It is never read again.
	case k == nil:
		p.last++
		if p.ascending == p.last-1 && known.extends && path > known.highest {
			p.ascending, known.highest = p.last, path
		}
		p.fresh.add(store.NewRow{ID: store.FirstOf(p.source.Number) + p.last, URL: row.URL, File: row.File})
	case k.Done && isChanged(k, file):
		p.reopen = append(p.reopen, store.FileRow{ID: k.ID, File: file})
	case k.File.Offset != file.Offset:
		file.Size, file.Mtime = k.File.Size, k.File.Mtime // what was read, or is to be read, was that
		p.moved = append(p.moved, store.FileRow{ID: k.ID, File: file})
	}
	return p.flushIfFull(ctx)
}

func (p *imagesPass) flushIfFull(ctx context.Context) error {
	if p.fresh.full(p.size) || len(p.reopen)+len(p.moved) >= changedBatch {
		return p.flush(ctx, false)
	}
	return nil
}

// vanished notes that a row's member is not in its tar any more: a reader at its old place cannot tell
// that from a tar that is being written. A row that was read like that meanwhile is read again.
func (p *imagesPass) vanished(ctx context.Context, row store.FileRow) error {
	if p.spec.Format != source.Tar || p.list.Passed().Cut || row.Reason == store.Forgotten ||
		row.File.Offset == store.Vanished {
		return nil
	}
	row.File.Offset = store.Vanished
	if row.Reason == store.FileUnreadable {
		p.reopen = append(p.reopen, row)
	} else {
		p.moved = append(p.moved, row)
	}
	return p.flushIfFull(ctx)
}

// isChanged reports whether a done row's file has to be read again. What it looked like is noted when it is
// read, so a file that changes later differs from that, whenever an import sees it.
func isChanged(k *store.FileRow, now store.File) bool {
	return now.Size != k.File.Size || now.Mtime != k.File.Mtime || k.Reason == store.FileMissing ||
		k.Reason == store.FileUnreadable && now.Offset != k.File.Offset
}

// flush brings what was found to the job. A row becomes pending before its new state is noted: a pass that is
// cut off between the two finds the change once more.
func (p *imagesPass) flush(ctx context.Context, complete bool) error {
	im, job := p.im, p.im.Job
	if len(p.reopen) > 0 {
		slices.SortFunc(p.reopen, func(a, b store.FileRow) int { return int(a.ID - b.ID) })
		ids := make([]int64, len(p.reopen))
		for i, f := range p.reopen {
			ids[i] = f.ID
		}
		isForgotten := func(r store.Reason) bool { return r == store.Forgotten }
		reasons := slices.DeleteFunc(store.Reasons(""), isForgotten)
		n, err := job.Retry(ctx, store.Selection{OK: true, Reasons: reasons, IDs: ids})
		if err != nil {
			return err
		}
		p.reopened += n
	}
	if files := append(p.reopen, p.moved...); len(files) > 0 {
		if err := job.SetFiles(ctx, files); err != nil {
			return err
		}
	}
	if len(p.fresh.rows) > 0 || complete {
		at := p.list.At(p.last, p.ascending, complete)
		at.Rows = p.last
		if err := im.Session.Append(ctx, p.lease, p.fresh.rows, at, complete, im.ShardSize); err != nil {
			return fmt.Errorf("import %s: %w", p.spec.Path, err)
		}
	}
	if len(p.fresh.rows)+len(p.reopen) > 0 {
		im.imported(p.source.Name, len(p.fresh.rows), 0)
	}
	p.added += int64(len(p.fresh.rows))
	p.fresh.clear()
	p.reopen, p.moved = p.reopen[:0], p.moved[:0]
	p.size = min(p.size*4, importBatch)
	return nil
}

// finish ends a pass that came to the end.
func (p *imagesPass) finish(ctx context.Context, was store.Position) error {
	at := p.list.At(p.last, p.ascending, true)
	if !p.source.Complete || p.added+int64(len(p.fresh.rows)) > 0 || string(at.Mark) != string(was.Mark) {
		if err := p.flush(ctx, true); err != nil {
			return err
		}
	} else if err := p.flush(ctx, false); err != nil {
		return err
	}
	passed := p.list.Passed()
	if p.spec.Growing && len(was.Mark) > 0 && p.added+p.reopened == 0 {
		return nil // it was said before
	}
	if passed.Folders > 0 {
		p.im.Log.Warn("folders cannot be read, and their images are not in the job: make them readable, "+
			"then run the same command again", "source", p.source.Name, "folders", passed.Folders,
			"one of them", passed.Folder)
	}
	p.im.Log.Info("images found", "source", p.source.Name, "images", p.found, "new", p.added, "changed",
		p.reopened,
		"other files", passed.Other)
	if p.found == 0 && !p.spec.Growing {
		return source.NoImage(p.spec)
	}
	return nil
}

// imagePath is what rows of a folder or tar are compared by: the path, or the member's name.
func imagePath(url string) (string, bool) {
	file, member, ok := fileurl.Split(url)
	if member != "" {
		file = member
	}
	return file, ok
}

// knownImages yields the rows that a source has, by path.
type knownImages struct {
	ascending int64
	highest   string          // path of the row up to which they ascend
	extends   bool            // that path is known
	erased    store.ErasedSet // URLs that were removed
	rest      *source.Sorter
	passed    func(row store.FileRow) error // is called for those whose paths are not asked for
	streams   [2]imageStream
	stop      func()
}

// imageStream is some rows in the order of their paths, of which it shows the next.
type imageStream struct {
	next func() (path string, row store.FileRow, more bool, err error)
	path string
	row  store.FileRow
	more bool
}

func (s *imageStream) advance() (err error) {
	s.path, s.row, s.more, err = s.next()
	return err
}

// knownImages reads the rows up to the last one, as of the lease.
func (im *Importer) knownImages(ctx context.Context, s store.Source, lease store.SourceLease) (
	_ *knownImages, err error) {
	p := lease.Position
	first := store.FirstOf(s.Number)
	k := &knownImages{}
	if k.ascending, err = source.Ascending(p); err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(im.Job.Files(ctx, first+1, first+k.ascending+1))
	k.stop = stop
	k.rest = source.NewSorter(ctx)
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	k.streams[0].next = func() (string, store.FileRow, bool, error) {
		for {
			row, err, more := next()
			if err != nil || !more {
				return "", row, false, err
			}
			if path, ok := imagePath(row.URL); ok {
				return path, row, true, nil
			}
		}
	}
	for row, err := range im.Job.Files(ctx, first+k.ascending+1, first+p.Line+1) {
		if err != nil {
			return nil, err
		}
		if path, ok := imagePath(row.URL); ok {
			if err := k.rest.Add(path, packFileRow(row)); err != nil {
				return nil, err
			}
		}
	}
	if err := k.rest.Sort(); err != nil {
		return nil, err
	}
	k.streams[1].next = func() (string, store.FileRow, bool, error) {
		path, data, more, err := k.rest.Next()
		return path, unpackFileRow(data), more, err
	}
	k.extends = k.ascending == 0
	for row, err := range im.Job.Files(ctx, first+k.ascending, first+k.ascending+1) {
		if err != nil {
			return nil, err
		}
		k.highest, k.extends = imagePath(row.URL)
	}
	if err := k.readErased(ctx, im.Job, first, first+p.Line); err != nil {
		return nil, err
	}
	return k, errors.Join(k.streams[0].advance(), k.streams[1].advance())
}

// at returns the row of a path, nil if there is none. Paths ascend from call to call.
func (k *knownImages) at(path string) (*store.FileRow, error) {
	for i := range k.streams {
		s := &k.streams[i]
		for s.more && s.path < path {
			if err := k.pass(s); err != nil {
				return nil, err
			}
		}
		if s.more && s.path == path {
			row := s.row
			return &row, s.advance()
		}
	}
	return nil, nil
}

// passRest goes to the end.
func (k *knownImages) passRest() error {
	for i := range k.streams {
		for s := &k.streams[i]; s.more; {
			if err := k.pass(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *knownImages) pass(s *imageStream) error { return errors.Join(k.passed(s.row), s.advance()) }

// readErased reads the URLs that were removed from the job, if there are any: a file that is one of them is
// no new one.
func (k *knownImages) readErased(ctx context.Context, job store.Job, first, last int64) error {
	c, err := job.Counts(ctx)
	if err != nil || c.Failures[store.Forgotten] == 0 {
		return err
	}
	for row, err := range job.Rows(ctx, first+1, last+1) {
		if err != nil {
			return err
		}
		k.erased.Add(row.URL)
	}
	return nil
}

func (k *knownImages) close() {
	k.stop()
	_ = k.rest.Close() // it is a temporary file
}

// packFileRow is a row for the sorter, without its URL.
func packFileRow(r store.FileRow) []byte {
	done := int64(0)
	if r.Done {
		done = 1
	}
	b := make([]byte, 0, 40+len(r.Reason))
	for _, v := range []int64{r.ID, r.File.Size, r.File.Mtime, r.File.Offset, done} {
		b = binary.AppendVarint(b, v)
	}
	return append(b, r.Reason...)
}

func unpackFileRow(b []byte) (r store.FileRow) {
	var done int64
	for _, v := range []*int64{&r.ID, &r.File.Size, &r.File.Mtime, &r.File.Offset, &done} {
		x, n := binary.Varint(b)
		*v, b = x, b[max(n, 0):]
	}
	r.Done, r.Reason = done != 0, store.Reason(b)
	return r
}

// checkImages refuses folders and tars that do not fit to the sources that the job has.
func (im *Importer) checkImages(ctx context.Context, specs []source.Spec) error {
	if !slices.ContainsFunc(specs, func(s source.Spec) bool { return source.HasImages(s.Format) }) {
		return nil
	}
	sources, err := im.Job.Sources(ctx)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		for _, s := range sources {
			if !source.HasImages(s.Format) {
				continue
			}
			path := SourcePath("", s.Name)
			switch {
			case s.Name == NameOf(im.Job.Path(), spec) && s.Format != spec.Format:
				return &source.UsageError{Text: fmt.Sprintf("%s was imported as %s and is a %s now: import "+
					"it into another job with --db JOB.db", s.Name, s.Format, spec.Format)}
			case s.Name != NameOf(im.Job.Path(), spec) && source.SameFile(path, spec.Path):
				return &source.UsageError{Text: fmt.Sprintf("the job has %s under the name %s: give it by "+
					"that name, or "+
					"import it into another job with --db JOB.db", spec.Path, s.Name)}
			case s.Format == source.Folder && spec.Format == source.Folder:
				if err := errors.Join(source.CheckNested(spec.Path, path),
					source.CheckNested(path, spec.Path)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// VerifyImages checks that the rows of a folder or tar are files of it. Files come and go, so that they are
// not compared with the rows.
func VerifyImages(ctx context.Context, job store.Job, s store.Source, report func(store.Problem)) error {
	first := store.FirstOf(s.Number)
	for row, err := range job.Rows(ctx, first, store.FirstOf(s.Number+1)) {
		if err != nil {
			return err
		}
		if _, _, err := fileOf(&s, row.URL); err != nil && !store.IsErased(row.URL) {
			report(store.Problem{Check: "source-rows", ID: row.ID, Text: err.Error()})
		}
	}
	return nil
}
