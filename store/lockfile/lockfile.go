// Package lockfile keeps, in a file per process, which rows the process has in its decoders, so that it is
// known after the process died there.
//
// The process holds the file locked (flock). The kernel drops the lock when it dies, however it dies: a
// process that can lock the file of another knows that the other is dead. A slot is eight bytes, written
// without a sync. The kernel's cache keeps them when the process dies, but not through a power cut; after
// one, no row is suspected.
package lockfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"facescan/store/draft"
)

// Slots is how many rows a process can have in decoders at once.
const Slots = 4096

// File is the file of this process.
type File struct{ f *os.File }

// Create makes a file of empty slots and locks it; fs.ErrExist if the name is taken. Its bytes are written,
// not just reserved, so that a full disk shows here.
func Create(name string) (*File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		if err = draft.Lock(f, unix.LOCK_EX); err == nil {
			_, err = os.Lstat(name)
		}
		if errors.Is(err, fs.ErrNotExist) { // taken for a left-over before it was locked
			_ = f.Close()
			continue
		}
		if err == nil {
			_, err = f.Write(make([]byte, 8*Slots))
		}
		if err != nil {
			return nil, errors.Join(err, os.Remove(name), f.Close())
		}
		return &File{f}, nil
	}
}

// Name of the file, as it was given.
func (f *File) Name() string { return f.f.Name() }

// Set notes the row that a slot holds, 0 for none. Failure costs nothing but the knowledge; after Close there
// is nothing to know.
func (f *File) Set(slot int, id int64) {
	if slot < 0 || slot >= Slots {
		panic(fmt.Sprintf("lockfile: slot %d of %d", slot, Slots))
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	_, _ = f.f.WriteAt(b[:], int64(8*slot))
}

// Close drops the lock: from here on, the process is dead to those who probe.
func (f *File) Close() error { return f.f.Close() }

// errAlive says that the process of a file lives: it holds the lock.
var errAlive = errors.New("the process is alive")

// openDead opens the file of a dead process and locks it; fs.ErrNotExist if there is none. A link, a pipe or
// a folder of the name is not one: it is neither followed nor waited for.
func openDead(name string, lock int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link; a socket
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = draft.Lock(f, lock|unix.LOCK_NB)
	}
	if err == unix.EWOULDBLOCK {
		err = errAlive
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Probe reports whether the process of a file is dead, as it is when there is no file, and which rows it left
// in its decoders. All who probe at the same time find the same.
func Probe(name string) (dead bool, decoding []int64, err error) {
	// Shared, so that those who probe at the same time do not take each other for the owner.
	f, err := openDead(name, unix.LOCK_SH)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil, nil
	case errors.Is(err, errAlive):
		return false, nil, nil
	case err != nil:
		return false, nil, err
	}
	defer f.Close()
	return true, read(f), nil
}

// Take hands do the rows that a dead process left in its decoders, and removes the file when do returned no
// error. One process alone does it: to others the dead one is alive meanwhile, and nothing happens if it is,
// or is gone.
func Take(name string, do func(decoding []int64) error) error {
	f, err := openDead(name, unix.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errAlive) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	mine, _ := f.Stat()
	now, _ := os.Lstat(name)
	if !os.SameFile(mine, now) { // another process took it while we opened it
		return nil
	}
	if err := do(read(f)); err != nil {
		return err
	}
	return os.Remove(name)
}

// read returns the rows in the slots of a file; what cannot be read is not known.
func read(f *os.File) (decoding []int64) {
	all := make([]byte, 8*Slots)
	n, _ := f.ReadAt(all, 0)
	for at := 0; at+8 <= n; at += 8 {
		if id := int64(binary.LittleEndian.Uint64(all[at:])); id != 0 {
			decoding = append(decoding, id)
		}
	}
	return decoding
}
