// Package top finds the most frequent keys of a stream in bounded memory.
//
// It is the space-saving counter of Metwally, Agrawal and El Abbadi ("Efficient computation of frequent and
// top-k elements in data streams", ICDT 2005). While there are no more keys than it holds, every count is
// exact. Beyond that, a new key takes the place of the least frequent one and inherits its count as an error:
// a count is never too low, and too high by that error at most, which is at most the stream's length divided
// by the capacity.
package top

import (
	"cmp"
	"container/heap"
	"slices"
)

// Counter counts keys. It is not safe for use by several goroutines.
type Counter[K cmp.Ordered, V any] struct {
	room   int
	total  int64
	byKey  map[K]*Entry[K, V]
	byRank ranking[K, V]
}

// Entry is a key that is counted. Value is the caller's; it begins again when a key takes another's place.
type Entry[K cmp.Ordered, V any] struct {
	Key   K
	Count int64
	Error int64 // Count may be too high by as much
	Value V

	at int
}

// New makes a counter of at most room keys.
func New[K cmp.Ordered, V any](room int) *Counter[K, V] {
	return &Counter[K, V]{room: max(room, 1), byKey: map[K]*Entry[K, V]{}}
}

// Add counts a key n more times and returns its entry, which may be changed until the next Add.
func (c *Counter[K, V]) Add(key K, n int64) *Entry[K, V] {
	c.total += n
	e := c.byKey[key]
	switch {
	case e != nil:
		e.Count += n
		heap.Fix(&c.byRank, e.at)
		return e
	case len(c.byRank) < c.room:
		e = &Entry[K, V]{Key: key, Count: n}
		heap.Push(&c.byRank, e)
	default:
		e = c.byRank[0]
		delete(c.byKey, e.Key)
		*e = Entry[K, V]{Key: key, Count: e.Count + n, Error: e.Count}
		heap.Fix(&c.byRank, 0)
	}
	c.byKey[key] = e
	return e
}

// Total is the sum of all that was added.
func (c *Counter[K, V]) Total() int64 { return c.total }

// Top returns copies of the n entries with the highest counts, the highest first, equal ones by key.
func (c *Counter[K, V]) Top(n int) []Entry[K, V] {
	out := make([]Entry[K, V], len(c.byRank))
	for i, e := range c.byRank {
		out[i] = *e
	}
	slices.SortFunc(out, func(a, b Entry[K, V]) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key))
	})
	return out[:min(n, len(out))]
}

// ranking is a heap with the least frequent entry first.
type ranking[K cmp.Ordered, V any] []*Entry[K, V]

func (r ranking[K, V]) Len() int           { return len(r) }
func (r ranking[K, V]) Less(i, j int) bool { return r[i].Count < r[j].Count }

func (r ranking[K, V]) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].at, r[j].at = i, j
}

func (r *ranking[K, V]) Push(x any) {
	e := x.(*Entry[K, V])
	e.at = len(*r)
	*r = append(*r, e)
}

// Pop completes heap.Interface.
func (r *ranking[K, V]) Pop() any { panic("entries are replaced, never taken out") }
