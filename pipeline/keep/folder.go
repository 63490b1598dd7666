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

	"facescan/store"
	"facescan/store/draft"
	"facescan/store/slots"
)

const (
	hidden   = ".facescan" // name of the folder with internal files
	jobFile  = "job"       // in it: the token of the job whose files these are
	knownMax = 4096        // subfolders that are remembered to exist
)

// folder is a folder of a job, into which its processes write. Each process has a name there, the prefix of
// the files that it alone writes, and a lock file that is locked as long as it lives.
type folder struct {
	dir  string
	form Form
	name string
	lock *slots.File

	mu     sync.Mutex
	staged map[int64][]staged // by row: files that have their names only once the row is done
	known  map[string]bool    // subfolders that exist
}

// token returns the token of the folder's job, empty if it has none.
func token(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, hidden, jobFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return text, err
}

// openFolder opens a folder for writing, and claims it for the job if it is new. A folder with other
// content is refused. The job's settings hold its path under "folder:KIND:TOKEN". Settle is asked for the
// folder's form, given the present one, nil of a new folder.
func openFolder(ctx context.Context, job store.Job, kind, dir string,
	settle func(have *Form) (Form, error)) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, hidden), draft.FolderMode); err != nil {
		return nil, err
	}
	form, err := claim(ctx, job, kind, dir, settle)
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, form: form, name: time.Now().UTC().Format("20060102-150405-") + random(3),
		known:  map[string]bool{},
		staged: map[int64][]staged{}}
	if f.lock, err = slots.Create(f.private(f.name + ".lock")); err != nil {
		return nil, err
	}
	return f, nil
}

// claim makes a folder the job's, unless it is, and returns its form.
func claim(ctx context.Context, job store.Job, kind, dir string,
	settle func(have *Form) (Form, error)) (form Form, err error) {
	for {
		theirs, err := token(dir)
		if err != nil {
			return form, err
		}
		if theirs != "" {
			return join(ctx, job, kind, dir, theirs, settle)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return form, err
		}
		if len(entries) > 1 { // hidden is one; or another process was quicker
			if theirs, err = token(dir); err == nil && theirs == "" {
				err = fmt.Errorf("%s holds files that facescan did not make; name a new folder, or an "+
					"empty one", dir)
			}
			if err != nil {
				return form, err
			}
			continue
		}
		if form, err = settle(nil); err != nil {
			return form, err
		}
		// The job knows the token before the folder has it, so that no other process of the job takes it for
		// another job's.
		mine := random(8)
		if err := job.Set(ctx, map[string]string{store.FolderSetting + kind + ":" + mine: dir}); err != nil {
			return form, err
		}
		temp := filepath.Join(dir, hidden, jobFile+"-"+mine)
		if err := os.WriteFile(temp, tokenText(mine, form), draft.FileMode); err != nil {
			return form, err
		}
		err = os.Link(temp, filepath.Join(dir, hidden, jobFile))
		if err != nil && !errors.Is(err, fs.ErrExist) { // a file system without links
			err = os.Rename(temp, filepath.Join(dir, hidden, jobFile))
		} else {
			err = os.Remove(temp)
		}
		if err != nil {
			return form, err
		}
	}
}

// join returns the form of a folder that has a token, if that is the job's.
func join(ctx context.Context, job store.Job, kind, dir, theirs string,
	settle func(have *Form) (Form, error)) (form Form, err error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return form, err
	}
	for key := range settings {
		if !strings.HasPrefix(key, store.FolderSetting) || !strings.HasSuffix(key, ":"+theirs) {
			continue
		}
		if form, err = formOf(dir); err != nil {
			return form, err
		}
		if form, err = settle(&form); err != nil {
			return form, err
		}
		return form, job.Set(ctx, map[string]string{store.FolderSetting + kind + ":" + theirs: dir})
	}
	return form, fmt.Errorf("%s holds what was made for another job; name another folder, or remove it", dir)
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// private returns the path of an internal file.
func (f *folder) private(name string) string { return filepath.Join(f.dir, hidden, name) }

// mkdir makes a subfolder with its parents.
func (f *folder) mkdir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mkdirLocked(dir)
}

func (f *folder) mkdirLocked(dir string) error {
	if f.known[dir] || dir == f.dir {
		return nil
	}
	if len(f.known) >= knownMax {
		clear(f.known)
	}
	err := os.Mkdir(dir, draft.FolderMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.mkdirLocked(filepath.Dir(dir)); err == nil {
			err = os.Mkdir(dir, draft.FolderMode)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f.known[dir] = true
	return nil
}

// close leaves the folder. A tar file that could not be sealed stays, and with it the lock file, by which
// other processes find it.
func (f *folder) close() error {
	err := errors.Join(os.RemoveAll(f.private(f.name+stageSuffix)), f.lock.Close())
	if parts, _ := filepath.Glob(escape(f.private(f.name)) + "-*" + partSuffix); len(parts) > 0 {
		return err
	}
	// removed here, or by a faster process
	return errors.Join(err, slots.Take(f.lock.Name(), func([]int64) error { return nil }))
}

// dead calls takeOver for each process that died in a folder, and removes its unfinished files. Only one
// process does that at a time.
func dead(dir, own string, takeOver func(name string) error) error {
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
			if err := takeOver(name); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(dir, hidden, name+stageSuffix))
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
