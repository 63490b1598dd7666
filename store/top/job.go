package top

import (
	"context"
	"fmt"

	"facescan/store"
)

// room is how many values of a job are counted; with fewer every figure is exact. It takes some 30 MB.
const room = 1 << 17

// Ranking is the values of a key that most done rows of a job have.
type Ranking struct {
	Rows   int64 // done, all values together
	Values int   // how many there are, those that are not listed included; at least that many when not Exact
	Exact  bool
	Top    []Ranked // by rows, descending
}

// Ranked is a value and its rows. When Error is not 0, there may be so many rows fewer, and as much more of
// the other sums.
type Ranked struct {
	store.Tally
	Error int64
}

// Rank sums a job up by a key and lists the n values with the most rows; 0 means all.
func Rank(ctx context.Context, job store.Job, by store.Key, n int) (Ranking, error) {
	return rank(ctx, job, by, n, room)
}

func rank(ctx context.Context, job store.Job, by store.Key, n, room int) (Ranking, error) {
	c := New[string, store.Tally](room)
	for t, err := range job.Tally(ctx, by) {
		if err != nil {
			return Ranking{}, err
		}
		e := c.Add(fmt.Sprintf("%04d/%s", t.Source, t.Value), t.Rows)
		e.Value.Source, e.Value.Value = t.Source, t.Value
		e.Value.Add(t)
	}
	r := Ranking{Rows: c.Total(), Values: len(c.byRank), Exact: true}
	if n == 0 {
		n = r.Values
	}
	for _, e := range c.byRank {
		r.Exact = r.Exact && e.Error == 0
	}
	for _, e := range c.Top(n) {
		e.Value.Rows = e.Count
		r.Top = append(r.Top, Ranked{e.Value, e.Error})
	}
	return r, nil
}
