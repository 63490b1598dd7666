package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
	"facescan/store/draft"
)

// Reading without writing. SQLite itself makes two files beside a database in WAL mode when it only reads,
// and cannot read one at all where it cannot make them. quiet reads such a file without leaving a trace, in
// one of three ways:
//
//   - still: nobody writes to it, and all that was written is in the file itself. It is read without
//     locks, as a file that does not change; before and after each view it is checked that this was so,
//     else the view is repeated.
//   - live: its WAL and the index of that are there, made by processes that write, or left by a killed
//     one. Both are opened for reading, and SQLite's locks hold. A file with a rollback journal is always
//     read so.
//   - copy: a WAL without its index, a transaction that was cut off, or a schema of an older release:
//     things that only writing can put right. A temporary copy is written to, and read.

// readers are where read transactions come from.
type readers interface {
	view(ctx context.Context, names *strings.Replacer, f func(tx) error) error
	Close() error
}

// pool is the connections of a process that writes, too.
type pool struct{ *sql.DB }

func (p pool) view(ctx context.Context, names *strings.Replacer, f func(tx) error) error {
	t, err := p.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback() // what it wrote, as a trial does, is undone
	err = f(tx{ctx: ctx, q: reader{t, names}})
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil { // it ended with the context
		return ctx.Err()
	}
	return err
}

// connectReaders opens a pool of read connections.
func connectReaders(file string, dsn url.Values) pool {
	dsn.Set("_query_only", "true")
	dsn.Set("_cache_size", "-8192")
	dsn.Set("_busy_timeout", "60000")
	db := connect(file, dsn)
	db.SetMaxOpenConns(max(4, runtime.NumCPU()))
	db.SetMaxIdleConns(4)
	return pool{db}
}

// quietTries is how often a view is repeated that another process wrote into.
const quietTries = 20

// quiet implements readers for a file that must not be written to.
type quiet struct {
	file string // without symbolic links

	mu   sync.Mutex
	pool pool
	// the file as it was when the pool was opened, if it is read as one that nobody writes to
	still os.FileInfo
	// of the temporary copy, if there is one: what a killed process leaves goes with the next copy
	folder *draft.Draft
}

var _ readers = (*quiet)(nil)

// readQuietly opens a SQLite file for reading.
func readQuietly(ctx context.Context, file string) (*quiet, error) {
	q := &quiet{file: file}
	_, _, err := q.ready(ctx)
	return q, err
}

func (q *quiet) view(ctx context.Context, names *strings.Replacer, f func(tx) error) error {
	for range quietTries {
		p, still, err := q.ready(ctx)
		if err != nil {
			return err
		}
		err = p.view(ctx, names, f)
		if still == nil || ctx.Err() != nil || same(still, q.file) {
			return err
		}
	}
	return errors.New("another program changes the file all the time, and takes no part in SQLite's locking")
}

func (q *quiet) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.close()
}

func (q *quiet) close() (err error) {
	if q.pool.DB != nil {
		err = q.pool.Close()
		q.pool.DB = nil
	}
	if q.folder != nil {
		q.folder.Discard()
		q.folder = nil
	}
	return err
}

// ready returns the pool, opened again if the file is not what it was.
func (q *quiet) ready(ctx context.Context) (p pool, still os.FileInfo, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pool.DB != nil && (q.still == nil || same(q.still, q.file) && !exists(q.file+"-shm") &&
		size(q.file+"-wal") == 0) {
		return q.pool, q.still, nil
	}
	for range quietTries { // another process may begin or end while this looks
		if err := q.close(); err != nil {
			return p, nil, err
		}
		if err = q.open(ctx); err == nil {
			return q.pool, q.still, nil
		}
		if !isCode(err, sqlite3.ErrCantOpen) && !errors.Is(err, errMoved) {
			break
		}
	}
	return p, nil, errors.Join(err, q.close())
}

// errMoved says that a file was written to while it was copied.
var errMoved = errors.New("it is being written to")

// open chooses how to read the file, and opens it.
func (q *quiet) open(ctx context.Context) error {
	info, err := os.Stat(q.file)
	if err != nil {
		return err
	}
	h, err := header(q.file)
	if err != nil {
		return err
	}
	if h == nil {
		return errors.New("it is not a SQLite database any more")
	}
	q.still = nil
	wal, shm := q.file+"-wal", q.file+"-shm"
	isWAL := h[18] == 2 || h[19] == 2
	readable := canRead(wal) == nil && canRead(shm) == nil
	switch {
	case !isWAL || readable:
		q.pool = connectReaders(q.file, url.Values{"mode": {"ro"}, "readonly_shm": {"1"}})
	case size(wal) == 0:
		q.pool = connectReaders(q.file, url.Values{"mode": {"ro"}, "immutable": {"1"}})
		q.still = info
	default:
		return q.copy(ctx)
	}
	// takes what keeps the other files where they are
	err = q.pool.view(ctx, strings.NewReplacer(), func(t tx) error {
		n := 0
		return t.one("SELECT count(*) FROM sqlite_schema", nil, &n)
	})
	if !isWAL && exists(q.file+"-journal") && (isCode(err, sqlite3.ErrReadonly) ||
		isCode(err, sqlite3.ErrCantOpen)) {
		return errors.Join(q.close(), q.copy(ctx)) // a transaction that was cut off has to be rolled back
	}
	return err
}

