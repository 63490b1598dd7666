package pipeline

import (
	"bytes"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/sqlite"
)

// TestNoteChanges: a change is noted while rows have failed for a reason that the flag decides, and dropped
// when the flag is as it was, or no such rows are left.
func TestNoteChanges(t *testing.T) {
	t.Parallel()
	failed := store.Counts{Failures: map[store.Reason]int64{store.Timeout: 3, store.Connect: 1}}
	noted := map[string]string{}
	for _, step := range []struct {
		counts    store.Counts
		were, are []string
		want      map[string]string
	}{
		{failed, []string{"--timeout", "5s"}, []string{"--timeout", "5s"}, map[string]string{}},
		{failed, []string{"--timeout", "5s"}, []string{"--timeout", "9s"},
			map[string]string{"timeout timeout": "--timeout 5s"}},
		// what they failed with stays noted
		{failed, []string{"--timeout", "9s"}, []string{"--timeout", "7s"},
			map[string]string{"timeout timeout": "--timeout 5s"}},
		{failed, []string{"--timeout", "7s"}, []string{"--timeout", "5s"}, map[string]string{}},
		{failed, nil, []string{"--proxy", "http://p"},
			map[string]string{"connect proxy": "", "timeout proxy": ""}},
		{store.Counts{}, []string{"--proxy", "http://p"}, nil, map[string]string{}},
	} {
		if noteChanges(noted, step.counts, step.were, step.are); !maps.Equal(noted, step.want) {
			t.Errorf("%q to %q: %q, want %q", step.were, step.are, noted, step.want)
		}
	}
	for words, want := range map[string]string{"--a 1 --b --a 2": "--a 1 --a 2", "--b": "", "--a --b": "--a",
		"--a": "--a"} {
		if got := wordsOf(strings.Fields(words), "a"); got != want {
			t.Errorf("%q: %q, want %q", words, got, want)
		}
	}
}

// TestRemember: a job keeps the flags of its last run that had something to do, and the log says which rows
// another flag does nothing for.
func TestRemember(t *testing.T) {
	t.Parallel()
	job, err := sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "j.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer job.Close()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	remember := func(lists bool, words ...string) []string {
		t.Helper()
		if err := Remember(t.Context(), job, words, "urls.txt", lists, log); err != nil {
			t.Fatal(err)
		}
		settings, err := job.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return RunFlags(settings)
	}
	if got := remember(false, "--insecure"); got != nil {
		t.Errorf("a run with nothing to do left %q", got)
	}
	for range 2 { // the second time nothing has changed
		if got := remember(true, "--insecure"); !slices.Equal(got, []string{"--insecure"}) {
			t.Errorf("%q", got)
		}
	}
	if got := remember(false); !slices.Equal(got, []string{"--insecure"}) {
		t.Errorf("a run with nothing to do left %q", got)
	}
	if got := remember(true); len(got) > 0 {
		t.Errorf("%q", got)
	}
	if said.Len() > 0 {
		t.Errorf("no row has failed: %s", &said)
	}
	counts := store.Counts{Failures: map[store.Reason]int64{store.Timeout: 2, store.PrivateAddress: 1}}
	reportChanges(map[string]string{"timeout timeout": "--timeout 5s", "private_address allow-private": ""},
		counts,
		"urls.txt", log)
	for _, want := range []string{"2 rows failed with --timeout 5s (timeout)",
		"1 row failed without --allow-private (private_address)",
		"facescan retry urls.txt --reason private_address"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in %s", want, &said)
		}
	}
	if RunFlags(map[string]string{store.RunFlagsSetting: "damaged"}) != nil {
		t.Error("flags of a damaged setting")
	}
}
