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
	err = j.retry(ctx, func() (err error) {
		out, err = readSettings(ctx, j.pool)
		return err
	})
	return out, j.wrap("read settings", err)
}

func readSettings(ctx context.Context, q querier) (map[string]string, error) {
	out := map[string]string{}
	var key, value string
	return out, each(ctx, q, []any{&key, &value}, func() { out[key] = value },
		"SELECT key, value FROM settings")
}

// Set implements store.Job.
func (j *job) Set(ctx context.Context, settings map[string]string) error {
	keys := slices.Sorted(maps.Keys(settings)) // locked in the same order by all
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = settings[k]
	}
	return j.wrap("write settings", j.update(ctx, func(t pgx.Tx) error {
		// its checksum is of all settings
		if _, err := t.Exec(ctx, "SELECT FROM job FOR UPDATE"); err != nil {
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

// AddSource implements store.Job.
func (j *job) AddSource(ctx context.Context, s store.Source) (store.Source, error) {
	return store.First(j.AddSources(ctx, []store.Source{s}))
}

// AddSources implements store.Job. One process at a time adds sources, so that numbers are given once and in
// turn.
func (j *job) AddSources(ctx context.Context, all []store.Source) (out []store.Source, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	doing := store.Adding(all)
	names, err := store.SourceNames(all)
	if err != nil {
		return nil, j.wrap(doing, err)
	}
	err = j.update(ctx, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, lockAlone, j.lock("sources")); err != nil {
			return err
		}
		next := 0
		if err := t.QueryRow(ctx, "SELECT coalesce(max(number) + 1, 0) FROM sources").Scan(
			&next); err != nil {
			return err
		}
		found, err := sourcesNamed(ctx, t, names)
		if err != nil {
			return err
		}
		var fresh []store.Source
		if out, fresh = store.NumberSources(all, found, next); len(fresh) == 0 {
			return nil
		}
		_, err = t.Exec(ctx, `INSERT INTO sources (number, name, format, options, priority, checksum, last_id)
			SELECT *, number::bigint << $7 FROM unnest($1::int[], $2::text[], $3::text[], $4::text[],
				$5::int[], $6::int[]) AS s (number, name, format, options, priority, checksum)`,
			values(fresh, func(s store.Source) int { return s.Number }),
			values(fresh, func(s store.Source) string { return s.Name }),
			values(fresh, func(s store.Source) string { return s.Format }),
			values(fresh, func(s store.Source) string { return s.Options }),
			values(fresh, func(s store.Source) int { return s.Priority }),
			values(fresh, func(s store.Source) int32 { return s.Checksum() }), store.SourceShift)
		return err
	})
	return out, j.wrap(doing, err)
}

// sourcesNamed finds those sources that have some names, and maybe others.
func sourcesNamed(ctx context.Context, t pgx.Tx, names []string) ([]store.Source, error) {
	numbers, err := column[int](ctx, t, "SELECT s.number FROM unnest($1::text[]) AS n (name) "+
		"JOIN sources AS s ON s.name = n.name", names)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	return sources(ctx, t, slices.Min(numbers), slices.Max(numbers))
}

// Sources implements store.Job.
func (j *job) Sources(ctx context.Context) (out []store.Source, err error) {
	err = j.retry(ctx, func() (err error) {
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
	err = each(ctx, q, []any{&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line,
		&s.Position.Rows, &s.Position.Mark, &s.Rows, &s.Pending, &s.Complete, &s.Paused, &s.Priority,
		&s.Changes, &s.Importer}, func() {
		out = append(out, s)
		s.Position.Mark = nil
	}, `SELECT s.number, s.name, s.format, s.options, s.byte_offset, s.line, s.list_rows, s.mark, s.rows,
			coalesce(h.pending, 0), s.complete, s.paused, s.priority, coalesce(c.n, 0), coalesce(o.id, '')
		FROM sources AS s LEFT JOIN (SELECT source, sum(pending)::bigint AS pending FROM shards
			WHERE NOT finished AND lo >= $1::bigint << $3 AND lo < ($2::bigint + 1) << $3
			GROUP BY source) AS h
		ON h.source = s.number LEFT JOIN (SELECT source, sum(n)::bigint AS n FROM changes
		GROUP BY source) AS c
		ON c.source = s.number LEFT JOIN owners AS o ON o.number = s.importer
		AND s.expires > clock_timestamp()
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
	return store.LeaseOne(ctx, s, source)
}

// LeaseSources implements store.Session.
func (s *session) LeaseSources(ctx context.Context, sources []int) (out []store.SourceLease, err error) {
	doing := store.Leasing(sources)
	if err := s.look(ctx); err != nil {
		return nil, s.wrap(doing, err)
	}
	err = s.update(ctx, func(t pgx.Tx) error {
		out = nil
		if err := s.touch(ctx, t); err != nil {
			return err
		}
		l := store.SourceLease{Expires: store.Trust(s.ttl)}
		// An importer that was stopped within a transaction holds the row locked: it is skipped, as held.
		return each(ctx, t, []any{&l.Source, &l.Generation, &l.Position.Offset, &l.Position.Line,
			&l.Position.Rows, &l.Position.Mark},
			func() {
				out = append(out, l)
				l.Position.Mark = nil
			}, `UPDATE sources SET importer = $2, generation = nextval('generations'),
				expires = clock_timestamp() + $3
			WHERE number IN (SELECT number FROM sources WHERE number = ANY($1) AND importer IS NULL
			FOR UPDATE SKIP LOCKED)
			RETURNING number, generation, byte_offset, line, list_rows, mark`, sources, s.number, s.ttl)
	})
	return out, s.wrap(doing, err)
}

// RenewSource implements store.Session.
func (s *session) RenewSource(ctx context.Context, l store.SourceLease) (store.SourceLease, error) {
	err := s.update(ctx, func(t pgx.Tx) error {
		l.Expires = store.Trust(s.ttl)
		if err := s.setImport(ctx, t, l, "expires = clock_timestamp() + $4", s.ttl); err != nil {
			return err
		}
		return s.touch(ctx, t)
	})
	return l, s.wrap(fmt.Sprintf("renew the import of source %d", l.Source), err)
}

// setImport changes a source whose import is leased, and so locks it; store.ErrLeaseLost if it is not any
// more. The first argument is $4.
func (s *session) setImport(ctx context.Context, t pgx.Tx, l store.SourceLease, change string,
	args ...any) error {
	tag, err := t.Exec(ctx, "UPDATE sources SET "+change+" WHERE number = $1 AND importer = $2 "+
		"AND generation = $3", append([]any{l.Source, s.number, l.Generation}, args...)...)
	if err == nil && tag.RowsAffected() == 0 {
		err = store.ErrLeaseLost
	}
	return err
}

// ReleaseSource implements store.Session.
func (s *session) ReleaseSource(ctx context.Context, l store.SourceLease) error {
	return s.ReleaseSources(ctx, []store.SourceLease{l})
}

// ReleaseSources implements store.Session.
func (s *session) ReleaseSources(ctx context.Context, ls []store.SourceLease) error {
	if len(ls) == 0 {
		return nil
	}
	numbers, generations := splitImports(ls)
	return s.wrap(fmt.Sprintf("release the import of source %d", ls[0].Source),
		s.update(ctx, func(t pgx.Tx) error {
			_, err := t.Exec(ctx, `UPDATE sources AS s SET importer = NULL, expires = NULL
			FROM unnest($1::int[], $2::bigint[]) AS l (number, generation)
			WHERE s.number = l.number AND s.importer = $3 AND s.generation = l.generation`, numbers,
				generations, s.number)
			return err
		}))
}

// splitImports lists import leases by what names them.
func splitImports(ls []store.SourceLease) (numbers []int, generations []int64) {
	for _, l := range ls {
		numbers, generations = append(numbers, l.Source), append(generations, l.Generation)
	}
	return numbers, generations
}
