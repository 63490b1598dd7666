package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"facescan/store"
	"facescan/store/fair"
	"facescan/store/lockfile"
)

// lookEvery is how often a session that asks for work looks for leases that ran out, and for files of the
// dead; less often when looking takes long, more often when leases are short.
const lookEvery = 250 * time.Millisecond

// session implements store.Session.
type session struct {
	*job
	number    int64 // of the owner, never given twice
	owner     store.Owner
	ttl       time.Duration
	begin     string         // begins a transaction
	file      *lockfile.File // nil if there is no folder for it
	takeovers atomic.Int64

	claiming sync.Mutex // one claim at a time; it guards what follows
	left     bool
	looked   time.Time // when to look again
	touched  time.Time // when we showed last that we live
	round    fair.Round
}

var _ store.Session = (*session)(nil)

// Join implements store.Job.
func (j *job) Join(ctx context.Context, who store.Owner, ttl time.Duration) (store.Session, error) {
	who = who.Named()
	if err := store.CheckOwner(who.ID, ttl); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	// What is stopped within a transaction hides its shard from all others: the server ends it.
	idle := min(max(ttl/3, 200*time.Millisecond), idleInside)
	s := &session{job: j, owner: who, ttl: ttl,
		begin: fmt.Sprintf("BEGIN; SET LOCAL idle_in_transaction_session_timeout = %d", idle.Milliseconds())}
	err := j.retry(ctx, func() error {
		return j.pool.QueryRow(ctx, "SELECT nextval('owner_numbers')").Scan(&s.number)
	})
	if err == nil {
		err = s.update(ctx, func(t pgx.Tx) error { return s.touch(ctx, t) })
	}
	var p *pgconn.PgError
	if errors.As(err, &p) && p.Code == "23505" {
		return nil, fmt.Errorf("join: an owner called %s has joined before", who.ID)
	}
	if err != nil {
		return nil, j.wrap("join", err)
	}
	if err := os.MkdirAll(stateFolder(), 0o700); err == nil {
		s.file, err = lockfile.Create(s.lockFile(who.ID))
		if err != nil {
			s.file = nil // nothing will be known of our end
		}
	}
	return s, nil
}

// stateFolder is where programs of this user keep what they need from one run to the next.
func stateFolder() string {
	folder := os.Getenv("XDG_STATE_HOME")
	if folder == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = os.TempDir()
		}
		folder = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(folder, "facescan")
}

// lockFile is the lock file of an owner of this job on this machine.
func (j *job) lockFile(owner string) string {
	return filepath.Join(stateFolder(), j.id+"-owner-"+owner)
}

// update is that of the job, in transactions that the server ends when we are stopped in them.
func (s *session) update(ctx context.Context, f func(pgx.Tx) error) error {
	return s.transact(ctx, s.begin, f)
}

// touch shows that we live, for as long as a lease. Who was taken for dead joins again.
func (s *session) touch(ctx context.Context, q querier) error {
	_, err := q.Exec(ctx, `INSERT INTO owners (number, id, host, pid, joined, expires)
		VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + $5)
		ON CONFLICT (number) DO UPDATE SET expires = excluded.expires`, s.number, s.owner.ID, s.owner.Host,
		s.owner.PID, s.ttl)
	return err
}

// look is called before a session leases something: it frees what ran out, and shows that we live, now and
// then.
func (s *session) look(ctx context.Context) error {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	return s.lookLocked(ctx)
}

func (s *session) lookLocked(ctx context.Context) error {
	if s.left {
		return errors.New("this session has left the job")
	}
	begin := time.Now()
	if begin.Before(s.looked) {
		return nil
	}
	if begin.Sub(s.touched) > s.ttl/4 {
		if err := s.retry(ctx, func() error { return s.touch(ctx, s.pool) }); err != nil {
			return err
		}
		s.touched = begin
	}
	if err := s.reportDead(ctx); err != nil {
		return err
	}
	if err := s.sweep(ctx); err != nil {
		return err
	}
	s.looked = time.Now().Add(min(max(lookEvery, 20*time.Since(begin)), time.Second, s.ttl/4))
	return nil
}

