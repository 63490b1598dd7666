package source

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// sortInMemory is how many bytes of entries a Sorter holds before it writes them to the disk.
const sortInMemory = 16 << 20

// Sorter sorts entries by their keys, as bytes; those of one key come as they were added. Beyond some size
// they are in a temporary database, so that memory does not grow with them.
type Sorter struct {
	ctx  context.Context
	held []sorterEntry
	size int     // of held, in bytes
	most int     // of them in memory
	db   *sql.DB // nil while all are in memory
	rows *sql.Rows
}

type sorterEntry struct {
	key  string
	data []byte
}

const entryOverhead = 40 // bytes of a sorterEntry itself

// NewSorter makes an empty one. Close it.
func NewSorter(ctx context.Context) *Sorter { return &Sorter{ctx: ctx, most: sortInMemory} }

// Add takes an entry, whose data the caller must not change afterwards.
func (s *Sorter) Add(key string, data []byte) error {
	s.held = append(s.held, sorterEntry{key, data})
	s.size += len(key) + len(data) + entryOverhead
	if s.size < s.most {
		return nil
	}
	return s.wrap(s.spill())
}

// spill writes the entries in memory to the database.
func (s *Sorter) spill() (err error) {
	if s.db == nil {
		if s.db, err = temporaryDatabase(s.ctx); err != nil {
			return err
		}
	}
	tx, err := s.db.BeginTx(s.ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(s.ctx, "INSERT INTO entries VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, e := range s.held {
		if _, err := insert.ExecContext(s.ctx, []byte(e.key), e.data); err != nil {
			return err
		}
	}
	clear(s.held)
	s.held, s.size = s.held[:0], 0
	return tx.Commit()
}

// Sort ends the adding; Next begins with the lowest key.
func (s *Sorter) Sort() error {
	if s.db == nil {
		slices.SortStableFunc(s.held, func(a, b sorterEntry) int { return cmp.Compare(a.key, b.key) })
		return nil
	}
	return s.wrap(s.spill())
}

// Twice returns the lowest key that several entries have, if there is one. It comes between Sort and Next.
func (s *Sorter) Twice() (key string, is bool, err error) {
	if s.db == nil {
		for i := 1; i < len(s.held); i++ {
			if s.held[i].key == s.held[i-1].key {
				return s.held[i].key, true, nil
			}
		}
		return "", false, nil
	}
	err = s.db.QueryRowContext(s.ctx,
		"SELECT key FROM entries GROUP BY key HAVING count(*) > 1 LIMIT 1").Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return key, err == nil, s.wrap(err)
}

// Next returns the next entry; more is false after the last one.
func (s *Sorter) Next() (key string, data []byte, more bool, err error) {
	if s.db == nil {
		if len(s.held) == 0 {
			return "", nil, false, nil
		}
		e := s.held[0]
		s.held = s.held[1:]
		return e.key, e.data, true, nil
	}
	if s.rows == nil {
		s.rows, err = s.db.QueryContext(s.ctx, "SELECT key, data FROM entries ORDER BY key, rowid")
		if err != nil {
			return "", nil, false, s.wrap(err)
		}
	}
	if !s.rows.Next() {
		return "", nil, false, s.wrap(s.rows.Err())
	}
	err = s.rows.Scan(&key, &data)
	return key, data, err == nil, s.wrap(err)
}

func (s *Sorter) wrap(err error) error {
	if err != nil && s.ctx.Err() == nil {
		err = fmt.Errorf("sort in the temporary folder %s: %w; for another folder set TMPDIR",
			os.TempDir(), err)
	}
	return err
}

// Close removes what is on the disk.
func (s *Sorter) Close() (err error) {
	if s.rows != nil {
		err = s.rows.Close()
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// temporaryDatabase makes a database for entries, of which nothing outlives the process.
func temporaryDatabase(ctx context.Context) (*sql.DB, error) {
	dir, err := os.MkdirTemp("", "facescan-sort-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // SQLite has the file open by then, and needs its name no more
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "rows")+
		"?_journal_mode=OFF&_synchronous=OFF&_locking_mode=EXCLUSIVE")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE entries(key BLOB, data BLOB)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}
