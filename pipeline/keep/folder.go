package keep

import (
	"cmp"
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
	"facescan/store/lockfile"
)

const (
	hidden  = ".facescan" // name of the folder with internal files
	jobFile = "job"       // in it: the token of the job whose files these are
)

// What folders are for, as the flags and the job's settings name it.
const (
	ofBodies  = "keep"
	ofCrops   = "crops"
	ofBlurred = "blurred"
)

// folder is a folder of a job, into which its processes write. Each process has a name there, the prefix of
// the files that it alone writes, and a lock file that is locked as long as it lives. A folder may be used
// for several kinds: a process has a name for each then.
type folder struct {
	kind, dir string
	form      Form
	name      string
	lock      *lockfile.File

	mu     sync.Mutex
	staged map[int64][]staged // by row: files that have their names only once the row is done
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

// jobFolder is a folder that the job's settings name.
type jobFolder struct {
	kind, dir string
	here      bool // it is still the job's
	err       error
}

// foldersOf are the folders that the job wrote into. The settings hold their paths under "folder:KIND:TOKEN";
// the path is empty where the folder got another token.
func foldersOf(ctx context.Context, job store.Job) (out []jobFolder, err error) {
	settings, err := job.Settings(ctx)
	for key, dir := range settings {
		if rest, ok := strings.CutPrefix(key, store.FolderSetting); ok && dir != "" {
			kind, theirs, _ := strings.Cut(rest, ":")
			is, err := token(dir)
			out = append(out, jobFolder{kind, dir, err == nil && is == theirs, err})
		}
	}
	return out, err
}

// openFolder opens a folder for writing, and claims it for the job if it is new. A folder with other
// content is refused. choose returns the folder's form, given the present one, nil of a new folder.
func openFolder(ctx context.Context, job store.Job, kind, dir string,
	choose func(have *Form) (Form, error)) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	f := &folder{kind: kind, dir: dir, staged: map[int64][]staged{}}
	if err := os.MkdirAll(f.private(""), draft.FolderMode); err != nil {
		return nil, err
	}
	if f.form, err = f.claim(ctx, job, choose); err != nil {
		return nil, err
	}
	for range nameTries {
		f.name = time.Now().UTC().Format("20060102-150405-") + random(3) + nameSuffix(kind)
		if f.lock, err = lockfile.Create(f.private(f.name + ".lock")); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// nameSuffix ends the names of processes in a folder of a kind.
func nameSuffix(kind string) string {
	if kind == ofBodies {
		return "" // tar files are named after the process
	}
	return "-" + kind
}

// isOfKind reports whether a process that died wrote into a folder for this kind. The first release has names
// without a suffix for all kinds: what such a process left shows what it was there for.
func isOfKind(kind, dir, name string) (bool, error) {
	for _, other := range []string{ofCrops, ofBlurred} {
		if strings.HasSuffix(name, nameSuffix(other)) {
			return kind == other, nil
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, hidden, name+stageSuffix)); !errors.Is(err, fs.ErrNotExist) {
		return kind != ofBodies, err
	}
	parts, err := hiddenFiles(dir, name+"-*"+partSuffix)
	return kind == ofBodies || len(parts) == 0, err
}

// nameTries is how many names are tried until one is free.
const nameTries = 10

// claim makes a folder the job's, unless it is, and returns its form.
func (f *folder) claim(ctx context.Context, job store.Job, choose func(have *Form) (Form, error)) (
	form Form, err error) {
	for {
		theirs, err := token(f.dir)
		if err != nil {
			return form, err
		}
		if theirs != "" {
			return f.join(ctx, job, theirs, choose)
		}
		entries, err := os.ReadDir(f.dir)
		if err != nil {
			return form, err
		}
		if len(entries) > 1 { // hidden is one; or another process was quicker
			if theirs, err = token(f.dir); err == nil && theirs == "" {
				err = fmt.Errorf("%s holds files that facescan did not make; name a new folder, or an "+
					"empty one", f.dir)
			}
			if err != nil {
				return form, err
			}
			continue
		}
		if form, err = choose(nil); err != nil {
			return form, err
		}
		// The job knows the token before the folder has it, so that no other process of the job takes it for
		// another job's.
		mine := random(8)
		if err := f.register(ctx, job, mine); err != nil {
			return form, err
		}
		d, err := draft.Create(f.private(jobFile))
		if err != nil {
			return form, err
		}
		if _, err := d.Write(tokenText(mine, form)); err != nil {
			d.Discard()
			return form, err
		}
		err = d.PlaceNew()
		if errors.Is(err, fs.ErrExist) { // another process was quicker
			err = job.Set(ctx, map[string]string{store.FolderSetting + f.kind + ":" + mine: ""})
		}
		if err != nil {
			return form, err
		}
	}
}

// join returns the form of a folder that has a token, if that is the job's.
func (f *folder) join(ctx context.Context, job store.Job, theirs string,
	choose func(have *Form) (Form, error)) (form Form, err error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return form, err
	}
	for key := range settings {
		if !strings.HasPrefix(key, store.FolderSetting) || !strings.HasSuffix(key, ":"+theirs) {
			continue
		}
		if form, err = formOf(f.dir); err != nil {
			return form, err
		}
		if form, err = choose(&form); err != nil {
			return form, err
		}
		return form, f.register(ctx, job, theirs)
	}
	return form, fmt.Errorf("%s holds what was made for another job; name another folder, or remove it",
		f.dir)
}

// register stores in the job's settings where the folder with a token is.
func (f *folder) register(ctx context.Context, job store.Job, token string) error {
	return job.Set(ctx, map[string]string{store.FolderSetting + f.kind + ":" + token: f.dir})
}

func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// private returns the path of an internal file.
func (f *folder) private(name string) string { return filepath.Join(f.dir, hidden, name) }

// close leaves the folder. Files that could not be sealed, or placed, stay, and with them the lock file, by
// which other processes find them. Else that goes while it is locked: the lock may outlast closing, since a
// child that is being started has all open files until it runs its program.
func (f *folder) close() error {
	parts, err := hiddenFiles(f.dir, f.name+"-*"+partSuffix)
	_, staged := os.Lstat(f.stage())
	if err == nil && len(parts) == 0 && errors.Is(staged, fs.ErrNotExist) {
		if gone := os.Remove(f.lock.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return errors.Join(err, f.lock.Close())
}

// dead calls takeOver for each process that died in a folder of a kind, and removes its unfinished files.
// Only one process does that at a time.
func dead(kind, dir, own string, takeOver func(name string) error) error {
	locks, err := hiddenFiles(dir, "*.lock")
	if err != nil {
		return err
	}
	for _, lock := range locks {
		name := strings.TrimSuffix(filepath.Base(lock), ".lock")
		if name == own {
			continue
		}
		err := lockfile.Take(lock, func([]int64) error {
			if is, err := isOfKind(kind, dir, name); err != nil || !is {
				return cmp.Or(err, errOtherKind)
			}
			if err := takeOver(name); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(dir, hidden, name+stageSuffix))
		})
		if err != nil && err != errOtherKind {
			return err
		}
	}
	return nil
}

// errOtherKind leaves a dead process to those who open the folder for its kind.
var errOtherKind = errors.New("it wrote files of another kind")

// hiddenFiles are the paths of a folder's internal files whose names match a pattern.
func hiddenFiles(dir, pattern string) ([]string, error) {
	return filesLike(filepath.Join(dir, hidden), pattern)
}

// removeHidden removes a folder's internal files whose names match a pattern.
func removeHidden(dir, pattern string) error {
	paths, err := hiddenFiles(dir, pattern)
	for _, path := range paths {
		if err == nil {
			err = os.Remove(path)
		}
	}
	return err
}

// filesLike are the paths of a folder's files whose names match a pattern.
func filesLike(dir, pattern string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if is, _ := filepath.Match(pattern, e.Name()); is { // the patterns are well-formed
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, err
}
