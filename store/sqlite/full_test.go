package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/storetest"
)

// TestNoRoom runs fillUp in a process of its own, for which files must not grow: what a full disk, or a
// quota, does.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	path := target.Create(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"=full:"+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	j, err := Open(context.Background(), path)
	ok(t, err)
	defer j.Close()
	if found := storetest.Problems(t, j.(*job), true); len(found) > 0 {
		t.Errorf("after no room: %v", found)
	}
}

// fillUp imports and commits until there is no room, checks that nothing acknowledged is lost and nothing
// else is there, makes room, and goes on.
func fillUp(path string) error {
	ctx := context.Background()
	j, err := Open(ctx, path)
	if err != nil {
		return err
	}
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	if err != nil {
		return err
	}
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		return err
	}
	l, err := s.LeaseSource(ctx, 0)
	if err != nil {
		return err
	}
	limit := func(bytes uint64) error {
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	rows, done := int64(0), int64(0)
	appendSome := func() error {
		err := s.Append(ctx, l, listRows(int(rows)+1, 1000), store.Position{Line: rows + 1000}, false, 500)
		if err == nil {
			rows += 1000
		}
		return err
	}
	commitSome := func() error {
		shard, err := s.Claim(ctx, 100)
		if err != nil {
			return err
		}
		var batch []store.Result
		for id := shard.Lo; id <= shard.Hi; id++ {
			batch = append(batch, benchResult(id, 2))
		}
		if err := s.Commit(ctx, shard, batch); err != nil {
			return errors.Join(err, s.Release(ctx, []store.Lease{shard}))
		}
		done += int64(len(batch))
		return nil
	}
	check := func() error {
		c, err := j.Counts(ctx)
		if err != nil {
			return err
		}
		src, err := j.Sources(ctx)
		if err != nil {
			return err
		}
		if c.Total != rows || c.Done != done || src[0].Position.Line != rows {
			return fmt.Errorf("acknowledged: %d rows, %d done; there are %d, %d, up to line %d", rows, done,
				c.Total, c.Done, src[0].Position.Line)
		}
		return nil
	}
	for _, step := range []func() error{appendSome, commitSome} {
		if err := limit(2 << 20); err != nil {
			return err
		}
		for err = nil; err == nil; {
			if err = step(); errors.Is(err, store.ErrNoShard) {
				return errors.New("everything fits: the limit is too high")
			}
		}
		if !errors.Is(err, store.ErrFull) {
			return fmt.Errorf("no room is reported as: %w", err)
		}
		if err := check(); err != nil {
			return err
		}
		if err := limit(unix.RLIM_INFINITY); err != nil {
			return err
		}
		for range 100 {
			if err := step(); err != nil {
				return fmt.Errorf("after room was made: %w", err)
			}
		}
		if err := check(); err != nil {
			return err
		}
	}
	return errors.Join(s.Leave(ctx), j.Close())
}

// TestNoRoomIsTold has the system's numbers for it, and another.
func TestNoRoomIsTold(t *testing.T) {
	t.Parallel()
	for _, no := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG,
		&os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}} {
		if err := wrap("join", no); !errors.Is(err, store.ErrFull) || !errors.Is(err, no) {
			t.Errorf("%v becomes %v", no, err)
		}
	}
	if err := wrap("join", unix.EIO); errors.Is(err, store.ErrFull) {
		t.Errorf("an I/O error becomes %v", err)
	}
}
