package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"facescan/store"
)

// Settings implements store.Job.
func (j *job) Settings(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := j.view(ctx, func(t tx) error {
		return t.each("SELECT key, value FROM {settings}", nil, func(r *sql.Rows) error {
			var key, value string
			err := r.Scan(&key, &value)
			out[key] = value
			return err
		})
	})
	return out, wrap("read settings", err)
}

// Set implements store.Job.
func (j *job) Set(ctx context.Context, settings map[string]string) error {
	return wrap("write settings", j.writer.update(ctx, func(t tx) error {
		for key, value := range settings {
			_, err := t.exec("INSERT INTO {settings} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// AddSource implements store.Job.
func (j *job) AddSource(ctx context.Context, s store.Source) (out store.Source, err error) {
	if j.inPlace {
		return out, fmt.Errorf("add source %s: the rows of this job are the table's; make a job of its own with --db", s.Name)
	}
	if err := checkPriority(s.Priority); err != nil {
		return out, wrap("add source "+s.Name, err)
	}
	err = j.writer.update(ctx, func(t tx) error {
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
		if err == nil {
			out = all[0]
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
	return wrap(fmt.Sprintf("change source %d", source), j.writer.update(ctx, func(t tx) error {
		n, err := t.exec(text, value, source)
		if err == nil && n == 0 {
			err = errors.New("there is no such source")
		}
		return err
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
	err = t.each(`SELECT s.number, s.name, s.format, s.options, s.offset, s.line, s.mark, s.rows, s.complete, s.paused, s.priority, coalesce(o.id, '')
		FROM {sources} AS s LEFT JOIN {owners} AS o ON o.number = s.importer `+where+` ORDER BY s.number`, args, func(r *sql.Rows) error {
		var s store.Source
		err := r.Scan(&s.Number, &s.Name, &s.Format, &s.Options, &s.Position.Offset, &s.Position.Line, &s.Position.Mark,
			&s.Rows, &s.Complete, &s.Paused, &s.Priority, &s.Importer)
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
	err = s.writer.update(ctx, func(t tx) (err error) {
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
			RETURNING offset, line, mark`, []any{s.number, l.Generation, s.expiry(), source},
			&l.Position.Offset, &l.Position.Line, &l.Position.Mark)
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
	err := s.writer.update(ctx, func(t tx) error {
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
	return wrap(fmt.Sprintf("release the import of source %d", l.Source), s.writer.update(ctx, func(t tx) error {
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

// Append implements store.Session.
func (s *session) Append(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("append to source %d", l.Source)
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	return wrap(doing, s.writer.update(ctx, func(t tx) error {
		var last int64
		err := t.one("SELECT last_id FROM {sources} WHERE number = ? AND importer = ? AND generation = ?",
			[]any{l.Source, s.number, l.Generation}, &last)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		if err := checkIDs(rows, last, l.Source); err != nil {
			return err
		}
		if err := insertRows(t, rows); err != nil {
			return err
		}
		if err := insertBad(t, rows, l.Source); err != nil {
			return err
		}
		for next := rows; len(next) > 0; {
			n, err := extend(t, next, last, l.Source, shardSize)
			if err != nil {
				return err
			}
			last, next = next[n-1].ID, next[n:]
		}
		_, err = t.exec(`UPDATE {sources} SET offset = ?, line = ?, mark = ?, complete = ?, rows = rows + ?, last_id = ? WHERE number = ?`,
			p.Offset, p.Line, p.Mark, complete, len(rows), last, l.Source)
		return err
	}))
}

// checkIDs holds rows to ascending ids above last, inside the source's range.
func checkIDs(rows []store.NewRow, last int64, source int) error {
	for _, r := range rows {
		if r.ID <= last {
			return fmt.Errorf("row %d comes after row %d: ids must ascend", r.ID, last)
		}
		last = r.ID
	}
	if last>>store.SourceShift != int64(source) {
		return fmt.Errorf("id %d is outside source %d", last, source)
	}
	return nil
}

// insertRows names only the columns that some row has a value for: the usual list binds two values a row.
func insertRows(t tx, rows []store.NewRow) error {
	var bad, wide bool
	for i := range rows {
		bad = bad || rows[i].Bad
		wide = wide || rows[i].Group != "" || len(rows[i].Kept) > 0
	}
	width, head := 2, "INSERT INTO {urls} ({id}, {url}"
	if bad {
		width, head = width+1, head+", {done}"
	}
	if wide {
		width, head = width+2, head+`, "group", kept`
	}
	const chunk = 1000
	values := make([]any, 0, chunk*width)
	for len(rows) > 0 {
		n := min(chunk, len(rows))
		values = values[:0]
		for i := range rows[:n] {
			r := &rows[i]
			values = append(values, r.ID, r.URL)
			if bad {
				values = append(values, r.Bad)
			}
			if wide {
				values = append(values, orNil(r.Group), packKept(r.Kept))
			}
		}
		if err := t.bulk(head+")", width, values); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// orNil stores an empty word as NULL, which takes no room.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func packKept(kept []string) any {
	if len(kept) == 0 {
		return nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// insertBad gives broken records their result.
func insertBad(t tx, rows []store.NewRow, source int) error {
	var results []store.Result
	now := time.Now()
	for _, r := range rows {
		if r.Bad {
			results = append(results, store.Result{ID: r.ID, Status: store.Failed, Reason: store.BadURL, Time: now})
		}
	}
	if len(results) == 0 {
		return nil
	}
	return insertResults(t, source, results)
}

// extend puts the first rows of next into the source's last shard, if that is free and not full, else into a new
// one, and returns how many. Shards tile: one begins where the one before it ended, whatever ids are missing.
func extend(t tx, next []store.NewRow, last int64, source, shardSize int) (n int, err error) {
	var lo, hi, held int64
	free := false
	err = t.one("SELECT lo, hi, rows, owner IS NULL AND source = ? FROM {shards} WHERE lo <= ? ORDER BY lo DESC LIMIT 1",
		[]any{source, last}, &lo, &hi, &held, &free)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	fresh := !free || hi != last || held >= int64(shardSize)
	if fresh {
		held = 0
	}
	n = int(min(int64(shardSize)-held, int64(len(next))))
	pending := 0
	for _, r := range next[:n] {
		if !r.Bad {
			pending++
		}
	}
	if fresh {
		_, err = t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending) VALUES (?, ?, ?, ?, ?)", last+1, next[n-1].ID, source, n, pending)
	} else {
		_, err = t.exec("UPDATE {shards} SET hi = ?, rows = rows + ?, pending = pending + ? WHERE lo = ?", next[n-1].ID, n, pending, lo)
	}
	return n, err
}
