package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"facescan/store"
)

// Settings implements store.Job.
func (j *job) Settings(ctx context.Context) (map[string]string, error) {
	var out map[string]string
	err := j.view(ctx, func(t tx) (err error) {
		out, err = readSettings(t)
		return err
	})
	return out, wrap("read settings", err)
}

func readSettings(t tx) (map[string]string, error) {
	out := map[string]string{}
	var key, value string
	return out, t.scan([]any{&key, &value}, func() { out[key] = value }, "SELECT key, value FROM {settings}")
}

// Set implements store.Job.
func (j *job) Set(ctx context.Context, settings map[string]string) error {
	return wrap("write settings", j.writer.update(ctx, "set", func(t tx) error { return set(t, settings) }))
}

// set writes settings, in a transaction.
func set(t tx, settings map[string]string) error {
	for key, value := range settings {
		_, err := t.exec("INSERT INTO {settings} VALUES (?, ?) ON CONFLICT (key) DO UPDATE "+
			"SET value = excluded.value", key, value)
		if err != nil {
			return err
		}
	}
	all, err := readSettings(t)
	if err == nil {
		_, err = t.exec("UPDATE {job} SET settings_checksum = ?", store.SettingsChecksum(all))
	}
	return err
}

// AddSource implements store.Job.
func (j *job) AddSource(ctx context.Context, s store.Source) (store.Source, error) {
	return store.First(j.AddSources(ctx, []store.Source{s}))
}

// AddSources implements store.Job.
func (j *job) AddSources(ctx context.Context, all []store.Source) (out []store.Source, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	doing := store.Adding(all)
	if err := j.checkOwn(doing, "; make a job of its own with --db"); err != nil {
		return nil, err
	}
	names, err := store.SourceNames(all)
	if err != nil {
		return nil, wrap(doing, err)
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, wrap(doing, err)
	}
	err = j.writer.update(ctx, "add source", func(t tx) error {
		next := 0
		if err := t.one("SELECT coalesce(max(number) + 1, 0) FROM {sources}", nil, &next); err != nil {
			return err
		}
		found, err := j.sources(t, "WHERE s.name IN {list}", string(list))
		if err != nil {
			return err
		}
		var fresh []store.Source
		out, fresh = store.NumberSources(all, found, next)
		var values []any
		for _, s := range fresh {
			values = append(values, s.Number, s.Name, s.Format, s.Options, s.Priority,
				store.FirstOf(s.Number), s.Checksum())
		}
		return t.bulk("INSERT INTO {sources} (number, name, format, options, priority, last_id, checksum)", 7,
			values, "")
	})
	return out, wrap(doing, err)
}

// Pause implements store.Job.
func (j *job) Pause(ctx context.Context, source int, paused bool) error {
	return j.change(ctx, source, "UPDATE {sources} SET paused = ? WHERE number = ?", paused)
}

// Prioritize implements store.Job.
func (j *job) Prioritize(ctx context.Context, source, priority int) error {
	if err := store.CheckPriority(priority); err != nil {
		return err
	}
	return j.change(ctx, source, "UPDATE {sources} SET priority = ? WHERE number = ?", priority)
}

// change sets a value of one source.
func (j *job) change(ctx context.Context, source int, text string, value any) error {
	return wrap(fmt.Sprintf("change source %d", source),
		j.writer.update(ctx, "change source", func(t tx) error {
			n, err := t.exec(text, value, source)
			if err == nil && n == 0 {
				err = errors.New("there is no such source")
			}
			if err != nil {
				return err
			}
			return sealSource(t, source)
		}))
}

// Sources implements store.Job.
func (j *job) Sources(ctx context.Context) (out []store.Source, err error) {
	err = j.view(ctx, func(t tx) error {
		out, err = j.sources(t, "")
		return err
	})
	return out, wrap("read sources", err)
}

func (j *job) sources(t tx, where string, args ...any) (out []store.Source, err error) {
	var s store.Source
	err = t.scan([]any{&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line,
		&s.Position.Rows, &s.Position.Mark, &s.Rows, &s.Pending, &s.Complete, &s.Paused, &s.Priority,
		&s.Changes, &s.Importer}, func() { out = append(out, s) },
		`SELECT s.number, s.name, s.format, s.options, s.offset, s.line, s.list_rows, s.mark, s.rows,
			s.rows - coalesce((SELECT sum(rows) FROM {tallies} WHERE source = s.number), 0), s.complete,
			s.paused, s.priority, s.changes, coalesce(o.id, '')
		FROM {sources} AS s LEFT JOIN {owners} AS o ON o.number = s.importer `+where+`
		ORDER BY s.number`, args...)
	return out, err
}

