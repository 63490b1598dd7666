package storetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// environment names a worker's task in JSON.
const environment = "FACESCAN_STORETEST"

// work is what a worker process is to do on a job.
type work struct {
	Name string // of the job
	// hold: claim, say so, wait; finish: import and process everything; race: process what is there
	Do       string
	TTL      time.Duration // of its leases
	Decoding []int64       // rows it has in its decoders, by slot
	Rows     int           // of the list
	Groups   int           // that they are in; 0 for none
	Ends     bool          // each group is ended by a record, and the list never
	Batch    int           // results in a commit of a race
}

// Main is for TestMain: it runs the tests, or in a worker process its task, and returns the exit code.
func Main(m *testing.M, target Target) int {
	task := os.Getenv(environment)
	if task == "" {
		return m.Run()
	}
	var w work
	err := json.Unmarshal([]byte(task), &w)
	if err == nil {
		err = w.run(context.Background(), target)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

// child is a worker process.
type child struct {
	testing.TB
	cmd *exec.Cmd
	in  io.Closer // its stdin
	out *bufio.Reader
}

// spawn starts a worker. It ends when the test does, at the latest: its stdin is a pipe from here.
func spawn(t testing.TB, w work) *child {
	t.Helper()
	task := must.Get(json.Marshal(w))(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), environment+"="+string(task))
	cmd.Stderr = os.Stderr
	in := must.Get(cmd.StdinPipe())(t)
	t.Cleanup(func() { _ = in.Close() })
	out := must.Get(cmd.StdoutPipe())(t)
	must.OK(t, cmd.Start())
	return &child{t, cmd, in, bufio.NewReader(out)}
}

// await reads the worker's output up to a line.
func (c *child) await(line string) {
	c.Helper()
	for {
		got, err := c.out.ReadString('\n')
		if err != nil {
			c.Fatalf("worker ended before %q: %v", line, errors.Join(err, c.cmd.Wait()))
		}
		if got == line+"\n" {
			return
		}
	}
}

// kill ends the worker as kill -9 does, and waits for it.
func (c *child) kill() {
	c.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.Fatal(err)
	}
	_ = c.cmd.Wait() // killed: the error says so
}

// killAfter lets the worker run for so long; true if it finished by itself before.
func (c *child) killAfter(d time.Duration) bool {
	c.Helper()
	timer := time.AfterFunc(d, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, c.out)
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		c.Fatalf("worker failed: %v", err)
	}
	return err == nil
}

func (w work) run(ctx context.Context, target Target) error {
	j, err := target.Open(ctx, w.Name)
	if err != nil {
		return err
	}
	defer j.Close()
	s, err := j.Join(ctx, store.Owner{Host: "here", PID: os.Getpid()}, w.TTL)
	if err != nil {
		return err
	}
	switch w.Do {
	case "hold":
		return w.hold(ctx, s)
	case "finish":
		if err := w.finish(ctx, j, s); err != nil {
			return err
		}
		return s.Leave(ctx)
	case "race":
		return w.race(ctx, s)
	}
	return fmt.Errorf("no task %q", w.Do)
}

