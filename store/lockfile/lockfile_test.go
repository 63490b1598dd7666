package lockfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
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

// TestShortFile has a file whose process died while it was made.
func TestShortFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "short")
	ok(t, os.WriteFile(name, []byte{3, 0, 0, 0, 0, 0, 0, 0, 4, 0}, 0o600))
	if dead, rows, err := Probe(name); !dead || err != nil || !slices.Equal(rows, []int64{3}) {
		t.Errorf("dead is %v with rows %v, %v", dead, rows, err)
	}
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
