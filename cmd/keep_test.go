package cmd

import (
	"archive/tar"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// keepList is a list of images, every third with a face, and some rows that fail or share a URL.
func keepList(s *fetchtest.Server, n int) (lines []string) {
	for i := range n {
		switch i % 10 {
		case 3:
			lines = append(lines, fmt.Sprintf("%s/status/404/%d", s.URL, i))
		case 7:
			lines = append(lines, lines[i-1])
		default:
			lines = append(lines, fmt.Sprintf("%s/i/%d/p.jpg", s.URL, i))
		}
	}
	return lines
}

// checkKept holds a finished run's folders to its results: the bytes of every ok row once, and right; the
// pictures that results tell of, whole, and no others.
func checkKept(t *testing.T, s *fetchtest.Server, dir, list string, lines []string) {
	t.Helper()
	rows, err := csv.NewReader(
		strings.NewReader(mustHere(t, "export", list, "--columns",
			"id,status,kept,crops,blurred,faces"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(lines)+1 {
		t.Fatalf("%d results of %d rows", len(rows)-1, len(lines))
	}
	images := pictures(t)
	names := slices.Sorted(maps.Keys(images))
	kept, crops, blurred := map[string][]byte{}, map[string]bool{}, map[string]bool{}
	for i, row := range rows[1:] {
		if row[1] != "ok" {
			if row[2]+row[3]+row[4] != "" {
				t.Errorf("row %s failed and has files: %v", row[0], row)
			}
			continue
		}
		number := strings.Split(strings.TrimPrefix(lines[i], s.URL+"/i/"), "/")[0]
		n, err := strconv.Atoi(number)
		if err != nil || row[2] == "" || row[4] == "" || fmt.Sprint(len(strings.Fields(row[3]))) != row[5] {
			t.Fatalf("row %s lacks files: %v", row[0], row)
		}
		kept[row[2]] = append(slices.Clone(images[names[n%len(names)]]), number...)
		blurred[row[4]] = true
		for _, c := range strings.Fields(row[3]) {
			crops[c] = true
		}
	}
	if len(crops) == 0 {
		t.Error("no crops at all")
	}

	found := map[string]int{}
	tars, err := filepath.Glob(filepath.Join(dir, "kept", "*.tar"))
	if err != nil || len(tars) == 0 {
		t.Fatalf("%d tar files, %v", len(tars), err)
	}
	for _, path := range tars {
		if _, err := os.Stat(strings.TrimSuffix(path, ".tar") + ".idx"); err != nil {
			t.Error(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content := map[string][]byte{}
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if content[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatalf("%s: %s: %v", path, h.Name, err)
			}
			if h.Typeflag == tar.TypeLink {
				content[h.Name] = content[h.Linkname]
			}
			found[h.Name]++
			if !bytes.Equal(content[h.Name], kept[h.Name]) {
				t.Errorf("%s has %d bytes, want %d", h.Name, len(content[h.Name]), len(kept[h.Name]))
			}
		}
	}
	for name := range kept {
		if n := found[name]; n != 1 {
			t.Errorf("%s is kept %d times", name, n)
		}
	}
	for folder, want := range map[string]map[string]bool{"crops": crops, "blurred": blurred} {
		err := filepath.WalkDir(filepath.Join(dir, folder),
			func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Name() == ".facescan" {
					return fs.SkipDir
				}
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				if err == nil {
					_, err = jpeg.Decode(bytes.NewReader(b))
				}
				rel, _ := filepath.Rel(filepath.Join(dir, folder), path)
				if err != nil || !want[rel] {
					t.Errorf("%s of %s: wanted %v, %v", rel, folder, want[rel], err)
				}
				delete(want, rel)
				return nil
			})
		if err != nil || len(want) > 0 {
			t.Errorf("%s: %v; %d files are missing", folder, err, len(want))
		}
	}
	for _, folder := range []string{"kept", "crops", "blurred"} {
		if left, err := os.ReadDir(filepath.Join(dir, folder, ".facescan")); err != nil || len(left) != 1 {
			t.Errorf("left over in %s: %v, %v", folder, left, err)
		}
	}
}

func keepArgs(dir, list string) []string {
	return quietRun(list, "--fetchers", "4", "--shard-size", "50", "--thumbnails", "8", "--keep",
		filepath.Join(dir, "kept"), "--crops", filepath.Join(dir, "crops"), "--blurred",
		filepath.Join(dir, "blurred"))
}

// TestKeepKillLoop kills a run that keeps everything, again and again.
func TestKeepKillLoop(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 5*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	n := max(10, kills()/5) // a kill costs more here: pictures are made
	lines := keepList(s, 20*n)
	list := writeList(t, dir, lines)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	args := keepArgs(dir, list)
	killed := 0
	for range n {
		before := s.Total()
		c, stderr := child(t, dir, args...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		eventually(t, "the first fetch after a kill",
			func() bool { return s.Total() > before || len(ended) > 0 })
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("a run that nobody killed: %v\n%s", err, stderr)
			}
		case <-time.After(time.Duration(rng.Int64N(int64(150 * time.Millisecond)))):
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-ended
			killed++
			continue
		}
		break
	}
	if killed < n/2 {
		t.Errorf("only %d kills", killed)
	}
	mustHere(t, args...)
	mustHere(t, "verify", list, "-q")
	checkKept(t, s, dir, list, lines)
}

// TestKeepTogether has two processes keep into the same folders, one of which is killed now and then.
func TestKeepTogether(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 5*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines := keepList(s, 300)
	list := writeList(t, dir, lines)
	args := keepArgs(dir, list)
	steady, stderr := child(t, dir, args...)
	for range 5 {
		before := s.Total()
		c, _ := child(t, dir, args...)
		eventually(t, "some work",
			func() bool { return s.Total() > before+15 || c.ProcessState != nil || steadyDone(list) })
		c.Process.Kill()
		c.Wait()
	}
	if err := steady.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	mustHere(t, args...) // looks after what the last kill left
	mustHere(t, "verify", list, "-q")
	checkKept(t, s, dir, list, lines)
}

// TestFewDescriptors: a run keeps to the descriptors that it may open, and says what that means.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	t.Cleanup(s.Close)
	for _, limit := range []string{"32", "64", "256"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var lines []string
			for i := range 300 {
				host := fmt.Sprintf("127.0.%d.%d:0", 1+i/200, 1+i%200)
				lines = append(lines, fmt.Sprintf("%s/i/%d/p.jpg", s.Listen(host), i))
			}
			list := writeList(t, dir, lines)
			args := append(keepArgs(dir, list), "--fetchers", "256")
			args = slices.DeleteFunc(args, func(a string) bool { return a == "-q" })
			c := exec.Command("sh", append([]string{"-c", "ulimit -n " + limit + `; exec "$0" "$@"`,
				os.Args[0]},
				args...)...)
			c.Dir, c.Env = dir, append(os.Environ(), beMain+"=1")
			text, err := c.CombinedOutput()
			if err != nil || !strings.Contains(string(text), "the system allows "+limit+" open files") {
				t.Errorf("%v\n%s", err, text)
			}
			checkKept(t, s, dir, list, plain(s, lines))
		})
	}
}

