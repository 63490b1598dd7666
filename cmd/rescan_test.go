package cmd

import (
	"strings"
	"testing"

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
	eventually(t, "a result and a row that hangs", func() bool {
		code, out, _ := here(t, "status", list, "--json")
		return code == 0 && strings.Contains(out, `"done":1`)
	})
	if code, _, errs := here(t, "rescan", list, "--all", "--min-face", "60"); code != exitError ||
		!strings.Contains(errs, "stop them") {
		t.Errorf("exit %d: %s", code, errs)
	}
	code, _, said := here(t, "rescan", list, "--stale") // the detector stays: nothing against it
	if code != 0 || !strings.Contains(said, ": 0 rows are pending again") {
		t.Errorf("rescan --stale: %s", said)
	}
	c.Process.Kill()
	c.Wait()
	code, _, said = here(t, "rescan", list, "--all", "--min-face", "60")
	if code != 0 || !strings.Contains(said, ": 1 row is pending again") {
		t.Errorf("once nobody is at work: %s", said)
	}
	mustHere(t, "verify", list, "-q")
}
