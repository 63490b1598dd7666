//go:build powercut

package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

// Power cuts, for machines where tests may mount: build with the tag powercut, run as root. A job is on an
// ext4 file system in a file. While its process is stopped, that file is copied: the copy is the disk as a
// power cut would leave it, without what the kernel still held in memory. Everything acknowledged up to then
// must be in it.

const (
	powerCuts = 20
	allRows   = 1 << 30 // more than there is time for
)

func init() {
	childTasks["acknowledge"] = acknowledge
}

// acknowledge imports and processes, and writes how much was acknowledged into the file acks, two numbers,
// beside the file system.
func acknowledge(path string) error {
	ctx := context.Background()
	acks, err := os.OpenFile(filepath.Join(filepath.Dir(filepath.Dir(path)), "acks"), os.O_RDWR|os.O_CREATE,
		0o600)
	if err != nil {
		return err
	}
	j, err := Create(ctx, path)
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
	note := func(rows, done int64) error {
		b := binary.LittleEndian.AppendUint64(nil, uint64(rows))
		_, err := acks.WriteAt(binary.LittleEndian.AppendUint64(b, uint64(done)), 0)
		return err
	}
	for rows, done := int64(0), int64(0); rows < allRows; {
		if err := s.Append(ctx, l, listRows(int(rows)+1, 200), store.Position{Line: rows + 200}, false,
			100); err != nil {
			return err
		}
		rows += 200
		if err := note(rows, done); err != nil {
			return err
		}
		for range 2 {
			shard, err := s.Claim(ctx, 100)
			if err != nil {
				return err
			}
			for id := shard.Lo; id <= shard.Hi; id += 10 {
				var batch []store.Result
				for i := id; i < min(id+10, shard.Hi+1); i++ {
					batch = append(batch, benchResult(i, int(i%3)))
				}
				if err := s.Commit(ctx, shard, batch); err != nil {
					return err
				}
				done += int64(len(batch))
				if err := note(rows, done); err != nil {
					return err
				}
			}
			if err := s.Release(ctx, []store.Lease{shard}); err != nil {
				return err
			}
		}
	}
	return nil
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s (this test mounts file systems: run it as root, with loop devices)", name,
			args, err, out)
	}
}

// mounted mounts an image at a folder of its own while f runs.
func mounted(t *testing.T, image string, f func(dir string)) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(image), "mnt")
	ok(t, os.MkdirAll(dir, 0o700))
	command(t, "mount", "-o", "loop", image, dir)
	defer command(t, "umount", dir)
	f(dir)
}

func TestPowerCuts(t *testing.T) {
	ctx := context.Background()
	base := t.TempDir()
	image := filepath.Join(base, "disk")
	command(t, "truncate", "-s", "512M", image)
	command(t, "mkfs.ext4", "-q", "-F", image)
	random := rand.New(rand.NewPCG(3, 4))
	mounted(t, image, func(dir string) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childTask+"=acknowledge:"+filepath.Join(dir, "job.db"))
		cmd.Stderr = os.Stderr
		ok(t, cmd.Start())
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		for cut := 0; cut < powerCuts; {
			time.Sleep(time.Duration(random.IntN(int(200 * time.Millisecond)))) // a moment that nobody chose
			ok(t, cmd.Process.Signal(syscall.SIGSTOP))
			acks, err := os.ReadFile(filepath.Join(base, "acks"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if len(acks) == 16 {
				cut++
				folder := t.TempDir()
				after := filepath.Join(folder, "disk")
				command(t, "cp", "--sparse=always", image, after)
				rows, done := int64(binary.LittleEndian.Uint64(acks)),
					int64(binary.LittleEndian.Uint64(acks[8:]))
				mounted(t, after, func(dir string) {
					j, err := Open(ctx, filepath.Join(dir, "job.db"))
					ok(t, err)
					defer func() { ok(t, j.Close()) }()
					c, err := j.Counts(ctx)
					ok(t, err)
					if c.Total < rows || c.Done < done {
						t.Errorf("cut %d: %d rows and %d results were acknowledged, %d and %d are left", cut,
							rows, done, c.Total, c.Done)
					}
					if found := storetest.Problems(t, j.(*job), true); len(found) > 0 {
						t.Errorf("cut %d: %v", cut, found)
					}
				})
				ok(t, os.Remove(after))
			}
			ok(t, cmd.Process.Signal(syscall.SIGCONT))
		}
	})
}
