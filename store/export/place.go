package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/draft"
)

// Which process writes a file that follows a job. The job records the position under the file's name before
// the file exists; so a file without one is not the job's, and is never touched. One process writes: the one
// with the kernel's lock (flock) on the file, which ends with the process.
//
// A change by another program is noticed by the file's stamp: inode, size and times. If the stamp is that of
// the last sync, only the end of the file is compared; else all of it is read and compared with a running
// hash of what was written. A change without a new time, such as a fault of the disk, is not noticed.

const (
	tailBytes  = 4 << 10          // how much of a file before its position is always compared
	checkEvery = time.Minute      // how often a locked file is compared, at most
	checkBlock = 1 << 20          // read at once
	checkTold  = int64(256) << 20 // size from which the comparison is logged
)

// ForeignError is the error for a file that the job did not write.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s exists, and this job did not write it; move it away, or name another file", e.Path)
}

// Check returns an error if Path cannot be written: if another program made it (a *ForeignError), or it is
// not a regular file. It changes nothing.
func (f *Follower) Check(ctx context.Context) error {
	if f.Path == "" {
		return nil
	}
	_, err := f.recorded(ctx)
	return err
}

// recorded reports whether the job has a position for the file; an error if it has none and the file exists.
func (f *Follower) recorded(ctx context.Context) (known bool, err error) {
	st, statErr := os.Lstat(f.Path)
	switch {
	case statErr != nil && !errors.Is(statErr, fs.ErrNotExist):
		return false, statErr
	case statErr == nil && st.Mode()&fs.ModeSymlink != 0:
		return false, usagef("%s is a symbolic link, which may lead anywhere; name the file itself", f.Path)
	case statErr == nil && !st.Mode().IsRegular():
		return false, usagef("%s is not a regular file, and rows can be appended only to one", f.Path)
	}
	// Read after the file was looked up: another process saves the position before it makes the file.
	if _, known, err = f.saved(ctx); err == nil && !known && statErr == nil {
		err = &ForeignError{f.Path}
	}
	return known, err
}

// lock opens and locks the file, unless another process has the lock, and finds out how far it is written.
func (f *Follower) lock(ctx context.Context) (locked bool, err error) {
	if f.Path == "" || f.file != nil {
		return true, nil
	}
	known, err := f.recorded(ctx)
	if err != nil {
		return false, err
	}
	if !known {
		if err := f.save(ctx, position{}); err != nil {
			return false, err
		}
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, draft.FileMode)
	if err != nil {
		return false, err
	}
	defer func() {
		if !locked {
			err = errors.Join(err, file.Close())
		}
	}()
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("lock: %w", err)
	}
	if same, err := stillThere(f.Path, file); err != nil || !same {
		return false, err
	}
	f.file, f.out = file, nil
	if f.at, _, err = f.saved(ctx); err == nil {
		err = f.resume(ctx)
	}
	if err != nil {
		f.file = nil
	}
	return err == nil, err
}

// resume truncates the file to its position, or restarts it if it was changed.
func (f *Follower) resume(ctx context.Context) error {
	same, err := f.matches(ctx)
	if err != nil {
		return err
	}
	if !same {
		_, err := f.restart(ctx, "it is not as this job left it")
		return err
	}
	size, err := f.file.Seek(0, io.SeekEnd)
	if err == nil && size > f.at.Bytes {
		err = f.file.Truncate(f.at.Bytes)
	}
	if err != nil {
		return err
	}
	if _, err = f.file.Seek(f.at.Bytes, io.SeekStart); err != nil {
		return err
	}
	f.doubt = false
	f.at.Stamp, err = stampOf(f.file)
	return err
}

