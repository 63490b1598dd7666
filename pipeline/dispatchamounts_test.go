package pipeline

import (
	"testing"
	"time"

	"facescan/store"
)

// amounts sets what a dispatcher decides by: rows per second, and the rows that are at each stage.
type amounts struct {
	rate                       int64
	fetchers, workers          int
	waiting, inFlight, fetched int
	starved                    bool
	pending                    int64 // of the job, with two processes
}

// of runs a check with a dispatcher that began as many seconds ago as the rate needs.
func (a amounts) of(t *testing.T, check func(b *dispatchBench)) {
	t.Helper()
	alone(t, func(_ *testing.T, b *dispatchBench) {
		if a.rate > 0 {
			b.stats.ownMeter.begin(time.Now())
			for range 3 {
				b.stats.ownMeter.add(time.Now(), a.rate)
				time.Sleep(time.Second)
			}
		}
		b.began = time.Now()
		b.fetchers, b.workers = a.fetchers, a.workers
		b.inFlight, b.fetched = func() int { return a.inFlight }, func() int { return a.fetched }
		b.line.set(a.waiting, a.starved)
		b.claims.counts = store.Counts{Pending: a.pending, Owners: make([]store.OwnerCounts, 2)}
		check(b)
	})
}

// TestClaimRows: a claim takes half a second's work, or what fetchers without work need; never more than a
// shard's rows.
func TestClaimRows(t *testing.T) {
	for _, c := range []struct {
		amounts
		want int
	}{
		{amounts{fetchers: 8}, 16},
		{amounts{fetchers: 100}, 25},
		{amounts{fetchers: 100, workers: 2, fetched: 2, rate: 100}, 50},
		{amounts{fetchers: 80, workers: 2, fetched: 1, rate: 100}, 80},
		{amounts{fetchers: 80, workers: 2, fetched: 2, rate: 10}, 16},
		{amounts{fetchers: 80, workers: 2, fetched: 2, rate: 3000}, 1000},
	} {
		c.of(t, func(b *dispatchBench) {
			b.shardSize = 1000
			if got := b.claimRows(); got != c.want {
				t.Errorf("%+v: claims %d rows, want %d", c.amounts, got, c.want)
			}
		})
	}
}

// TestEnough: more rows are claimed until as many wait as half of the fetchers, or a quarter of a second,
// can take; or, when all those wait for slow hosts, this process's share.
func TestEnough(t *testing.T) {
	for _, c := range []struct {
		amounts
		want bool
	}{
		{amounts{fetchers: 8, waiting: 8}, false}, {amounts{fetchers: 8, waiting: 9}, true},
		{amounts{fetchers: 100, waiting: 50}, false}, {amounts{fetchers: 100, waiting: 51}, true},
		{amounts{fetchers: 8, rate: 400, waiting: 100}, false},
		{amounts{fetchers: 8, rate: 400, waiting: 101}, true},
		{amounts{fetchers: 8, waiting: 20, inFlight: 10, pending: 62}, true},
		{amounts{fetchers: 8, waiting: 20, inFlight: 10, pending: 62, starved: true}, false},
		{amounts{fetchers: 8, waiting: 20, inFlight: 10, pending: 60, starved: true}, true},
	} {
		c.of(t, func(b *dispatchBench) {
			if got := b.enough(); got != c.want {
				t.Errorf("%+v: enough is %t", c.amounts, got)
			}
		})
	}
}

// TestBusy: in the first second as many rows are enough as one claim has. Then, while two wait for each
// processor, those that are done within a second and the time of a fetch; no more than half of this process's
// share.
func TestBusy(t *testing.T) {
	for _, c := range []struct {
		amounts
		after time.Duration // the begin
		fetch time.Duration // of each row
		want  bool
	}{
		{amounts{fetchers: 8, waiting: 10, inFlight: 5}, 0, 0, false},
		{amounts{fetchers: 8, waiting: 10, inFlight: 6}, 0, 0, true},
		{amounts{fetchers: 100, waiting: 10, inFlight: 14}, 0, 0, false},
		{amounts{fetchers: 100, waiting: 10, inFlight: 15}, 0, 0, true},
		{amounts{fetchers: 8, waiting: 10, inFlight: 6}, time.Second, 0, false},
		{amounts{workers: 2, fetched: 4, inFlight: 90, rate: 50, pending: 1000}, 0, 0, false},
		{amounts{workers: 2, fetched: 5, inFlight: 90, rate: 50, pending: 1000}, 0, 0, true},
		{amounts{workers: 2, fetched: 5, inFlight: 40, waiting: 10, rate: 50, pending: 1000}, 0, 0, false},
		{amounts{workers: 2, fetched: 5, inFlight: 40, waiting: 11, rate: 50, pending: 1000}, 0, 0, true},
		{amounts{workers: 2, fetched: 5, inFlight: 75, rate: 50, pending: 1000}, 0, time.Second, false},
		{amounts{workers: 2, fetched: 5, inFlight: 76, rate: 50, pending: 1000}, 0, time.Second, true},
		{amounts{workers: 2, fetched: 5, inFlight: 10, rate: 50, pending: 40}, 0, 0, false},
		{amounts{workers: 2, fetched: 5, inFlight: 11, rate: 50, pending: 40}, 0, 0, true},
	} {
		c.of(t, func(b *dispatchBench) {
			time.Sleep(c.after)
			if c.fetch > 0 {
				b.stats.Fetching.measure(func() int { time.Sleep(c.fetch); return 1 })
			}
			if got := b.busy(); got != c.want {
				t.Errorf("%+v, %v after its begin, %v for a fetch: busy is %t", c.amounts, c.after, c.fetch,
					got)
			}
		})
	}
}
