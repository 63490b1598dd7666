package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"facescan/store"
	"facescan/store/storetest/namespace"
)

// TestCreateNoRoom makes a job on a disk with more room at each try, until there is enough: the file appears
// whole or not at all.
func TestCreateNoRoom(t *testing.T) {
	dir := namespace.SmallDisk(t, 2<<20)
	if dir == "" {
		return
	}
	path := filepath.Join(dir, "job.db")
	refused := 0
	for free := int64(4 << 10); ; free += 8 << 10 {
		makeRoom := namespace.Leave(t, dir, free)
		j, err := Create(t.Context(), path)
		makeRoom()
		if err == nil {
			ok(t, j.Close())
			break
		}
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("with %d bytes: %v", free, err)
		}
		if _, e := os.Lstat(path); e == nil { // opening it found no room
			j, e := Open(t.Context(), path)
			if e != nil {
				t.Fatalf("with %d bytes: %v, and what is there: %v", free, err, e)
			}
			ok(t, errors.Join(j.Close(), os.Remove(path)))
		}
		refused++
	}
	if refused < 10 {
		t.Errorf("only %d tries had no room", refused)
	}
}
