package keep

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/slots"
)

const (
	hidden   = ".facescan" // what is not for users to see lies in a folder of this name
	jobFile  = "job"       // in it: the token of the job whose files these are
	syncs    = 32          // files synced at once: a journal takes many into one commit
	knownMax = 4096        // subfolders that are remembered to exist
)

// folder is a folder that belongs to a job, and that its processes write into. Each has a name of its own there, which all
// files begin with that it alone writes; a file that is locked as long as it lives tells it from the dead.
type folder struct {
	dir  string
	name string
	lock *slots.File

	mu     sync.Mutex
	staged []staged // files to be synced and given their names
	serial int
	known  map[string]bool // subfolders that exist
}

type staged struct{ temp, path string }

// token is what the folder's job is called, empty when it is none's.
func token(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, hidden, jobFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// openFolder makes a folder the job's, if it is not, and joins in writing to it. One that holds anything else is refused.
// The job's settings tell under "folder:KIND:TOKEN" where it lies.
func openFolder(ctx context.Context, job store.Job, kind, dir string) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, hidden), draft.FolderMode); err != nil {
		return nil, err
	}
	if err := claim(ctx, job, kind, dir); err != nil {
		return nil, err
	}
	f := &folder{dir: dir, name: time.Now().UTC().Format("20060102-150405-") + random(3), known: map[string]bool{}}
	if f.lock, err = slots.Create(f.private(f.name + ".lock")); err != nil {
		return nil, err
	}
	return f, nil
}

func claim(ctx context.Context, job store.Job, kind, dir string) error {
	for {
		theirs, err := token(dir)
		if err != nil {
			return err
		}
		if theirs != "" {
			settings, err := job.Settings(ctx)
			if err != nil {
				return err
			}
			for key := range settings {
				if strings.HasPrefix(key, store.FolderSetting) && strings.HasSuffix(key, ":"+theirs) {
					return job.Set(ctx, map[string]string{store.FolderSetting + kind + ":" + theirs: dir})
				}
			}
			return fmt.Errorf("%s holds what was made for another job; name another folder, or remove it", dir)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(entries) > 1 { // hidden is one; or another process was quicker
			if theirs, err = token(dir); err == nil && theirs == "" {
				err = fmt.Errorf("%s holds files that facescan did not make; name a new folder, or an empty one", dir)
			}
			if err != nil {
				return err
			}
			continue
		}
		// The job knows the token before the folder has it, so that no other process of the job can take it for a stranger's.
		mine := random(8)
		if err := job.Set(ctx, map[string]string{store.FolderSetting + kind + ":" + mine: dir}); err != nil {
			return err
		}
		temp := filepath.Join(dir, hidden, jobFile+"-"+mine)
		if err := os.WriteFile(temp, []byte(mine+"\n"), draft.FileMode); err != nil {
			return err
		}
		err = os.Link(temp, filepath.Join(dir, hidden, jobFile))
		if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
			err = os.Rename(temp, filepath.Join(dir, hidden, jobFile))
		} else {
			err = os.Remove(temp)
		}
		if err != nil {
			return err
		}
	}
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// private is a file of ours that users need not see.
func (f *folder) private(name string) string { return filepath.Join(f.dir, hidden, name) }

// put writes a file, which has its name from the next sync on.
func (f *folder) put(path string, b []byte) error {
	f.mu.Lock()
	temps := f.private(f.name + ".tmp")
	if f.serial++; f.serial == 1 {
		if err := os.Mkdir(temps, draft.FolderMode); err != nil {
			f.mu.Unlock()
			return err
		}
	}
	s := staged{filepath.Join(temps, fmt.Sprint(f.serial)), filepath.Join(f.dir, path)}
	f.mu.Unlock()
	if err := os.WriteFile(s.temp, b, draft.FileMode); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.staged = append(f.staged, s)
	return nil
}

// sync makes durable what was put, and then its name.
func (f *folder) sync() error {
	f.mu.Lock()
	batch := f.staged
	f.staged = nil
	f.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	dirty := map[string]bool{}
	for _, s := range batch {
		if err := f.mkdir(filepath.Dir(s.path), dirty); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(syncs)
	for _, s := range batch {
		g.Go(func() error {
			if err := syncFile(s.temp); err != nil {
				return err
			}
			return os.Rename(s.temp, s.path)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for dir := range dirty {
		g.Go(func() error { return syncFile(dir) })
	}
	return g.Wait()
}

// mkdir makes a subfolder with all above it, and adds to dirty those whose entries change.
func (f *folder) mkdir(dir string, dirty map[string]bool) error {
	dirty[dir] = true
	if f.known[dir] || dir == f.dir {
		return nil
	}
	if len(f.known) >= knownMax {
		clear(f.known)
	}
	err := os.Mkdir(dir, draft.FolderMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.mkdir(filepath.Dir(dir), dirty); err == nil {
			err = os.Mkdir(dir, draft.FolderMode)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dirty[filepath.Dir(dir)] = true
	f.known[dir] = true
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remove removes a file, if it is there.
func (f *folder) remove(path string) (was bool, err error) {
	err = os.Remove(filepath.Join(f.dir, path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// has tells whether there is such a file.
func (f *folder) has(path string) bool {
	_, err := os.Lstat(filepath.Join(f.dir, path))
	return err == nil
}

// close leaves the folder; what was put and not synced is gone. A tar file that could not be sealed stays, and with it the
// lock file, which is how others find what the dead left.
func (f *folder) close() error {
	err := errors.Join(os.RemoveAll(f.private(f.name+".tmp")), f.lock.Close())
	if parts, _ := filepath.Glob(escape(f.private(f.name)) + "-*" + partSuffix); len(parts) > 0 {
		return err
	}
	return errors.Join(err, slots.Take(f.lock.Name(), func([]int64) error { return nil })) // removed by us, or by who was quicker
}

// dead calls heir for the name of every process that died in a folder, and removes what it had not finished. One process
// alone does that.
func dead(dir, own string, heir func(name string) error) error {
	locks, err := filepath.Glob(filepath.Join(escape(dir), hidden, "*.lock"))
	if err != nil {
		return err
	}
	for _, lock := range locks {
		name := strings.TrimSuffix(filepath.Base(lock), ".lock")
		if name == own {
			continue
		}
		err := slots.Take(lock, func([]int64) error {
			if err := heir(name); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(dir, hidden, name+".tmp"))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// escape makes a pattern that matches just this path.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