// matches reports whether the file has what was written up to the position, and restores its hash.
func (f *Follower) matches(ctx context.Context) (same bool, err error) {
	now, err := stampOf(f.file)
	if err != nil {
		return false, err
	}
	tail, err := tailOf(f.file, f.at.Bytes)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil || f.at.Bytes > 0 && tail != f.at.Tail {
		return false, err
	}
	was := xxhash.New()
	known := len(f.at.Sum) > 0 && was.UnmarshalBinary(f.at.Sum) == nil
	f.sum = was
	if known && now == f.at.Stamp || f.at.Bytes == 0 {
		return true, nil
	}
	// An earlier release recorded no hash: then the file's own is taken.
	if f.at.Bytes >= checkTold {
		f.Log.Info("reading "+f.Path+", which may have been changed, to compare it", "bytes", f.at.Bytes)
	}
	f.sum, f.checked = xxhash.New(), time.Now()
	block := make([]byte, checkBlock)
	for at := int64(0); at < f.at.Bytes; {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		n, err := f.file.ReadAt(block[:min(checkBlock, f.at.Bytes-at)], at)
		f.sum.Write(block[:n])
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF) && at < f.at.Bytes:
			return false, nil
		case err != nil && !errors.Is(err, io.EOF):
			return false, err
		}
	}
	return !known || f.sum.Sum64() == was.Sum64(), nil
}

// stamp stays the same while a file is not written to.
type stamp struct {
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // Unix nanoseconds
	Changed  int64  `json:"changed"`  // likewise, of content or attributes; no program can set it
}

// stampOf is the stamp of a file; zero for a file of a test.
func stampOf(f file) (stamp, error) {
	file, ok := f.(*os.File)
	if !ok {
		return stamp{}, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return stamp{}, fmt.Errorf("stat: %w", err)
	}
	return stamp{uint64(st.Ino), st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// tailOf is a digest of the bytes before a position; io.EOF if the file is shorter.
func tailOf(file io.ReaderAt, at int64) (string, error) {
	n := min(at, tailBytes)
	b := make([]byte, n)
	if read, err := file.ReadAt(b, at-n); int64(read) < n {
		return "", err
	}
	return digest(b), nil
}

// moved reports whether the file is no longer the one that was written, and then releases it.
func (f *Follower) moved() (bool, error) {
	file, ok := f.file.(*os.File)
	if !ok {
		return false, nil
	}
	same, err := stillThere(f.Path, file)
	if err != nil {
		return false, err
	}
	if same {
		now, err := stampOf(file)
		if err != nil || now == f.at.Stamp {
			return false, err
		}
		if now.Size == f.at.Bytes && time.Since(f.checked) < checkEvery {
			f.doubt = true
			return false, nil
		}
	}
	f.release()
	return true, nil
}

// stillThere reports whether a path is that of an open file.
func stillThere(path string, file *os.File) (bool, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	have, err := file.Stat()
	return err == nil && os.SameFile(st, have), err
}

func (f *Follower) release() {
	if f.file != nil {
		_ = f.file.Close() // everything before the position was synced
		f.file, f.out = nil, nil
	}
}

// saved is the position that the job has recorded for the file.
func (f *Follower) saved(ctx context.Context) (p position, known bool, err error) {
	settings, err := f.Job.Settings(ctx)
	if err != nil {
		return p, false, err
	}
	text, known := settings[store.OutputSetting+f.Name]
	if known {
		err = json.Unmarshal([]byte(text), &p)
	}
	return p, known, err
}

func (f *Follower) save(ctx context.Context, p position) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return f.Job.Set(ctx, map[string]string{store.OutputSetting + f.Name: string(text)})
}

// wrap adds the file's name to an error, and store.ErrFull to one that means a full disk.
func (f *Follower) wrap(err error) error {
	var foreign *ForeignError
	var usage *UsageError
	if f.Path == "" || errors.As(err, &foreign) || errors.As(err, &usage) {
		return err
	}
	if draft.Full(err) && !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("write %s: %w (%w)", f.Path, store.ErrFull, err)
	}
	return fmt.Errorf("write %s: %w", f.Path, err)
}
