package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
)

// TestThousandsOfLists runs a folder of 3,000 small lists by two processes at once, and then again:
// unchanged, with one more list and one more line, and as a stream, which has each row once.
func TestThousandsOfLists(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(drawn(t), 0)
	defer s.Close()
	const lists = 3_000
	dir := t.TempDir()
	in, job := filepath.Join(dir, "in"), filepath.Join(dir, "job.db")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	rows := 0
	add := func(list, n int) {
		var text strings.Builder
		for range n {
			rows++
			fmt.Fprintf(&text, "%s/i/%d/p.jpg\n", s.URL, rows)
		}
		appendTo(t, filepath.Join(in, fmt.Sprintf("%05d.txt", list)), text.String())
	}
	for i := range lists {
		add(i, 1+i%3)
	}
	args := []string{"run", in, "--db", job, "--allow-private", "--detector", "none", "--progress",
		"none", "--per-host", "0"}
	runTwo(t, dir, args, args)
	requests := func() {
		t.Helper()
		if n := s.Total(); n != rows {
			t.Errorf("%d requests for %d rows", n, rows)
		}
	}
	requests()
	mustHere(t, append(args, "-q")...)
	requests()
	add(lists, 2)
	add(lists/2, 2)
	mustHere(t, append(args, "-q")...)
	requests()
	args = append(args, "-q", "--out", "-", "--format", "jsonl")
	for _, more := range []int{rows, 0, 2} { // rows that no earlier one has written
		if more == 2 {
			add(lists/3, 2)
		}
		out := mustHere(t, args...)
		if n := strings.Count(out, `"status":"ok"`); n != more || strings.Count(out, "\n") != more {
			t.Errorf("%d lines, %d of them ok, want %d", strings.Count(out, "\n"), n, more)
		}
	}
	requests()
	mustHere(t, "verify", job, "--require-source", "-q")
}
