package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"facescan/store"
	"facescan/store/fair"
	"facescan/store/lockfile"
)

// Owners and their death. A process that joins makes a lock file beside the job, which stays locked while it
// lives: so the others know at once when it is dead, and what was in its decoders (see package lockfile).
//
// Files appear locked, before their owner is in the table, and go after it has left the table. Left-overs of
// processes that died in between are removed by the next one to join.

// session implements store.Session.
type session struct {
	*job
	number    int64 // in the table of owners
	owner     store.Owner
	ttl       time.Duration
	file      *lockfile.File
	takeovers atomic.Int64

	claiming sync.Mutex // one claim at a time; it guards what follows
	claims   int64      // any of them may find news, since other processes do not say what they changed
	round    fair.Round
}

var _ store.Session = (*session)(nil)

func (j *job) lockFile(id string) string { return j.file + "-owner-" + id }

// probe reports whether an owner is dead, and which rows it left in its decoders. An id that no process can
// have, in a job file of a stranger, names no file: it is dead.
func (j *job) probe(id string) (dead bool, decoding []int64, err error) {
	if !store.IsOwnerID(id) {
		return true, nil, nil
	}
	return lockfile.Probe(j.lockFile(id))
}

// Join implements store.Job.
func (j *job) Join(ctx context.Context, who store.Owner, ttl time.Duration) (store.Session, error) {
	who = who.Named()
	if err := store.CheckOwner(who.ID, ttl); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	if err := j.removeLeftOvers(ctx); err != nil {
		return nil, wrap("join", err)
	}
	file, err := lockfile.Create(j.lockFile(who.ID))
	if err != nil {
		return nil, wrap("join", err)
	}
	crashPoint("join")
	s := &session{job: j, owner: who, ttl: ttl, file: file}
	err = j.writer.update(ctx, "join", func(t tx) error {
		return t.one("INSERT INTO {owners} (id, host, pid, joined) VALUES (?, ?, ?, ?) RETURNING number",
			[]any{who.ID, who.Host, who.PID, leaseClock()}, &s.number)
	})
	if err != nil {
		return nil, errors.Join(wrap("join", err), os.Remove(file.Name()), file.Close())
	}
	if j.inPlace {
		return tableSession{s}, nil
	}
	return s, nil
}

// registration is an owner in the table, and what it left if it is dead.
type registration struct {
	number   int64
	id       string
	decoding []int64 // rows that were in its decoders
}

// registered lists the owners in the table, dead or alive.
func (j *job) registered(ctx context.Context) (all []registration, err error) {
	err = j.view(ctx, func(t tx) error {
		all = nil
		var r registration
		return t.scan([]any{&r.number, &r.id}, func() { all = append(all, r) },
			"SELECT number, id FROM {owners}")
	})
	return all, err
}

// deadOwners finds the dead among the owners.
func (j *job) deadOwners(ctx context.Context) (dead []registration, err error) {
	all, err := j.registered(ctx)
	for _, c := range all {
		isDead, decoding, err := j.probe(c.id)
		if err != nil {
			return nil, err
		}
		if isDead {
			c.decoding = decoding
			dead = append(dead, c)
		}
	}
	return dead, err
}

// sweep frees what dead owners and expired leases hold, and returns how many shards that were. Rows that were
// in a dead owner's decoders become suspects. The files of the dead are for removeFiles, after the
// transaction.
func (j *job) sweep(t tx, dead []registration) (freed int64, err error) {
	for _, c := range dead {
		n, err := t.exec("DELETE FROM {owners} WHERE number = ? AND id = ?", c.number, c.id)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			continue // another process was quicker
		}
		for _, id := range c.decoding {
			_, err := t.exec(`INSERT INTO {suspects} (id, ends) SELECT u.{id}, 1 FROM {urls} AS u
				WHERE u.{id} = ? AND {pending}
				ON CONFLICT (id) DO UPDATE SET ends = ends + 1`, id)
			if err != nil {
				return 0, err
			}
		}
		n, err = j.freeAll(t, c.number)
		if err != nil {
			return 0, err
		}
		freed += n
	}
	now := leaseClock()
	n, err := t.exec("UPDATE {shards} SET owner = NULL, expires = NULL WHERE owner IS NOT NULL "+
		"AND expires < ?", now)
	if err != nil {
		return 0, err
	}
	_, err = t.exec("UPDATE {sources} SET importer = NULL, expires = NULL WHERE importer IS NOT NULL "+
		"AND expires < ?", now)
	return freed + n, err
}

// freeAll frees everything an owner holds and returns how many shards that were.
func (j *job) freeAll(t tx, number int64) (int64, error) {
	n, err := t.exec("UPDATE {shards} SET owner = NULL, expires = NULL WHERE owner = ?", number)
	if err != nil {
		return 0, err
	}
	_, err = t.exec("UPDATE {sources} SET importer = NULL, expires = NULL WHERE importer = ?", number)
	return n, err
}

// removeFiles removes the files of swept owners. One that stays is a left-over, for the next process to join.
func (j *job) removeFiles(dead []registration) {
	for _, c := range dead {
		info, err := os.Lstat(j.lockFile(c.id))
		if err == nil && info.Mode().IsRegular() && store.IsOwnerID(c.id) {
			_ = os.Remove(j.lockFile(c.id))
		}
	}
}

// removeLeftOvers removes files whose owners died before they were in the table or after they left it.
func (j *job) removeLeftOvers(ctx context.Context) error {
	// before the table is read: owners enter it after their file
	entries, err := os.ReadDir(filepath.Dir(j.file))
	if err != nil {
		return err
	}
	all, err := j.registered(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		id, ours := strings.CutPrefix(e.Name(), filepath.Base(j.lockFile("")))
		if !ours || !store.IsOwnerID(id) || slices.ContainsFunc(all,
			func(c registration) bool { return c.id == id }) {
			continue
		}
		if err := lockfile.Take(j.lockFile(id), func([]int64) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// Decoding implements store.Session.
func (s *session) Decoding(slot int, id int64) { s.file.Set(slot, id) }

// Suspects implements store.Session.
func (s *session) Suspects(ctx context.Context) (map[int64]int, error) {
	out := map[int64]int{}
	err := s.view(ctx, func(t tx) error {
		var id int64
		var ends int
		return t.scan([]any{&id, &ends}, func() { out[id] = ends }, "SELECT id, ends FROM {suspects}")
	})
	return out, wrap("read suspects", err)
}

// Report implements store.Session.
func (s *session) Report(ctx context.Context, p store.Progress) error {
	return wrap("report", s.writer.update(ctx, "report", func(t tx) error {
		_, err := t.exec("UPDATE {owners} SET rate = ?, held_back_by = ?, why = ? WHERE number = ? "+
			"AND id = ?", p.Rate, p.HeldBackBy, p.Why, s.number, s.owner.ID)
		return err
	}))
}

// Takeovers implements store.Session.
func (s *session) Takeovers() int64 { return s.takeovers.Load() }

// Leave implements store.Session.
func (s *session) Leave(ctx context.Context) error {
	err := s.writer.update(ctx, "leave", func(t tx) error {
		if _, err := s.freeAll(t, s.number); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM {owners} WHERE number = ? AND id = ?", s.number, s.owner.ID)
		return err
	})
	if err == nil || errors.Is(err, store.ErrGone) {
		if e := os.Remove(s.file.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}
	// Closing drops the lock: should the update have failed, the next process finds us dead.
	return wrap("leave", errors.Join(err, s.file.Close()))
}
