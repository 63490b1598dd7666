package storetest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

func testCounts(t *testing.T, target Target) {
	b := start(t, target)
	empty := b.counts()
	b.equal([]any{empty.Total, empty.Pending, len(empty.Failures), empty.Shards},
		[]any{int64(0), int64(0), 0, store.ShardCounts{}})
	s := b.join(b.Job, longTTL)
	b.fill(s, "list", 100, 40)
	l := b.claim(s, 20)
	b.commit(s, l, ok(1), ok(7), ok(8), failed(store.TLS)(2), failed(store.TLS)(3),
		failed(store.Reset)(4))
	idle := b.join(b.open(), longTTL)
	c := b.counts()
	for i := range c.Owners {
		if e := c.Owners[i].Expires; c.Owners[i].Shards > 0 && (e <= 0 || e > longTTL) {
			t.Errorf("leases end in %s", e)
		}
		if age := c.Owners[i].Age; age <= 0 || age > deadline {
			t.Errorf("an owner that joined just now is %s old", age)
		}
		c.Owners[i].Expires, c.Owners[i].Age = 0, 0
		if c.Owners[i].ID == "" {
			t.Error("an owner without a name")
		}
		c.Owners[i].ID = ""
	}
	b.equal(c, store.Counts{Total: 100, Done: 6, Pending: 94, OK: 3, Failed: 3, ImagesWithFaces: 2, Faces: 3,
		Failures: map[store.Reason]int64{store.TLS: 2, store.Reset: 1},
		Shards:   store.ShardCounts{Total: 4, Free: 3, Leased: 1},
		Owners: []store.OwnerCounts{{Owner: store.Owner{Host: "here", PID: 1}, Shards: 1,
			Pending: l.Pending - 6, Alive: true},
			{Owner: store.Owner{Host: "here", PID: 1}, Alive: true}}})
	src := b.sources()
	b.equal([]int64{src[0].Rows, src[0].Pending}, []int64{100, 94})
	b.ok(idle.Leave(ctx(t)))
	b.equal(len(b.counts().Owners), 1)
}

// testReport has what a process says of its own work told to the others, until it leaves.
func testReport(t *testing.T, target Target) {
	b, first, second := shared(t, target)
	told := func() (out []store.Progress) {
		for _, o := range b.counts().Owners {
			out = append(out, o.Progress)
		}
		return out
	}
	b.equal(told(), []store.Progress{{}, {}})
	p := store.Progress{Rate: 12.5, HeldBackBy: "rate", Why: "--rate (40 requests per second)"}
	b.ok(second.Report(ctx(t), p))
	b.equal(told(), []store.Progress{{}, p})
	b.ok(first.Report(ctx(t), store.Progress{Rate: 1}))
	b.ok(second.Report(ctx(t), store.Progress{}))
	b.equal(told(), []store.Progress{{Rate: 1}, {}})
	b.ok(second.Leave(ctx(t)))
	b.equal(told(), []store.Progress{{Rate: 1}})
}

func testRetry(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 3000, 100)
	b.fill(s, "second", 50, 100)
	reasons := []store.Reason{store.Timeout, store.HTTP5xx, store.HTTP4xx}
	b.work(s, func(id int64) store.Result {
		if id%5 == 0 {
			return failed(reasons[id/5%3])(id)
		}
		return ok(id)
	})
	before := b.counts()
	n := before.Failures[store.Timeout] + before.Failures[store.HTTP5xx]
	b.equal(b.retry(because(store.Timeout, store.HTTP5xx)), n)
	after := b.counts()
	b.equal(after.Failures, map[store.Reason]int64{store.HTTP4xx: before.Failures[store.HTTP4xx]})
	b.equal([]int64{after.OK, after.Faces, after.Pending, after.Total},
		[]int64{before.OK, before.Faces, n, before.Total})
	b.verify()
	for _, none := range []store.Selection{{}, because(store.Timeout)} {
		b.equal(b.retry(none), int64(0))
	}
	// Rows of a leased shard can come back too; they are found when it is released.
	l := b.claim(s, 50)
	b.commit(s, l, failed(store.TLS)(b.pending(s, l)[0].ID))
	b.equal(b.retry(because(store.TLS)), int64(1))
	b.release(s, l)
	b.equal(int64(len(b.work(s, ok))), after.Pending)
	b.equal(b.counts().Pending, int64(0))
}

