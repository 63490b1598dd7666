package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// claims is a store that shards are claimed from, in memory.
type claims struct {
	mu       sync.Mutex
	claims   [][]store.Lease // by claim; then there is no shard
	asked    []int           // rows wanted, by claim
	rows     map[int64][]store.Row
	suspects map[int64]int
	taken    int64
	counts   store.Counts
	sources  []store.Source
	counted  int
	fails    map[string]error // by method
	activity *activity
	reads    []string // shards whose rows were read, by call
	unseen   int      // calls while the dispatcher did not say that it claims, or said that it is idle
}

// see is called by those that claim.
func (c *claims) see(idle bool) {
	if !c.activity.claiming.Load() || c.activity.idle.Load() && !idle {
		c.unseen++
	}
}

func (c *claims) ClaimAll(_ context.Context, maxRows int) ([]store.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.see(true)
	if err := c.fails["claim"]; err != nil {
		return nil, err
	}
	if len(c.claims) == 0 {
		return nil, fmt.Errorf("claim: %w", store.ErrNoShard)
	}
	c.asked = append(c.asked, maxRows)
	ls := c.claims[0]
	c.claims = c.claims[1:]
	return ls, nil
}

func (c *claims) Pending(_ context.Context, l store.Lease, after int64, limit int) ([]store.Row, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.see(false)
	c.reads = append(c.reads, fmt.Sprint(l.Shard))
	rows := slices.DeleteFunc(slices.Clone(c.rows[l.Shard]), func(r store.Row) bool { return r.ID <= after })
	return rows[:min(limit, len(rows))], c.fails["pending"]
}

func (c *claims) PendingAll(_ context.Context, ls []store.Lease) (out [][]store.Row, err error) {
	c.see(false)
	var read []string
	for _, l := range ls {
		out = append(out, c.rows[l.Shard])
		read = append(read, fmt.Sprint(l.Shard))
	}
	c.reads = append(c.reads, strings.Join(read, "+"))
	return out, c.fails["pending all"]
}

func (c *claims) Suspects(context.Context) (map[int64]int, error) {
	return c.suspects, c.fails["suspects"]
}
func (c *claims) Takeovers() int64 { return c.taken }
func (c *claims) Path() string     { return "job.db" }

func (c *claims) Sources(context.Context) ([]store.Source, error) {
	return c.sources, c.fails["sources"]
}

func (c *claims) Counts(context.Context) (store.Counts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted++
	return c.counts, c.fails["counts"]
}

func (c *claims) set(change func(*claims)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// shard adds a shard of n rows to a claim, and returns its lease.
func (c *claims) shard(id int64, n int) store.Lease {
	if c.rows == nil {
		c.rows = map[int64][]store.Row{}
	}
	lo := 10_000 * id
	for i := range int64(n) {
		c.rows[id] = append(c.rows[id], store.Row{ID: lo + i, URL: fmt.Sprintf("http://h%d.invalid/%d", i%3,
			lo+i)})
	}
	return store.Lease{Shard: id, Lo: lo, Hi: lo + 9_999, Pending: int64(n),
		Expires: time.Now().Add(24 * time.Hour)}
}

// line is a queue of tasks that nobody fetches.
type line struct {
	mu      sync.Mutex
	tasks   []*task
	waiting int // says that so many wait
	starved bool
	closed  bool
	stopped bool
	room    int // rows that it takes before it is stopped
	adds    int // calls that brought rows
}

func (q *line) AddAll(ctx context.Context, rows []host.Row[*task]) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(rows) > 0 {
		q.adds++
	}
	for i, row := range rows {
		if q.stopped && len(q.tasks) >= q.room || ctx.Err() != nil {
			return i, errors.New("stopped")
		}
		q.tasks = append(q.tasks, row.Value)
	}
	return len(rows), nil
}

func (q *line) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

func (q *line) Starved() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.starved
}

func (q *line) Close() { q.closed = true }

func (q *line) set(waiting int, starved bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.starved = waiting, starved
}

func (q *line) ids() (ids []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.tasks {
		ids = append(ids, t.row.ID)
	}
	return ids
}

// dispatchBench is a dispatcher alone.
type dispatchBench struct {
	*dispatcher
	claims *claims
	line   *line
	kept   chan *task
	done   completed
	ended  chan error
}