// LeaseSource implements store.Session.
func (s *session) LeaseSource(ctx context.Context, source int) (store.SourceLease, error) {
	return store.LeaseOne(ctx, s, source)
}

// LeaseSources implements store.Session.
func (s *session) LeaseSources(ctx context.Context, sources []int) (out []store.SourceLease, err error) {
	doing := store.Leasing(sources)
	dead, err := s.deadOwners(ctx)
	if err != nil {
		return nil, wrap(doing, err)
	}
	freed := int64(0)
	err = s.writer.update(ctx, "lease source", func(t tx) (err error) {
		if err = s.present(t); err != nil {
			return err
		}
		if freed, err = s.sweep(t, dead); err != nil {
			return err
		}
		first, err := s.generations(t, len(sources))
		if err != nil {
			return err
		}
		l := store.SourceLease{Expires: store.Trust(s.ttl)}
		return t.scan([]any{&l.Source, &l.Generation, &l.Position.Offset, &l.Position.Line, &l.Position.Rows,
			&l.Position.Mark}, func() { out = append(out, l) },
			`UPDATE {sources} AS s SET importer = ?1, generation = ?2 + l.key, expires = ?3
			FROM json_each(?4) AS l WHERE s.number = l.value AND s.importer IS NULL
			RETURNING number, generation, offset, line, list_rows, mark`, s.number, first, s.expiry(),
			idList(sources))
	})
	if err == nil {
		s.takeovers.Add(freed)
		s.removeFiles(dead)
	}
	return out, wrap(doing, err)
}

// RenewSource implements store.Session.
func (s *session) RenewSource(ctx context.Context, l store.SourceLease) (store.SourceLease, error) {
	err := s.writer.update(ctx, "renew source", func(t tx) error {
		l.Expires = store.Trust(s.ttl)
		return s.setImport(t, l, "expires = ?", s.expiry())
	})
	return l, wrap(fmt.Sprintf("renew the import of source %d", l.Source), err)
}

// setImport changes a source whose import is leased; store.ErrLeaseLost if it is not any more.
func (s *session) setImport(t tx, l store.SourceLease, change string, args ...any) error {
	n, err := t.exec("UPDATE {sources} SET "+change+" WHERE number = ? AND importer = ? AND generation = ?",
		append(args, l.Source, s.number, l.Generation)...)
	if err == nil && n == 0 {
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
	doing := fmt.Sprintf("release the import of source %d", ls[0].Source)
	return wrap(doing, s.writer.update(ctx, "release source", func(t tx) error {
		_, err := t.exec(`UPDATE {sources} AS s SET importer = NULL, expires = NULL FROM json_each(?) AS l
			WHERE s.number = l.value ->> 0 AND +s.importer = ? AND s.generation = l.value ->> 1`,
			importList(ls), s.number)
		return err
	}))
}

// importList is a JSON array that names import leases: source and generation of each.
func importList(ls []store.SourceLease) string {
	return pairs(len(ls), func(i int) (a, b int64) { return int64(ls[i].Source), ls[i].Generation })
}

// expiry is when a lease given now ends, by the lease clock.
func (s *session) expiry() int64 { return leaseClock() + int64(s.ttl) }

// generations counts n leases more and returns the first one's generation. They count leases of the whole
// job, so that no two leases ever have the same.
func (j *job) generations(t tx, n int) (first int64, err error) {
	return first, t.one("UPDATE {job} SET generation = generation + ?1 RETURNING generation - ?1 + 1",
		[]any{n}, &first)
}

// present fails when others hold this process for dead, which takes somebody removing its file.
func (s *session) present(t tx) error {
	n := 0
	if err := t.one("SELECT count(*) FROM {owners} WHERE number = ? AND id = ?", []any{s.number, s.owner.ID},
		&n); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("owner %s is not part of the job any more: its file %s was removed", s.owner.ID,
			s.file.Name())
	}
	return nil
}