func testRetryHost(t *testing.T, target Target) {
	b, s := joined(t, target)
	l := b.source(s, "list")
	urls := []string{"http://a.example/1", "https://A.example:8080/2", "http://user:pw@a.example",
		"http://b.example/a.example", "no url", "http://a.example.org/"}
	var all []store.NewRow
	for i, u := range urls {
		all = append(all, store.NewRow{ID: int64(i + 1), URL: u})
	}
	b.ok(s.Append(ctx(t), l, all, store.Position{}, true, 10))
	b.work(s, failed(store.Connect))
	b.equal(b.retry(store.Selection{Reasons: []store.Reason{store.Connect}, Host: "A.EXAMPLE"}), int64(3))
	b.equal(b.work(s, ok), []int64{1, 2, 3})
}

func testRetryOK(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 3000, 100)
	b.fill(s, "second", 50, 100)
	by := func(detector string) func(int64) store.Result {
		return func(id int64) store.Result {
			if id%5 == 0 {
				return failed(store.Timeout)(id)
			}
			r := ok(id)
			r.Detector = detector
			if id%7 == 0 {
				r.Detector = "test/old"
			}
			return r
		}
	}
	b.work(s, by("test/new"))
	before := b.counts()
	old, oldFaces := int64(0), int64(0)
	for _, r := range b.results() {
		if r.Detector == "test/old" {
			old, oldFaces = old+1, oldFaces+int64(len(r.Faces))
		}
	}
	for _, none := range []store.Selection{{Except: []string{"test/new", "test/never"}},
		{OK: true, Host: "elsewhere.example"}} {
		b.equal(b.retry(none), int64(0))
	}
	b.equal(b.retry(store.Selection{OK: true, Except: []string{"test/new", "test/never"}}), old)
	c := b.counts()
	b.equal([]int64{c.Pending, c.OK, c.Failed, c.Faces},
		[]int64{old, before.OK - old, before.Failed, before.Faces - oldFaces})
	b.verify()
	b.work(s, by("test/new")) // the same rows are judged by the old detector once more
	b.equal(b.counts().Faces, before.Faces)

	b.equal(b.retry(store.Selection{OK: true, Except: []string{"test/never"},
		Reasons: []store.Reason{store.Timeout}}), before.Done)
	b.equal(len(b.results()), 0)
	b.verify()
	b.work(s, ok)
	b.equal(b.retry(store.Selection{OK: true}), before.Done)
	c = b.counts()
	b.equal([]int64{c.Pending, c.OK, c.Faces, c.ImagesWithFaces}, []int64{before.Done, 0, 0, 0})
}

func testSamples(t *testing.T, target Target) {
	b := start(t, target)
	put := func(j store.Job, id, rank int64, faces bool, n int) int64 {
		t.Helper()
		return must.Get(j.Sample(ctx(t), store.Thumbnail{ID: id, Rank: rank, Faces: faces,
			JPEG: []byte{byte(id), 0, 0xff}}, n))(b)
	}
	other := b.open()
	const room = int64(1<<63 - 1)
	b.equal(put(b.Job, 1, 50, true, 3), room)
	b.equal(put(other, 2, 40, true, 3), room)
	b.equal(put(b.Job, 1<<store.SourceShift+3, 30, true, 3), int64(50))
	b.equal(put(other, 4, 1<<62, false, 3), room) // those without faces are a sample of their own
	b.equal(put(b.Job, 5, 45, true, 3), int64(45))
	b.equal(put(other, 5, 45, true, 3), int64(45)) // again
	b.equal(put(other, 6, 60, true, 3), int64(45)) // above the bar
	b.equal(put(other, 2, 10, false, 3), room)     // judged again: no faces any more
	b.equal(put(other, 7, 44, false, 1), int64(10))
	b.equal(must.Get(b.Job.Samples(ctx(t)))(b), []store.Thumbnail{
		{ID: 2, Rank: 10, JPEG: []byte{2, 0, 0xff}}, {ID: 5, Rank: 45, Faces: true, JPEG: []byte{5, 0, 0xff}},
		{ID: 1<<store.SourceShift + 3, Rank: 30, Faces: true, JPEG: []byte{3, 0, 0xff}},
	})
}

