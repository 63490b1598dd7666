package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"facescan/store"
)

const (
	followRows = 20_000                 // of one source, before the next one's turn and a commit
	followPoll = 100 * time.Millisecond // how often it is asked whether there is more,
	// but of very many sources less often: that takes a small part of the time.
	followShare = 10
)

// Follower writes a job's results in order while they come in: rows of each source by id, groups as they
// finish.
//
//	┌▶ frontier ─▶ results from the position up to it ─▶ file ─▶ sync ─▶ position into the job ─┐
//	└───────────────────────────────────────────────────────────────────────────────────────────┘
//
// The store has the rows that are done out of order, so nothing is buffered here: a slow row delays the
// output and takes no memory. A position is committed after the bytes before it are synced, so a file is
// never shorter than its position; bytes behind it, from a process that died, are truncated and written
// again. A file that is shorter nevertheless, that differs from what was written, or whose rows have changed
// since (see store.Frontier.Changes, e.g. by retry) is written from the start. See place.go for which process
// writes it, and for how a change is noticed.
type Follower struct {
	Job  store.Job
	Path string    // of the file; empty for Out
	Name string    // what the job calls the file, or the stream; see streamposition.go
	Out  io.Writer // where to write without a Path; without a Name from the start

	// which sources' rows to write; optional, all if nil
	Wants   func(source int) bool
	Options func(sources []store.Source) (Options, error) // what to write of the current sources
	Finish  bool                                          // return when the job is finished, too
	Log     *slog.Logger

	file file     // nil while another process has its lock, or without a Path
	at   position // how far it is written
	form string   // of what out writes
	out  *exporter
	new  bool // out has written nothing yet
	told bool // it was logged that rows which were written to Out have changed

	sum     *xxhash.Digest // of the file's content
	doubt   bool           // another program may have written to the file
	checked time.Time      // when the file was last compared with sum

	writes writes        // to the file, or to Out
	seen   []progress    // of each source in the last round
	asked  time.Duration // duration of the last round, without writing

	backlog atomic.Int64 // rows done in order but not written, after the last round
}

