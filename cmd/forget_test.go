package cmd

import (
	"archive/tar"
	"bytes"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/export"
)

// people is a list with some rows for each of n people. A person's mark stands in the URLs and at the end of
// the images' files.
func people(s *fetchtest.Server, n int) (lines []string) {
	for k := range n {
		for j := range 6 {
			lines = append(lines, fmt.Sprintf("%s/i/%s%d/x.jpg", s.URL, mark(k), j))
		}
	}
	return lines
}

func mark(person int) string { return fmt.Sprintf("7%03d3131313", person) }

// holding are the files below a folder, those named apart, that have a text in them or in their names.
func holding(t *testing.T, dir, text string, apart ...string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		for _, name := range apart {
			if e.Name() == name {
				return nil
			}
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) || strings.Contains(path, text) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestForgetKilled kills forget at any moment and runs it again. In the end no file of the job has
// anything of the rows, and nothing of the others is lost.
func TestForgetKilled(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	n := kills() / 5 // people, each with several kills
	lines := people(s, n+1)
	list := writeList(t, dir, lines)
	pub, kept := filepath.Join(dir, "pub"), filepath.Join(dir, "pub", "kept")
	args := quietRun(list, "--keep", kept, "--crops", filepath.Join(dir, "pub", "crops"), "--blurred",
		filepath.Join(dir, "pub", "blurred"), "--thumbnails", "1000", "--publish", pub, "--shard-size", "10")
	mustHere(t, args...)
	if got := len(holding(t, dir, mark(0), "urls.txt")); got < 3 { // job, tar, segment
		t.Fatalf("only %d files have a row's mark", got)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	whole, killed := 200*time.Millisecond, 0
	for k := range n {
		where := fmt.Sprintf("url like '%%/%s_/%%'", mark(k))
		forget := []string{"forget", list, "--where", where, "--yes", "-q"}
		if k%2 == 0 {
			forget = append(forget, "--url")
		}
		for tries := 0; ; tries++ {
			if tries == 20 { // of those that were not killed in time
				t.Fatal("forget does not end")
			}
			c, stderr := child(t, dir, forget...)
			begun, ended := time.Now(), make(chan error, 1)
			go func() { ended <- c.Wait() }()
			var err error
			over := false
			select {
			case err = <-ended:
				over = true
			case <-time.After(time.Duration(rng.Int64N(int64(whole)))):
			}
			if over || tries > 3 { // let it end
				if !over {
					err = <-ended
				}
				if err != nil {
					t.Fatalf("forget: %v\n%s", err, stderr)
				}
				whole = max(whole/2, time.Since(begun))
				break
			}
			if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			<-ended
			killed++
		}
		if k%2 == 0 {
			if left := holding(t, dir, mark(k), "urls.txt"); len(left) > 0 {
				t.Fatalf("what is left of person %d: %q", k, left)
			}
		}
	}
	t.Logf("killed %d times", killed)
	if killed < n {
		t.Errorf("only %d kills of %d", killed, n)
	}
	mustHere(t, "verify", list, "--deep", "--require-source", "-q")
	rows, err := csv.NewReader(strings.NewReader(mustHere(t, "export", list, "--columns",
		"id,url,status,reason,kept,crops,blurred,faces"))).ReadAll()
	if err != nil || len(rows) != len(lines)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	bodies := tarred(t, kept)
	for i, r := range rows[1:] {
		gone := i < 6*n
		if (r[3] == "forgotten") != gone || (r[1] == "") != (gone && i/6%2 == 0) || (r[4] == "") != gone {
			t.Errorf("row %q", r)
		}
		path := export.FileOf(int64(i+1)) + ".jpg"
		if r[4] != "" {
			path = r[4]
		}
		body, is := bodies[path]
		if is == gone {
			t.Errorf("%s kept: %t", path, is)
		}
		if want := fmt.Sprintf("%s%d", mark(i/6), i%6); is && !bytes.HasSuffix(body, []byte(want)) {
			t.Errorf("%s is of another row", path)
		}
		for _, file := range []string{"crops/" + export.FileOf(int64(i+1)) + "-1.jpg",
			"blurred/" + export.FileOf(int64(i+1)) + ".jpg"} {
			_, err := os.Stat(filepath.Join(pub, file))
			if has := strings.HasPrefix(file, "blurred") || r[7] == "1"; (err == nil) != (has && !gone) {
				t.Errorf("%s of row %q: %v", file, r, err)
			}
		}
	}
	// A process elsewhere takes in what is published; the rows that are kept are not fetched again.
	before := s.Total()
	mustHere(t, append(args, "--db", filepath.Join(dir, "other.db"))...)
	mustHere(t, "rescan", list, "--all", "-q")
	mustHere(t, args...)
	if s.Total() != before {
		t.Errorf("%d images were fetched again", s.Total()-before)
	}
	for k := 0; k < n; k += 2 {
		if left := holding(t, dir, mark(k), "urls.txt"); len(left) > 0 {
			t.Errorf("what comes back of person %d: %q", k, left)
		}
	}
}

// tarred are the files in the tar files of a folder.
func tarred(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeLink {
				b = out[h.Linkname]
			}
			out[h.Name] = b
		}
	}
	return out
}