func testLeave(t *testing.T, target Target) {
	b, one, two := shared(t, target)
	l := b.source(one, "list")
	b.ok(one.Append(ctx(t), l, rows(0, 1, 100), store.Position{}, false, 50))
	held := b.claim(one, 50)
	b.ok(one.Leave(ctx(t)))
	one.Decoding(0, 1) // late, and harmless
	b.is(one.Commit(ctx(t), held, []store.Result{ok(1)}), store.ErrLeaseLost)
	if _, err := one.Claim(ctx(t), 10); err == nil {
		t.Error("claimed after leaving")
	}
	next := b.leaseSource(two, 0)
	b.ok(two.Append(ctx(t), next, nil, next.Position, true, 50))
	b.equal(len(b.work(two, ok)), 100)
	b.equal(two.Takeovers(), int64(0)) // what is given back is not taken over
}

func testReopen(t *testing.T, target Target) {
	b := start(t, target)
	j := must.Get(b.target.Open(ctx(t), b.name))(b)
	s := b.join(j, longTTL)
	b.fill(s, "list", 100, 10)
	l := b.claim(s, 10)
	b.commit(s, l, ok(l.Lo))
	b.ok(s.Leave(ctx(t)))
	b.ok(j.Close())
	b.equal(b.counts().Done, int64(1))
	b.equal(len(b.work(b.join(b.Job, longTTL), ok)), 99)
}

func testCancelled(t *testing.T, target Target) {
	b, s := filled(t, target, 100, 10)
	l := b.claim(s, 10)
	gone, cancel := context.WithCancel(ctx(t))
	cancel()
	b.is(s.Commit(gone, l, []store.Result{ok(l.Lo)}), context.Canceled)
	b.is(errOf(s.Claim(gone, 10)), context.Canceled)
	b.is(b.Set(gone, map[string]string{"a": "b"}), context.Canceled)
	b.equal(b.counts().Done, int64(0))
	b.commit(s, l, ok(l.Lo))
}