// copy makes a temporary copy of the file and what belongs to it, and opens that.
func (q *quiet) copy(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, q.close())
		}
	}()
	parts := []string{"", "-wal", "-journal"}
	was := map[string]os.FileInfo{}
	total := int64(0)
	for _, part := range parts {
		info, err := os.Stat(q.file + part)
		if errors.Is(err, fs.ErrNotExist) && part != "" {
			continue
		}
		if err == nil {
			err = canRead(q.file + part)
		}
		if err != nil {
			return fmt.Errorf("%w; what was written last is in %s%s: make it readable, or run any facescan "+
				"command that "+
				"may write to the job", err, q.file, part)
		}
		was[part] = info
		total += info.Size()
	}
	if q.folder, err = draft.CreateFolder(filepath.Join(os.TempDir(), "facescan-read")); err != nil {
		return err
	}
	if err := checkRoom(q.folder.Name(), total); err != nil {
		return fmt.Errorf("it has to be copied to be read, since only writing can bring it up to date: %w; "+
			"name another folder in TMPDIR, or run `facescan run` on the job where it can be written to", err)
	}
	name := filepath.Join(q.folder.Name(), "copy.db")
	for part := range was {
		if err := copyFile(ctx, q.file+part, name+part); err != nil {
			return err
		}
	}
	for _, part := range parts {
		if info, ok := was[part]; ok != exists(q.file+part) || ok && !same(info, q.file+part) {
			return errMoved
		}
	}
	q.pool = connectReaders(name, url.Values{"mode": {"rw"}})
	q.pool.SetConnMaxIdleTime(0)
	return nil
}

// rewrite brings the schema of the file up to date, in a copy.
func (q *quiet) rewrite(ctx context.Context, update func(file string) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	for range quietTries {
		if q.folder == nil {
			if err = errors.Join(q.close(), q.copy(ctx)); errors.Is(err, errMoved) {
				continue
			}
		}
		break
	}
	q.still = nil
	if err != nil {
		return err
	}
	return update(filepath.Join(q.folder.Name(), "copy.db"))
}

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	const step = 64 << 20 // between looks at the context
	for err == nil && ctx.Err() == nil {
		_, err = io.CopyN(out, in, step)
	}
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, ctx.Err(), out.Close())
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// size of a file, 0 without one.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func canRead(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// same reports whether a file is still what it was.
func same(was os.FileInfo, path string) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(was, now) && was.Size() == now.Size() &&
		was.ModTime().Equal(now.ModTime())
}

// OpenForReading opens a job made from lists, and writes nothing: neither to the job nor beside it. What
// would change the job fails.
func OpenForReading(ctx context.Context, path string) (store.Job, error) {
	doing := "open job " + path
	if err := checkJob(doing, path); err != nil {
		return nil, err
	}
	j, err := openForReading(ctx, path, false)
	if err == nil {
		j.names = jobNames.replacer()
		err = j.upToDate(ctx)
	}
	if err != nil {
		return nil, wrap(doing, errors.Join(err, j.Close()))
	}
	return j, nil
}

// OpenTableForReading opens the job on a table of a user's file as OpenForReading does; fs.ErrNotExist
// without one.
func OpenTableForReading(ctx context.Context, path string) (store.Job, error) {
	doing := "open table of " + path
	j, err := openForReading(ctx, path, true)
	if err == nil {
		err = j.readers.view(ctx, names{prefix: tablePrefix}.replacer(), func(t tx) error {
			d, err := inspect(t, TableOptions{})
			if d.New {
				return fmt.Errorf("there is no job in %s: %w", path, fs.ErrNotExist)
			}
			j.names = d.names().replacer()
			return err
		})
	}
	if err == nil {
		err = j.upToDate(ctx)
	}
	if err != nil {
		return nil, wrap(doing, errors.Join(err, j.Close()))
	}
	return j, nil
}

func openForReading(ctx context.Context, path string, inPlace bool) (*job, error) {
	j := &job{path: path, inPlace: inPlace, patience: minPatience}
	var err error
	if j.file, err = resolve(path); err != nil {
		return j, err
	}
	j.readers, err = readQuietly(ctx, j.file)
	return j, err
}

// upToDate checks the schema of a job that is open for reading. One of an older release is read in a copy.
func (j *job) upToDate(ctx context.Context) error {
	version, err := j.checkedVersion(ctx)
	if err != nil || version == schemaVersion {
		return err
	}
	q := j.readers.(*quiet)
	return q.rewrite(ctx, func(file string) error {
		draft := &job{path: j.path, file: file, names: j.names, inPlace: j.inPlace, patience: j.patience}
		if err := draft.connect(ctx); err != nil {
			return err
		}
		return errors.Join(draft.migrate(ctx), draft.Close())
	})
}

// minPatience is how long one step may take, a view or a transaction, on a small file; on a larger one it is
// more. What takes longer has no end: a damaged tree of pages, or a trigger that somebody made for it.
const minPatience = 30 * time.Second

// limit ends a context when a step takes longer than it can need. The cause says so.
func limit(ctx context.Context, least time.Duration, file string) (context.Context, context.CancelFunc) {
	after := least + time.Duration(size(file)>>20)*time.Second
	return context.WithTimeoutCause(ctx, after, endless(after))
}
