package storetest

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testSmallLists has many small lists go through a job together, in few transactions.
func testSmallLists(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "list 3", 5, 10) // which has joined before the others
	var add []store.Source
	for i := range 40 {
		add = append(add, store.Source{Name: fmt.Sprint("list ", i), Format: "txt", Priority: i % 2})
	}
	sources := must.Get(b.AddSources(ctx(t), append(add, add[7])))(b)
	numbers := map[string]int{}
	var lists []int
	for i, source := range sources {
		b.equal(source.Name, append(add, add[7])[i].Name)
		numbers[source.Name] = source.Number
		if source.Number != 0 && i < 40 {
			lists = append(lists, source.Number)
		}
	}
	b.equal([]int{len(numbers), numbers["list 3"], numbers["list 0"], numbers["list 4"]}, []int{40, 0, 1, 4})
	b.equal([]int64{sources[3].Rows, sources[3].Pending}, []int64{5, 5})
	b.fails(errOf(b.AddSources(ctx(t), []store.Source{{Name: "good"}, {Name: "bad", Priority: 50}})))

	// One that another process imports is left out, and one whose lease was lost refuses them all.
	other := b.join(b.open(), longTTL)
	theirs := b.leaseSource(other, lists[0])
	leases := must.Get(s.LeaseSources(ctx(t), lists))(b)
	b.equal(len(leases), len(lists)-1)
	all := additions(leases, 3)
	b.is(s.AppendAll(ctx(t), append(all, store.Addition{Lease: theirs, Rows: rows(lists[0], 1, 3)}), 2),
		store.ErrLeaseLost)
	b.ok(s.AppendAll(ctx(t), all, 2)) // two shards each
	b.ok(s.ReleaseSources(ctx(t), leases))
	b.ok(other.ReleaseSource(ctx(t), theirs))
	again := must.Get(s.LeaseSources(ctx(t), lists))(b)
	b.equal(len(again), len(lists))
	more := store.Addition{Lease: again[5], Rows: rows(again[5].Source, 4, 1),
		Position: store.Position{Line: 4}, Complete: true}
	b.ok(s.AppendAll(ctx(t), []store.Addition{more}, 2)) // joins the shard that is not full
	b.ok(s.ReleaseSources(ctx(t), again))
	c := b.counts()
	b.equal([]int64{c.Total, c.Shards.Total}, []int64{5 + 38*3 + 1, 1 + 38*2})
	b.equal(c.ImportIncomplete, []string{add[0].Name})
	workSmallLists(b, s, lists)
}

// workSmallLists has rows of small lists, which are in shards of at most two rows, done together.
func workSmallLists(b *bench, s store.Session, lists []int) {
	t := b.T
	// A claim takes shards of as many lists as it needs, in turn, each once.
	ls := must.Get(s.ClaimAll(ctx(t), 20))(b)
	seen, n := map[int]bool{}, int64(0)
	generations := map[int64]bool{}
	for _, l := range ls {
		if seen[l.Source] {
			t.Errorf("two shards of source %d in one claim", l.Source)
		}
		seen[l.Source], generations[l.Generation] = true, true
		n += l.Pending
	}
	b.equal([]int64{n, int64(len(generations))}, []int64{20, int64(len(ls))})
	pages := must.Get(s.PendingAll(ctx(t), ls))(b)
	var batches []store.Batch
	for i, l := range ls {
		b.equal(ids(pages[i]), ids(b.pending(s, l)))
		b.equal(int64(len(pages[i])), l.Pending)
		batches = append(batches, store.Batch{Lease: l, Results: each(ids(pages[i]), ok), Release: i%2 == 0})
	}

	// Of what is committed together, only what is under a lost lease is refused.
	b.release(s, ls[1])
	b.equal(must.Get(s.CommitAll(ctx(t), batches))(b), []int{1})
	c := b.counts()
	// leased: those with pending rows
	b.equal([]int64{c.Done, c.Shards.Leased}, []int64{20 - ls[1].Pending, 0})
	b.equal(must.Get(s.CommitAll(ctx(t), batches[:1]))(b), []int{0}) // it went back
	held := must.Get(s.Renew(ctx(t), ls))(b)
	b.equal(len(held), len(ls)-1-(len(ls)+1)/2)
	b.release(s, held...)
	b.verify()

	// What is left is all done in the end, paused lists aside.
	paused := lists[slices.IndexFunc(lists[1:], func(l int) bool { return !seen[l] })+1]
	b.ok(b.Pause(ctx(t), paused, true))
	for {
		ls, err := s.ClaimAll(ctx(t), 1000)
		if err != nil {
			b.is(err, store.ErrNoShard)
			break
		}
		var batches []store.Batch
		for _, l := range ls {
			batches = append(batches, store.Batch{Lease: l, Results: results(b.pending(s, l)), Release: true})
		}
		must.Get(s.CommitAll(ctx(t), batches))(b)
	}
	c = b.counts()
	if c.Pending == 0 || c.Pending != c.PausedPending {
		t.Errorf("%d rows are pending, %d of them paused", c.Pending, c.PausedPending)
	}
}

// additions are complete lists of n rows each.
func additions(leases []store.SourceLease, n int) (all []store.Addition) {
	for _, l := range leases {
		all = append(all, store.Addition{Lease: l, Rows: rows(l.Source, 1, n),
			Position: store.Position{Line: int64(n)}, Complete: true})
	}
	return all
}

// ClaimOverLists measures a claim of a row in jobs of few and of many lists, of ten rows each: CPU time of
// this process.
func ClaimOverLists(b *testing.B, target Target) {
	for _, lists := range []int{10, 2_000, 20_000} {
		b.Run(fmt.Sprint(lists, " lists"), func(b *testing.B) { claimOverLists(b, target, lists) })
	}
}

func claimOverLists(b *testing.B, target Target, lists int) {
	j := must.Get(target.Open(b.Context(), target.Create(b)))(b)
	defer j.Close()
	s := must.Get(j.Join(b.Context(), store.Owner{Host: "here", PID: 1}, time.Hour))(b)
	fillLists(b, j, s, lists)
	var used time.Duration
	for b.Loop() {
		began := CPU()
		l, err := s.Claim(b.Context(), 1)
		used += CPU() - began
		must.OK(b, err)
		must.OK(b, s.Release(b.Context(), []store.Lease{l}))
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/claim")
}

// CPU is how much of the processors' time this process has taken so far.
func CPU() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// fillLists imports lists of ten rows, 500 in a transaction.
func fillLists(b *testing.B, j store.Job, s store.Session, lists int) {
	b.Helper()
	for from := 0; from < lists; from += 500 {
		var add []store.Source
		var numbers []int
		for i := from; i < min(from+500, lists); i++ {
			add, numbers = append(add, store.Source{Name: fmt.Sprint("list ", i), Format: "txt"}),
				append(numbers, i)
		}
		must.Get(j.AddSources(b.Context(), add))(b)
		leases := must.Get(s.LeaseSources(b.Context(), numbers))(b)
		must.OK(b, s.AppendAll(b.Context(), additions(leases, 10), 10_000))
		must.OK(b, s.ReleaseSources(b.Context(), leases))
	}
}