func testShare(t *testing.T, target Target) {
	b := start(t, target)
	const n = 5000
	b.fill(b.join(b.Job, longTTL), "list", n, 700)
	var mu sync.Mutex
	var all []int64
	var wg sync.WaitGroup
	for range 4 {
		s := b.join(b.open(), longTTL)
		wg.Go(func() {
			for {
				l, err := s.Claim(ctx(t), 100)
				if errors.Is(err, store.ErrNoShard) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				rs, err := s.Pending(ctx(t), l, 0, 1000)
				err = errors.Join(err, s.Commit(ctx(t), l, each(ids(rs), ok)),
					s.Release(ctx(t), []store.Lease{l}))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, ids(rs)...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	b.equal(sorted(all), span(1, n))
	b.equal(b.counts().Done, int64(n))
}

func testHung(t *testing.T, target Target) {
	b := start(t, target)
	const ttl = 300 * time.Millisecond
	hung, live := b.join(b.Job, ttl), b.join(b.open(), longTTL)
	imp := b.source(hung, "list")
	b.ok(hung.Append(ctx(t), imp, rows(0, 1, 20), store.Position{Line: 20}, false, 20))
	before := time.Now()
	l := b.claim(hung, 20)
	if l.Expires.Before(before) || l.Expires.After(time.Now().Add(ttl)) {
		t.Errorf("a lease of %s is trusted for %s", ttl, l.Expires.Sub(before))
	}
	var m store.Lease
	b.wait("the lease to be taken over", func() bool {
		var err error
		m, err = live.Claim(ctx(t), 20)
		return !b.isErr(err, store.ErrNoShard)
	})
	if age := time.Since(before); age < ttl {
		t.Errorf("taken over after %s of %s", age, ttl)
	}
	if !time.Now().After(l.Expires) {
		t.Error("taken over while its holder trusted it")
	}
	b.equal(live.Takeovers(), int64(1))
	b.is(hung.Commit(ctx(t), l, []store.Result{ok(1)}), store.ErrLeaseLost)
	b.commit(live, m, ok(1))
	b.wait("the import to be taken over", func() bool {
		next, err := live.LeaseSource(ctx(t), 0)
		if b.isErr(err, store.ErrHeld) {
			return false
		}
		b.equal(next.Position.Line, int64(20))
		return true
	})
	b.is(hung.Append(ctx(t), imp, rows(0, 21, 1), store.Position{}, true, 20), store.ErrLeaseLost)
	// it may work on, on what is free
	b.is(errOf(hung.Claim(ctx(t), 20)), store.ErrNoShard)
}

func testKilled(t *testing.T, target Target) {
	b, s := filled(t, target, 100, 50)
	ttl := time.Second
	if target.AtOnce {
		ttl = longTTL
	}
	child := spawn(t, work{Name: b.name, Do: "hold", TTL: ttl})
	child.await("holding")
	if _, err := s.Claim(ctx(t), 1000); err != nil { // what the child did not take
		b.is(err, store.ErrNoShard)
	}
	child.kill()
	b.wait("the dead owner's shard", func() bool {
		l, err := s.Claim(ctx(t), 1000)
		if errors.Is(err, store.ErrNoShard) && !target.AtOnce {
			return false
		}
		b.ok(err)
		return slices.Contains(ids(b.pending(s, l)), 1)
	})
	if s.Takeovers() == 0 {
		t.Error("no takeover counted")
	}
	for _, o := range b.counts().Owners {
		if o.PID != 1 {
			t.Errorf("the dead owner is still there: %+v", o)
		}
	}
}

func testSuspects(t *testing.T, target Target) {
	b, s := filled(t, target, 10, 10)
	for death := 1; death <= 2; death++ {
		child := spawn(t, work{Name: b.name, Do: "hold", TTL: time.Second, Decoding: []int64{0, 3, 0, 5}})
		child.await("holding")
		child.kill()
		b.wait("the dead to be noticed", func() bool { return b.isFree(s) })
		b.equal(b.suspects(s), map[int64]int{3: death, 5: death})
	}
	l := b.claim(s, 10)
	b.commit(s, l, failed(store.BadImage)(3), ok(4))
	b.equal(b.suspects(s), map[int64]int{5: 2})
	// Who leaves politely, or has cleared its slots, leaves no suspects.
	polite := b.join(b.open(), longTTL)
	polite.Decoding(0, 7)
	b.ok(polite.Leave(ctx(t)))
	b.release(s, l)
	b.claim(s, 10)
	b.equal(b.suspects(s), map[int64]int{5: 2})
}

// testDeathCountsOnce has the process that notices a death die itself, after it noted the death in the job
// and before it removed the dead one's file: the next process finds the file again.
func testDeathCountsOnce(t *testing.T, target Target) {
	b, s := filled(t, target, 10, 10)
	own := target.OwnerFiles(t, b.name)
	child := spawn(t, work{Name: b.name, Do: "hold", TTL: time.Second, Decoding: []int64{0, 3}})
	child.await("holding")
	left := slices.DeleteFunc(target.OwnerFiles(t, b.name),
		func(f string) bool { return slices.Contains(own, f) })
	b.equal(len(left), 1)
	file, copied := left[0], filepath.Join(t.TempDir(), "copy")
	body := must.Get(os.ReadFile(file))(b)
	b.ok(os.WriteFile(copied, body, 0o600))
	child.kill()
	for range 3 {
		b.wait("the dead to be noticed", func() bool {
			b.isFree(s)
			_, err := os.Lstat(file)
			return errors.Is(err, fs.ErrNotExist)
		})
		b.equal(b.suspects(s), map[int64]int{3: 1})
		b.ok(os.Rename(copied, file)) // as if it had never been removed
		b.ok(os.WriteFile(copied, body, 0o600))
		s = b.join(b.open(), longTTL)
	}
}
