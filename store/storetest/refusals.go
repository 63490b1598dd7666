package storetest

import (
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testNothing: calls that are about nothing do nothing.
func testNothing(t *testing.T, target Target) {
	b, s := filled(t, target, 20, 10)
	was := b.counts()
	b.ok(s.AppendAll(ctx(t), nil, 10))
	b.ok(s.ReleaseSources(ctx(t), nil))
	b.ok(s.Release(ctx(t), nil))
	b.ok(b.SetFiles(ctx(t), nil))
	b.ok(b.Forget(ctx(t), nil, true))
	b.equal([]int{len(must.Get(b.AddSources(ctx(t), nil))(b)), len(must.Get(s.LeaseSources(ctx(t), nil))(b)),
		len(must.Get(s.Renew(ctx(t), nil))(b)), len(must.Get(s.PendingAll(ctx(t), nil))(b)),
		len(must.Get(s.CommitAll(ctx(t), nil))(b)), len(must.Get(b.ResultsOf(ctx(t),
			nil))(b))}, make([]int, 6))
	b.equal(must.Get(b.Sample(ctx(t), store.Thumbnail{ID: 1}, 0))(b), int64(0))
	b.equal(len(must.Get(b.Samples(ctx(t)))(b)), 0)
	now := b.counts()
	now.Owners, was.Owners = nil, nil // their leases have aged
	b.equal(now, was)
}

// testRefusals: every implementation refuses the same things in the same words, and then has written nothing.
func testRefusals(t *testing.T, target Target) {
	b := start(t, target)
	s, other := b.join(b.Job, longTTL), b.join(b.Job, longTTL)
	b.fill(s, "list", 20, 20)
	l := b.claim(s, 20)
	i := b.leaseSource(s, 0)
	was := b.counts()
	says := func(want string, err error) {
		b.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			b.Errorf("%v does not say: %s", err, want)
		}
	}
	appended := func(shardSize int, rows ...store.NewRow) error {
		return s.Append(ctx(t), i, rows, i.Position, false, shardSize)
	}
	merged := func(shardSize int, rows ...store.MergedRow) error {
		return b.Absorb(ctx(t), 0, rows, i.Position, true, shardSize)
	}
	committed := func(l store.Lease, r store.Result) error { return s.Commit(ctx(t), l, []store.Result{r}) }
	joined := func(id string, ttl time.Duration) error {
		return errOf(b.Join(ctx(t), store.Owner{ID: id}, ttl))
	}
	says("append to source 0: a shard of 0 rows", appended(0, store.NewRow{ID: 21, URL: "u"}))
	says("append to source 0: row 20 comes after row 20: ids must ascend",
		appended(9, store.NewRow{ID: 20, URL: "u"}))
	says("append to source 0: id 1099511627777 is outside source 0",
		appended(9, store.NewRow{ID: store.FirstOf(1) + 1, URL: "u"}))
	says("add missing rows of source 0: a shard of 0 rows", s.Fill(ctx(t), i, nil, i.Position, false, 0))
	says("merge rows of source 0: a shard of 0 rows", merged(0))
	says(`merge rows of source 0: row 21 has status ""`,
		merged(9, store.MergedRow{Row: store.Row{ID: 21, URL: "u"}, Result: &store.Result{ID: 21}}))
	says(`merge rows of source 0: row 3 is "`+urlOf(3)+`" here, "u" there`,
		merged(9, store.MergedRow{Row: store.Row{ID: 21, URL: "u"}},
			store.MergedRow{Row: store.Row{ID: 3, URL: "u"}}))
	says("claim: at most 0 rows", errOf(s.Claim(ctx(t), 0)))
	says("claim: at most 0 rows", errOf(s.ClaimAll(ctx(t), 0)))
	says("commit 1 row of shard 1: row 21 is outside the shard, 1 to 20", committed(l, ok(21)))
	says(`commit 1 row of shard 1: row 2 is ok with reason "" and detector ""`,
		committed(l, store.Result{ID: 2, Status: store.OK}))
	later := l
	later.Generation++
	says("commit 1 row of shard 1: lease lost", committed(later, ok(2)))
	says("priority 21 is not between -20 and 20",
		errOf(b.AddSource(ctx(t), store.Source{Name: "another", Priority: 21})))
	says("priority -21 is not between -20 and 20", b.Prioritize(ctx(t), 0, -21))
	says("change source 1: there is no such source", b.Pause(ctx(t), 1, true))
	says(`join: "a b" is not an owner's name`, joined("a b", longTTL))
	says("join: a lease's time to live must be above zero, not 0s", joined("me", 0))
	says("lease source 0: held by another process", errOf(other.LeaseSource(ctx(t), 0)))
	lost := i
	lost.Generation++
	says("renew the import of source 0: lease lost", errOf(s.RenewSource(ctx(t), lost)))
	says("add missing rows of source 0: lease lost", s.Fill(ctx(t), lost, nil, i.Position, false, 9))

	now := b.counts()
	now.Owners, was.Owners = nil, nil // their leases have aged
	b.equal(now, was)
	b.verify()
}
