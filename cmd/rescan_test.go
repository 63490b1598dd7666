package cmd

import (
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// TestRescanOfARunningJob does not change the detector under processes that would go on with the old one.
func TestRescanOfARunningJob(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/i/0/a.jpg", s.URL + "/hang/1"})
	c, _ := child(t, dir, "run", list, "--allow-private", "--progress", "none", "--lease-ttl", "5s")
	eventually(t, 20*time.Second, "a result and a row that hangs", func() bool {
		code, out, _ := here(t, "status", list, "--json")
		return code == 0 && strings.Contains(out, `"done":1`)
	})
	if code, _, errs := here(t, "rescan", list, "--all", "--min-face", "60"); code != exitError ||
		!strings.Contains(errs, "stop them") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if out := mustHere(t, "rescan", list, "--stale"); out != "0\n" { // the detector stays: nothing against it
		t.Errorf("rescan --stale: %s", out)
	}
	c.Process.Kill()
	c.Wait()
	if out := mustHere(t, "rescan", list, "--all", "--min-face", "60"); out != "1\n" {
		t.Errorf("once nobody is at work: %s", out)
	}
	mustHere(t, "verify", list, "-q")
}
