package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// answers is a client that gives what a test says, by attempt.
type answers struct {
	mu    sync.Mutex
	gives []error // nil is a body
	asked int
	first []int64 // what was held when an attempt began
	while func()  // is called during an attempt, if not nil
}

func (a *answers) Fetch(ctx context.Context, url string, memory fetch.Memory) (*fetch.Body, error) {
	if err := memory.Reserve(ctx, 10); err != nil {
		return nil, err
	}
	if a.while != nil {
		a.while()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.first = append(a.first, memory.(*reservation).held)
	err := a.gives[min(a.asked, len(a.gives)-1)]
	a.asked++
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &fetch.Body{Bytes: []byte(url), Status: 200}, nil
}

func (*answers) MostMemory() int64 { return 100 }

// fetchBench is a fetcher alone, with a real queue.
type fetchBench struct {
	*fetcher
	out    chan *task
	done   completed
	places places
	bodies *bodyPool
}

// fetches runs a test of a fetcher with two loops, whose time is not the clock's.
func fetches(t *testing.T, gives []error, test func(t *testing.T, b *fetchBench, client *answers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := &answers{gives: gives}
		b := &fetchBench{out: make(chan *task, 10), done: make(completed, 10), places: make(places, 4),
			bodies: newBodyPool(1000, 200)}
		life := newLifecycle(t.Context())
		defer life.close()
		queue := host.New[*task](host.Options{Take: b.places.enter})
		b.fetcher = &fetcher{client: client, queue: queue, out: b.out, complete: b.done, life: life,
			retries: 2, stats: &Stats{},
			outages: &outages{wait: time.Hour, show: (&display{}).show, log: slog.New(slog.DiscardHandler)},
			log:     slog.New(slog.DiscardHandler),
			leave: func(n int) {
				b.places.leave(n)
				queue.Offer()
			}}
		defer b.outages.close()
		var fetching sync.WaitGroup
		for range 2 {
			fetching.Go(b.loop)
		}
		test(t, b, client)
		queue.Close()
		life.drain(Interrupted)
		fetching.Wait()
		queue.Stop()
	})
}