// sweep frees what is leased longer than it was to be, and forgets owners who did not show for that long.
// What is locked is skipped: somebody is at it, or the server will end it.
func (s *session) sweep(ctx context.Context) error {
	n := int64(0)
	err := s.update(ctx, func(t pgx.Tx) error {
		n = 0
		b := &pgx.Batch{}
		b.Queue(`UPDATE shards SET owner = NULL, expires = NULL WHERE lo IN (SELECT lo FROM shards
			WHERE owner IS NOT NULL AND expires < clock_timestamp() FOR UPDATE SKIP LOCKED)`).
			Exec(func(tag pgconn.CommandTag) error {
				n = tag.RowsAffected()
				return nil
			})
		b.Queue(`UPDATE sources SET importer = NULL, expires = NULL WHERE number IN (SELECT number
			FROM sources
			WHERE importer IS NOT NULL AND expires < clock_timestamp() FOR UPDATE SKIP LOCKED)`)
		b.Queue(`DELETE FROM owners WHERE number IN (SELECT number FROM owners AS o
			WHERE expires < clock_timestamp()
			AND NOT EXISTS (SELECT FROM shards WHERE owner = o.number) AND NOT EXISTS (SELECT FROM sources
			WHERE importer = o.number)
			FOR UPDATE SKIP LOCKED)`)
		return t.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return err
	}
	if n > 0 {
		s.takeovers.Add(n)
		s.openings.Add(1)
	}
	return nil
}

// reportDead notes in the database what processes that died on this machine left in their decoders.
func (s *session) reportDead(ctx context.Context) error {
	entries, err := os.ReadDir(stateFolder())
	if err != nil {
		return nil // no folder, no files
	}
	for _, e := range entries {
		if owner, ours := strings.CutPrefix(e.Name(), filepath.Base(s.lockFile(""))); ours &&
			owner != s.owner.ID {
			err := lockfile.Take(s.lockFile(owner), func(decoding []int64) error {
				return s.suspect(ctx, owner, decoding)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// suspect counts the unclean end of an owner for each of some rows that are pending. An end counts once,
// although its file is found again when its finder dies before removing it, and the transaction runs again
// when its answer is lost.
func (s *session) suspect(ctx context.Context, owner string, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return s.update(ctx, func(t pgx.Tx) error {
		// Their shards are locked, so that none becomes done meanwhile.
		if err := eachShard(ctx, t, ids, func(int64, []int64) error { return nil }); err != nil {
			return err
		}
		tag, err := t.Exec(ctx, "INSERT INTO deaths VALUES ($1) ON CONFLICT DO NOTHING", owner)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = t.Exec(ctx, `INSERT INTO suspects SELECT u.id, 1 FROM rows AS u WHERE u.id = ANY($1)
			AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id)
			ON CONFLICT (id) DO UPDATE SET ends = suspects.ends + 1`, ids)
		return err
	})
}

// Decoding implements store.Session.
func (s *session) Decoding(slot int, id int64) {
	if s.file != nil {
		s.file.Set(slot, id)
	}
}

// Suspects implements store.Session.
func (s *session) Suspects(ctx context.Context) (out map[int64]int, err error) {
	err = s.retry(ctx, func() error {
		out = map[int64]int{}
		var id int64
		var ends int
		return each(ctx, s.pool, []any{&id, &ends}, func() { out[id] = ends },
			"SELECT id, ends FROM suspects")
	})
	return out, s.wrap("read suspects", err)
}

// Report implements store.Session.
func (s *session) Report(ctx context.Context, p store.Progress) error {
	_, err := s.pool.Exec(ctx, "UPDATE owners SET rate = $2, held_back_by = $3, why = $4 WHERE number = $1",
		s.number, p.Rate, p.HeldBackBy, p.Why)
	return s.wrap("report", err)
}

// Takeovers implements store.Session.
func (s *session) Takeovers() int64 { return s.takeovers.Load() }

// Leave implements store.Session.
func (s *session) Leave(ctx context.Context) error {
	s.claiming.Lock()
	defer s.claiming.Unlock()
	s.left = true
	err := s.update(ctx, func(t pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue("UPDATE shards SET owner = NULL, expires = NULL WHERE owner = $1", s.number)
		b.Queue("UPDATE sources SET importer = NULL, expires = NULL WHERE importer = $1", s.number)
		b.Queue("DELETE FROM owners WHERE number = $1", s.number)
		return t.SendBatch(ctx, b).Close()
	})
	s.openings.Add(1)
	if s.file != nil {
		err = errors.Join(err, os.Remove(s.file.Name()), s.file.Close())
	}
	return s.wrap("leave", err)
}
