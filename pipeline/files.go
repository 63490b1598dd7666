package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fileurl"
	"facescan/pipeline/source"
	"facescan/store"
)

// Rows that are files here go the way of all others: the dispatcher says which file a row is, a fetcher reads
// it. What is different stands here.

// fileTask is the file that a row is.
type fileTask struct {
	fetch.File
	was store.File // as the job has it
}

// queueKey is by what the queue knows rows of the same image. A list may name a file that it must not, while
// a folder of images has it: the two never share an outcome.
func (t *task) queueKey() string {
	if t.file == nil && fileurl.Is(t.row.URL) {
		return " " + t.row.URL
	}
	return t.row.URL
}

// fileRows finds out which files rows are.
type fileRows struct {
	job interface {
		Sources(ctx context.Context) ([]store.Source, error)
		store.Filed
	}
	sources []store.Source // known so far
}

// of returns the files of some rows of a source, in id order; nil if the source has none.
func (f *fileRows) of(ctx context.Context, number int, rows []store.Row) (map[int64]*fileTask, error) {
	if f == nil || len(rows) == 0 {
		return nil, nil
	}
	if number >= len(f.sources) {
		sources, err := f.job.Sources(ctx)
		if err != nil {
			return nil, err
		}
		f.sources = sources
	}
	if number >= len(f.sources) || !source.HasImages(f.sources[number].Format) {
		return nil, nil
	}
	s := &f.sources[number]
	all := make(map[int64]*fileTask, len(rows))
	for row, err := range f.job.Files(ctx, rows[0].ID, rows[len(rows)-1].ID+1) {
		if err != nil {
			return nil, err
		}
		for len(rows) > 0 && rows[0].ID < row.ID {
			rows = rows[1:]
		}
		if len(rows) == 0 || rows[0].ID != row.ID {
			continue // one between them that is done, of which even the URL may have been removed
		}
		name, isTar, err := fileOf(s, row.URL)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w; see facescan verify", row.ID, err)
		}
		file := fetch.File{Source: SourcePath("", s.Name), Tar: isTar, Name: name, Offset: row.File.Offset}
		all[row.ID] = &fileTask{file, row.File}
	}
	return all, nil
}

// fileOf is the file that a row of a folder or tar is: its path below the folder, or the member's name.
func fileOf(s *store.Source, url string) (name string, isTar bool, err error) {
	root := SourcePath("", s.Name)
	file, member, ok := fileurl.Split(url)
	isTar = s.Format == source.Tar
	name = member
	if !isTar && ok {
		if name, err = filepath.Rel(root, file); err != nil || member != "" || !filepath.IsLocal(name) {
			ok = false
		}
	}
	if !ok || name == "" || name == "." || isTar && file != root {
		return "", isTar, fmt.Errorf("%s is not an image of %s", url, s.Name)
	}
	return name, isTar, nil
}

const (
	fileWait  = time.Second            // of rows whose folder is away
	filePause = 500 * time.Millisecond // between looks whether it is back
)

// fileReader reads the files of rows.
type fileReader struct {
	client interface {
		FetchFile(ctx context.Context, f fetch.File, memory fetch.Memory) (*fetch.Body, error)
	}
	job     store.Filed
	outages *outages
	log     *slog.Logger

	mu   sync.Mutex
	gone map[string]time.Time // folders and tars that are away, and when to look again
}

// read reads a row's file. If that is not what the job has noted, it is noted first, so that a change which
// comes later shows.
func (r *fileReader) read(ctx context.Context, t *task) (*fetch.Body, error) {
	body, err := r.client.FetchFile(ctx, t.file.File, &t.memory)
	if err != nil {
		return nil, err
	}
	if now := store.File(*body.Seen); now != t.file.was {
		if err := r.job.SetFiles(ctx, []store.FileRow{{ID: t.row.ID, File: now}}); err != nil {
			body.Release()
			return nil, err
		}
		t.file.was = now
	}
	return body, nil
}

// waits reports whether a row waits for its folder, which is looked for now and then.
func (r *fileReader) waits(t *task) bool {
	if r == nil || t.file == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next, away := r.gone[t.file.Source]
	if !away {
		return false
	}
	if time.Now().Before(next) {
		return true
	}
	r.gone[t.file.Source] = time.Now().Add(filePause)
	return false
}

// note learns from an attempt whether a folder is away; gone is nil if it is not. A file that a list names
// may lie in any folder, so that it ends no outage of one but its own.
func (r *fileReader) note(gone *fetch.GoneError, t *task) {
	if r == nil || gone == nil && t.file == nil && !fileurl.Is(t.row.URL) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if gone != nil {
		if r.gone == nil {
			r.gone = map[string]time.Time{}
		}
		if _, known := r.gone[gone.Source]; !known {
			r.gone[gone.Source] = time.Now().Add(filePause)
		}
		t.away = gone.Source
		r.outages.begin(ofFiles, time.Now(), gone)
		return
	}
	for _, back := range []string{t.away, t.source()} {
		if _, away := r.gone[back]; !away {
			continue
		}
		delete(r.gone, back)
		if len(r.gone) > 0 {
			continue
		}
		if lasted := r.outages.end(ofFiles); lasted > 0 {
			r.log.Info("the images are back: going on", "lasted", lasted.Round(time.Millisecond))
		}
	}
	t.away = ""
}

// source is the folder or tar that a row is a file of; empty for any other row.
func (t *task) source() string {
	if t.file == nil {
		return ""
	}
	return t.file.Source
}
