package fair

import (
	"testing"
	"time"
)

func open(sources, left int) (out []*Turn) {
	for i := range sources {
		out = append(out, &Turn{Source: i, Left: int64(left)})
	}
	return out
}

// claim takes the next turn, of some rows, and returns its source.
func claim(t *testing.T, r *Round, priority int, rows int64) int {
	t.Helper()
	next := r.Next(1)
	if len(next) == 0 {
		t.Fatal("no source has a turn")
	}
	r.Took(next[0], priority, rows, 0)
	return next[0].Source
}

func TestInTurn(t *testing.T) {
	var r Round
	r.Begin(Survey{Open: open(3, 1000), Owners: 1})
	for i := range 9 {
		if got := claim(t, &r, 0, 10); got != i%3 {
			t.Errorf("turn %d is source %d's", i, got)
		}
	}
	// One that joins is next, once; it does not catch up on what others had before.
	r.Begin(Survey{Open: open(4, 1000), Owners: 1})
	turns := make([]int, 4)
	for range 8 {
		turns[claim(t, &r, 0, 10)]++
	}
	if turns[3] < 2 || turns[3] > 3 {
		t.Errorf("the new source has %d of 8 turns", turns[3])
	}
}

func TestLeftRows(t *testing.T) {
	var r Round
	r.Begin(Survey{Open: open(2, 30), Left: 60, Owners: 1})
	for range 6 {
		claim(t, &r, 0, 10)
	}
	if !r.Empty() {
		t.Error("a source without rows has another turn")
	}
	for owners, want := range map[int64]int64{0: 400, 1: 400, 4: 100, 100: 32} {
		r.Begin(Survey{Open: open(1, 800), Left: 800, Owners: owners})
		if got := r.Want(1000, 32); got != want {
			t.Errorf("one of %d owners is to claim %d rows of 800, want %d", owners, got, want)
		}
	}
	r.Begin(Survey{Open: open(1, 800), Left: 800, Owners: 1})
	claim(t, &r, 0, 400)
	if got := r.Want(1000, 32); got != 200 {
		t.Errorf("half of 800 rows are claimed, and %d are to be claimed next, want 200", got)
	}
	r.Begin(Survey{Open: open(1, 11), Left: 11, Owners: 1})
	if claim(t, &r, 0, 10); r.Empty() {
		t.Error("a source with one row left has no turn")
	}
	if got := r.Want(16, 32); got != 16 {
		t.Errorf("%d rows are to be claimed, 16 is the most", got)
	}
	r.Begin(Survey{Open: open(3, 10), Owners: 1})
	if two, one := r.Next(2), r.Next(2); len(two) != 2 || len(one) != 1 || !r.Empty() {
		t.Errorf("of three sources, %d and then %d have a turn", len(two), len(one))
	}
}

// TestAhead: a source that had a long turn waits until the others have had as much, however many surveys
// there are meanwhile.
func TestAhead(t *testing.T) {
	var r Round
	r.Begin(Survey{Open: open(2, 1000), Owners: 1})
	claim(t, &r, 0, 100)
	for i := range 11 {
		r.Begin(Survey{Open: open(2, 1000), Owners: 1})
		if got, want := claim(t, &r, 0, 10), min(1, 10-i); got != want {
			t.Errorf("turn %d is source %d's, want %d's", i, got, want)
		}
	}
}

// TestOwnersDoNotMeet has two sessions begin at sources of their own.
func TestOwnersDoNotMeet(t *testing.T) {
	var r Round
	r.Begin(Survey{Open: open(100, 10), Owners: 2})
	inOrder := true
	for i, turn := range r.Next(100) {
		inOrder = inOrder && turn.Source == i
	}
	if inOrder {
		t.Error("two sessions go from the first of 100 sources to the last")
	}
}

// TestDue has surveys take a small part of the time, but for few sources.
func TestDue(t *testing.T) {
	var r Round
	if !r.Due(0) {
		t.Error("no survey is due at the start")
	}
	r.Begin(Survey{Open: open(few+1, 10), Took: time.Hour})
	if r.Due(1) {
		t.Error("a long survey is due again at once")
	}
	r.Begin(Survey{Open: open(few, 10), Took: time.Hour})
	if r.Due(0) || !r.Due(1) {
		t.Error("of few sources, news alone makes one due")
	}
	r.Begin(Survey{Open: open(few+1, 10)})
	if !r.Due(0) {
		t.Error("a survey that takes no time is not due")
	}
	// The fastest of the last four counts.
	r = Round{}
	for i, due := range []bool{false, true, true, true, true, false} {
		took := time.Hour
		if i == 1 {
			took = 0
		}
		r.Begin(Survey{Open: open(few+1, 10), Took: took})
		if r.Due(0) != due {
			t.Errorf("after survey %d another one is due: %t", i, !due)
		}
	}
	r.Begin(Survey{Took: time.Hour})
	if !r.Due(0) {
		t.Error("no survey is due when no source is open")
	}
}
