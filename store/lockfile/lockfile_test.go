package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLife follows a file from its process's start to what others make of its end.
func TestLife(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job-owner-x")
	f, err := Create(name)
	ok(t, err)
	info, err := os.Stat(name)
	ok(t, err)
	if f.Name() != name {
		t.Errorf("it is called %s", f.Name())
	}
	if info.Size() != 8*4096 || info.Mode() != 0o600 { // as other releases have it
		t.Errorf("%d bytes, %v", info.Size(), info.Mode())
	}
	if _, err := Create(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	f.Set(0, 7)
	f.Set(Slots-1, 9)
	f.Set(5, 8)
	f.Set(5, 0)
	never := func([]int64) error { t.Error("the living are dealt with"); return nil }
	if dead, _, err := Probe(name); dead || err != nil {
		t.Errorf("alive, but dead is %v, %v", dead, err)
	}
	ok(t, Take(name, never))
	ok(t, f.Close()) // as its death does
	f.Set(0, 1)      // late, and harmless
	for range 2 {
		if dead, rows, err := Probe(name); !dead || err != nil || !slices.Equal(rows, []int64{7, 9}) {
			t.Errorf("dead is %v with rows %v, %v", dead, rows, err)
		}
	}
	failure := errors.New("no database")
	if err := Take(name, func([]int64) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("taken with %v", err)
	}
	ok(t, Take(name, func(rows []int64) error {
		if !slices.Equal(rows, []int64{7, 9}) {
			t.Errorf("rows %v", rows)
		}
		return Take(name, never) // another process, at the same time
	}))
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	ok(t, Take(name, never))
	if dead, rows, err := Probe(name); !dead || rows != nil || err != nil {
		t.Errorf("without a file, dead is %v with rows %v, %v", dead, rows, err)
	}
}

// TestTakenWhileMade: others that clean up may take a file for a left-over before it is locked. Create never
// returns a file that they removed.
func TestTakenWhileMade(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job-owner-x")
	stop := make(chan struct{})
	var cleaners sync.WaitGroup
	for range 4 {
		cleaners.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := Take(name, func([]int64) error { return nil }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer cleaners.Wait()
	defer close(stop)
	for range 10_000 {
		f, err := Create(name)
		if errors.Is(err, fs.ErrExist) { // the previous one is still to be removed
			continue
		}
		ok(t, err)
		mine, err := f.f.Stat()
		ok(t, err)
		if now, err := os.Lstat(name); err != nil || !os.SameFile(mine, now) {
			t.Fatalf("the file is %v, %v", now, err)
		}
		ok(t, f.Close())
	}
}

// TestShortFile has files whose process died while they were made.
func TestShortFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "short")
	whole := []byte{3, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0}
	for size, want := range map[int][]int64{0: nil, 7: nil, 8: {3 | 1<<56}, 10: {3 | 1<<56},
		16: {3 | 1<<56, 4}} {
		ok(t, os.WriteFile(name, whole[:size], 0o600))
		if dead, rows, err := Probe(name); !dead || err != nil || !slices.Equal(rows, want) {
			t.Errorf("of %d bytes: dead is %v with rows %v, %v", size, dead, rows, err)
		}
	}
}

// TestOthers: what is not a file is not a dead process's, and stays; what cannot be looked at is an error.
func TestOthers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	ok(t, os.WriteFile(file, []byte{3, 0, 0, 0, 0, 0, 0, 0}, 0o600))
	for what, make := range map[string]func(name string) error{
		"link":   func(name string) error { return os.Symlink(file, name) },
		"folder": func(name string) error { return os.Mkdir(name, 0o700) },
		"pipe":   func(name string) error { return unix.Mkfifo(name, 0o600) },
		"socket": func(name string) error { return unix.Mknod(name, unix.S_IFSOCK|0o600, 0) },
	} {
		name := filepath.Join(dir, what)
		ok(t, make(name))
		if dead, rows, err := Probe(name); !dead || rows != nil || err != nil {
			t.Errorf("a %s: dead is %v with rows %v, %v", what, dead, rows, err)
		}
		ok(t, Take(name, func([]int64) error { t.Errorf("a %s is dealt with", what); return nil }))
		if _, err := os.Lstat(name); err != nil {
			t.Errorf("a %s was removed: %v", what, err)
		}
	}
	for _, err := range []error{Take(file+"/x", nil), probeErr(file + "/x")} {
		if !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("below a file: %v", err)
		}
	}
}

func probeErr(name string) error {
	dead, _, err := Probe(name)
	if dead {
		return errors.New("it is dead")
	}
	return err
}

func TestSlotsAreChecked(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "f"))
	ok(t, err)
	defer f.Close()
	for _, slot := range []int{-1, Slots} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("slot %d was taken", slot)
				}
			}()
			f.Set(slot, 1)
		}()
	}
}
