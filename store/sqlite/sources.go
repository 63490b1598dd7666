package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

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
	return out, t.each("SELECT key, value FROM {settings}", nil, func(r *sql.Rows) error {
		var key, value string
		err := r.Scan(&key, &value)
		out[key] = value
		return err
	})
}

// Set implements store.Job.
func (j *job) Set(ctx context.Context, settings map[string]string) error {
	return wrap("write settings", j.writer.update(ctx, "set", func(t tx) error { return set(t, settings) }))
}

// set writes settings, in a transaction.
func set(t tx, settings map[string]string) error {
	for key, value := range settings {
		_, err := t.exec("INSERT INTO {settings} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
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
func (j *job) AddSource(ctx context.Context, s store.Source) (out store.Source, err error) {
	if j.inPlace {
		return out, fmt.Errorf("add source %s: the rows of this job are the table's; make a job of its own with --db", s.Name)
	}
	if err := checkPriority(s.Priority); err != nil {
		return out, wrap("add source "+s.Name, err)
	}
	err = j.writer.update(ctx, "add source", func(t tx) error {
		number := int64(0)
		if err := t.one("SELECT coalesce(max(number) + 1, 0) FROM {sources}", nil, &number); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO {sources} (number, name, format, options, priority, last_id) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO NOTHING`, number, s.Name, s.Format, s.Options, s.Priority, number<<store.SourceShift)
		if err != nil {
			return err
		}
		all, err := j.sources(t, "WHERE s.name = ?", s.Name)
		if err != nil {
			return err
		}
		if out = all[0]; int64(out.Number) == number { // it is new
			err = sealSource(t, out.Number)
		}
		return err
	})
	return out, wrap("add source "+s.Name, err)
}

// checkPriority keeps weights, powers of two, in a range where sums of them are exact.
func checkPriority(priority int) error {
	if priority < -20 || priority > 20 {
		return fmt.Errorf("priority %d is not between -20 and 20", priority)
	}
	return nil
}

// Pause implements store.Job.
func (j *job) Pause(ctx context.Context, source int, paused bool) error {
	return j.change(ctx, source, "UPDATE {sources} SET paused = ? WHERE number = ?", paused)
}

// Prioritize implements store.Job.
func (j *job) Prioritize(ctx context.Context, source, priority int) error {
	if err := checkPriority(priority); err != nil {
		return err
	}
	return j.change(ctx, source, "UPDATE {sources} SET priority = ? WHERE number = ?", priority)
}

// change sets a value of one source.
func (j *job) change(ctx context.Context, source int, text string, value any) error {
	return wrap(fmt.Sprintf("change source %d", source), j.writer.update(ctx, "change source", func(t tx) error {
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
	err = t.each(`SELECT s.number, s.name, s.format, s.options, s.offset, s.line, s.list_rows, s.mark, s.rows,
		s.rows - coalesce((SELECT sum(rows) FROM {tallies} WHERE source = s.number), 0), s.complete, s.paused, s.priority, coalesce(o.id, '')
		FROM {sources} AS s LEFT JOIN {owners} AS o ON o.number = s.importer `+where+` ORDER BY s.number`, args, func(r *sql.Rows) error {
		var s store.Source
		err := r.Scan(&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line, &s.Position.Rows, &s.Position.Mark,
			&s.Rows, &s.Pending, &s.Complete, &s.Paused, &s.Priority, &s.Importer)
		out = append(out, s)
		return err
	})
	return out, err
}

// LeaseSource implements store.Session.
func (s *session) LeaseSource(ctx context.Context, source int) (store.SourceLease, error) {
	l := store.SourceLease{Source: source, Owner: s.owner.ID}
	dead, err := s.corpses(ctx)
	if err != nil {
		return l, wrap("lease source", err)
	}
	freed := int64(0)
	err = s.writer.update(ctx, "lease source", func(t tx) (err error) {
		if err = s.present(t); err != nil {
			return err
		}
		if freed, err = s.sweep(t, dead); err != nil {
			return err
		}
		if l.Generation, err = s.generation(t); err != nil {
			return err
		}
		l.Expires = s.trust()
		err = t.one(`UPDATE {sources} SET importer = ?, generation = ?, expires = ? WHERE number = ? AND importer IS NULL
			RETURNING offset, line, list_rows, mark`, []any{s.number, l.Generation, s.expiry(), source},
			&l.Position.Offset, &l.Position.Line, &l.Position.Rows, &l.Position.Mark)
		if errors.Is(err, sql.ErrNoRows) {
			err = store.ErrHeld // what was swept stays swept: the next caller sweeps it again
		}
		return err
	})
	if err == nil {
		s.takeovers.Add(freed)
		s.bury(dead)
	}
	return l, wrap(fmt.Sprintf("lease source %d", source), err)
}

// RenewSource implements store.Session.
func (s *session) RenewSource(ctx context.Context, l store.SourceLease) (store.SourceLease, error) {
	err := s.writer.update(ctx, "renew source", func(t tx) error {
		l.Expires = s.trust()
		n, err := t.exec("UPDATE {sources} SET expires = ? WHERE number = ? AND importer = ? AND generation = ?",
			s.expiry(), l.Source, s.number, l.Generation)
		if err == nil && n == 0 {
			err = store.ErrLeaseLost
		}
		return err
	})
	return l, wrap(fmt.Sprintf("renew the import of source %d", l.Source), err)
}

// ReleaseSource implements store.Session.
func (s *session) ReleaseSource(ctx context.Context, l store.SourceLease) error {
	return wrap(fmt.Sprintf("release the import of source %d", l.Source), s.writer.update(ctx, "release source", func(t tx) error {
		_, err := t.exec("UPDATE {sources} SET importer = NULL, expires = NULL WHERE number = ? AND importer = ? AND generation = ?",
			l.Source, s.number, l.Generation)
		return err
	}))
}

// trust is until when the holder may rely on a lease that it asks for after this: by its own clock, short of the store's.
func (s *session) trust() time.Time { return time.Now().Add(s.ttl * 2 / 3) }

// expiry is when a lease given now ends, by the lease clock.
func (s *session) expiry() int64 { return leaseClock() + int64(s.ttl) }

// generation counts leases of the whole job, so that no two leases ever have the same.
func (j *job) generation(t tx) (g int64, err error) {
	return g, t.one("UPDATE {job} SET generation = generation + 1 RETURNING generation", nil, &g)
}

// present fails when others hold this process for dead, which takes somebody removing its file.
func (s *session) present(t tx) error {
	n := 0
	if err := t.one("SELECT count(*) FROM {owners} WHERE number = ? AND id = ?", []any{s.number, s.owner.ID}, &n); err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("owner %s is not part of the job any more: its file %s was removed", s.owner.ID, s.file.Name())
	}
	return nil
}
