package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStatusOfManyLists shows the lists with the most rows left, and the sum of the rest.
func TestStatusOfManyLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"import", "--db", filepath.Join(dir, "job.db"), "-q"}
	for i := range 23 {
		list := filepath.Join(dir, fmt.Sprintf("%02d.txt", i))
		rows := strings.Repeat("http://127.0.0.1/a.jpg\n", 1+i)
		if err := os.WriteFile(list, []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, list)
	}
	mustHere(t, args...)
	job := filepath.Join(dir, "job.db")
	mustHere(t, "pause", job, "--source", "01.txt")
	out := mustHere(t, "status", job)
	if n := strings.Count(out, "source "); n != 21 {
		t.Errorf("%d lines of sources:\n%s", n, out)
	}
	for _, want := range []string{"23   rows of 22.txt, 23 left\n", "4   rows of 03.txt, 4 left\n",
		"6   rows of 3 more lists, 1 paused, 6 left\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}
