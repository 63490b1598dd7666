package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/pgtest"
)

// database returns the URL of an empty database.
func database(t testing.TB) string {
	t.Helper()
	return pgtest.Start(t)
}

// noPassword holds what a program said to be free of the database's password.
func noPassword(t testing.TB, said ...string) {
	t.Helper()
	for _, s := range said {
		if strings.Contains(s, pgtest.Password) ||
			strings.Contains(s, strings.ReplaceAll(pgtest.Password, "%", "%25")) {
			t.Errorf("the password was shown:\n%s", s)
		}
	}
}

// TestPostgres takes a job in a database through all commands.
func TestPostgres(t *testing.T) {
	t.Parallel()
	url := database(t)
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 60)
	list := writeList(t, dir, lines)
	flaky := s.URL + "/flaky/1/1/x.jpg"
	lines, outcomes = append(lines, flaky), append(outcomes, "http_5xx")
	quiet := []string{"--allow-private", "--progress", "none"}
	do := func(want int, args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := here(t, args...)
		if code != want {
			t.Fatalf("facescan %v: exit %d, want %d\n%s%s", args, code, want, out, errs)
		}
		noPassword(t, out, errs)
		return out, errs
	}
	for _, command := range []string{"status", "export", "verify", "retry", "pause"} {
		if _, errs := do(exitError, command, url); !strings.Contains(errs, "there is no job") ||
			!strings.Contains(errs, "facescan import") {
			t.Errorf("%s without a job says: %s", command, errs)
		}
	}
	do(exitError, append([]string{"run", url}, quiet...)...) // and does not make one
	if out, _ := do(exitOK, "run", list, "--db", url, "--dry-run"); !strings.Contains(out, "would create") {
		t.Errorf("a dry run says: %s", out)
	}
	do(exitUsage, "run", url, list)
	do(exitUsage, "import", url)
	do(exitUsage, "run", list, "--db", url, "--node", "0/2")

	do(exitOK, "import", list, "--db", url)
	do(exitLimited, append([]string{"run", url, "--max-rows", "10"}, quiet...)...)
	if err := os.WriteFile(list, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil { // it grew
		t.Fatal(err)
	}
	do(exitOK, append([]string{"run", list, "--db", url, "--retries", "0"}, quiet...)...)
	checkExport(t, url, lines, outcomes)
	if _, said := do(exitOK, "retry", url); !strings.Contains(said, "1 failed row is pending again") {
		t.Errorf("retry says %s", said)
	}
	outcomes[60] = "ok"
	out, _ := do(exitOK, "status", url, "--json")
	var status struct{ Total, Done, Pending int }
	if err := json.Unmarshal([]byte(out), &status); err != nil || status.Total != 61 || status.Pending != 1 {
		t.Errorf("status %s, %v", out, err)
	}
	do(exitOK, "pause", url)
	do(exitLimited, append([]string{"run", url}, quiet...)...)
	do(exitOK, "resume", url)
	do(exitOK, append([]string{"run", url}, quiet...)...)
	do(exitOK, "verify", url, "--deep", "--require-source")
	checkExport(t, url, lines, outcomes)
	file := filepath.Join(dir, "out.csv")
	do(exitOK, "export", url, "-o", file)
	if b, err := os.ReadFile(file); err != nil || string(b) != mustHere(t, "export", url) {
		t.Errorf("the file differs from stdout: %v", err)
	}
	do(exitOK, "status", url)

	// Another job of the database, named by its schema, which array jobs are merged into.
	other := url + "?schema=merged"
	for i := range 2 {
		do(exitOK, append([]string{"run", list, "--node", fmt.Sprintf("%d/2", i)}, quiet...)...)
	}
	nodes := []string{filepath.Join(dir, "urls.node-0-of-2.facescan.db"),
		filepath.Join(dir, "urls.node-1-of-2.facescan.db")}
	do(exitOK, append([]string{"merge", other}, nodes...)...)
	do(exitOK, "verify", other, "-q")
	checkExport(t, other, lines, outcomes)
}

// TestPostgresTrouble has errors that name the server and what to do, and never the password.
func TestPostgresTrouble(t *testing.T) {
	t.Parallel()
	url := database(t)
	for name, c := range map[string]struct {
		url  string
		want []string
	}{
		"another password": {strings.Replace(url, "s3cret", "wrong", 1), []string{"PGPASSWORD", ".pgpass"}},
		"no database":      {url + "x", []string{"createdb"}},
		"no server": {"postgres://facescan:s3cret%25word@127.0.0.1:1/x",
			[]string{"127.0.0.1:1", "cannot be reached", "run the same command again"}},
		"no URL": {"postgres://facescan:s3cret%word@127.0.0.1:5432/x",
			[]string{"cannot be read", "%XX"}},
		"no parameter": {url + "?sslmode=maybe", []string{"sslmode"}},
		"no schema":    {url + "?schema=a-b", []string{"schema"}},
		"a password aside": {"postgres://127.0.0.1:1/x?user=u&password=s3cret%25word",
			[]string{"127.0.0.1:1"}},
	} {
		code, out, errs := here(t, "status", c.url)
		if code != exitError {
			t.Errorf("%s: exit %d", name, code)
		}
		for _, want := range c.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: stderr lacks %q: %s", name, want, errs)
			}
		}
		noPassword(t, out, errs)
	}
}
