package storetest

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/duplicates"
	"facescan/store/storetest/must"
)

// testDuplicates compares the groups that are found among hashes of all kinds with those that the definition
// gives, pair by pair.
func testDuplicates(t *testing.T, target Target) {
	b, s := joined(t, target)
	b.fill(s, "first", 1200, 100)
	b.fill(s, "second", 300, 50)
	rng := rand.New(rand.NewPCG(9, 10))
	var seen []uint64
	b.work(s, func(id int64) store.Result {
		r := ok(id)
		hash := rng.Uint64()
		if len(seen) > 0 && rng.IntN(3) > 0 { // near one there was, or equal to it
			hash = seen[rng.IntN(len(seen))]
			for range rng.IntN(8) {
				hash ^= 1 << rng.IntN(64)
			}
		}
		seen = append(seen, hash)
		sum := store.SHA256(strings.Repeat(string(rune('a'+rng.IntN(26))), 32))
		switch rng.IntN(9) {
		case 0: // bytes alone, of which some are another's with a hash
			r.SHA256 = sum
		case 1:
			r.SHA256, r.PHash = sum, store.NewPHash(uint64(sum[0])*0x9e3779b97f4a7c15)
		case 2: // nothing
		case 3: // a failed row is not a picture
			r = failed(store.BadImage)(id)
			r.SHA256 = sum
		default:
			r.PHash = store.NewPHash(hash)
		}
		return r
	})
	results := b.results()
	for _, distance := range []int{0, 1, 4, 9} {
		want := duplicatesOf(results, distance)
		groups := must.Get(duplicates.Find(ctx(t), b.Job, distance))(b)
		got := must.All(b, groups.All())
		b.ok(groups.Close())
		if len(want) < 50 {
			t.Fatalf("only %d pictures of groups at distance %d", len(want), distance)
		}
		b.equal(got, want)
	}
	groups := must.Get(duplicates.Find(ctx(t), b.Job, 4))(b)
	for range groups.All() {
		break // which must not be held by anything
	}
	b.ok(groups.Close())
}

// duplicatesOf are the pictures of groups, by the definition.
func duplicatesOf(results []store.Result, distance int) (out []store.Duplicate) {
	type unit struct {
		first int64
		hash  uint64
		rows  []store.Result
	}
	hashOf := map[store.SHA256]store.PHash{} // of the first row with these bytes and a hash
	for _, r := range results {
		if _, known := hashOf[r.SHA256]; !known && r.Status == store.OK && r.SHA256 != "" && r.PHash != "" {
			hashOf[r.SHA256] = r.PHash
		}
	}
	var units []*unit
	byHash, byBytes := map[store.PHash]*unit{}, map[store.SHA256]*unit{}
	for _, r := range results {
		hash := cmp.Or(r.PHash, hashOf[r.SHA256])
		var u *unit
		switch {
		case r.Status != store.OK || hash == "" && r.SHA256 == "":
			continue
		case hash != "":
			if u = byHash[hash]; u == nil {
				u = &unit{first: r.ID, hash: hash.Bits()}
				byHash[hash], units = u, append(units, u)
			}
		default:
			if u = byBytes[r.SHA256]; u == nil {
				u = &unit{first: r.ID}
				byBytes[r.SHA256] = u
			}
		}
		u.rows = append(u.rows, r)
	}
	add := func(u *unit, first int64, distance int) {
		for _, r := range u.rows {
			out = append(out, store.Duplicate{Result: r, First: first, Distance: distance})
		}
	}
	begun, joined := map[*unit]bool{}, map[*unit]bool{}
	for i, u := range units { // by their first ids
		for _, other := range units[:i] {
			if d := bits.OnesCount64(u.hash ^ other.hash); d <= distance {
				add(u, other.first, d)
				begun[other], joined[u] = true, true
				break
			}
		}
	}
	for _, u := range units {
		if begun[u] || len(u.rows) > 1 && !joined[u] {
			add(u, u.first, 0)
		}
	}
	for _, u := range byBytes {
		if len(u.rows) > 1 {
			add(u, u.first, 0)
		}
	}
	slices.SortFunc(out, func(a, b store.Duplicate) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID))
	})
	return out
}