// file is the part of *os.File that a Follower uses.
type file interface {
	io.WriteSeeker
	io.ReaderAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// position is how far a file is written.
type position struct {
	Form  string `json:"form"`          // a digest of what is written: format, columns, filter
	Bytes int64  `json:"bytes"`         // of the file
	Tail  string `json:"tail"`          // a digest of the last of them
	Sum   []byte `json:"sum,omitempty"` // state of a running hash of all of them
	Stamp stamp  `json:"stamp"`         // of the file after these bytes; zero if it must be compared

	Sources []place `json:"sources,omitempty"`
	Group   int64   `json:"group,omitempty"` // Sequence of the last one
}

// place is how far a source is written.
type place struct {
	Next    int64 `json:"next"` // id
	Changes int64 `json:"changes"`
	Rows    int64 `json:"rows,omitempty"` // how many the source had when all were done and written
}

// has reports whether all rows of a source were written, and are what they were.
func (p place) has(s store.Source) bool {
	return p.Rows > 0 && p.Rows == s.Rows && s.Pending == 0 && p.Changes == s.Changes
}

// progress is the state of a source: while it stays the same, the source has nothing new to write.
type progress struct{ rows, pending, changes, next int64 }

// unseen is the progress of a source that must be read.
var unseen = progress{next: -1}

// CheckFollow returns a *UsageError for options with which an export cannot follow a job.
func CheckFollow(o Options, path string) error {
	if c, err := compress(io.Discard, path); err != nil || c != nil {
		return usagef("%s: rows cannot be appended to a compressed file; "+
			"name one that ends in .csv or .jsonl", path)
	}
	if o.Format != "" && !slices.Contains(FollowFormats(), o.Format) {
		return usagef("%s cannot be written row by row as they come in; csv and jsonl can", o.Format)
	}
	if _, err := os.Stat(filepath.Dir(path)); path != "" && path != "-" && errors.Is(err, fs.ErrNotExist) {
		return usagef("%s: the folder %s does not exist: make it first", path, filepath.Dir(path))
	}
	_, err := formOf(o)
	return err
}

// formOf is a digest of what the options mean.
func formOf(o Options) (string, error) {
	t, err := newTable(o)
	if err != nil {
		return "", err
	}
	columns, err := t.choose(o.Columns, o.Credentials)
	if err != nil {
		return "", err
	}
	o.Sources, o.Columns = nil, names(columns)
	o.Format, o.Rows = cmp.Or(o.Format, "csv"), cmp.Or(o.Rows, "images")
	text, err := json.Marshal(o)
	return digest(text), err
}

func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// Follow writes until over is closed, and then the rows that are done in order by then. While another process
// has the file's lock it waits; if over is closed before the job is finished, it leaves the file to that
// process.
func (f *Follower) Follow(ctx context.Context, over <-chan struct{}) error {
	defer f.release()
	waiting := false
	for {
		ended := false
		select {
		case <-over:
			ended = true
		default:
		}
		finished := false
		if ended || f.Finish { // asked before the last round, so that nothing is overlooked
			var err error
			if finished, err = f.finished(ctx); err != nil {
				return err
			}
		}
		locked, err := f.lock(ctx)
		for more := locked; more && err == nil; {
			more, err = f.round(ctx)
		}
		locked = locked && (f.Path == "" || f.file != nil)
		if locked && f.doubt && err == nil && (ended || finished) {
			f.release() // and compare it before the end
			f.checked = time.Time{}
			continue
		}
		switch {
		case err != nil:
			return f.wrap(err)
		case locked && (ended || finished), ended && (!finished || f.Finish):
			return nil
		case ended:
			if !waiting {
				f.Log.Info("waiting for the process that writes " + f.Path)
			}
			waiting = true
		}
		wake := over
		if ended {
			wake = nil
		}
		select {
		case <-time.After(max(followPoll, followShare*f.asked)):
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finished reports whether all rows of the job are done.
func (f *Follower) finished(ctx context.Context) (bool, error) {
	c, err := f.Job.Counts(ctx)
	if err != nil || c.Pending > 0 || len(c.ImportIncomplete) > 0 {
		return false, err
	}
	sources, err := f.Job.Sources(ctx)
	return len(sources) > 0, err
}

// round writes the rows that are done in order after the position, at most followRows of each source, and
// reports whether there are more.
func (f *Follower) round(ctx context.Context) (more bool, err error) {
	if moved, err := f.moved(); moved || err != nil {
		return false, err // the next turn locks it again, if possible
	}
	began, wrote := time.Now(), time.Duration(0)
	defer func() { f.asked = time.Since(began) - wrote }()
	sources, err := f.Job.Sources(ctx)
	if err != nil {
		return false, err
	}
	if again, err := f.begin(ctx, sources); again || err != nil {
		return again, err
	}
	at := f.at
	if f.out.perGroup {
		n, err := f.writeGroups(ctx, &at)
		if err != nil {
			return false, err
		}
		return n == followRows, f.commit(ctx, at, n)
	}
	at.Sources = slices.Clone(at.Sources)
	n, limit, left := 0, followRows, int64(0)
	seen := make([]progress, len(sources))
	if f.recordsStream() {
		limit = streamRows
	}
	for i, s := range sources {
		if f.Wants != nil && !f.Wants(s.Number) {
			seen[i] = unseen // it may be wanted later
			continue
		}
		p := &at.Sources[i]
		seen[i] = progress{s.Rows, s.Pending, s.Changes, p.Next}
		if i < len(f.seen) && f.seen[i] == seen[i] || p.has(s) { // there may be very many sources
			continue
		}
		front, again, err := f.frontier(ctx, s, p)
		if again || err != nil {
			return again, err
		}
		writing := time.Now()
		here, err := f.writeRows(ctx, p, front.Next, limit)
		if err != nil {
			return false, err
		}
		wrote += time.Since(writing)
		n += here
		if here == limit {
			more, seen[i] = true, unseen
			left += front.Next - p.Next
			continue
		}
		p.Next, p.Rows = front.Next, 0
		seen[i].next = p.Next
		if s.Pending == 0 && s.Changes == front.Changes {
			p.Rows = s.Rows
		}
	}
	if err := f.commit(ctx, at, n); err != nil {
		return false, err
	}
	f.seen = seen
	f.backlog.Store(left)
	return more, nil
}

// writeGroups writes at most followRows groups after the position, which it moves, and returns how many.
func (f *Follower) writeGroups(ctx context.Context, at *position) (n int, err error) {
	for g, err := range f.Job.Groups(ctx, at.Group) {
		if err == nil {
			err = f.out.WriteGroup(g)
		}
		if err != nil {
			return n, err
		}
		at.Group = g.Sequence
		if n++; n == followRows {
			break
		}
	}
	return n, nil
}

// frontier asks up to where the rows of a source are done. It reports whether the output was restarted,
// because rows before its place have changed.
func (f *Follower) frontier(ctx context.Context, s store.Source, p *place) (front store.Frontier, again bool,
	err error) {
	front, err = f.Job.Frontier(ctx, s.Number, p.Next)
	if err == nil && front.Changes != p.Changes && p.Next != firstID(s) {
		again, err = f.restart(ctx, "rows that were written have changed since")
	}
	p.Changes = front.Changes
	return front, again, err
}

// writeRows writes the results from a place up to an id, at most so many. It moves the place, and returns how
// many they were.
func (f *Follower) writeRows(ctx context.Context, p *place, upTo int64, limit int) (n int, err error) {
	for r, err := range f.Job.Results(ctx, p.Next, upTo) {
		if err == nil {
			err = f.out.Write(r)
		}
		if err != nil {
			return n, err
		}
		p.Next = r.ID + 1
		if n++; n == limit {
			break
		}
	}
	return n, nil
}

// firstID is the least id that a source may have.
func firstID(s store.Source) int64 {
	if s.Format == store.TableFormat {
		return math.MinInt64
	}
	return int64(s.Number) << store.SourceShift
}

// begin makes an encoder for the current sources, unless there is one. It reports whether the file was
// restarted because its rows have another form.
func (f *Follower) begin(ctx context.Context, sources []store.Source) (again bool, err error) {
	if f.out != nil && len(sources) == len(f.at.Sources) {
		return false, nil
	}
	o, err := f.Options(sources)
	if err != nil {
		return false, err
	}
	if f.form, err = formOf(o); err != nil {
		return false, err
	}
	if f.at.Form != "" && f.at.Form != f.form {
		if again, err := f.restart(ctx, "it has other columns or another filter"); again || err != nil {
			return again, err
		}
	}
	f.at.Form = f.form
	f.out, err = newExporter(o, func(_ table, columns []column) (encoder, error) {
		to := f.Out
		if f.file != nil {
			to = io.MultiWriter(f.file, f.sum)
		}
		return newEncoder(timedWriter{to, &f.writes}, o.Format, columns, 0)
	})
	if err != nil {
		return false, err
	}
	f.new = true
	if csv, ok := f.out.out.(*csvEncoder); ok && f.at.Bytes > 0 { // its header is there
		csv.buf = csv.buf[:0]
	}
	places, err := f.places(ctx, sources[min(len(f.at.Sources), len(sources)):])
	f.at.Sources = append(f.at.Sources, places...)
	return false, err
}

// restart empties the file, so that it is written from the start, and logs why. A stream cannot be written
// again: that is logged once.
func (f *Follower) restart(ctx context.Context, why string) (again bool, err error) {
	if f.file == nil {
		if !f.told {
			f.Log.Warn("the output is not what the job holds now, and a stream is not written again: " + why)
		}
		f.told = true
		return false, nil
	}
	f.out = nil
	f.Log.Info("writing "+f.Path+" from the start", "reason", why)
	f.at = position{}
	if err := f.save(ctx, f.at); err != nil { // first: a file that is longer than its position is cut
		return false, err
	}
	if err := f.file.Truncate(0); err != nil {
		return false, err
	}
	f.sum, f.doubt = xxhash.New(), false
	if _, err = f.file.Seek(0, io.SeekStart); err != nil {
		return true, err
	}
	f.at.Stamp, err = stampOf(f.file)
	return true, err
}

// commit syncs the n rows that were written, and saves the position after them.
func (f *Follower) commit(ctx context.Context, at position, n int) error {
	if n == 0 && !f.new {
		f.at = at
		return nil
	}
	if err := f.out.Close(); err != nil { // which leaves it open for more
		return err
	}
	f.new = false
	if f.file == nil {
		at.Bytes++ // for a stream it only says that it was started
		if f.recordsStream() {
			if err := f.saveStream(ctx, at); err != nil {
				return err
			}
		}
		f.at = at
		return nil
	}
	var err error
	if at.Bytes, err = f.file.Seek(0, io.SeekCurrent); err != nil {
		return err
	}
	if at.Tail, err = tailOf(f.file, at.Bytes); err != nil {
		return err
	}
	if at.Sum, err = f.sum.MarshalBinary(); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	if at.Stamp, err = stampOf(f.file); err != nil {
		return err
	}
	f.at = at
	if f.doubt { // so that it is compared before more is appended
		at.Stamp = stamp{}
	}
	return f.save(ctx, at)
}
