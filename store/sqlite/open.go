// Package sqlite keeps a job in a SQLite file, or in a user's SQLite file beside the table it works on, for
// any number of processes of one machine.
//
// # Writing
//
// Each process writes through one connection (tx.go). Every transaction takes SQLite's write lock first
// (BEGIN IMMEDIATE), is short, and is on the disk when it is acknowledged (WAL, synchronous FULL). Readers
// never wait for writers; they read in pages, since the WAL cannot start over while one of them stays in it.
//
// # Leases
//
// A shard is a range of ids with counters, a row of its table. Its lease is owner, generation and expiry in
// that same row; a commit checks it first, in its own transaction. If another process has the lease, nothing
// is written. Leases end by a clock that all processes of the machine share and nobody sets. That somebody
// died is known at once, though, by a lock that the kernel dropped (owners.go).
//
// # Counting
//
// Nothing that a user waits for counts rows: a shard has the numbers of its rows and pending rows, and
// tallies have the done rows by source and reason. Both change in the transactions that change what they
// count. Verify (verify.go) counts all of it again.
//
// # Names
//
// The tables of a job are plain and a contract: urls, results and faces may be read by anyone with SQL. In a
// user's file ours are prefixed, and urls is the user's own table (table.go).
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
	"facescan/store/draft"
)

const (
	applicationID = 0x6673636e // "fscn", in the header of a job made from lists
	busyTimeout   = time.Second
	walStep       = 256 << 20 // bytes of WAL after which a writer waits for the readers to let it start over
	walEvery      = 64        // transactions between looks at the WAL's size
)

//go:embed schema/*.sql
var schemas embed.FS

// schemaVersion is the newest schema this program knows: how many files there are in schema/.
const schemaVersion = 6

// job implements store.Job.
type job struct {
	path    string // as the user gave it
	file    string // without symbolic links: what all processes agree on
	names   *strings.Replacer
	inPlace bool    // the rows are a user's table; see table.go
	writer  *writer // nil when the job is open for reading only
	readers readers

	patience time.Duration // how long one step on a small file may take
}

var _ store.Job = (*job)(nil)

// IsDatabase reports whether the file is a SQLite database; no error when there is no such file.
func IsDatabase(path string) (bool, error) {
	h, err := header(path)
	return h != nil, err
}

// IsJob reports whether the file is a job made from lists, by its application_id; no error when there is no
// such file.
func IsJob(path string) (bool, error) {
	h, err := header(path)
	return h != nil && binary.BigEndian.Uint32(h[68:]) == applicationID, err
}

// header reads the 100 bytes that every SQLite file begins with; nil for any other file.
func header(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !info.Mode().IsRegular() { // opening a pipe waits, and takes from who reads it
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := make([]byte, 100)
	if _, err := io.ReadFull(f, h); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(h), "SQLite format 3\x00") {
		return nil, nil
	}
	return h, nil
}

// Create makes a new job and opens it. An error that is fs.ErrExist says that the file is there already: Open
// it. The file appears whole or not at all, with mode 0600.
func Create(ctx context.Context, path string) (store.Job, error) {
	doing := "create job " + path
	if err := checkFilesystem(filepath.Dir(path)); err != nil {
		return nil, wrap(doing, err)
	}
	if _, err := os.Lstat(path); err == nil {
		draft.Clean(path) // of one who died between the two names
		return nil, fmt.Errorf("%s: %w", doing, fs.ErrExist)
	}
	draft, err := draft.Create(path)
	if err != nil {
		return nil, wrap(doing, err)
	}
	defer func() {
		draft.Discard() // does nothing to one that has its name
		for _, suffix := range []string{"-journal", "-wal", "-shm"} {
			_ = os.Remove(draft.Name() + suffix)
		}
	}()
	j, err := open(ctx, draft.Name(), jobNames, false)
	if err != nil {
		return nil, wrap(doing, err)
	}
	if err := j.closeWhole(ctx); err != nil {
		return nil, wrap(doing, err)
	}
	crashPoint("create")
	if err := draft.PlaceNew(); err != nil {
		return nil, wrap(doing, err)
	}
	crashPoint("create")
	return Open(ctx, path)
}

// Open opens a job made from lists, bringing an older schema up to date. A newer one is refused.
func Open(ctx context.Context, path string) (store.Job, error) {
	doing := "open job " + path
	if err := checkJob(doing, path); err != nil {
		return nil, err
	}
	j, err := open(ctx, path, jobNames, false)
	if err != nil {
		return nil, wrap(doing, err)
	}
	return j, nil
}

// checkJob refuses what is not a job made from lists.
func checkJob(doing, path string) error {
	is, err := IsJob(path)
	if err == nil && !is {
		if _, err = os.Stat(path); err == nil {
			return fmt.Errorf("%s: the file is not a facescan job", doing)
		}
	}
	return wrap(doing, err)
}

// resolve finds the file that all processes agree on, through all links that lead to it.
func resolve(path string) (string, error) {
	file, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return "", err
	}
	return file, errors.Join(checkFilesystem(filepath.Dir(file)), checkCompany(file))
}