// add queues rows of one URL.
func (b *fetchBench) add(t *testing.T, ctx context.Context, n int) {
	h := &leaseHandle{ctx: ctx}
	for i := range int64(n) {
		row := &task{row: store.Row{ID: i, URL: "http://a.invalid/"}, lease: h,
			memory: reservation{b: b.bodies}}
		if err := b.queue.Add(ctx, "a.invalid", row.row.URL, row); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFetch: rows of one URL are fetched once, and go on as one task that keeps the place in flight.
func TestFetch(t *testing.T) {
	fetches(t, []error{nil}, func(t *testing.T, b *fetchBench, client *answers) {
		client.while = func() { time.Sleep(time.Second) }
		b.add(t, t.Context(), 3)
		got := <-b.out
		if string(got.body.Bytes) != "http://a.invalid/" || len(got.all()) != 3 || client.asked != 1 ||
			got.attempts != 1 ||
			got.started.IsZero() || len(b.places) != 1 || b.bodies.now() != 10 {
			t.Errorf("%+v after %d attempts, %d places", got, client.asked, len(b.places))
		}
		got.memory.clear()
	})
}

// TestFetchRetries failures that may pass, as often as it may, and then gives the row its outcome; others
// have it at once. What is not the row's fault costs no attempt, and leaves the row pending.
func TestFetchRetries(t *testing.T) {
	slow := &fetch.Error{Reason: fetch.Timeout}
	gone := &fetch.Error{Reason: fetch.HTTP4xx, Status: 404, FinalURL: "http://b.invalid/"}
	lost := fmt.Errorf("read: %w", fetch.ErrLostWaiting)
	for _, c := range []struct {
		what     string
		gives    []error
		asked    int
		body     bool
		reason   store.Reason // of a result
		attempts int
	}{
		{"passes", []error{slow, slow, nil}, 3, true, "", 3},
		{"does not pass", []error{slow}, 3, false, store.Timeout, 3},
		{"for good", []error{gone}, 1, false, store.HTTP4xx, 1},
		{"no reason", []error{errors.New("?")}, 1, false, "", 1},
		{"lost while it waited for memory", []error{lost, nil}, 2, true, "", 1},
	} {
		fetches(t, c.gives, func(t *testing.T, b *fetchBench, client *answers) {
			b.add(t, t.Context(), 2)
			time.Sleep(time.Minute)
			synctest.Wait()
			if client.asked != c.asked {
				t.Errorf("%s: %d attempts, want %d", c.what, client.asked, c.asked)
			}
			if c.body {
				got := <-b.out
				if got.attempts != c.attempts || len(b.places) != 1 {
					t.Errorf("%s: %d attempts, %d places", c.what, got.attempts, len(b.places))
				}
				if strings.HasPrefix(c.what, "lost") && client.first[1] != 100 {
					t.Errorf("%s: it has %d bytes before it asks again", c.what, client.first[1])
				}
				got.memory.clear()
				return
			}
			got := <-b.done
			if (got.result != nil) != (c.reason != "") || len(got.all()) != 2 || b.bodies.now() != 0 {
				t.Fatalf("%s: %+v", c.what, got)
			}
			if got.inFlight {
				b.leave(1)
			}
			if len(b.places) != 0 {
				t.Errorf("%s: %d places are held", c.what, len(b.places))
			}
			if r := got.result; r != nil && (r.Reason != c.reason || r.Attempts != c.attempts ||
				c.reason == store.HTTP4xx && r.HTTPStatus != 404) {
				t.Errorf("%s: %+v", c.what, r)
			}
		})
	}
}

// TestFetchEnds: a lease that ends cuts a fetch short, and the row stays pending; so does a body that nobody
// takes.
func TestFetchEnds(t *testing.T) {
	fetches(t, []error{nil}, func(t *testing.T, b *fetchBench, client *answers) {
		ctx, cancel := context.WithCancel(t.Context())
		client.while = cancel
		b.add(t, ctx, 1)
		if got := <-b.done; got.result != nil || !got.inFlight || b.bodies.now() != 0 {
			t.Errorf("%+v", got)
		}
	})
	fetches(t, []error{nil}, func(t *testing.T, b *fetchBench, _ *answers) {
		for range cap(b.out) {
			b.out <- nil
		}
		b.add(t, t.Context(), 1)
		synctest.Wait()
		b.life.abort(errors.New("the disk is full"))
		if got := <-b.done; got.result != nil || !got.inFlight || got.body != nil {
			t.Errorf("%+v", got)
		}
	})
}

// TestFetchWaits: while the detector is unavailable nothing is fetched.
func TestFetchWaits(t *testing.T) {
	fetches(t, []error{nil}, func(t *testing.T, b *fetchBench, client *answers) {
		synctest.Wait()
		client.while = func() { b.outages.begin(ofDetector, time.Now(), errors.New("gone")) }
		b.add(t, t.Context(), 1)
		(<-b.out).memory.clear()
		synctest.Wait()
		client.while = nil
		for i := range 2 { // a loop that waited for the queue may fetch one more
			h := &leaseHandle{ctx: t.Context()}
			row := &task{row: store.Row{URL: fmt.Sprint("http://b.invalid/", i)}, lease: h,
				memory: reservation{b: b.bodies}}
			if err := b.queue.Add(t.Context(), fmt.Sprint("b", i), row.row.URL, row); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour / 2)
		synctest.Wait()
		if client.asked > 2 {
			t.Errorf("%d fetches without a detector", client.asked)
		}
		b.outages.end(ofDetector)
		synctest.Wait()
		if client.asked != 3 {
			t.Errorf("%d fetches with one", client.asked)
		}
		for range 2 {
			(<-b.out).memory.clear()
		}
	})
}

// readBench is a reader alone.
type readBench struct {
	*reader
	in     chan *task
	out    chan *task
	done   completed
	shelf  *shelf
	bodies *bodyPool
	again  []int64 // rows that are to be downloaded
	refuse error   // by the queue
}

func newReadBench(t *testing.T) *readBench {
	b := &readBench{in: make(chan *task, 10), out: make(chan *task, 10), done: make(completed, 10),
		shelf:  newShelf(),
		bodies: newBodyPool(1<<20, 1<<19)}
	life := newLifecycle(t.Context())
	t.Cleanup(life.close)
	inFlight := make(places, 2)
	b.reader = &reader{keeper: b.shelf, in: b.in, out: b.out, complete: b.done, inFlight: inFlight,
		leave: inFlight.leave,
		life:  life, outages: &outages{}, activity: &activity{}, log: slog.New(slog.DiscardHandler),
		download: func(t *task) error {
			b.again = append(b.again, t.row.ID)
			return b.refuse
		}}
	return b
}

func (b *readBench) row(ctx context.Context, id int64) *task {
	return &task{row: store.Row{ID: id}, lease: &leaseHandle{ctx: ctx}, memory: reservation{b: b.bodies}}
}

// TestReader reads what is kept; what cannot be read is downloaded, and gives its place in flight and its
// memory back.
func TestReader(t *testing.T) {
	b := newReadBench(t)
	big := make([]byte, fetch.FirstMemory+1000)
	b.shelf.bodies[1] = Original{Body: big, Status: 203, FinalURL: "http://b.invalid/"}
	b.in <- b.row(t.Context(), 1)
	b.in <- b.row(t.Context(), 2) // is gone
	close(b.in)
	b.loop()
	got := <-b.out
	if len(got.body.Bytes) != len(big) || got.body.Status != 203 ||
		got.body.FinalURL != "http://b.invalid/" || !got.kept ||
		b.bodies.now() != int64(len(big)) || len(b.inFlight) != 1 {
		t.Errorf("%+v, %d bytes are taken, %d places", got, b.bodies.now(), len(b.inFlight))
	}
	if fmt.Sprint(b.again) != "[2]" || len(b.done) != 0 {
		t.Errorf("%v are downloaded, %d given up", b.again, len(b.done))
	}
	got.dropBody()
	got.dropBody()
	if b.bodies.now() != 0 || b.bodies.whole != 0 {
		t.Errorf("%d bytes are lost", b.bodies.now())
	}
}

// TestReaderEnds: rows are given up when the run drains, their lease ends, or nobody takes them.
func TestReaderEnds(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what     string
		begin    func(b *readBench)
		ctx      context.Context
		again    int
		inFlight bool
	}{
		{"draining, all places taken", func(b *readBench) {
			b.inFlight.enter()
			b.inFlight.enter()
			b.life.drain(Interrupted)
		}, t.Context(), 0, false},
		{"the lease ended", func(b *readBench) { b.shelf.broken = true }, ended, 0, false},
		{"damaged, and the queue is stopped", func(b *readBench) {
			b.shelf.broken, b.refuse = true, host.ErrStopped
		},
			t.Context(), 1, false},
		{"stopped at once", func(b *readBench) {
			b.reader.out = make(chan *task)
			b.life.abort(errors.New("the disk is full"))
			b.life.draining = t.Context() // a place was taken before
		}, t.Context(), 0, true},
	} {
		b := newReadBench(t)
		b.shelf.bodies[1] = Original{Body: []byte("kept")}
		c.begin(b)
		b.in <- b.row(c.ctx, 1)
		close(b.in)
		b.loop()
		if len(b.done) != 1 || len(b.again) != c.again {
			t.Fatalf("%s: %d are given up, %d downloaded", c.what, len(b.done), len(b.again))
		}
		if got := <-b.done; got.result != nil || got.inFlight != c.inFlight || b.bodies.now() != 0 {
			t.Errorf("%s: %+v, %d bytes are taken", c.what, got, b.bodies.now())
		}
	}
}
