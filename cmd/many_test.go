package cmd

import (
	"context"
	"database/sql"
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
)

// manyProcesses has six processes at work on a job, of which one is killed and replaced, or stopped past its
// leases' end, again and again. Every row gets its result once. Begun is called when the list is imported;
// the processes have what it returns in their environment.
func manyProcesses(t *testing.T, job, dir string, begun func() (env []string)) (rows int) {
	const processes = 6
	n, blows, delay := 2400, 8, 20*time.Millisecond
	if os.Getenv("FACESCAN_SOAK") != "" {
		n, blows, delay = 100_000, 60, 5*time.Millisecond
	}
	s := fetchtest.New(pictures(t), delay)
	defer s.Close()
	var lines, outcomes []string
	for i := range n {
		path, outcome := fmt.Sprintf("/status/404/%d", i), "http_4xx"
		if i%40 == 0 {
			path, outcome = fmt.Sprintf("/i/1/%d.jpg", i), "ok"
		}
		lines, outcomes = append(lines, s.URL+path), append(outcomes, outcome)
	}
	mustHere(t, "import", writeList(t, dir, lines), "--db", job, "-q", "--shard-size", "200")
	env := begun()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	type process struct {
		*exec.Cmd
		stderr *transcript
	}
	begin := func() process {
		c, stderr := childWith(t, env, dir, "run", job, "--allow-private", "--progress", "none", "--fetchers",
			"4",
			"--lease-ttl", "1s", "--shard-size", "200")
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
			time.Sleep(2 * time.Second) // its leases end by a real clock
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
	t.Logf("%d rows, %d processes, %d times one was stopped, %d leases lost", n, len(all), stopped, lost)
	mustHere(t, "verify", job, "--deep", "--require-source", "-q")
	checkExport(t, job, lines, outcomes)
	return n
}

// TestManyProcesses shares a job file. A trigger notes every result that is written.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	job := filepath.Join(dir, "urls.facescan.db")
	var db *sql.DB
	n := manyProcesses(t, job, dir, func() []string {
		var err error
		if db, err = sql.Open("sqlite3", job+"?_busy_timeout=60000"); err != nil {
			t.Fatal(err)
		}
		if _, err = db.Exec("CREATE TABLE audit (id INTEGER NOT NULL, leased INTEGER NOT NULL)"); err != nil {
			t.Fatal(err)
		}
		return []string{watchSQL + `=CREATE TEMP TRIGGER note BEFORE INSERT ON main.results BEGIN INSERT INTO audit VALUES (NEW.id,
			(SELECT owner IS NOT NULL FROM shards WHERE lo <= NEW.id AND hi >= NEW.id ORDER BY lo DESC LIMIT 1)); END`}
	})
	defer db.Close()
	var written, rows, free int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE NOT leased) FROM "+
		"audit").Scan(&written, &rows, &free); err != nil {
		t.Fatal(err)
	}
	if written != n || rows != n || free != 0 {
		t.Errorf("%d results of %d rows were written, %d of them while nobody held the lease; there are %d "+
			"rows", written, rows, free, n)
	}
}

// audit notes of every result by which process it was written and to which its shard was leased at that
// moment.
const audit = `CREATE TABLE public.audit (id bigint NOT NULL, writer text NOT NULL, holder int);
	CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.audit VALUES (NEW.id, current_setting('application_name'), (SELECT o.pid FROM facescan.shards AS s
			JOIN facescan.owners AS o ON o.number = s.owner WHERE s.lo <= NEW.id AND s.hi >= NEW.id ORDER BY s.lo DESC LIMIT 1));
		RETURN NEW;
	END $$;
	CREATE TRIGGER note BEFORE INSERT ON facescan.results FOR EACH ROW EXECUTE FUNCTION public.note()`

// TestPostgresManyProcesses shares a database: every result was written by the process that held the lease.
func TestPostgresManyProcesses(t *testing.T) {
	t.Parallel()
	url := database(t)
	ctx := context.Background()
	var db *pgx.Conn
	n := manyProcesses(t, url, t.TempDir(), func() []string {
		var err error
		if db, err = pgx.Connect(ctx, url); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(ctx, audit); err != nil {
			t.Fatal(err)
		}
		return nil
	})
	defer db.Close(ctx)
	var written, rows, foreign int
	err := db.QueryRow(ctx, `SELECT count(*), count(DISTINCT id),
		count(*) FILTER (WHERE writer IS DISTINCT FROM 'facescan ' || holder) FROM public.audit`).
		Scan(&written, &rows, &foreign)
	if err != nil {
		t.Fatal(err)
	}
	if written != n || rows != n || foreign != 0 {
		t.Errorf("%d results of %d rows were written, %d of them by processes that did not hold the lease; "+
			"there are %d rows", written, rows, foreign, n)
	}
}
