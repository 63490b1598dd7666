package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Settings implements store.Job.
func (j *job) Settings(ctx context.Context) (out map[string]string, err error) {
	err = j.again(ctx, func() (err error) {
		out, err = readSettings(ctx, j.pool)
		return err
	})
	return out, j.wrap("read settings", err)
}

func readSettings(ctx context.Context, q querier) (map[string]string, error) {
	out := map[string]string{}
	var key, value string
	return out, each(ctx, q, []any{&key, &value}, func() error { out[key] = value; return nil }, "SELECT key, value FROM settings")
}

// Set implements store.Job.
func (j *job) Set(ctx context.Context, settings map[string]string) error {
	keys := slices.Sorted(maps.Keys(settings)) // locked in the same order by all
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = settings[k]
	}
	return j.wrap("write settings", j.update(ctx, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, "SELECT FROM job FOR UPDATE"); err != nil { // its checksum is of all settings
			return err
		}
		_, err := t.Exec(ctx, `INSERT INTO settings SELECT * FROM unnest($1::text[], $2::text[])
			ON CONFLICT (key) DO UPDATE SET value = excluded.value`, keys, values)
		if err != nil {
			return err
		}
		all, err := readSettings(ctx, t)
		if err == nil {
			_, err = t.Exec(ctx, "UPDATE job SET settings_checksum = $1", store.SettingsChecksum(all))
		}
		return err
	}))
}

// AddSource implements store.Job. One process at a time adds sources, so that numbers are given once and in turn.
func (j *job) AddSource(ctx context.Context, s store.Source) (out store.Source, err error) {
	doing := "add source " + s.Name
	if err := store.CheckPriority(s.Priority); err != nil {
		return out, j.wrap(doing, err)
	}
	err = j.update(ctx, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, lockAlone, j.lock("sources")); err != nil {
			return err
		}
		var number int
		err := t.QueryRow(ctx, "SELECT number FROM sources WHERE name = $1", s.Name).Scan(&number)
		if errors.Is(err, pgx.ErrNoRows) {
			err = t.QueryRow(ctx, `INSERT INTO sources (number, name, format, options, priority, last_id)
				SELECT n, $1, $2, $3, $4, n::bigint << $5 FROM (SELECT coalesce(max(number) + 1, 0) FROM sources) AS next (n)
				RETURNING number`, s.Name, s.Format, s.Options, s.Priority, store.SourceShift).Scan(&number)
			if err == nil {
				err = sealSource(ctx, t, number)
			}
		}
		if err != nil {
			return err
		}
		have, err := sources(ctx, t, number, number)
		if err == nil {
			out = have[0]
		}
		return err
	})
	return out, j.wrap(doing, err)
}

// Sources implements store.Job.
func (j *job) Sources(ctx context.Context) (out []store.Source, err error) {
	err = j.again(ctx, func() (err error) {
		out, err = sources(ctx, j.pool, 0, lastSource)
		return err
	})
	return out, j.wrap("read sources", err)
}

// lastSource is the last number that a source can have: ids are below 2^62.
const lastSource = 1<<(62-store.SourceShift) - 1

// sources reads those whose numbers are between two.
func sources(ctx context.Context, q querier, first, last int) (out []store.Source, err error) {
	var s store.Source
	err = each(ctx, q, []any{&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line, &s.Position.Rows, &s.Position.Mark,
		&s.Rows, &s.Pending, &s.Complete, &s.Paused, &s.Priority, &s.Importer}, func() error {
		out = append(out, s)
		s.Position.Mark = nil
		return nil
	}, `SELECT s.number, s.name, s.format, s.options, s.byte_offset, s.line, s.list_rows, s.mark, s.rows,
			coalesce(h.pending, 0), s.complete, s.paused, s.priority, coalesce(o.id, '')
		FROM sources AS s LEFT JOIN (SELECT source, sum(pending)::bigint AS pending FROM shards
			WHERE NOT finished AND lo >= $1::bigint << $3 AND lo < ($2::bigint + 1) << $3 GROUP BY source) AS h
		ON h.source = s.number LEFT JOIN owners AS o ON o.number = s.importer AND s.expires > clock_timestamp()
		WHERE s.number BETWEEN $1 AND $2 ORDER BY s.number`, first, last, store.SourceShift)
	return out, err
}

