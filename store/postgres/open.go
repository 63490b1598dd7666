// Package postgres keeps a job in a schema of a PostgreSQL database (version 13 or later), for the processes
// of many machines.
//
// # Where
//
// A job's name is a URL, postgres://USER@HOST:PORT/DATABASE, and is in the schema facescan, or in the one
// that the parameter schema names: postgres://…/DATABASE?schema=spring. Passwords come from the URL,
// PGPASSWORD or .pgpass, and are never shown.
//
// # Whose time
//
// Leases begin and end by the database's clock_timestamp(), not by a machine's. A process that is dead, or
// cut off, is found out when its leases run out: every process looks for such leases and frees them. Until
// then it counts as alive. How long a session trusts a lease, store.Trust says.
//
// # Who waits for whom
//
// A process that was stopped in the middle of a transaction delays only those that need its shard, and only
// until the server ends the transaction (session.begin). Claims skip what is locked, and write nothing that
// all share: generations come from a sequence, tallies are kept in parts, the round of the sources is each
// session's own. What one process writes under a lease begins with the fence: the lock on the shard's row,
// under this owner and generation.
//
// PostgreSQL cannot remove old versions of rows while an older transaction is open, and index scans must skip
// them. So a claim begins above the last one (see claim.go), looking below takes a bounded part of the time,
// and finished shards are joined (Release).
//
// # What breaks
//
// A transaction that the server refuses for another's sake, or whose connection breaks, is run again for some
// seconds. That is harmless even if it had been committed: a commit finds its rows done, an append its
// position; a claim leaves a lease to expire. A server that stays away is an error that names it.
//
// # Rows that kill
//
// What was in the decoders of a process that died is in a file on its machine (package lockfile), in the
// user's state folder, where the next session on that machine, of the same job, finds it and notes it in the
// database. So it is known after that, on all machines; not if no process starts there again. Without a
// folder to write to, nothing is known.
package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"facescan/store"
)

//go:embed schema/*.sql
var schemas embed.FS

// schemaVersion is the newest schema this program knows: how many files there are in schema/.
const schemaVersion = 2

// job implements store.Job.
type job struct {
	pool     *pgxpool.Pool
	place    place
	id       string        // the same for all who work on the job
	patience time.Duration // how long a lost connection is tried again

	openings atomic.Int64 // how often this process may have given a source free shards, or changed it

	mu        sync.Mutex
	detectors map[string]int32 // by fingerprint: their numbers, as far as they are known here
	part      int64            // of the tallies
	uses      int              // of the part
}

var _ store.Job = (*job)(nil)

// Create opens the job of a URL, making it when it is new. Any number of processes may do so at once.
func Create(ctx context.Context, url string) (store.Job, error) { return open(ctx, url, true) }

// Open opens a job that is there, bringing an older schema up to date. A newer one is refused; an error that
// is fs.ErrNotExist says that there is no job.
func Open(ctx context.Context, url string) (store.Job, error) { return open(ctx, url, false) }

func open(ctx context.Context, url string, create bool) (store.Job, error) {
	p, err := parse(url)
	if err != nil {
		return nil, err
	}
	j := &job{place: p, detectors: map[string]int32{}}
	if j.pool, err = pgxpool.NewWithConfig(ctx, p.pool); err != nil {
		return nil, j.wrap("open job "+p.path, err)
	}
	err = j.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		pooler, err := poolerOf(ctx, c.Conn())
		return errors.Join(err, pooler.err(p.host))
	})
	if err == nil {
		err = j.migrate(ctx, create)
	}
	if err != nil {
		j.pool.Close()
		return nil, j.wrap("open job "+p.path, err)
	}
	j.patience = patience
	return j, nil
}

// migrate brings the schema to schemaVersion, all versions in one transaction. One process does it, the
// others wait.
func (j *job) migrate(ctx context.Context, create bool) error {
	version, err := j.version(ctx, j.pool)
	if err == nil && version == 0 && !create {
		err = fmt.Errorf("there is no job in the schema %s: %w", j.place.schema, fs.ErrNotExist)
	}
	if err == nil && version < schemaVersion {
		err = j.update(ctx, func(t pgx.Tx) error {
			version, err = j.upgrade(ctx, t)
			return err
		})
	}
	if err == nil && version > schemaVersion {
		err = fmt.Errorf("its schema has version %d, this facescan knows up to %d: use a newer facescan",
			version, schemaVersion)
	}
	if err != nil {
		return err
	}
	return j.pool.QueryRow(ctx, "SELECT id::text FROM job").Scan(&j.id)
}

func (j *job) upgrade(ctx context.Context, t pgx.Tx) (version int, err error) {
	if _, err := t.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
		return 0, err
	}
	if _, err := t.Exec(ctx, lockAlone, "facescan "+j.place.schema); err != nil {
		return 0, err
	}
	there := false
	if err := t.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", j.schema()).Scan(&there); err != nil {
		return 0, err
	}
	if !there { // checked first, as one may be allowed to use a schema but not to make one
		if _, err := t.Exec(ctx, "CREATE SCHEMA "+j.schema()); err != nil {
			return 0, err
		}
	}
	if version, err = j.version(ctx, t); err != nil {
		return 0, err
	}
	if version == 0 && there {
		tables := 0
		if err := t.QueryRow(ctx, "SELECT count(*) FROM pg_class WHERE relnamespace = $1::regnamespace",
			j.schema()).Scan(&tables); err != nil {
			return 0, err
		}
		if tables > 0 {
			return 0, fmt.Errorf("the schema %s is used for something else; name another one with "+
				"?schema=NAME", j.place.schema)
		}
	}
	for ; version < schemaVersion; version++ {
		text, err := schemas.ReadFile(fmt.Sprintf("schema/%d.sql", version+1))
		if err != nil {
			return 0, err
		}
		if _, err := t.Exec(ctx, string(text)); err != nil {
			return 0, err
		}
		if _, err := t.Exec(ctx, "UPDATE job SET version = $1", version+1); err != nil {
			return 0, err
		}
	}
	return version, nil
}

// schema is the schema's name in SQL.
func (j *job) schema() string { return pgx.Identifier{j.place.schema}.Sanitize() }

// version is that of the schema, 0 when there is no job.
func (j *job) version(ctx context.Context, q querier) (version int, err error) {
	there := false
	if err := q.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL",
		j.schema()+".job").Scan(&there); err != nil || !there {
		return 0, err
	}
	err = q.QueryRow(ctx, "SELECT version FROM job").Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("its table job is empty")
	}
	return version, err
}

// Path implements store.Job: the URL without passwords.
func (j *job) Path() string { return j.place.path }

// Close implements store.Job. It waits for what is under way.
func (j *job) Close() error {
	j.pool.Close()
	return nil
}
