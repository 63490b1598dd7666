package cmd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// plainList is a list of images, and what becomes of each.
func plainList(s *fetchtest.Server, n int) (lines, outcomes []string) {
	for i := range n {
		lines, outcomes = append(lines, fmt.Sprintf("%s/i/%d/p%d.jpg", s.URL, i, i)), append(outcomes, "ok")
	}
	return lines, outcomes
}

// publishing are the words of a quiet run that publishes often.
func publishing(list, published string, more ...string) []string {
	words := quietRun(list, "--publish", published, "--publish-every", "100ms", "--fetchers", "4")
	return append(words, more...)
}

// publishedDone is how many rows are done as a folder has them; 0 while it has none.
func publishedDone(t testing.TB, dir string) int {
	t.Helper()
	if found, err := filepath.Glob(filepath.Join(dir, "*.segment.db")); err != nil || len(found) == 0 {
		return 0
	}
	var sum struct{ Done int }
	if err := json.Unmarshal([]byte(mustHere(t, "status", dir, "--json")), &sum); err != nil {
		t.Fatal(err)
	}
	return sum.Done
}

// TestPublishKillLoop kills a part at random moments, and each time throws away its folder, as when a node
// dies. Only rows that were not published are fetched again, and in the end every row is there once.
func TestPublishKillLoop(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	n := kills() / 3
	lines, outcomes := plainList(s, 60*n)
	dir := t.TempDir()
	list, published := writeList(t, dir, lines), filepath.Join(dir, "published")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	args := func(job string) []string { return publishing(list, published, "--db", job) }
	segments := func() string {
		found, err := filepath.Glob(filepath.Join(published, "*.segment.db"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, "\n")
	}
	unpublished, done := 0, 0
	for k := range n {
		folder, err := os.MkdirTemp(dir, "node")
		if err != nil {
			t.Fatal(err)
		}
		hits, before := s.Total(), segments()
		c, stderr := child(t, folder, args("job.db")...)
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		if rng.IntN(4) > 0 { // some kills hit the taking in
			eventually(t, "a publication",
				func() bool { return segments() != before || len(ended) > 0 })
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("a run that nobody killed: %v\n%s", err, stderr)
			}
			t.Fatalf("the part was finished after %d kills: the list is too short", k)
		case <-time.After(time.Duration(rng.Int64N(int64(200 * time.Millisecond)))):
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
		now := publishedDone(t, published)
		if now < done {
			t.Fatalf("after kill %d, %d rows are published, %d were before", k, now, done)
		}
		unpublished += s.Total() - hits - (now - done)
		done = now
	}
	job := filepath.Join(dir, "last.db")
	mustHere(t, args(job)...)
	mustHere(t, "verify", job, "--deep", "--require-source", "-q")
	merged := filepath.Join(dir, "merged.db")
	mustHere(t, "merge", merged, published, "-q")
	mustHere(t, "verify", merged, "--deep", "--require-source", "-q")
	checkExport(t, merged, lines, outcomes)
	if again := s.Total() - len(lines); again != unpublished {
		t.Errorf("%d fetches beside one for each row, and %d rows were fetched and not published "+
			"when their process died",
			again, unpublished)
	}
	t.Logf("%d kills, %d rows, %d requests", n, len(lines), s.Total())
}

// TestPublishTwice lets two processes work on one part at the same time, each with a job of its own, as a
// node that was given up and its successor do.
func TestPublishTwice(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 600)
	list, published := writeList(t, dir, lines), filepath.Join(dir, "published")
	args := func(job string) []string { return publishing(list, published, "--db", job) }
	runTwo(t, dir, args("a.db"), args("b.db"))
	merged := filepath.Join(dir, "merged.db")
	mustHere(t, "merge", merged, published, "-q")
	mustHere(t, "verify", merged, "--deep", "--require-source", "-q")
	checkExport(t, merged, lines, outcomes)
	before := s.Total()
	mustHere(t, args(filepath.Join(dir, "c.db"))...)
	if s.Total() != before {
		t.Errorf("a published list fetched %d URLs", s.Total()-before)
	}
	left, err := filepath.Glob(filepath.Join(published, "*"))
	if err != nil || len(left) > 40 {
		t.Errorf("%d segments are left of some dozens: %v", len(left), err)
	}
}

// TestPublishSharedJob lets two processes share one job: one of them publishes, also what the other does.
func TestPublishSharedJob(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 5*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := plainList(s, 400)
	list, published := writeList(t, dir, lines), filepath.Join(dir, "published")
	args := publishing(list, published)
	runTwo(t, dir, args, args)
	merged := filepath.Join(dir, "merged.db")
	mustHere(t, "merge", merged, published, "-q")
	checkExport(t, merged, lines, outcomes)
	if s.Total() != len(lines) {
		t.Errorf("%d requests for %d rows", s.Total(), len(lines))
	}
}

// TestPublishFolderVanishes takes the folder away in mid-run: the run does its rows, says that it cannot
// publish, and ends with exit 1 and the cause. With the folder back, the same command publishes everything.
func TestPublishFolderVanishes(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 10*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := plainList(s, 300)
	list, published := writeList(t, dir, lines), filepath.Join(dir, "published")
	args := []string{"run", list, "--publish", published, "--publish-every", "100ms", "--allow-private",
		"--progress", "none", "--fetchers", "4"}
	c, stderr := child(t, dir, args...)
	eventually(t, "a publication", func() bool { return publishedDone(t, published) > 0 })
	if err := os.Rename(published, published+".away"); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Fatalf("the run ended well\n%s", stderr)
	}
	for _, want := range []string{"cannot publish: trying again", "publish to " + published,
		"nothing is lost", "run the same command again", "300 of 300 rows are done"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	mustHere(t, "verify", list, "-q")
	// Another folder, empty, gets all of it, and so does the old one when it is back.
	for _, back := range []bool{false, true} {
		if back {
			if err := os.RemoveAll(published); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(published+".away", published); err != nil {
				t.Fatal(err)
			}
		}
		mustHere(t, args...)
		merged := filepath.Join(dir, fmt.Sprint("merged", back, ".db"))
		mustHere(t, "merge", merged, published, "-q")
		checkExport(t, merged, lines, outcomes)
	}
	if s.Total() != len(lines) {
		t.Errorf("%d requests for %d rows", s.Total(), len(lines))
	}
}