// hold claims the first shard and keeps it until stdin ends, without leaving.
func (w work) hold(ctx context.Context, s store.Session) error {
	l, err := s.Claim(ctx, 1000)
	if err != nil {
		return err
	}
	for slot, id := range w.Decoding {
		s.Decoding(slot, id)
	}
	s.Decoding(len(w.Decoding), l.Lo)
	s.Decoding(len(w.Decoding), 0)
	fmt.Println("holding")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// finish imports a list of w.Rows rows, some of which are missing, and processes all of it, in small steps.
func (w work) finish(ctx context.Context, j store.Job, s store.Session) error {
	if _, err := j.AddSource(ctx, store.Source{Name: "list"}); err != nil {
		return err
	}
	if err := w.importList(ctx, s); err != nil {
		return err
	}
	for {
		l, err := s.Claim(ctx, 150)
		if errors.Is(err, store.ErrNoShard) {
			c, err := j.Counts(ctx)
			all, e := j.Sources(ctx)
			if err := errors.Join(err, e); err != nil {
				return err
			}
			read := all[0].Complete || w.Ends && all[0].Position.Line == int64(w.Rows)
			if c.Pending == 0 && read {
				return nil
			}
			time.Sleep(10 * time.Millisecond) // others are at work, or died: leases run out by a real clock
			if !read {
				if err := w.importList(ctx, s); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			return err
		}
		err = process(ctx, s, l, 20, ok, true)
		if errors.Is(err, store.ErrLeaseLost) {
			fmt.Println("lost")
		} else if err != nil {
			return err
		}
	}
}

// importList appends what is missing, unless another process does, or took over.
func (w work) importList(ctx context.Context, s store.Session) error {
	l, err := s.LeaseSource(ctx, 0)
	if errors.Is(err, store.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := l.Position.Line; ; {
		var batch []store.NewRow
		for ; len(batch) < 300 && line < int64(w.Rows); line++ {
			if size := int64(w.Rows / max(w.Groups, 1)); w.Ends && line%size == size-1 {
				batch = append(batch, store.NewRow{ID: line + 1, URL: "$",
					Group: fmt.Sprint("group ", line/size), End: true})
			} else if line%7 != 0 {
				r := store.NewRow{ID: line + 1, URL: urlOf(line + 1)}
				if w.Groups > 0 {
					r.Group = fmt.Sprint("group ", line%int64(w.Groups))
				}
				if w.Ends {
					r.Group = fmt.Sprint("group ", line/size)
				}
				batch = append(batch, r)
			}
		}
		end := line == int64(w.Rows)
		err := s.Append(ctx, l, batch, store.Position{Line: line}, end && !w.Ends, 200)
		if errors.Is(err, store.ErrLeaseLost) {
			fmt.Println("lost")
			return nil
		}
		if err != nil {
			return err
		}
		if end {
			return s.ReleaseSource(ctx, l)
		}
	}
}

// process does the pending rows of a shard, so many in a commit, and gives it back.
func process(ctx context.Context, s store.Session, l store.Lease, size int, result func(int64) store.Result,
	renew bool) error {
	for after := l.Lo - 1; ; {
		rows, err := s.Pending(ctx, l, after, size)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return s.Release(ctx, []store.Lease{l})
		}
		after = rows[len(rows)-1].ID
		err = s.Commit(ctx, l, each(ids(rows), result))
		if err == nil && renew {
			_, err = s.Renew(ctx, []store.Lease{l})
		}
		if err != nil {
			return err
		}
	}
}

// killLoops is how often testKillLoop kills; FACESCAN_SOAK asks for many more.
func killLoops() int {
	if os.Getenv("FACESCAN_SOAK") != "" {
		return 500
	}
	return 20
}

func testKillLoop(t *testing.T, target Target) {
	b := start(t, target)
	random := rand.New(rand.NewPCG(1, uint64(killLoops())))
	w := work{Name: b.name, Do: "finish", TTL: 500 * time.Millisecond, Rows: 200 * killLoops()}
	kills := 0
	for finished := false; !finished; b.verify() {
		other := spawn(t, w) // two at a time, and only one of them dies at once
		finished = spawn(t, w).killAfter(time.Duration(random.IntN(int(150*time.Millisecond)))) &&
			kills >= killLoops()
		other.killAfter(time.Duration(random.IntN(int(50 * time.Millisecond))))
		if kills += 2; kills >= killLoops() {
			finished = spawn(t, w).killAfter(deadline)
		}
	}
	b.finished(w)
}

// finished holds the job to a result for every row of the list, once.
func (b *bench) finished(w work) {
	b.Helper()
	want := slices.DeleteFunc(span(1, int64(w.Rows)), func(id int64) bool { return id%7 == 1 })
	var got []int64
	for _, r := range b.results() {
		got = append(got, r.ID)
		b.equal(r.URL, urlOf(r.ID))
	}
	b.equal(got, want)
}

// testZombies has six workers, of which one is stopped past its leases' end, or killed and replaced, now and
// then. What a stopped one writes when it wakes is refused.
func testZombies(t *testing.T, target Target) {
	b := start(t, target)
	random := rand.New(rand.NewPCG(5, 6))
	w := work{Name: b.name, Do: "finish", TTL: 200 * time.Millisecond, Rows: 20_000 + 1000*killLoops()}
	type worker struct {
		*child
		ended chan struct{}
	}
	var lost atomic.Int64
	begin := func() worker {
		c := worker{spawn(t, w), make(chan struct{})}
		go func() {
			defer close(c.ended)
			for lines := bufio.NewScanner(c.out); lines.Scan(); lost.Add(1) {
			}
		}()
		return c
	}
	var workers []worker
	for range 6 {
		workers = append(workers, begin())
	}
	busy := func() bool {
		return slices.ContainsFunc(workers, func(c worker) bool {
			select {
			case <-c.ended:
				return false
			default:
				return true
			}
		})
	}
	// Not every stop finds its worker at a write: they go on until one did.
	for blow := 0; blow < killLoops() || lost.Load() == 0 && busy(); blow++ {
		time.Sleep(time.Duration(random.IntN(int(20 * time.Millisecond)))) // a moment that nobody chose
		at := random.IntN(len(workers))
		c := workers[at]
		if random.IntN(2) == 0 && blow < killLoops() {
			_ = c.cmd.Process.Kill()
			<-c.ended
			_ = c.cmd.Wait()
			workers[at] = begin()
			continue
		}
		_ = c.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(2 * w.TTL) // its leases end by a real clock
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
	}
	for _, c := range workers {
		<-c.ended
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("a worker failed: %v", err)
		}
	}
	b.finished(w)
	if lost.Load() == 0 {
		t.Error("no zombie's write was refused, so none was tried")
	}
	t.Logf("%d writes of zombies were refused", lost.Load())
}
