//go:build crashpoints

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

func init() {
	for name, task := range map[string]func(context.Context, string) error{"finish": finishJob,
		"retry": retryJob, "merge": mergeJob, "table": finishTable} {
		childTasks[name] = func(path string) error { return task(context.Background(), path) }
	}
}

// crashRows is the list's length, small so that every step can be crashed at.
const crashRows = 60

// finishJob makes, imports and processes a job, from wherever an earlier one died.
func finishJob(ctx context.Context, path string) error {
	j, err := Create(ctx, path)
	if errors.Is(err, fs.ErrExist) {
		j, err = Open(ctx, path)
	}
	if err != nil {
		return err
	}
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		return err
	}
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	if err != nil {
		return err
	}
	l, err := s.LeaseSource(ctx, 0)
	if err != nil {
		return err
	}
	for line := l.Position.Line; line < crashRows; {
		rows := listRows(int(line)+1, 20)
		for i := range rows {
			rows[i].Group = []string{"", "a", "b"}[i%3]
		}
		rows[19].Bad = true
		line += 20
		if err := s.Append(ctx, l, rows, store.Position{Line: line}, line == crashRows, 15); err != nil {
			return err
		}
		if l, err = s.RenewSource(ctx, l); err != nil {
			return err
		}
	}
	if err := s.ReleaseSource(ctx, l); err != nil {
		return err
	}
	if err := process(ctx, s); err != nil {
		return err
	}
	return errors.Join(s.Leave(ctx), j.Close())
}

// process does what is free. Every fifth row fails; rows that end in 7 are in the decoder when a commit
// begins.
func process(ctx context.Context, s store.Session) error {
	for {
		l, err := s.Claim(ctx, 10)
		if errors.Is(err, store.ErrNoShard) {
			return nil
		}
		if err != nil {
			return err
		}
		rows, err := s.Pending(ctx, l, l.Lo-1, 100)
		if err != nil {
			return err
		}
		for len(rows) > 0 {
			n := min(4, len(rows))
			var batch []store.Result
			for _, r := range rows[:n] {
				if r.ID%10 == 7 {
					s.Decoding(0, r.ID)
				}
				if r.ID%5 == 0 {
					batch = append(batch, store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout})
				} else {
					batch = append(batch, benchResult(r.ID, int(r.ID%3)))
				}
			}
			if err := s.Commit(ctx, l, batch); err != nil {
				return err
			}
			s.Decoding(0, 0)
			if _, err := s.Renew(ctx, []store.Lease{l}); err != nil {
				return err
			}
			rows = rows[n:]
		}
		if err := s.Release(ctx, []store.Lease{l}); err != nil {
			return err
		}
	}
}

func retryJob(ctx context.Context, path string) error {
	j, err := Open(ctx, path)
	if err != nil {
		return err
	}
	_, err = j.Retry(ctx, store.Selection{Reasons: []store.Reason{store.Timeout}})
	return errors.Join(err, j.Close())
}

// mergeJob merges the job beside it into the one named.
func mergeJob(ctx context.Context, path string) error {
	out, err := Create(ctx, path)
	if errors.Is(err, fs.ErrExist) {
		out, err = Open(ctx, path)
	}
	if err != nil {
		return err
	}
	in, err := Open(ctx, filepath.Join(filepath.Dir(path), "in.db"))
	if err != nil {
		return err
	}
	err = store.Merge(ctx, out, []store.Job{in}, store.MergeOptions{
		Same:       func(a, b store.Source) bool { return true },
		SourceName: func(_ store.Job, s store.Source) string { return s.Name },
		ShardSize:  15,
	})
	return errors.Join(err, out.Close(), in.Close())
}

// finishTable works on a user's table.
func finishTable(ctx context.Context, path string) error {
	j, err := OpenTable(ctx, path, TableOptions{Table: "t", Group: "album"})
	if err != nil {
		return err
	}
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	if err != nil {
		return err
	}
	l, err := s.LeaseSource(ctx, 0)
	if err != nil {
		return err
	}
	for next, more := int64(math.MinInt64), true; more; {
		if next, more, err = s.(store.Adopter).Adopt(ctx, l, next, 15); err != nil {
			return err
		}
	}
	if err := s.ReleaseSource(ctx, l); err != nil {
		return err
	}
	if err := process(ctx, s); err != nil {
		return err
	}
	return errors.Join(s.Leave(ctx), j.Close())
}

