package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store/storetest/pgtest"
)

const (
	sharedRows  = 30_000                // of the list whose processor time is measured
	troubleRows = 3_000                 // of the list on which processes are killed, join and leave
	slowAnswer  = 50 * time.Millisecond // of the server meanwhile, so that these rows take some seconds
	waysTTL     = 5 * time.Second       // of leases; the default is 30 s
)

// ways measures three ways to share a list among processes: leases on one SQLite file, parts by id modulo N
// that are merged, and leases on PostgreSQL. All download and read the header only, so that sharing is what
// counts.
func ways(exe, dir string) {
	database, err := pgtest.Open()
	check(err)
	defer func() { check(database.Close()) }()
	b := &waysBench{exe: exe, dir: dir, database: database}
	fmt.Printf("%s, %d cores, %s, %s.\n\n", cpuName(), runtime.NumCPU(), runtime.Version(),
		b.databaseVersion())

	fmt.Printf("A list of %d rows, from the start of the processes to the last result (with id mod N, in "+
		"the merged job); the web server on the same cores, its processor time not counted:\n\n", sharedRows)
	fmt.Println("| way | processes | rows/s | ms CPU per row | of it the database's | bytes per row |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, kind := range []string{onSQLite, byModulo, onPostgres} {
		for _, n := range []int{1, 2, 4} {
			b.speed(kind, n)
		}
	}

	fmt.Printf("\nA list of %d rows, a server that takes %v, 4 processes with 8 fetchers each, leases of "+
		"%v:\n",
		troubleRows, slowAnswer, waysTTL)
	fmt.Printf("\n| what happens | %s | %s | %s |\n|---|---|---|---|\n", onSQLite, byModulo, onPostgres)
	for _, event := range []struct {
		what   string
		happen func(kind string) string
	}{{"one of 4 is killed: rows fetched twice, and the first of them after", b.killed},
		{"another one joins: its first fetch after", b.joined},
		{"4 become 2 (SIGTERM): rows fetched twice", b.fewer}} {
		fmt.Printf("| %s | %s | %s | %s |\n",
			event.what, event.happen(onSQLite), event.happen(byModulo), event.happen(onPostgres))
	}
}

const (
	onSQLite   = "leases on SQLite"
	byModulo   = "id mod N, merged"
	onPostgres = "leases on PostgreSQL"
)

type waysBench struct {
	exe, dir string
	database *pgtest.Server
	rounds   int
}

// shared is a list that processes share.
type shared struct {
	*waysBench
	server *counter
	dir    string
	list   string
	rows   int
	job    string    // that all work on, or that parts are merged into
	db     *pgx.Conn // where the job is in a database
	empty  int64     // that database's size before
	cpu    time.Duration
	flags  []string
}

func (b *waysBench) share(kind string, rows int, delay time.Duration, flags ...string) *shared {
	b.rounds++
	s := &shared{waysBench: b, server: newCounter(delay), rows: rows, flags: flags}
	s.dir = filepath.Join(b.dir, fmt.Sprint("ways", b.rounds))
	check(os.Mkdir(s.dir, 0o755))
	s.list = filepath.Join(s.dir, "urls.txt")
	publish(s.list, urls(rows, func(i int) string {
		return fmt.Sprintf("%s/photos/%08d.jpg", s.server.url, i)
	}))
	s.job = filepath.Join(s.dir, "urls.db")
	if kind == onPostgres {
		var err error
		s.job, err = b.database.Create()
		check(err)
		s.db, err = pgx.Connect(context.Background(), s.job)
		check(err)
		s.empty = s.databaseSize()
	}
	return s
}

func (s *shared) close() {
	s.server.close()
	if s.db != nil {
		check(s.db.Close(context.Background()))
	}
}

// start starts a process on the job, or, if of is not 0, on part i of so many. It says who it is to the
// server.
func (s *shared) start(i, of int) *exec.Cmd {
	args := []string{"run", s.list, "--allow-private", "--per-host", "0", "--progress", "none", "-q",
		"--detector", "none", "--user-agent", fmt.Sprint("process-", i)}
	if of == 0 {
		args = append(args, "--db", s.job)
	} else {
		args = append(args, "--node", fmt.Sprintf("%d/%d", i, of))
	}
	c := s.command(append(args, s.flags...)...)
	check(c.Start())
	return c
}

