package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"facescan/pipeline/estimate"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/store"
)

// TestEstimate foresees a run on a real server, and compares with what the run then comes to.
func TestEstimate(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir, tmp := t.TempDir(), t.TempDir()
	lines, outcomes := badList(s, 1800)
	list := filepath.Join(dir, "urls.txt")
	if err := os.WriteFile(list, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	guess := func(flags ...string) (p estimate.Prediction) {
		t.Helper()
		c := exec.Command(os.Args[0], append([]string{"estimate", list, "--allow-private", "--json", "-q"},
			flags...)...)
		c.Env = append(os.Environ(), beMain+"=1", "TMPDIR="+tmp)
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := guess("--sample", "400")
	if s.Total() > 3*400 { // redirects take more requests, loops many; but far from all rows were asked for
		t.Errorf("%d requests for a sample of 400 rows", s.Total())
	}
	again := guess("--sample", "400")
	again.Seconds, again.Limit, again.LimitText, again.Limits, again.Suggestion, again.Database = p.Seconds,
		p.Limit, p.LimitText, p.Limits, p.Suggestion, p.Database
	if a, b := fmt.Sprint(p), fmt.Sprint(again); a != b {
		t.Errorf("the same seed gives another estimate:\n%s\n%s", a, b)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind, %v", left, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("beside the list there are %v, %v", files, err)
	}

	mustHere(t, quietRun(list)...)
	var c struct {
		Total, OK, Faces int64
		Images           int64 `json:"images_with_faces"`
		Failures         map[store.Reason]int64
	}
	if err := json.Unmarshal([]byte(mustHere(t, "status", list, "--json")), &c); err != nil {
		t.Fatal(err)
	}
	var by struct{ Top []struct{ Bytes int64 } }
	if err := json.Unmarshal([]byte(mustHere(t, "status", list, "--by", "host", "--top", "0", "--json")),
		&by); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, v := range by.Top {
		bytes += v.Bytes
	}
	var missed []string // of intervals that hold 95 times of a hundred one may miss
	within := func(what string, b estimate.Bounds, truth float64) {
		t.Helper()
		if !(b.Low <= b.Value && b.Value <= b.High && b.Low < b.High) {
			t.Errorf("%s: %+v is not an interval", what, b)
		}
		if truth < b.Low || truth > b.High {
			missed = append(missed, fmt.Sprintf("%s: %+v, and in truth %v", what, b, truth))
		}
	}
	n := float64(c.Total)
	within("ok", p.Success, float64(c.OK)/n)
	within("images with faces", p.WithFaces, float64(c.Images))
	within("faces", p.Faces, float64(c.Faces))
	within("bytes", p.Bytes, float64(bytes))
	for reason, rows := range c.Failures {
		within(string(reason), p.Failures[reason], float64(rows)/n)
	}
	if len(missed) > 1 {
		t.Errorf("%q", missed)
	}
	if p.Rows != int64(len(outcomes)) || p.Sampled != 400 || len(p.Failures) != len(c.Failures) {
		t.Errorf("%d rows, %d of them drawn, failures %v", p.Rows, p.Sampled, p.Failures)
	}
	st, err := os.Stat(filepath.Join(dir, "urls.facescan.db"))
	if err != nil {
		t.Fatal(err)
	}
	if r := float64(p.Database) / float64(st.Size()); r < 0.5 || r > 2 {
		t.Errorf("the job was said to take %d bytes, and takes %d", p.Database, st.Size())
	}
	if p.Seconds <= 0 || p.Limits[p.Limit] != p.Seconds || p.LimitText == "" || len(p.Limits) < 3 {
		t.Errorf("%v s, by %q: %v", p.Seconds, p.LimitText, p.Limits)
	}
	if all := guess("--sample", "100000"); all.Success.Low != all.Success.High ||
		all.Success.Value != float64(c.OK)/n {
		t.Errorf("a sample of all rows: %+v, in truth %v", all.Success, float64(c.OK)/n)
	}
	if part := guess("--sample", "50", "--node", "1/3"); part.Rows != 600 || part.Sampled != 50 {
		t.Errorf("a third of the list has %d rows, %d drawn", part.Rows, part.Sampled)
	}
}

// TestEstimateInterrupted leaves nothing behind.
func TestEstimateInterrupted(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir, tmp := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "urls.txt"), []byte(s.URL+"/hang/1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "estimate", "urls.txt", "--allow-private", "--timeout", "10m")
	c.Dir = dir
	c.Env = append(os.Environ(), beMain+"=1", "TMPDIR="+tmp)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	eventually(t, "the row is asked for", func() bool { return s.Total() > 0 })
	for range 2 { // the first drains, the second does not wait
		if err := c.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v behind, %v", left, err)
	}
}
