package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Health is what a run depends on at a server.
type Health struct {
	Host      string
	Version   string // as the server calls itself
	TooOld    bool
	ReadOnly  bool // a standby
	Pooler    Pooler
	PoolerErr error // why a run refuses the pooler

	RoundTrip time.Duration // the median of some
	Commits   float64       // durable commits per second over one connection
	CommitErr error         // why they could not be measured
	Durable   bool          // commits survive a crash of the server: fsync and synchronous_commit are on

	// for ordinary users: the lowest limit of server, database and role
	MaxConnections int
	Used           int // of them
	PerProcess     int // that one process takes at most

	// transactions since the database was frozen, and at how many the server does so by force
	FreezeAge, FreezeMax int64
	Autovacuum           bool          // is on
	Live, Dead           int64         // rows of the job's tables, and old versions of them; 0 without a job
	Bloated              string        // a table of the job that is mostly old versions
	Oldest               time.Duration // open transaction that this user may see
}

const (
	roundTrips = 11
	commitTime = time.Second // for measuring commits
	commitsMax = 200

	muchDead = 10_000 // old versions: fewer do no harm
)

// Examine measures a server. It writes nothing that stays: a commit is that of a message in the log of the
// server, which nobody reads. The job need not be there.
func Examine(ctx context.Context, url string) (h Health, err error) {
	p, err := parse(url)
	if err != nil {
		return h, err
	}
	j := &job{place: p}
	h.Host, h.PerProcess = p.host, int(p.pool.MaxConns)
	c, err := pgx.ConnectConfig(ctx, p.pool.ConnConfig)
	if err != nil {
		return h, j.wrap("look at the database", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	if h.Pooler, err = poolerOf(ctx, c); err != nil {
		return h, j.wrap("look at the database", err)
	}
	h.PoolerErr = h.Pooler.err(p.host)
	for _, look := range []func(context.Context, *pgx.Conn) error{h.latency, h.settings,
		func(ctx context.Context, c *pgx.Conn) error {
			return h.tables(ctx, c, p.schema)
		}} {
		if err := look(ctx, c); err != nil {
			return h, j.wrap("look at the database", err)
		}
	}
	return h, nil
}

// simple has a query do without a prepared statement, which some poolers do not know.
const simple = pgx.QueryExecModeSimpleProtocol

// latency measures round trips and commits.
func (h *Health) latency(ctx context.Context, c *pgx.Conn) error {
	times := make([]time.Duration, roundTrips)
	for i := range times {
		begin := time.Now()
		if _, err := c.Exec(ctx, "SELECT 1", simple); err != nil {
			return err
		}
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	h.RoundTrip = times[roundTrips/2]
	if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery()", simple).Scan(&h.ReadOnly); err != nil ||
		h.ReadOnly {
		return err
	}
	begin, n := time.Now(), 0
	for ; n < commitsMax && time.Since(begin) < commitTime; n++ {
		if _, err := c.Exec(ctx, "SELECT pg_logical_emit_message(true, 'facescan', 'doctor')",
			simple); err != nil {
			h.CommitErr = err
			return ctx.Err()
		}
	}
	h.Commits = float64(n) / time.Since(begin).Seconds()
	return nil
}

// settings reads the server's limits.
func (h *Health) settings(ctx context.Context, c *pgx.Conn) error {
	version := 0
	err := errors.Join(
		c.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int,
			current_setting('fsync')::bool AND current_setting('synchronous_commit') <> 'off',
			current_setting('autovacuum')::bool, current_setting('autovacuum_freeze_max_age')::bigint,
			(SELECT age(datfrozenxid)::bigint FROM pg_database WHERE datname = current_database()),
			coalesce((SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()), 0)::bigint * 1000000000`,
			simple).
			Scan(&h.Version, &version, &h.Durable, &h.Autovacuum, &h.FreezeMax, &h.FreezeAge, &h.Oldest),
		c.QueryRow(ctx, `SELECT least(
				current_setting('max_connections')::int -
				current_setting('superuser_reserved_connections')::int
					- coalesce(current_setting('reserved_connections', true), '0')::int,
				(SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
				(SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)),
			(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
			AND pid <> pg_backend_pid())`, simple).
			Scan(&h.MaxConnections, &h.Used),
	)
	h.TooOld = tooOld(version)
	return err
}

// tooOld reports whether jobs do not work on a version of the server: they do from 13 on.
func tooOld(version int) bool { return version < 130000 }

// tables reads how much of the job's tables is old versions of rows.
func (h *Health) tables(ctx context.Context, c *pgx.Conn, schema string) error {
	return c.QueryRow(ctx, `SELECT coalesce(sum(n_live_tup), 0)::bigint, coalesce(sum(n_dead_tup), 0)::bigint,
		coalesce(max(relname::text) FILTER (WHERE n_dead_tup > $2 AND n_dead_tup > n_live_tup), '')
		FROM pg_stat_user_tables WHERE schemaname = $1`, simple, schema, muchDead).Scan(&h.Live, &h.Dead,
		&h.Bloated)
}
