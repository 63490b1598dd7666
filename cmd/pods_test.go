package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// pods are the pods of an indexed Kubernetes Job, as processes: each has a disk of its own, which dies with
// it, and all share a volume for results.
type pods struct {
	args    []string // of the topic's example
	n       int
	dir     string
	results string
}

// newPods takes the command of the topic's Job, for a list and n pods.
func newPods(t *testing.T, dir, list string, n int) *pods {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ +command: \[facescan, (run, .*)\]$`).FindStringSubmatch(
		readFile(t, "help/many-machines.md"))
	if m == nil {
		t.Fatal("the topic's Job of Kubernetes is not found")
	}
	p := &pods{n: n, dir: dir, results: filepath.Join(dir, "results")}
	size := fmt.Sprintf("auto/%d", n)
	here := strings.NewReplacer("/lists/urls.txt", list, "/results", p.results, "auto/16", size)
	p.args = strings.Split(here.Replace(m[1]), ", ")
	return p
}

// pod is one of them.
type pod struct {
	*exec.Cmd
	disk   string
	stderr *transcript
}

// start starts a pod with an empty disk.
func (p *pods) start(t *testing.T, index int) *pod {
	t.Helper()
	disk, err := os.MkdirTemp(p.dir, "disk")
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(p.args)
	for i := range args {
		args[i] = strings.Replace(args[i], "/job/", disk+"/", 1)
	}
	args = append(args, "--allow-private", "--progress", "none", "--fetchers", "2", "--publish-every",
		"200ms")
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), beMain+"=1", fmt.Sprintf("%s=%d", "JOB_COMPLETION_INDEX", index))
	o := &pod{Cmd: c, disk: disk, stderr: &transcript{}}
	c.Stderr = o.stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return o
}

// die ends a pod by a signal, and its disk with it.
func (o *pod) die(t *testing.T, s os.Signal) {
	t.Helper()
	if err := o.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	o.Wait()
	if err := os.RemoveAll(o.disk); err != nil {
		t.Fatal(err)
	}
}

func (o *pod) complete(t *testing.T) {
	t.Helper()
	if err := o.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, o.stderr)
	}
}

// TestPods runs an indexed Job. One pod is killed and one is evicted in mid-run, their disks gone: started
// again, they fetch only what was not published. One index runs twice at once. One is lost for good, and
// its rows are done by a run with the merged job.
func TestPods(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 20*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := plainList(s, 400)
	list := writeList(t, dir, lines)
	p := newPods(t, dir, list, 4)

	again := 0
	for index, signal := range map[int]os.Signal{0: syscall.SIGKILL, 1: syscall.SIGTERM} {
		before, published := s.Total(), publishedDone(t, p.results)
		o := p.start(t, index)
		more := func() bool { return publishedDone(t, p.results) > published }
		eventually(t, "a publication", more)
		o.die(t, signal)
		lost := s.Total() - before - (publishedDone(t, p.results) - published)
		if signal == syscall.SIGTERM && lost != 0 {
			t.Errorf("the pod that was evicted left %d rows unpublished\n%s", lost, o.stderr)
		}
		again += lost
		p.start(t, index).complete(t)
	}
	if want := len(lines)/2 + again; s.Total() != want {
		t.Errorf("%d requests for half of %d rows, of which %d were not published", s.Total(), len(lines),
			again)
	}

	// Kubernetes may start an index twice.
	twin := p.start(t, 2)
	p.start(t, 2).complete(t)
	twin.complete(t)

	all := filepath.Join(dir, "all.db")
	_, _, errs := here(t, "merge", all, p.results)
	if want := "100 rows of urls.txt are missing"; !strings.Contains(errs, want) {
		t.Errorf("merge lacks %q: %s", want, errs)
	}
	before := s.Total()
	mustHere(t, quietRun(list, "--db", all)...)
	if s.Total() != before+100 {
		t.Errorf("%d requests for the 100 rows of the lost part", s.Total()-before)
	}
	mustHere(t, "verify", all, "--require-source", "--deep", "-q")
	checkExport(t, all, lines, outcomes)
}