// child runs a task in a process of its own, and reports whether it was killed at the crash point.
func child(t *testing.T, task, path, crash string) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"="+task+":"+path, "FACESCAN_CRASH="+crash)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true
	}
	if err != nil {
		t.Fatalf("%s, to crash at %s: %v: %s", task, crash, err, out)
	}
	return false
}

// TestCrashPoints kills every task at its steps (with FACESCAN_SOAK at each), verifies, lets the same task
// run to its end, and compares.
func TestCrashPoints(t *testing.T) {
	ctx := context.Background()
	open := func(path string) (store.Job, error) { return Open(ctx, path) }
	fresh := func(t *testing.T) string { return filepath.Join(t.TempDir(), "job.db") }
	for _, c := range []struct {
		task    string
		points  []string
		prepare func(t *testing.T) string // a path
		open    func(path string) (store.Job, error)
		done    int64 // rows, in the end
	}{
		{"finish", []string{"create", "migrate", "add source", "join", "lease source", "append",
			"renew source", "release source", "claim", "commit", "renew", "release", "leave"}, fresh, open,
			crashRows},
		// where another died before
		{"finish", []string{"join", "lease source", "claim", "commit", "leave"}, func(t *testing.T) string {
			path := fresh(t)
			if !child(t, "finish", path, "commit:12") {
				t.Fatal("no commit")
			}
			return path
		}, open, crashRows},
		{"retry", []string{"retry"}, func(t *testing.T) string {
			path := fresh(t)
			child(t, "finish", path, "")
			return path
		}, open, crashRows - 9},
		{"merge", []string{"create", "set", "absorb"}, func(t *testing.T) string {
			path := fresh(t)
			child(t, "finish", filepath.Join(filepath.Dir(path), "in.db"), "")
			return path
		}, open, crashRows},
		{"table", []string{"migrate", "open table", "join", "lease source", "adopt", "claim", "commit",
			"release"}, func(t *testing.T) string {
			path, _ := users(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, album TEXT)")
			db := connect(path, nil)
			defer db.Close()
			for _, r := range listRows(1, crashRows) {
				_, err := db.Exec("INSERT INTO t VALUES (?, ?, ?)", r.ID, r.URL, fmt.Sprint(r.ID%4))
				ok(t, err)
			}
			return path
		}, func(path string) (store.Job, error) {
			return OpenTable(ctx, path, TableOptions{Table: "t", Group: "album"})
		}, crashRows},
	} {
		for _, point := range c.points {
			t.Run(c.task+"/"+strings.ReplaceAll(point, " ", "_"), func(t *testing.T) {
				t.Parallel()
				n, tried := 1, 0
				for ; ; tried++ {
					path := c.prepare(t)
					killed := child(t, c.task, path, fmt.Sprintf("%s:%d", point, n))
					for round := range 2 {
						j, err := c.open(path)
						if round == 0 && errors.Is(err, fs.ErrNotExist) &&
							(point == "create" || point == "migrate") {
							child(t, c.task, path, "") // it died before there was a job
							continue
						}
						ok(t, err)
						if found := storetest.Problems(t, j.(*job), true); len(found) > 0 {
							t.Fatalf("after %s:%d, round %d: %v", point, n, round, found)
						}
						counts, err := j.Counts(ctx)
						ok(t, err)
						ok(t, j.Close())
						if round == 0 {
							child(t, c.task, path, "")
						} else if counts.Done != c.done || counts.Total != crashRows {
							t.Fatalf("after %s:%d: %d of %d rows are done, want %d of %d", point, n,
								counts.Done, counts.Total, c.done, crashRows)
						}
					}
					if !killed {
						break
					}
					if n++; os.Getenv("FACESCAN_SOAK") == "" {
						n += n / 8 // all of the first ones, and some of the later, which are much the same
					}
				}
				if tried < 2 {
					t.Errorf("only %d points called %s were passed", tried, point)
				}
				t.Logf("killed at %d points", tried)
			})
		}
	}
}