func (s *shared) command(args ...string) *exec.Cmd {
	c := exec.Command(s.exe, args...)
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+s.dir)
	c.Stderr = os.Stderr
	return c
}

// startAll starts n processes, on parts of their own by modulo.
func (s *shared) startAll(kind string, n int) (all []*exec.Cmd) {
	of := 0
	if kind == byModulo {
		of = n
	}
	for i := range n {
		all = append(all, s.start(i, of))
	}
	return all
}

// wait waits for processes that end well, or that a signal was sent to.
func (s *shared) wait(signalled bool, all ...*exec.Cmd) {
	for _, c := range all {
		if err := c.Wait(); err != nil && !signalled {
			log.Fatalf("%v: %v", c.Args, err)
		}
		s.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
}

// merge unites the parts.
func (s *shared) merge() {
	parts, err := filepath.Glob(filepath.Join(s.dir, "urls.node-*.facescan.db"))
	check(err)
	c := s.command(append([]string{"merge", s.job, "-q"}, parts...)...)
	check(c.Start())
	s.wait(false, c)
}

// whole holds that the job has a result for every row, since a way that loses rows would look fast.
func (s *shared) whole() {
	out, err := s.command("status", s.job, "--json").Output()
	check(err)
	var counts struct{ Total, Done, OK int }
	check(json.Unmarshal(out, &counts))
	if counts.Total != s.rows || counts.Done != s.rows || counts.OK != s.rows {
		log.Fatalf("the job is not whole: %s", out)
	}
}

// speed prints a row of the first table.
func (b *waysBench) speed(kind string, processes int) {
	s := b.share(kind, sharedRows, 0)
	defer s.close()
	databases := s.databaseTime()
	begin := time.Now()
	s.wait(false, s.startAll(kind, processes)...)
	if kind == byModulo {
		s.merge()
	}
	took := time.Since(begin)
	databases = s.databaseTime() - databases
	s.whole()
	perRow := func(d time.Duration) float64 { return d.Seconds() * 1e3 / sharedRows }
	ofDatabase := "–"
	if s.db != nil {
		ofDatabase = fmt.Sprintf("%.3f", perRow(databases))
	}
	fmt.Printf("| %s | %d | %.0f | %.3f | %s | %d |\n", kind, processes,
		sharedRows/took.Seconds(), perRow(s.cpu+databases), ofDatabase, s.stored()/sharedRows)
}

func (b *waysBench) trouble(kind string) *shared {
	return b.share(kind, troubleRows, slowAnswer, "--fetchers", "8", "--lease-ttl", waysTTL.String())
}

// killed kills one of 4 processes a third of the way through. A part that has nobody is started again at
// once.
func (b *waysBench) killed(kind string) string {
	s := b.trouble(kind)
	defer s.close()
	all := s.startAll(kind, 4)
	s.server.await(troubleRows / 3)
	check(all[1].Process.Kill())
	s.wait(true, all[1])
	at := s.server.mark()
	note := ""
	if kind == byModulo {
		note = ", started again by hand"
		all[1] = s.start(1, 4)
		s.wait(false, all...)
		s.merge()
	} else {
		s.wait(false, all[0], all[2], all[3])
	}
	s.whole()
	again := s.server.repeated()
	if again.IsZero() {
		return "0"
	}
	return fmt.Sprintf("%d, %.2f s%s", s.server.twice(), again.Sub(at).Seconds(), note)
}

// joined has another process join 4 of them.
func (b *waysBench) joined(kind string) string {
	if kind == byModulo {
		return "never: N is fixed"
	}
	s := b.trouble(kind)
	defer s.close()
	all := s.startAll(kind, 4)
	s.server.await(troubleRows / 3)
	at := time.Now()
	all = append(all, s.start(4, 0))
	s.wait(false, all...)
	s.whole()
	first := s.server.firstOf("process-4")
	if first.IsZero() {
		return "not at all"
	}
	return fmt.Sprintf("%.2f s", first.Sub(at).Seconds())
}

// fewer has 2 of 4 processes leave. By modulo that means other parts, either from the start or of what is
// left after a merge.
func (b *waysBench) fewer(kind string) string {
	leave := func(leaving ...*exec.Cmd) {
		for _, c := range leaving {
			check(c.Process.Signal(syscall.SIGTERM))
		}
	}
	s := b.trouble(kind)
	defer s.close()
	all := s.startAll(kind, 4)
	s.server.await(troubleRows / 3)
	if kind != byModulo {
		leave(all[2:]...)
		s.wait(true, all[2:]...)
		s.wait(false, all[:2]...)
		s.whole()
		return fmt.Sprint(s.server.twice())
	}
	leave(all...)
	s.wait(true, all...)
	s.wait(false, s.startAll(kind, 2)...)
	s.merge()
	s.whole()

	m := b.trouble(kind)
	defer m.close()
	all = m.startAll(kind, 4)
	m.server.await(troubleRows / 3)
	leave(all...)
	m.wait(true, all...)
	m.merge()
	m.wait(false, m.start(0, 0), m.start(1, 0))
	m.whole()
	return fmt.Sprintf("%d in new parts; %d when the old ones are merged and two processes share the rest",
		s.server.twice(), m.server.twice())
}

// stored is how many bytes the jobs take.
func (s *shared) stored() (size int64) {
	if s.db != nil {
		return s.databaseSize() - s.empty
	}
	entries, err := os.ReadDir(s.dir)
	check(err)
	for _, e := range entries {
		if i, err := e.Info(); err == nil && strings.Contains(e.Name(), ".db") {
			size += i.Size()
		}
	}
	return size
}

func (s *shared) databaseSize() (size int64) {
	check(s.db.QueryRow(context.Background(), "SELECT pg_database_size(current_database())").Scan(&size))
	return size
}

func (b *waysBench) databaseVersion() (version string) {
	url, err := b.database.Create()
	check(err)
	ctx := context.Background()
	db, err := pgx.Connect(ctx, url)
	check(err)
	check(db.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version))
	check(db.Close(ctx))
	return "PostgreSQL " + version
}

