package cmd

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// keptResult is what is compared of the results beside images, and of an export.
type keptResult struct {
	ID       int64        `json:"id"`
	URL      string       `json:"url"`
	Width    int          `json:"width"`
	Height   int          `json:"height"`
	Faces    *int         `json:"faces"`
	Boxes    [][5]float64 `json:"boxes"`
	Detector string       `json:"detector"`
	Kept     string       `json:"kept"`
	Stored   struct {
		File string `json:"file"`
	} `json:"stored"`
}

// checkResults holds the tar files of a folder to a job's results: each row that is ok has its image once,
// with its result right behind it, which is the job's; there is nothing else.
func checkResults(t *testing.T, folder, job string) {
	t.Helper()
	want := map[string]keptResult{}
	for line := range strings.Lines(mustHere(t, "export", job, "--format", "jsonl", "--where", "status = 'ok'",
		"--columns", "id,url,width,height,faces,boxes,detector,kept")) {
		var r keptResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		want[r.Kept] = r
	}
	tars, err := filepath.Glob(filepath.Join(folder, "*.tar"))
	if err != nil || len(tars) == 0 || len(want) == 0 {
		t.Fatalf("%d tar files, %d results, %v", len(tars), len(want), err)
	}
	for _, path := range tars {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		image := ""
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("%s: %s: %v", path, h.Name, err)
			}
			if image == "" {
				image = h.Name
				continue
			}
			var got keptResult
			if err := json.Unmarshal(b, &got); err != nil ||
				h.Name != strings.TrimSuffix(image, filepath.Ext(image))+".json" {
				t.Fatalf("%s behind %s: %v", h.Name, image, err)
			}
			w, found := want[image]
			if !found || got.Stored.File != image || got.ID != w.ID || got.URL != w.URL || got.Width != w.Width ||
				got.Height != w.Height || *got.Faces != *w.Faces || !slices.Equal(got.Boxes, w.Boxes) ||
				got.Detector != w.Detector {
				t.Errorf("beside %s, which is wanted: %v\n%s\nwant %+v", image, found, b, w)
			}
			delete(want, image)
			image = ""
		}
		if image != "" {
			t.Errorf("%s has no result", image)
		}
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
	if left, err := os.ReadDir(filepath.Join(folder, ".facescan")); err != nil || len(left) != 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestKeepResultsKillLoop kills processes that keep results beside smaller pictures, two at a time, in a
// first run and in a run after a rescan.
func TestKeepResultsKillLoop(t *testing.T) {
	t.Parallel()
	killKeepers(t, "", max(6, kills()/10))
}

// TestPostgresKeepsResults does so with a job in PostgreSQL.
func TestPostgresKeepsResults(t *testing.T) {
	killKeepers(t, database(t), 3)
}

// killKeepers kills processes n times in each run of a job, or of the list's own job.
func killKeepers(t *testing.T, job string, n int) {
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, keepList(s, 50*n))
	folder := filepath.Join(dir, "kept")
	args := quietRun(list, "--fetchers", "4", "--shard-size", "40", "--lease-ttl", "2s", "--keep", folder,
		"--keep-json", "--keep-size", "120")
	if job == "" {
		job = list
	} else {
		args = append(args, "--db", job)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	killed := 0
	for _, detector := range []string{"", "pigo"} {
		if detector != "" {
			mustHere(t, "rescan", job, "--all", "--detector", detector)
		}
		for range n {
			before := pendingRows(t, job)
			c, stderr := child(t, dir, args...)
			other, _ := child(t, dir, args...)
			eventually(t, 60*time.Second, "a row that becomes done", func() bool {
				left := pendingRows(t, job)
				return left < before || left == 0
			})
			<-time.After(time.Duration(rng.Int64N(int64(100 * time.Millisecond)))) // any moment
			for _, p := range []*exec.Cmd{c, other} {
				p.Process.Kill()
				p.Wait()
			}
			if strings.Contains(stderr.String(), "panic") {
				t.Fatal(stderr)
			}
			if pendingRows(t, job) == 0 {
				break
			}
			killed++
		}
		mustHere(t, args...)
		mustHere(t, "verify", job, "-q")
		checkResults(t, folder, job)
	}
	if t.Logf("killed %d times before the end", killed); killed == 0 {
		t.Error("no kill in the midst")
	}
}

// pendingRows is how many rows of a job are pending.
func pendingRows(t *testing.T, job string) (n int64) {
	t.Helper()
	code, out, _ := here(t, "status", job, "--json")
	if code != 0 { // the job is not there yet, or its first rows are not
		return math.MaxInt64
	}
	var c struct {
		Total, Pending int64
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	if c.Total == 0 {
		return math.MaxInt64
	}
	return c.Pending
}