// beReader makes the test binary a process that reads a job file in one transaction, until its stdin ends.
const beReader = "FACESCAN_TEST_BE_READER"

func readUntilEOF(path string) {
	db, err := sql.Open("sqlite3", path)
	if err == nil {
		db.SetMaxOpenConns(1)
		_, err = db.Exec("BEGIN; SELECT count(*) FROM urls")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print("reading")
	io.Copy(io.Discard, os.Stdin)
	db.Close()
	os.Exit(0)
}

// TestForgetAlone: while a run works on a job nothing is forgotten, and while something is forgotten no run
// begins; each says who is at work.
func TestForgetAlone(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/f/a-faces.jpg", s.URL + "/hang/1"})
	keep := filepath.Join(dir, "kept")
	running, stderr := child(t, dir, quietRun(list, "--keep", keep, "--timeout", "10m")...)
	forget := []string{"forget", list, "--where", "id = 1", "--yes"}
	eventually(t, "a row is done", func() bool {
		_, out, _ := here(t, "status", list, "--json")
		return strings.Contains(out, `"done":1`)
	})
	code, _, said := here(t, forget...)
	if want := fmt.Sprintf("process %d on ", running.Process.Pid); code != exitError ||
		!strings.Contains(said, want) || !strings.Contains(said, "run the same command again") {
		t.Errorf("beside a run: exit %d, %s", code, said)
	}
	if err := running.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := running.Wait(); err == nil {
		t.Fatalf("the run ended: %s", stderr)
	}

	// A reader keeps the log from being emptied, which holds up the last step.
	reader := exec.Command(os.Args[0])
	reader.Env = append(os.Environ(), beReader+"="+filepath.Join(dir, "urls.facescan.db"))
	done, err := reader.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	reads, err := reader.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		reader.Process.Kill()
		reader.Wait()
	})
	if _, err := reads.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	forgetting, errs := child(t, dir, forget...)
	eventually(t, "the row is forgotten", func() bool {
		_, out, _ := here(t, "status", list, "--json")
		return strings.Contains(out, `"forgotten":1`)
	})
	code, _, said = here(t, quietRun(list, "--max-rows", "1")...)
	if want := fmt.Sprintf("process %d on ", forgetting.Process.Pid); code != exitError ||
		!strings.Contains(said, want) || !strings.Contains(said, "is deleting rows of") {
		t.Errorf("a run meanwhile: exit %d, %s", code, said)
	}
	code, _, said = here(t, "forget", list, "--where", "id = 2", "--yes")
	if want := fmt.Sprintf("process %d on ", forgetting.Process.Pid); code != exitError ||
		!strings.Contains(said, want) {
		t.Errorf("another forget meanwhile: exit %d, %s", code, said)
	}
	if err := done.Close(); err != nil {
		t.Fatal(err)
	}
	if err := forgetting.Wait(); err != nil {
		t.Fatalf("forget: %v\n%s", err, errs)
	}
	code, _, said = here(t, quietRun(list, "--timeout", "100ms", "--retries", "0")...)
	if code != 0 || strings.Contains(said, "interrupted") {
		t.Errorf("a run afterwards: exit %d, %s", code, said)
	}
}