// plain names the server in lines that name other addresses of it.
func plain(s *fetchtest.Server, lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, s.URL+l[strings.Index(l, "/i/"):])
	}
	return out
}

// steadyDone reports whether all rows of the list's job are done.
func steadyDone(list string) bool {
	var out bytes.Buffer
	c := exec.Command(os.Args[0], "status", list, "--json")
	c.Env = append(os.Environ(), beMain+"=1")
	c.Stdout = &out
	return c.Run() == nil && strings.Contains(out.String(), `"pending":0`)
}

// TestKeepNoRoom has the disk run full of what is kept: the run stops with its cause, no row is spent on it,
// and goes on when there is room.
func TestKeepNoRoom(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines := keepList(s, 60)
	list := writeList(t, dir, lines)
	mustHere(t, "import", list, "-q")
	args := keepArgs(dir, list)
	// of 512 bytes: less than the tar file
	c := exec.Command("sh", append([]string{"-c", `ulimit -f 600; exec "$0" "$@"`, os.Args[0]}, args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), beMain+"=1")
	text, err := c.CombinedOutput()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != exitError {
		t.Fatalf("%v, want exit %d\n%s", err, exitError, text)
	}
	for _, want := range []string{"no room left", "file too large", "run the same command again"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("stderr lacks %q:\n%s", want, text)
		}
	}
	if out := mustHere(t, "status", list, "--json"); !strings.Contains(out, `"pending"`) ||
		strings.Contains(out, `"pending":0,`) || strings.Contains(out, "bad_image") {
		t.Errorf("after no room: %s", out)
	}
	mustHere(t, args...)
	mustHere(t, "verify", list, "-q")
	checkKept(t, s, dir, list, lines)
}