// databaseTime is the processor time of the database's processes, as Linux reports it in hundredths of
// a second.
func (s *shared) databaseTime() time.Duration {
	if s.db == nil {
		return 0
	}
	var server string
	pid := "SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)"
	check(s.db.QueryRow(context.Background(), pid).Scan(&server))
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	check(err)
	ticks := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		_, rest, ok := strings.Cut(string(b), ") ") // the name before may have blanks
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 15 {
			continue // it has ended
		}
		own, parent := filepath.Base(filepath.Dir(f)), fields[1]
		switch times := fields[11:15]; { // user and system, its own and those of children that have ended
		case own == server:
			for _, t := range times {
				n, _ := strconv.Atoi(t)
				ticks += n
			}
		case parent == server:
			for _, t := range times[:2] {
				n, _ := strconv.Atoi(t)
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// counter is a web server that counts its requests, by path and by client.
type counter struct {
	url    string
	server http.Server

	mu     sync.Mutex
	total  int
	paths  map[string]int
	again  time.Time            // of the first request since the mark for a path that had one before
	agents map[string]time.Time // of the first request of each
}

func newCounter(delay time.Duration) *counter {
	images := tiny()
	body := images[slices.Min(slices.Collect(maps.Keys(images)))]
	s := &counter{paths: map[string]int{}, agents: map[string]time.Time{}}
	s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(r)
		time.Sleep(delay)
		w.Header().Set("Content-Type", "image/jpeg")
		w.Write(body)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	s.url = "http://" + l.Addr().String()
	go s.server.Serve(l)
	return s
}

func (s *counter) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.total++
	s.paths[r.URL.Path]++
	if s.paths[r.URL.Path] > 1 && s.again.IsZero() {
		s.again = now
	}
	if _, ok := s.agents[r.UserAgent()]; !ok {
		s.agents[r.UserAgent()] = now
	}
}

// await waits for so many requests.
func (s *counter) await(n int) {
	for range 6000 {
		s.mu.Lock()
		total := s.total
		s.mu.Unlock()
		if total >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	log.Fatalf("there are no %d requests", n)
}

// twice counts the requests beyond the first for each path.
func (s *counter) twice() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total - len(s.paths)
}

// mark returns the time, from which on repeated counts.
func (s *counter) mark() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = time.Time{}
	return time.Now()
}

func (s *counter) repeated() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again
}

func (s *counter) firstOf(agent string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agents[agent]
}

func (s *counter) close() { check(s.server.Close()) }
