package top

import (
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"facescan/store"
)

// TestBounds compares with exact counts: nothing is counted too low, nor too high by more than the error, and
// errors stay within the promise.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(1, 12).Draw(t, "room")
		keys := rapid.SliceOf(rapid.IntRange(0, 30)).Draw(t, "keys")
		c := New[int, int64](room)
		exact := map[int]int64{}
		var total int64
		for i, k := range keys {
			n := int64(i%3 + 1)
			c.Add(k, n).Value += n
			exact[k] += n
			total += n
		}
		if c.Total() != total {
			t.Fatalf("total %d, want %d", c.Total(), total)
		}
		top := c.Top(100)
		if len(top) != min(room, len(exact)) {
			t.Fatalf("%d keys are held, %d are there, room is for %d", len(top), len(exact), room)
		}
		held := map[int]bool{}
		for i, e := range top {
			held[e.Key] = true
			if e.Count < exact[e.Key] || e.Count-e.Error > exact[e.Key] || e.Error > total/int64(room) {
				t.Fatalf("key %d was added %d times, counted %d with an error of %d", e.Key, exact[e.Key],
					e.Count, e.Error)
			}
			if e.Value != e.Count-e.Error {
				t.Fatalf("the value of key %d is %d, what was added since it came is %d", e.Key, e.Value,
					e.Count-e.Error)
			}
			if i > 0 && top[i-1].Count < e.Count {
				t.Fatalf("not in order: %v", top)
			}
		}
		for k, n := range exact {
			if n > total/int64(room) && !held[k] {
				t.Fatalf("key %d is %d of %d and not held", k, n, total)
			}
			if len(exact) <= room && !held[k] {
				t.Fatalf("key %d is not held though there is room", k)
			}
		}
	})
}

// TestSkewed: of a stream with many rare keys, the frequent ones are found in their order.
func TestSkewed(t *testing.T) {
	c := New[int, struct{}](1000)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		k := 1_000 + random.IntN(1_000_000)
		if random.IntN(2) == 0 {
			for k = 0; random.IntN(2) == 0; k++ {
			}
		}
		c.Add(k, 1)
	}
	var keys []int
	for _, e := range c.Top(6) {
		keys = append(keys, e.Key)
	}
	if !slices.Equal(keys, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("the most frequent keys are %v", keys)
	}
}

// tallies is a job that has these sums.
type tallies struct {
	store.Job
	all []store.Tally
}

func (j tallies) Tally(context.Context, store.Key) iter.Seq2[store.Tally, error] {
	return func(yield func(store.Tally, error) bool) {
		for _, t := range j.all {
			if !yield(t, nil) {
				return
			}
		}
		if len(j.all) == 0 {
			yield(store.Tally{}, io.ErrUnexpectedEOF)
		}
	}
}

// TestRank: sums of a value's ranges are put together; groups of different sources stay apart; what may be
// wrong is said.
func TestRank(t *testing.T) {
	job := tallies{all: []store.Tally{
		{Value: "a", Rows: 3, OK: 2, Faces: 5, ImagesWithFaces: 1, Bytes: 10}, {Value: "b", Rows: 1},
		{Source: 1, Value: "a", Rows: 2, OK: 2},
		{Value: "a", Rows: 4, OK: 4, Faces: 1, ImagesWithFaces: 1, Bytes: 7}, {Value: "", Rows: 1, OK: 1},
	}}
	r, err := rank(t.Context(), job, store.ByGroup, 2, 10)
	want := Ranking{Rows: 11, Values: 4, Exact: true, Top: []Ranked{
		{store.Tally{Value: "a", Rows: 7, OK: 6, Faces: 6, ImagesWithFaces: 2, Bytes: 17}, 0},
		{store.Tally{Source: 1, Value: "a", Rows: 2, OK: 2}, 0}}}
	if diff := cmp.Diff(want, r); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if r, err = rank(t.Context(), job, store.ByGroup, 0, 2); err != nil || r.Exact || r.Rows != 11 ||
		len(r.Top) != 2 || r.Top[0].Value != "a" || r.Top[1].Error == 0 {
		t.Errorf("with room for two of four: %+v %v", r, err)
	}
	if r, err = Rank(t.Context(), job, store.ByGroup, 0); err != nil || len(r.Top) != 4 {
		t.Errorf("all of them: %+v %v", r, err)
	}
	many := tallies{all: make([]store.Tally, room+1)}
	for i := range many.all {
		many.all[i] = store.Tally{Value: strconv.Itoa(i), Rows: 1}
	}
	for _, n := range []int{room, room + 1} {
		r, err := Rank(t.Context(), tallies{all: many.all[:n]}, store.ByHost, 1)
		if err != nil || r.Values != 1<<17 || r.Exact != (n == 1<<17) || len(r.Top) != 1 {
			t.Errorf("of %d values: %+v %v", n, r, err)
		}
	}
	if _, err := Rank(t.Context(), tallies{}, store.ByHost, 1); err == nil {
		t.Error("a store that fails is not told")
	}
}
