package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// TestJobGoesAwayUnderRun takes the job's file away in the middle of a run: the run ends with an error that
// says so, never as if all were well.
func TestJobGoesAwayUnderRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(path string) error
		says string
	}{
		"rm":       {os.Remove, "was removed or moved"},
		"rm all":   {func(path string) error { return removeAll(path + "*") }, "was removed or moved"},
		"mv":       {func(path string) error { return os.Rename(path, path+".old") }, "was removed or moved"},
		"truncate": {func(path string) error { return os.Truncate(path, 0) }, "was cut"},
		"replace": {func(path string) error {
			if err := os.WriteFile(path+".new", []byte("another file"), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, "another file took the place"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := fetchtest.New(pictures(t), 10*time.Millisecond)
			defer s.Close()
			var list strings.Builder
			for i := range 400 {
				fmt.Fprintf(&list, "%s/i/1/%d.jpg\n", s.URL, i)
			}
			if err := os.WriteFile(filepath.Join(dir, "urls.txt"), []byte(list.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			run, said := child(t, dir, "run", "urls.txt", "--allow-private", "--per-host", "2", "--progress",
				"none")
			for s.Total() < 20 {
				time.Sleep(5 * time.Millisecond)
			}
			if err := c.do(filepath.Join(dir, "urls.facescan.db")); err != nil {
				t.Fatal(err)
			}
			_ = run.Wait()
			if code := run.ProcessState.ExitCode(); code != exitError ||
				!strings.Contains(said.String(), c.says) {
				t.Errorf("exit %d, without %q:\n%s", code, c.says, said)
			}
			if strings.Contains(said.String(), "finished") {
				t.Errorf("it is said to be finished:\n%s", said)
			}
			if s.Total() == 400 {
				t.Error("all rows were fetched for nothing")
			}
		})
	}
}

func removeAll(pattern string) error {
	names, err := filepath.Glob(pattern)
	for _, name := range names {
		if err == nil {
			err = os.Remove(name)
		}
	}
	return err
}
