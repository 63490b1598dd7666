package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/store/storetest/pgtest"
)

// database returns the URL of an empty database, and keeps what processes note about their ends in a folder of the test.
func database(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	return pgtest.Start(t)
}

// noPassword holds what a program said to be free of the database's password.
func noPassword(t testing.TB, said ...string) {
	t.Helper()
	for _, s := range said {
		if strings.Contains(s, pgtest.Password) || strings.Contains(s, strings.ReplaceAll(pgtest.Password, "%", "%25")) {
			t.Errorf("the password was shown:\n%s", s)
		}
	}
}

// TestPostgres takes a job in a database through all commands.
func TestPostgres(t *testing.T) {
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
		if _, errs := do(exitError, command, url); !strings.Contains(errs, "there is no job") || !strings.Contains(errs, "facescan import") {
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
	if out, _ := do(exitOK, "retry", url); strings.TrimSpace(out) != "1" {
		t.Errorf("retry says %s", out)
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
	nodes := []string{filepath.Join(dir, "urls.node-0-of-2.facescan.db"), filepath.Join(dir, "urls.node-1-of-2.facescan.db")}
	do(exitOK, append([]string{"merge", other}, nodes...)...)
	do(exitOK, "verify", other, "-q")
	checkExport(t, other, lines, outcomes)
}

// TestPostgresTrouble has errors that name the server and what to do, and never the password.
func TestPostgresTrouble(t *testing.T) {
	url := database(t)
	for name, c := range map[string]struct {
		url  string
		want []string
	}{
		"another password": {strings.Replace(url, "s3cret", "wrong", 1), []string{"PGPASSWORD", ".pgpass"}},
		"no database":      {url + "x", []string{"createdb"}},
		"no server":        {"postgres://facescan:s3cret%25word@127.0.0.1:1/x", []string{"127.0.0.1:1", "cannot be reached", "run the same command again"}},
		"no URL":           {"postgres://facescan:s3cret%word@127.0.0.1:5432/x", []string{"cannot be read", "%XX"}},
		"no parameter":     {url + "?sslmode=maybe", []string{"sslmode"}},
		"no schema":        {url + "?schema=a-b", []string{"schema"}},
		"a password aside": {"postgres://127.0.0.1:1/x?user=u&password=s3cret%25word", []string{"127.0.0.1:1"}},
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

// audit notes of every result by which process it was written and to which its shard was leased at that moment.
const audit = `CREATE TABLE public.audit (id bigint NOT NULL, writer text NOT NULL, holder int);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.audit VALUES (NEW.id, current_setting('application_name'), (SELECT o.pid FROM facescan.shards AS s
			JOIN facescan.owners AS o ON o.number = s.owner WHERE s.lo <= NEW.id AND s.hi >= NEW.id ORDER BY s.lo DESC LIMIT 1));
		RETURN NEW;
	END $$;
	CREATE TRIGGER note BEFORE INSERT ON facescan.results FOR EACH ROW EXECUTE FUNCTION public.note()`

// TestPostgresManyProcesses has six processes at work on a job, of which one is killed and replaced, or stopped past its
// leases' end, again and again. Every row gets its result once, written by the process that held its lease.
func TestPostgresManyProcesses(t *testing.T) {
	const processes = 6
	url := database(t)
	n, blows, delay := 2400, 8, 20*time.Millisecond
	if os.Getenv("FACESCAN_SOAK") != "" {
		n, blows, delay = 100_000, 60, 5*time.Millisecond
	}
	s := fetchtest.New(pictures(t), delay)
	defer s.Close()
	dir := t.TempDir()
	var lines, outcomes []string
	for i := range n {
		path, outcome := fmt.Sprintf("/status/404/%d", i), "http_4xx"
		if i%40 == 0 {
			path, outcome = fmt.Sprintf("/i/1/%d.jpg", i), "ok"
		}
		lines, outcomes = append(lines, s.URL+path), append(outcomes, outcome)
	}
	mustHere(t, "import", writeList(t, dir, lines), "--db", url, "-q", "--shard-size", "200")
	ctx := context.Background()
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, audit); err != nil {
		t.Fatal(err)
	}

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	type process struct {
		*exec.Cmd
		stderr *bytes.Buffer
	}
	begin := func() process {
		c, stderr := child(t, dir, "run", url, "--allow-private", "--progress", "none", "--fetchers", "4", "--lease-ttl", "1s", "--shard-size", "200")
		return process{c, stderr}
	}
	var all, alive []process
	for range processes {
		alive = append(alive, begin())
	}
	all = append(all, alive...)
	stopped := 0
	for range blows {
		time.Sleep(time.Duration(random.IntN(int(150 * time.Millisecond)))) // a moment that nobody chose
		at := random.IntN(processes)
		if p := alive[at]; random.IntN(2) == 0 {
			p.Process.Kill()
			alive[at] = begin()
			all = append(all, alive[at])
		} else {
			stopped++
			p.Process.Signal(syscall.SIGSTOP)
			time.Sleep(2 * time.Second) // its leases end by the server's clock
			p.Process.Signal(syscall.SIGCONT)
		}
	}
	for _, p := range alive {
		if err := p.Wait(); err != nil {
			t.Errorf("%v\n%s", err, p.stderr)
		}
	}
	lost := 0
	for _, p := range all {
		p.Wait()
		lost += strings.Count(p.stderr.String(), "lease lost")
		noPassword(t, p.stderr.String())
	}
	t.Logf("%d processes, %d times one was stopped, %d leases lost", len(all), stopped, lost)
	mustHere(t, "verify", url, "--deep", "--require-source", "-q")
	checkExport(t, url, lines, outcomes)
	var written, rows, foreign int
	err = db.QueryRow(ctx, `SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE writer IS DISTINCT FROM 'facescan ' || holder) FROM public.audit`).
		Scan(&written, &rows, &foreign)
	if err != nil {
		t.Fatal(err)
	}
	if written != n || rows != n || foreign != 0 {
		t.Errorf("%d results of %d rows were written, %d of them by processes that did not hold the lease; there are %d rows", written, rows, foreign, n)
	}
}