// alone runs a test of a dispatcher whose time is not the clock's.
func alone(t *testing.T, test func(t *testing.T, b *dispatchBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		life := newLifecycle(t.Context())
		defer life.close()
		now := &activity{}
		b := &dispatchBench{claims: &claims{fails: map[string]error{}, activity: now}, line: &line{},
			kept: make(chan *task, 100),
			done: make(completed, 1000), ended: make(chan error, 1)}
		importing := &importStage{}
		importing.begin(life.draining)
		stats := &Stats{}
		b.dispatcher = &dispatcher{store: b.claims, job: b.claims, queue: b.line, kept: b.kept,
			complete: b.done,
			leases:   newLeases(&shards{}, func(store.Lease) {}), bodies: newBodyPool(1<<20, 1<<10),
			repeats: &repeats{}, life: life,
			limits: &limits{totals: func() (int64, int64) { return 0, 0 }, breaks: stats.breaks,
				drain: life.drain},
			importing: importing, stats: stats, activity: now, log: slog.New(slog.DiscardHandler),
			resume:   func(context.Context) (string, error) { return "facescan run urls.txt", nil },
			inFlight: func() int { return 0 }, fetched: func() int { return 0 }, fetchers: 8,
			shardSize: 10_000}
		test(t, b)
	})
}

func (b *dispatchBench) start() { go func() { b.ended <- b.dispatcher.run() }() }

// end is how the dispatcher ended, which it has to have done.
func (b *dispatchBench) end(t *testing.T, why End) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-b.ended:
		if _, open := <-b.kept; open || !b.line.closed {
			t.Error("the stages behind wait for ever")
		}
		if b.claims.unseen > 0 || b.activity.claiming.Load() {
			t.Errorf("%d claims were not seen as such; claiming at the end: %t", b.claims.unseen,
				b.activity.claiming.Load())
		}
		if end, _ := b.life.end(t.Context(), nil); err == nil && end != why {
			t.Errorf("ended as %v, want %v", end, why)
		}
		return err
	default:
		t.Fatal("it goes on")
		return nil
	}
}

// TestDispatch hands out every pending row once, of small shards, which are read together, and of one that
// takes several reads, in order, and returns when the job is finished.
func TestDispatch(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c := b.claims
		c.claims = [][]store.Lease{{c.shard(1, 3), c.shard(2, 0), c.shard(3, pageRows), c.shard(4, 2)},
			{c.shard(5, 2*pageRows), c.shard(6, pageRows-3), c.shard(7, 3)}}
		b.start()
		if err := b.end(t, Finished); err != nil {
			t.Fatal(err)
		}
		var want []int64
		for id := range int64(7) {
			for _, row := range c.rows[id+1] {
				want = append(want, row.ID)
			}
		}
		if got := b.line.ids(); !slices.Equal(got, want) || b.stats.Dispatched.Load() != int64(len(want)) {
			t.Errorf("%d rows were handed out, %d counted, want %d", len(got), b.stats.Dispatched.Load(),
				len(want))
		}
		if !slices.Equal(c.asked, []int{minRows, minRows}) {
			t.Errorf("claimed %v rows", c.asked)
		}
		if n, rows := b.leases.count(); n != 6 || rows != len(want) { // the empty shard went back
			t.Errorf("%d shards and %d rows are held", n, rows)
		}
		if want := []string{"1+2", "3", "3", "4", "5", "5", "5", "6+7"}; !slices.Equal(c.reads, want) {
			t.Errorf("read %v, want %v", c.reads, want)
		}
	})
}

// TestDispatchElsewhere: rows whose bytes are kept are read, and one that ended two processes is bad without
// a try.
func TestDispatchElsewhere(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c, s := b.claims, newShelf()
		c.claims = [][]store.Lease{{c.shard(1, 5)}}
		c.suspects, c.taken = map[int64]int{10_001: 2, 10_002: 1}, 7
		var said bytes.Buffer
		b.log = slog.New(slog.NewTextHandler(&said, nil))
		s.bodies[10_003] = Original{Body: []byte("kept")}
		b.keeper = s
		b.start()
		synctest.Wait()
		if kept := <-b.kept; kept.row.ID != 10_003 {
			t.Errorf("row %d is read", kept.row.ID)
		}
		if bad := <-b.done; bad.row.ID != 10_001 || bad.result == nil ||
			bad.result.Reason != store.BadImage || bad.inFlight {
			t.Errorf("%+v is done", bad)
		}
		if got := b.line.ids(); !slices.Equal(got, []int64{10_000, 10_002, 10_004}) ||
			b.line.tasks[1].suspect != 1 {
			t.Errorf("%v are fetched", got)
		}
		if err := b.end(t, Finished); err != nil || b.stats.Takeovers.Load() != 7 {
			t.Error(err, b.stats.Takeovers.Load())
		}
		c.taken = 9
		if err := b.lookForSuspects(); err != nil || strings.Count(said.String(), "took over") != 2 ||
			!strings.Contains(said.String(), "shards=7\n") || !strings.Contains(said.String(), "shards=2\n") {
			t.Errorf("%v, %s", err, said.String())
		}
	})
}