// superJournal ends a journal of a transaction over several files, behind the name of a file
// that SQLite removes after the journal was rolled back.
const superJournal = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

// checkCompany refuses files beside a database that SQLite would open and that it did not make there: those
// that are not regular, and a journal that names another file. A stranger's folder may have them.
func checkCompany(file string) error {
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		info, err := os.Lstat(file + suffix)
		if err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s%s is not a regular file: remove it", file, suffix)
		}
	}
	f, err := os.Open(file + "-journal")
	if err != nil {
		return nil // none, or SQLite says what is wrong
	}
	defer f.Close()
	end := make([]byte, len(superJournal))
	if _, err := f.Seek(-int64(len(end)), io.SeekEnd); err != nil {
		return nil
	}
	if _, err := io.ReadFull(f, end); err == nil && string(end) == superJournal {
		return fmt.Errorf("%s-journal is of a transaction over several files that was cut off: open the "+
			"database with its own "+
			"program first", file)
	}
	return nil
}

// open connects and migrates. Of a job of our own it sets application_id and journal mode; a user's file
// keeps its own.
func open(ctx context.Context, path string, n names, inPlace bool) (_ *job, err error) {
	j := &job{path: path, names: n.replacer(), inPlace: inPlace, patience: minPatience}
	if j.file, err = resolve(path); err != nil {
		return nil, err
	}
	if err := j.connect(ctx); err != nil {
		return nil, err
	}
	if err := j.migrate(ctx); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// connect opens the writer and the readers.
func (j *job) connect(ctx context.Context) (err error) {
	dsn := url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_synchronous": {"FULL"},
		"_cache_size": {"-32768"}, "_secure_delete": {"true"}}
	dsn.Set("_busy_timeout", fmt.Sprint(busyTimeout.Milliseconds()))
	if !j.inPlace {
		dsn.Set("_journal_mode", "WAL")
	}
	pool := connect(j.file, dsn, "PRAGMA wal_autocheckpoint = 4000", "PRAGMA journal_size_limit = 67108864")
	pool.SetMaxOpenConns(1)
	if j.writer, err = newWriter(ctx, pool, j.names, j.file, !j.inPlace); err != nil {
		return err
	}
	j.readers = connectReaders(j.file, url.Values{"mode": {"rw"}})
	return nil
}

// connector opens connections that all have the same settings; those the driver's DSN has no word for are
// pragmas.
type connector struct {
	dsn    string
	driver *sqlite3.SQLiteDriver
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.driver }

// distrust are the settings that SQLite's authors advise for files of unknown origin: what a schema says runs
// no function or virtual table that could do harm, and pages are checked before they are read. (The
// defensive mode cannot be reached through the driver; it keeps SQL from damaging the file, and all SQL here
// is our own.)
var distrust = []string{"PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON", "PRAGMA mmap_size = 0"}

// Watch is SQL that each connection runs once it is open, if it can. Tests watch writes by it, with temporary
// triggers: a trigger in the file itself would be refused.
var Watch string

func connect(file string, dsn url.Values, pragmas ...string) *sql.DB {
	path := url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: dsn.Encode()}
	d := &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		c.SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
		for _, p := range slices.Concat(distrust, pragmas) {
			if _, err := c.Exec(p, nil); err != nil {
				return err
			}
		}
		if Watch != "" {
			_, _ = c.Exec(Watch, nil) // the tables it is about may not be there yet
		}
		return nil
	}}
	return sql.OpenDB(connector{path.String(), d})
}

// migrate brings the schema to schemaVersion, one transaction a version.
func (j *job) migrate(ctx context.Context) error {
	version, err := j.checkedVersion(ctx)
	for err == nil && version < schemaVersion {
		err = j.writer.update(ctx, "migrate", func(t tx) (err error) {
			if version, err = schemaVersionOf(t); err != nil || version >= schemaVersion {
				return err // another process was quicker
			}
			text, err := schemas.ReadFile(fmt.Sprintf("schema/%d.sql", version+1))
			if err != nil {
				return err
			}
			if _, err := j.writer.conn.ExecContext(t.ctx, j.names.Replace(string(text))); err != nil {
				return err
			}
			if version == 0 && !j.inPlace {
				if _, err := t.exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
					return err
				}
			}
			version++
			_, err = t.exec("UPDATE {job} SET version = ?", version)
			return err
		})
	}
	return err
}

func (j *job) Path() string { return j.path }

// CloseWhole closes a job whose file is to be copied or renamed without what is beside it. It is an error if
// the file does not have everything, for which a full disk has no room: Close would leave the rest in the
// WAL.
func CloseWhole(ctx context.Context, of store.Job) error {
	j := of.(*job)
	return wrap("write "+j.path, j.closeWhole(ctx))
}

func (j *job) closeWhole(ctx context.Context) error {
	return errors.Join(j.writer.emptyWAL(ctx), j.Close())
}

// Close moves what is in the WAL into the file, unless another process is at work on it.
func (j *job) Close() error {
	var err error
	if j.readers != nil {
		err = j.readers.Close()
	}
	return errors.Join(err, j.writer.close())
}
