package draft

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maker marks the process that makes a draft and waits to be killed, noFiles one that may open no file.
const (
	maker   = "FACESCAN_TEST_MAKES_DRAFT"
	noFiles = "FACESCAN_TEST_OPENS_NONE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(maker); path != "" {
		begin := Create
		if strings.HasSuffix(path, "/") {
			begin = CreateFolder
		}
		d, err := begin(path)
		if err != nil {
			panic(err)
		}
		os.WriteFile(d.Name()+"-wal", nil, FileMode)
		os.Stdout.WriteString(d.Name() + "\n")
		os.Stdin.Read(make([]byte, 1)) // until it is killed
		return
	}
	if path := os.Getenv(noFiles); path != "" {
		time.AfterFunc(time.Hour, func() {}) // for which the runtime opens files of its own
		err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: 0})
		if err == nil {
			_, err = CreateFolder(path)
		}
		fmt.Fprint(os.Stdout, err)
		return
	}
	os.Exit(m.Run())
}

// TestNoFolderStays: a folder that was made and cannot be opened is removed again.
func TestNoFolderStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), noFiles+"="+path)
	out, err := c.Output()
	must(t, err)
	if want := "open " + path + ": too many open files"; string(out) != want {
		t.Errorf("%s, want %s", out, want)
	}
	if got := files(t, filepath.Dir(path)); got != "" {
		t.Errorf("left are %s", got)
	}
}

func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// makeAndDie has another process make a draft of a path, calls check while it lives, and kills it.
func makeAndDie(t *testing.T, path string, check func(name string)) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), maker+"="+path)
	in, err := c.StdinPipe()
	must(t, err)
	defer in.Close()
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	name, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	check(strings.TrimSpace(name))
}

// TestOfTheDead: what a killed maker left is removed by the next one of the same name, and nothing else is.
func TestOfTheDead(t *testing.T) {
	for _, end := range []string{"", "/"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out.csv")
		others := []string{".out.csv.0123456789abcdef.par", ".out.csv.0123456789abcde.part",
			".out.csv.0123456789abcdeg.part", ".out.csv.4711.part", ".other.csv.0123456789abcdef.part",
			"x.0123456789abcdef.part", "0123456789abcdef.part", ".out.csv.0123456789abcdef",
			".out.csv.0123456789abcd.part", ".out.csv.0123456789abcdef01.part"}
		for _, name := range others {
			must(t, os.WriteFile(filepath.Join(dir, name), nil, FileMode))
		}
		// What has a draft's name is one if it is a file or a folder.
		must(t, os.Symlink(filepath.Join(dir, others[0]), filepath.Join(dir,
			".out.csv.00000000000000aa.part")))
		must(t, unix.Mkfifo(filepath.Join(dir, ".out.csv.00000000000000bb.part"), 0o600))
		before := files(t, dir)
		must(t, os.WriteFile(filepath.Join(dir, ".out.csv.00000000000000cc.part"), nil, FileMode))
		must(t, os.MkdirAll(filepath.Join(dir, ".out.csv.00000000000000dd.part", "sub"), FolderMode))
		var dead string
		makeAndDie(t, path+end, func(name string) {
			dead = name
			if d, err := Create(path); err != nil {
				t.Fatal(err)
			} else {
				d.Discard()
			}
			if _, err := os.Lstat(name); err != nil {
				t.Errorf("a draft of the living: %v", err)
			}
		})
		if _, err := os.Lstat(dead); err != nil {
			t.Fatalf("a killed process removed its draft: %v", err)
		}
		d, err := Create(path)
		must(t, err)
		d.Discard()
		if got := files(t, dir); got != before {
			t.Errorf("left are %s, want %s", got, before)
		}
	}
}

// TestModes: files are for their owner, with any umask; one that replaces another takes over its permissions.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		begin     func(string) (*Draft, error)
		was, want fs.FileMode
	}{{Create, 0, 0o600}, {Create, 0o644, 0o644}, {Create, 0o400, 0o400}, {CreateFolder, 0, 0o700},
		{CreateFolder, 0o755, 0o755}} {
		path := filepath.Join(dir, "x")
		d, err := c.begin(path)
		must(t, err)
		folder := d.isFolder()
		if st, err := os.Lstat(d.Name()); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("the draft: %v %v", st.Mode(), err)
		}
		switch {
		case c.was != 0 && folder:
			err = os.Mkdir(path, c.was)
		case c.was != 0:
			err = os.WriteFile(path, []byte("old"), c.was)
		}
		must(t, errors.Join(err, d.Place()))
		if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != c.want || st.IsDir() != folder {
			t.Errorf("over %v: %v %v, want %v", c.was, st.Mode(), err, c.want)
		}
		if got := files(t, dir); got != "x" {
			t.Errorf("left are %s", got)
		}
		os.RemoveAll(path)
	}
}

// TestSymlink: what is at the name is not followed, neither by the draft nor when it takes its place.
func TestSymlink(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "x")
	if err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600),
		os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	d, err := Create(path)
	must(t, err)
	d.WriteString("new")
	if err := d.PlaceNew(); !errors.Is(err, fs.ErrExist) || strings.Contains(err.Error(), suffix) {
		t.Errorf("a name that is taken: %v", err)
	}
	if d, err = Create(path); err != nil {
		t.Fatal(err)
	}
	d.WriteString("new")
	must(t, d.Place())
	got, err := os.ReadFile(victim)
	if err != nil || string(got) != "precious" {
		t.Errorf("%q %v", got, err)
	}
	if st, err := os.Lstat(path); err != nil || st.Mode() != FileMode { // not the symlink's
		t.Errorf("%v %v", st.Mode(), err)
	}
	if got := files(t, dir); got != "victim x" {
		t.Errorf("left are %s", got)
	}
}

