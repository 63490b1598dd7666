package cmd

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fileurl"
	"facescan/store/storetest/pgtest"
)

// photoFolder makes a folder of n small images, some folders deep, and returns their paths in byte order.
func photoFolder(t testing.TB, dir string, n int) (paths []string) {
	t.Helper()
	picture := pictures(t)["c-none.png"]
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("%02d", i%7), fmt.Sprintf("%d-%d", i%3, i%11),
			fmt.Sprintf("p %d#.png", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, picture, 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// checkFiles holds an export against paths: each once, in their order, by ids from 1, all ok.
func checkFiles(t testing.TB, job string, paths []string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(mustHere(t, "export", job, "--columns",
		"id,url,status"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(paths)+1 {
		t.Fatalf("%d rows, want %d", len(rows)-1, len(paths))
	}
	for i, row := range rows[1:] {
		if row[0] != strconv.Itoa(i+1) || row[1] != fileurl.Of(paths[i]) || row[2] != "ok" {
			t.Fatalf("row %d is %v, want %s", i+1, row, paths[i])
		}
	}
}

// TestImagesKilled kills processes in the middle of the import and of the work, and then lets two at once
// finish: every file is a row once, in the order of the paths.
func TestImagesKilled(t *testing.T) {
	for name, job := range map[string]string{"sqlite": "", "postgres": pgtest.Start(t)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root := filepath.Join(dir, "a root\n\xff#%")
			paths := photoFolder(t, root, 6000)
			if job == "" {
				job = filepath.Join(dir, "job.db")
			}
			run := []string{"run", "--images", root, "--db", job, "--detector", "none", "--progress", "none",
				"--shard-size", "100", "--lease-ttl", "1s"}
			done := func() int {
				code, out, _ := here(t, "status", job, "--json")
				var status struct{ Done int }
				if code == 0 {
					if err := json.Unmarshal([]byte(out), &status); err != nil {
						t.Fatal(err)
					}
				}
				return status.Done
			}
			for _, enough := range []int{1, 500, 2000} {
				p, stderr := child(t, dir, run...)
				eventually(t, "some rows are done", func() bool {
					return done() >= enough
				})
				if err := p.Process.Kill(); err != nil {
					t.Fatalf("it ended before it was killed: %v\n%s", err, stderr)
				}
				_ = p.Wait() // it was killed
			}
			mustHere(t, "verify", job, "-q")
			var all []func() error
			for range 2 {
				p, stderr := child(t, dir, run...)
				all = append(all, func() error {
					if err := p.Wait(); err != nil {
						return fmt.Errorf("%w\n%s", err, stderr)
					}
					return nil
				})
			}
			for _, wait := range all {
				if err := wait(); err != nil {
					t.Fatal(err)
				}
			}
			checkFiles(t, job, paths)
			mustHere(t, "verify", job, "-q", "--require-source")

			// A file changes, one comes before all others, one goes: two rows are done, and ids stay.
			later := time.Now().Add(time.Hour)
			if err := os.Chtimes(paths[7], later, later); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(paths[9]); err != nil {
				t.Fatal(err)
			}
			first := filepath.Join(root, "00 first.png")
			if err := os.WriteFile(first, pictures(t)["c-none.png"], 0o644); err != nil {
				t.Fatal(err)
			}
			p, stderr := child(t, dir, run...)
			if err := p.Wait(); err != nil || !strings.Contains(stderr.String(),
				"images=6000 new=1 changed=1") ||
				!strings.Contains(stderr.String(), "this run did 2 ") {
				t.Fatalf("%v\n%s", err, stderr)
			}
			checkFiles(t, job, append(paths, first))
			mustHere(t, "verify", job, "-q")
		})
	}
}

// TestImagesWatched has files come, change and go while a folder is watched, which is away for a while.
func TestImagesWatched(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	old := time.Now()
	put := func(name, picture string) string {
		t.Helper()
		path := filepath.Join(root, name)
		for _, err := range []error{os.WriteFile(path+".part", pictures(t)[picture], 0o644),
			os.Chtimes(path+".part", old, old), os.Rename(path+".part", path)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		old = old.Add(time.Second)
		return fileurl.Of(path)
	}
	f := startFilter(t, dir, "run", "--images", root, "--db", "job.db", "--watch", "--detector", "none",
		"--progress",
		"none", "--out", "-", "--format", "jsonl")
	f.brings(put("b.png", "c-none.png")) // not before it has settled: the folder is looked at several times
	if said := f.stderr.String(); strings.Count(said, "images=0 new=0") > 1 {
		t.Errorf("that there is no image is said again and again:\n%s", said)
	}
	old = time.Now().Add(-time.Minute)
	f.brings(put("a.jpg", "b-none.jpg"))
	if err := os.Rename(root, root+"-away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that the images are away", func() bool {
		return strings.Contains(f.stderr.String(), "images that are watched are away")
	})
	if err := os.Rename(root+"-away", root); err != nil {
		t.Fatal(err)
	}
	f.brings(put("c.jpg", "b-none.jpg"))
	put("b.png", "b-none.jpg") // read again
	job := filepath.Join(dir, "job.db")
	eventually(t, "the changed file is a jpeg", func() bool {
		code, out, _ := here(t, "export", job, "--columns", "id,format", "--where", "id = 1")
		return code == 0 && strings.Contains(out, "1,jpeg")
	})
	f.interrupt()
	mustHere(t, "verify", job, "-q")
}
