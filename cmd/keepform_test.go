package cmd

import (
	"encoding/json"
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
	"facescan/pipeline/keep/keeptest"
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
	for line := range strings.Lines(mustHere(t, "export", job, "--format", "jsonl", "--where",
		"status = 'ok'",
		"--columns", "id,url,width,height,faces,boxes,detector,kept")) {
		var r keptResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		want[r.Kept] = r
	}
	if len(want) == 0 {
		t.Fatal("no results")
	}
	for _, p := range keeptest.Pairs(t, folder) {
		var got keptResult
		if err := json.Unmarshal(p.Result, &got); err != nil {
			t.Fatalf("behind %s: %v", p.Name, err)
		}
		w, found := want[p.Name]
		if !found || got.Stored.File != p.Name || got.ID != w.ID || got.URL != w.URL ||
			got.Width != w.Width ||
			got.Height != w.Height || *got.Faces != *w.Faces || !slices.Equal(got.Boxes, w.Boxes) ||
			got.Detector != w.Detector {
			t.Errorf("beside %s, which is wanted: %v\n%s\nwant %+v", p.Name, found, p.Result, w)
		}
		delete(want, p.Name)
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

// killKeepers kills processes n times in each run of a job, or of the list's own job: the first one, and one
// after a rescan. Further rescans follow as long as every run was through before its kill.
func killKeepers(t *testing.T, job string, n int) {
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, keepList(s, max(600, 50*n)))
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
	for round := 0; round < 2 || killed == 0 && round < 30; round++ {
		if round > 0 {
			mustHere(t, "rescan", job, "--all", "--detector", []string{"yunet", "pigo"}[round%2])
		}
		for range n {
			before := pendingRows(t, job)
			c, stderr := child(t, dir, args...)
			other, _ := child(t, dir, args...)
			eventually(t, "a row that becomes done", func() bool {
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
