package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
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

// TestRestOfSources: what is wrong with lists that are not shown by name is summed up.
func TestRestOfSources(t *testing.T) {
	t.Parallel()
	var sources []store.Source
	for i := range 20 {
		sources = append(sources, store.Source{Number: i, Name: "shown.txt", Rows: 9, Pending: 9,
			Complete: true, Position: store.Position{Rows: 9}})
	}
	sources = append(sources,
		store.Source{Number: 20, Rows: 1, Pending: 1, Position: store.Position{Rows: 1}},
		store.Source{Number: 21, Rows: 3, Pending: 3, Complete: true, Paused: true,
			Position: store.Position{Rows: 3}},
		store.Source{Number: 22, Rows: 2, Position: store.Position{Rows: 3}},
		store.Source{Number: 23, Rows: 1, Position: store.Position{Rows: -1}})
	g, out, _ := printing()
	printSources(g, sources, map[string]string{store.MergeSetting: `["a.db"]`})
	const want = "source              7   rows of 4 more lists, 3 imports not complete, 1 paused, 4 left, " +
		"2 with rows missing\n"
	if got := out.String(); strings.Count(got, "shown.txt, 9 left\n") != 20 || !strings.HasSuffix(got, want) {
		t.Errorf("%s, want at the end\n%s", got, want)
	}
}
