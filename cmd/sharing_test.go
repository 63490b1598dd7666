package cmd

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/open"
)

// sharing has four processes at work on a job whose rows come faster than their faces are found, and kills
// one. Nobody is idle while another has much to do.
func sharing(t *testing.T, job, dir string) {
	const rows, most = 1200, 150
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	var lines []string
	for i := range rows {
		lines = append(lines, fmt.Sprintf("%s/f/a-faces.jpg?%d", s.URL, i))
	}
	mustHere(t, "import", writeList(t, dir, lines), "--db", job, "-q")
	var all []*exec.Cmd
	var said []*transcript
	for range 4 {
		c, stderr := child(t, dir, "run", job, "--allow-private", "--progress", "none", "--workers", "1")
		all, said = append(all, c), append(said, stderr)
	}
	reader, err := open.ForReading(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	killed, worst, idle := 0, int64(0), map[int]int{}
	eventually(t, "the job is done", func() bool {
		c, err := reader.Counts(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if killed == 0 && c.Done >= rows/4 {
			killed = all[0].Process.Pid
			all[0].Process.Kill()
		}
		held := int64(0) // by one that lives: what a dead one held is free when its lease has run out
		for _, o := range c.Owners {
			if o.PID != killed {
				held = max(held, o.Pending)
			}
		}
		for _, o := range c.Owners {
			if o.Pending > 0 || killed == 0 || o.PID == killed {
				idle[o.PID] = 0
			} else if idle[o.PID]++; idle[o.PID] >= 5 && c.Shards.Free == 0 { // no claim is under way
				worst = max(worst, held)
			}
		}
		return c.Pending == 0
	})
	for i, c := range all[1:] {
		if err := c.Wait(); err != nil {
			t.Errorf("%v\n%s", err, said[i+1])
		}
	}
	_ = all[0].Wait() // it was killed
	t.Logf("somebody was idle while another held %d rows at most", worst)
	if killed == 0 || worst > most {
		t.Errorf("somebody was idle while another held %d rows, more than %d", worst, most)
	}
}

// TestSharing shares what is left of a job file.
func TestSharing(t *testing.T) {
	dir := t.TempDir()
	sharing(t, filepath.Join(dir, "urls.facescan.db"), dir)
}

// TestPostgresSharing shares what is left in a database.
func TestPostgresSharing(t *testing.T) { sharing(t, database(t), t.TempDir()) }
