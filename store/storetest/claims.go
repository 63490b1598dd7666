package storetest

import (
	"fmt"
	"slices"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// testManySources has a job of many lists: each gets its turn, by its priority, and what joins, or is held
// back, counts at once or soon.
func testManySources(t *testing.T, target Target) {
	b, s := joined(t, target)
	const sources, each = 150, 4
	for i := range sources {
		b.fill(s, fmt.Sprint("list", i), each, 1)
	}
	turns := map[int]int{}
	claim := func(n int) {
		b.Helper()
		for range n {
			l := b.claim(s, 1)
			turns[l.Source]++
			b.complete(s, l, ok(l.Lo))
		}
	}
	claim(sources)
	b.equal(len(turns), sources) // one turn each
	claim(2 * sources)
	for source, n := range turns {
		b.equal([]int{source, n}, []int{source, 3})
	}
	held := store.Lease{Source: -1}
	b.ok(b.Pause(ctx(t), 7, true))
	b.ok(b.Prioritize(ctx(t), 9, 3))
	b.fill(s, "urgent", 40, 1)
	b.ok(b.Prioritize(ctx(t), sources, 5))
	clear(turns)
	for l := range b.claims(s, 1) {
		if turns[l.Source]++; l.Source == 0 && turns[0] == 1 {
			held = l
			continue
		}
		b.complete(s, l, ok(l.Lo))
	}
	b.equal([]int{turns[7], turns[9], turns[0], turns[sources], len(turns)}, []int{0, 1, 1, 40, sources})
	b.release(s, held)
	b.ok(b.Pause(ctx(t), 7, false))
	b.equal(len(b.work(s, ok)), 2)
	b.equal(b.retry(store.Selection{OK: true}), int64(sources*each+40))
	b.equal(len(b.work(s, ok)), sources*each+40)
}

// testClaimNews: what others took is not waited for, and what came in is found, although a session has looked
// before.
func testClaimNews(t *testing.T, target Target) {
	b, one, two := shared(t, target)
	b.fill(one, "first", 40, 10)
	b.claim(one, 5)
	for range b.claims(two, 100) {
		continue
	}
	b.fill(two, "second", 40, 10)
	b.equal(b.claim(one, 5).Source, 1)
}

// testPutBack puts rows of a list back that lie below those which others are at: they come next, or soon, not
// after all the others.
func testPutBack(t *testing.T, target Target) {
	const shards = 2000
	b, s := filled(t, target, 10*shards, 10)
	other := b.join(b.open(), longTTL)
	first := b.claim(other, 10)
	b.equal(first.Lo, int64(1))
	claimed := 0
	until := func(what string, id int64) {
		b.Helper()
		for end, found := claimed+shards/4, false; !found; claimed++ {
			if claimed > end {
				b.Fatalf("%s: %d other shards came first", what, shards/4)
			}
			l := b.claim(s, 10)
			rows := b.pending(s, l)
			found = slices.Contains(ids(rows), id)
			b.complete(s, l, results(rows)...)
		}
	}
	until("the first claims", 91)
	b.ok(other.Leave(ctx(t)))
	until("a polite leave", 1)
	b.equal(must.Get(b.open().Retry(ctx(t), because(store.Timeout)))(b), int64(1))
	until("a retry", 15)
	other = b.join(b.open(), longTTL)
	first = b.claim(other, 10)
	until("further claims", first.Lo+100)
	b.release(other, first)
	until("a release", first.Lo)
}

// results are those of some rows; row 15 fails.
func results(rows []store.Row) []store.Result {
	return each(ids(rows), func(id int64) store.Result {
		if id == 15 {
			return failed(store.Timeout)(id)
		}
		return ok(id)
	})
}

// testShortShard: a shard that counts more pending rows than there are is damage, and not claimed.
func testShortShard(t *testing.T, target Target) {
	b, s := joined(t, target)
	list := rows(0, 1, 20)
	for i := range list[:15] {
		list[i].Bad = true
	}
	b.ok(s.Append(ctx(t), b.source(s, "list"), list, store.Position{Line: 20}, true, 20))
	target.Tamper(t, b.Job, "UPDATE shards SET pending = 18")
	err := errOf(s.Claim(ctx(t), 6))
	b.is(err, store.ErrDamaged)
	b.equal(err.Error(), "claim: the job is damaged: shard 1 has fewer than the 18 pending rows that it counts")
	target.Tamper(t, b.Job, "UPDATE shards SET pending = 5")
	l := b.claim(s, 5)
	b.equal([]int64{l.Lo, l.Hi, l.Pending}, []int64{1, 20, 5})
}