// TestPlaceNew: a file, or a folder, for which there are no hard links, gets a name that is free, and no
// other.
func TestPlaceNew(t *testing.T) {
	for _, begin := range []func(string) (*Draft, error){Create, CreateFolder} {
		path := filepath.Join(t.TempDir(), "new")
		for _, want := range []error{nil, fs.ErrExist} {
			d, err := begin(path)
			must(t, err)
			if err := d.PlaceNew(); !errors.Is(err, want) {
				t.Errorf("placed with %v, want %v", err, want)
			}
			d.Discard() // which does nothing any more
			if got := files(t, filepath.Dir(path)); got != "new" {
				t.Errorf("there is %q", got)
			}
		}
		// Removing a draft does not make its name free.
		for end, want := range map[string]error{"new": fs.ErrExist, "other": fs.ErrNotExist} {
			d, err := begin(filepath.Join(filepath.Dir(path), end))
			must(t, err)
			must(t, os.Remove(d.Name()))
			if err := d.PlaceNew(); !errors.Is(err, want) || strings.Contains(err.Error(), suffix) {
				t.Errorf("%s, whose draft was removed: %v, want %v", end, err, want)
			}
		}
		if got := files(t, filepath.Dir(path)); got != "new" {
			t.Errorf("there is %q", got)
		}
	}
}

// TestTaken: a draft is made only where nothing is, under another name if need be.
func TestTaken(t *testing.T) {
	dir := t.TempDir()
	taken := []func(name string) error{
		func(name string) error { return os.WriteFile(name, nil, FileMode) },
		func(name string) error { return os.Symlink(filepath.Join(dir, "target"), name) },
		func(name string) error { return os.Mkdir(name, FolderMode) },
	}
	for _, create := range []func(string) (*os.File, error){createFile, createFolder} {
		n := 0
		d, err := begin(filepath.Join(dir, "x"), func(name string) (*os.File, error) {
			n++
			if n <= len(taken) {
				if err := taken[n-1](name); err != nil {
					return nil, err
				}
			}
			return create(name)
		})
		if err != nil || n != len(taken)+1 {
			t.Fatalf("made at the name %d, %v", n, err)
		}
		d.Discard()
	}
	if _, err := os.Lstat(filepath.Join(dir, "target")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a symlink was followed: %v", err)
	}
	n := 0
	_, err := begin(filepath.Join(dir, "x"), func(string) (*os.File, error) { n++; return nil, fs.ErrExist })
	if !errors.Is(err, fs.ErrExist) || n != tries {
		t.Errorf("gave up after %d names: %v", n, err)
	}
}

// TestCleanedUp: a draft that another process takes for a left-over, before it is locked, is made again;
// where that does not end, there is an error.
func TestCleanedUp(t *testing.T) {
	dir := t.TempDir()
	for cleaned, made := range map[int]bool{0: true, 1: true, tries - 1: true, tries: false} {
		n := 0
		d, err := begin(filepath.Join(dir, "x"), func(name string) (*os.File, error) {
			f, err := createFile(name)
			if n++; n <= cleaned {
				must(t, os.Remove(name))
			}
			return f, err
		})
		if want := dir + "/x: file does not exist"; made && err != nil || !made && (err == nil ||
			err.Error() != "create "+want) {
			t.Errorf("cleaned up %d times: %v", cleaned, err)
		}
		if d != nil {
			d.Discard()
		}
	}
	if got := files(t, dir); got != "" {
		t.Errorf("left are %s", got)
	}
}

// TestErrors name the file that the user knows.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, FileMode))
	for path, want := range map[string]string{
		dir + "/nowhere/./out.csv": dir + "/nowhere/out.csv: the folder " + dir +
			"/nowhere does not exist: make it first",
		file + "/out.csv": "open " + file + "/out.csv: not a directory",
	} {
		_, err := Create(path)
		if err == nil || err.Error() != want || errors.Is(err, fs.ErrNotExist) != strings.HasPrefix(path,
			dir) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	d, err := Create(filepath.Join(dir, strings.Repeat("n", 250)))
	if err != nil {
		t.Fatalf("a long name: %v", err)
	}
	RemoveAll()
	if got := files(t, dir); got != "" {
		t.Errorf("left are %s", got)
	}
	want := "write " + dir + "/" + strings.Repeat("n", 250) + ": no such file or directory"
	if err := d.Place(); err == nil || err.Error() != want {
		t.Errorf("without its draft: %v, want %s", err, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFull: a disk, a quota and a limit of file size are full; other errors are not.
func TestFull(t *testing.T) {
	for err, want := range map[error]bool{unix.ENOSPC: true, unix.EDQUOT: true, unix.EFBIG: true,
		&fs.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}: true, unix.EIO: false, fs.ErrExist: false,
		nil: false} {
		if Full(err) != want {
			t.Errorf("%v is full: %v", err, !want)
		}
	}
}