// Pause implements store.Job.
func (j *job) Pause(ctx context.Context, source int, paused bool) error {
	return j.change(ctx, source, "UPDATE sources SET paused = $1 WHERE number = $2", paused)
}

// Prioritize implements store.Job.
func (j *job) Prioritize(ctx context.Context, source, priority int) error {
	if err := store.CheckPriority(priority); err != nil {
		return err
	}
	return j.change(ctx, source, "UPDATE sources SET priority = $1 WHERE number = $2", priority)
}

// change sets a value of one source.
func (j *job) change(ctx context.Context, source int, text string, value any) error {
	defer j.openings.Add(1)
	return j.wrap(fmt.Sprintf("change source %d", source), j.update(ctx, func(t pgx.Tx) error {
		tag, err := t.Exec(ctx, text, value, source)
		if err == nil && tag.RowsAffected() == 0 {
			err = errors.New("there is no such source")
		}
		if err != nil {
			return err
		}
		return sealSource(ctx, t, source)
	}))
}

// LeaseSource implements store.Session.
func (s *session) LeaseSource(ctx context.Context, source int) (store.SourceLease, error) {
	doing := fmt.Sprintf("lease source %d", source)
	l := store.SourceLease{Source: source, Owner: s.owner.ID}
	if err := s.look(ctx); err != nil {
		return l, s.wrap(doing, err)
	}
	err := s.update(ctx, func(t pgx.Tx) error {
		if err := s.touch(ctx, t); err != nil {
			return err
		}
		l.Expires = s.trust()
		// An importer that was stopped within a transaction holds the row locked: it is skipped, as held.
		err := t.QueryRow(ctx, `UPDATE sources SET importer = $2, generation = nextval('generations'), expires = clock_timestamp() + $3
			WHERE number = (SELECT number FROM sources WHERE number = $1 AND importer IS NULL FOR UPDATE SKIP LOCKED)
			RETURNING generation, byte_offset, line, list_rows, mark`, source, s.number, s.ttl).
			Scan(&l.Generation, &l.Position.Offset, &l.Position.Line, &l.Position.Rows, &l.Position.Mark)
		if errors.Is(err, pgx.ErrNoRows) {
			err = store.ErrHeld
		}
		return err
	})
	return l, s.wrap(doing, err)
}

// RenewSource implements store.Session.
func (s *session) RenewSource(ctx context.Context, l store.SourceLease) (store.SourceLease, error) {
	err := s.update(ctx, func(t pgx.Tx) error {
		l.Expires = s.trust()
		tag, err := t.Exec(ctx, "UPDATE sources SET expires = clock_timestamp() + $4 WHERE number = $1 AND importer = $2 AND generation = $3",
			l.Source, s.number, l.Generation, s.ttl)
		if err == nil && tag.RowsAffected() == 0 {
			return store.ErrLeaseLost
		}
		if err == nil {
			err = s.touch(ctx, t)
		}
		return err
	})
	return l, s.wrap(fmt.Sprintf("renew the import of source %d", l.Source), err)
}

// ReleaseSource implements store.Session.
func (s *session) ReleaseSource(ctx context.Context, l store.SourceLease) error {
	return s.wrap(fmt.Sprintf("release the import of source %d", l.Source), s.update(ctx, func(t pgx.Tx) error {
		_, err := t.Exec(ctx, "UPDATE sources SET importer = NULL, expires = NULL WHERE number = $1 AND importer = $2 AND generation = $3",
			l.Source, s.number, l.Generation)
		return err
	}))
}