// TestDispatchLimit hands out as many rows as it may, waits for them, and stops the import.
func TestDispatchLimit(t *testing.T) {
	for maxRows, drained := range map[int64]bool{1: false, 3: false, 5: true} {
		alone(t, func(t *testing.T, b *dispatchBench) {
			c := b.claims
			c.claims = [][]store.Lease{{c.shard(1, 3)}, {c.shard(2, 9)}}
			b.maxRows = maxRows
			b.start()
			synctest.Wait()
			if got := b.line.ids(); len(got) != int(maxRows) || b.importing.ctx.Err() == nil ||
				b.life.draining.Err() != nil || len(b.ended) != 0 {
				t.Fatalf("%v were handed out, import %v, draining %v", got, b.importing.ctx.Err(),
					b.life.draining.Err())
			}
			if drained {
				b.life.drain(Interrupted)
				if err := b.end(t, Interrupted); err != nil {
					t.Error(err)
				}
				return
			}
			for _, row := range b.line.tasks {
				if row.lease.complete(1) {
					if err := b.leases.release(t.Context(), []*leaseHandle{row.lease}); err != nil {
						t.Error(err)
					}
				}
			}
			if err := b.end(t, Limited); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDispatchRoom: nothing is claimed while enough rows wait, or a consumer holds the run. Rows that wait
// for slow hosts are not a reason, up to this process's share of what is left.
func TestDispatchRoom(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c := b.claims
		for id := range int64(4) {
			c.claims = append(c.claims, []store.Lease{c.shard(id+1, 1)})
		}
		var holds bool
		var mu sync.Mutex
		b.hold = func() bool { mu.Lock(); defer mu.Unlock(); return holds }
		hold := func(on bool) { mu.Lock(); defer mu.Unlock(); holds = on }
		c.counts = store.Counts{Pending: 100, Owners: make([]store.OwnerCounts, 2)}
		// claimed is how many shards were claimed after a while.
		claimed := func(when string, want int) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if got := len(b.line.ids()); got != want {
				t.Errorf("%s: %d shards were claimed, want %d", when, got, want)
			}
		}
		hold(true)
		b.line.set(0, false)
		b.start()
		claimed("held", 0)
		b.line.set(9, false)
		hold(false)
		claimed("enough rows wait", 0)
		b.line.set(50, true)
		claimed("as many as its share wait for slow hosts", 0)
		c.set(func(c *claims) { c.fails["counts"] = errors.New("away"); c.counts.Pending = 1000 })
		claimed("and the store does not say that more are left", 0)
		c.set(func(c *claims) { c.fails["counts"] = nil; c.claims = c.claims[:2] })
		claimed("and more are left", 2)
		b.life.drain(Interrupted)
		if err := b.end(t, Interrupted); err != nil {
			t.Error(err)
		}
	})
}

// TestDispatchBusy: while rows that are fetched wait for the processors, nothing is claimed as long as more
// rows are held than these do in a second, or than half of this process's share of what is left.
func TestDispatchBusy(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c := b.claims
		var fetched atomic.Int64
		b.fetched, b.workers = func() int { return int(fetched.Load()) }, 2
		b.inFlight = b.fetched
		b.stats.ownMeter.begin(time.Now())
		work := func(rows int64) { // in the next three seconds, as many in each
			for range 3 {
				b.stats.mu.Lock()
				b.stats.ownMeter.add(time.Now(), rows)
				b.stats.mu.Unlock()
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		claimed := func(when string, want bool) {
			t.Helper()
			work(50) // by its end the share is the present one
			before := len(b.line.ids())
			id := int64(before + 1)
			c.set(func(c *claims) { c.claims = [][]store.Lease{{c.shard(id, 1)}} })
			work(50)
			if got := len(b.line.ids()) > before; got != want {
				t.Errorf("%s: claimed %t, want %t", when, got, want)
			}
		}
		c.counts = store.Counts{Pending: 1000, Owners: make([]store.OwnerCounts, 2)}
		fetched.Store(200)
		b.start()
		claimed("much is fetched", false)
		fetched.Store(30)
		claimed("less than a second's work is fetched", true)
		c.set(func(c *claims) { c.counts.Pending = 100 })
		claimed("half of the share is fetched", false)
		fetched.Store(20)
		claimed("less than half of the share is fetched", true)
		c.set(func(c *claims) { c.counts.Pending = 4 })
		claimed("little is left, and more than two rows wait for each processor", false)
		fetched.Store(4)
		claimed("the processors may run out of rows", true)
		b.life.drain(Interrupted)
		if err := b.end(t, Interrupted); err != nil {
			t.Error(err)
		}
	})
}

// whileFinding does something whenever a row is looked for among those that are kept.
type whileFinding struct {
	*shelf
	do func(id int64)
}

func (f whileFinding) Find(id int64) (int64, bool) {
	f.do(id)
	return f.shelf.Find(id)
}

// TestDispatchTogether: the rows of a page go into the queue together, also those around one that is kept.
// When the lease is lost meanwhile, none of them does.
func TestDispatchTogether(t *testing.T) {
	for _, lost := range []bool{false, true} {
		alone(t, func(t *testing.T, b *dispatchBench) {
			c, s := b.claims, newShelf()
			c.claims = [][]store.Lease{{c.shard(1, 3)}}
			s.bodies[10_001] = Original{Body: []byte("kept")}
			b.keeper = whileFinding{s, func(id int64) {
				if h := b.leases.byID[1]; lost && id == 10_001 {
					b.leases.lose(h)
				}
			}}
			adds, want := 1, []int64{10_000, 10_002}
			if lost {
				adds, want = 0, nil
			}
			b.start()
			if row := <-b.kept; row.row.ID != 10_001 {
				t.Errorf("row %d is read", row.row.ID)
			}
			if err := b.end(t, Finished); err != nil {
				t.Fatal(err)
			}
			if got := b.line.ids(); b.line.adds != adds || !slices.Equal(got, want) {
				t.Errorf("%v are in the queue by %d calls, want %v by %d", got, b.line.adds, want, adds)
			}
			if lost {
				if row := <-b.done; row.row.ID != 10_000 || row.result != nil {
					t.Errorf("%+v is given up", row)
				}
			}
			if n := len(b.done); n > 0 || b.handed != int64(len(want)+1) {
				t.Errorf("%d rows are completed, %d count for --max-rows", n, b.handed)
			}
		})
	}
}

// TestDispatchDrains: what is not handed out when the run drains stays pending.
func TestDispatchDrains(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		alone(t, func(t *testing.T, b *dispatchBench) {
			c := b.claims
			c.claims = [][]store.Lease{{c.shard(1, 3)}}
			if keeps {
				s := newShelf()
				for i := range int64(3) {
					s.bodies[10_000+i] = Original{Body: []byte("kept")}
				}
				b.keeper, b.dispatcher.kept = s, make(chan *task)
				close(b.kept)
			}
			b.line.stopped, b.line.room = true, 1
			b.start()
			synctest.Wait()
			b.life.drain(Interrupted)
			synctest.Wait()
			want := []int64{10_001, 10_002}
			if keeps {
				want = []int64{10_000, 10_001, 10_002}
			}
			for _, id := range want {
				if row := <-b.done; row.result != nil || row.row.ID != id {
					t.Errorf("%+v was completed, want %d given up", row, id)
				}
			}
			if n, in := b.stats.Dispatched.Load(), len(b.line.ids()); len(b.done) != 0 || n != int64(in) {
				t.Errorf("%d more were completed; %d rows count as handed out, %d are", len(b.done), n, in)
			}
			if err := <-b.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDispatchTail leaves the slowest rows pending when nothing else is left to do for as long as it may
// take, and ends when only paused rows are left.
func TestDispatchTail(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c := b.claims
		c.claims = [][]store.Lease{{c.shard(1, 3)}}
		c.counts = store.Counts{Pending: 3, Shards: store.ShardCounts{Leased: 1}}
		b.tailGrace = 10 * time.Second
		b.start()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if b.life.draining.Err() != nil || !b.activity.idle.Load() {
			t.Errorf("too early; idle: %t", b.activity.idle.Load())
		}
		c.set(func(c *claims) { c.claims = [][]store.Lease{{c.shard(2, 1)}} }) // others gave some back
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if b.life.draining.Err() != nil {
			t.Error("too early after another claim")
		}
		time.Sleep(2 * time.Second)
		if err := b.end(t, Limited); err != nil {
			t.Error(err)
		}
	})
	alone(t, func(t *testing.T, b *dispatchBench) {
		b.claims.counts = store.Counts{Pending: 3, PausedPending: 3}
		b.start()
		if err := b.end(t, Paused); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		what   string
		claims int
		grace  time.Duration
	}{{"no grace", 1, 0}, {"rows of others", 0, time.Second}} {
		alone(t, func(t *testing.T, b *dispatchBench) {
			for id := range int64(c.claims) {
				b.claims.claims = append(b.claims.claims, []store.Lease{b.claims.shard(id+1, 1)})
			}
			b.claims.counts = store.Counts{Pending: 3, PausedPending: 2, Shards: store.ShardCounts{Leased: 1}}
			b.tailGrace = c.grace
			b.start()
			time.Sleep(time.Hour)
			synctest.Wait()
			if b.life.draining.Err() != nil || len(b.ended) != 0 {
				t.Errorf("%s: it does not wait", c.what)
			}
			b.life.drain(Interrupted)
			if err := b.end(t, Interrupted); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDispatchDamaged: rows are stuck while some are pending, none is imported or held, and not all of them
// are paused.
func TestDispatchDamaged(t *testing.T) {
	stuck := store.Counts{Pending: 1}
	for _, c := range []struct {
		then      store.Counts
		importing bool
	}{
		{store.Counts{}, false}, {stuck, true}, {store.Counts{Pending: 1, PausedPending: 1}, false},
		{store.Counts{Pending: 1, Shards: store.ShardCounts{Leased: 1}}, false},
	} {
		alone(t, func(t *testing.T, b *dispatchBench) {
			after := func(d time.Duration, now store.Counts, importing, damaged bool) {
				t.Helper()
				time.Sleep(d)
				if err := b.damaged(now, importing); (err != nil) != damaged {
					t.Errorf("%+v, importing %t: %v", now, importing, err)
				}
			}
			after(0, stuck, false, false)
			after(stuckAfter, stuck, false, false)
			after(0, c.then, c.importing, false)
			after(stuckAfter+1, stuck, false, false) // from here on
			after(stuckAfter, stuck, false, false)
			after(1, stuck, false, true)
		})
	}
}

// TestDispatchStuck: rows that nobody holds and nobody can claim are an error after a while, and not before.
func TestDispatchStuck(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		b.claims.counts = store.Counts{Pending: 3}
		b.start()
		time.Sleep(stuckAfter - time.Second)
		b.claims.set(func(c *claims) { c.counts.Shards.Leased = 1 }) // another process takes them
		time.Sleep(time.Second)
		b.claims.set(func(c *claims) { c.counts.Shards.Leased = 0 })
		time.Sleep(stuckAfter - time.Second)
		synctest.Wait()
		if len(b.ended) != 0 {
			t.Fatal(<-b.ended)
		}
		time.Sleep(2 * time.Second)
		if err := b.end(t, Finished); err == nil || !strings.Contains(err.Error(), "facescan verify job.db") {
			t.Error(err)
		}
	})
}

// TestDispatchOrphaned: a job whose import nobody goes on with is not finished, and the error says how to go
// on; while another process imports, or this one, it waits.
func TestDispatchOrphaned(t *testing.T) {
	alone(t, func(t *testing.T, b *dispatchBench) {
		c := b.claims
		c.counts = store.Counts{ImportIncomplete: []string{"urls.txt"}}
		c.sources = []store.Source{{Complete: true}, {Importer: "another"}}
		b.importing.set(true)
		b.start()
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.counted > int(time.Minute/idlePoll)+1 {
			t.Errorf("counted %d times", c.counted)
		}
		b.importing.set(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(b.ended) != 0 {
			t.Fatal(<-b.ended)
		}
		c.set(func(c *claims) { c.sources = []store.Source{{Complete: true}, {}} })
		time.Sleep(time.Second)
		if err := b.end(t, Finished); err == nil || !strings.Contains(err.Error(), "facescan run urls.txt") {
			t.Error(err)
		}
	})
}
