package postgres

import (
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/must"
)

// TestTimesHaveMicroseconds: a result has the time that was written, to the microsecond, as its group has.
func TestTimesHaveMicroseconds(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	j, s := openJob(t)
	must.Get(j.AddSource(ctx, store.Source{Name: "list"}))(t)
	l := must.Get(s.LeaseSource(ctx, 0))(t)
	list := listRows(1, 3)
	want := []time.Time{time.UnixMicro(1_760_000_000_123_456).UTC(), time.UnixMicro(-1).UTC(),
		time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)}
	var results []store.Result
	for i := range list {
		list[i].Group = "album"
		results = append(results, result(list[i].ID, 0))
		results[i].Time = want[i].Add(999).In(time.FixedZone("", 3600)) // what is less than one is dropped
	}
	ok(t, s.Append(ctx, l, list, store.Position{}, true, 10))
	ok(t, s.Commit(ctx, must.Get(s.Claim(ctx, 3))(t), results))
	for i, r := range must.All(t, j.Results(ctx, 0, 10)) {
		if r.Time != want[i] {
			t.Errorf("row %d was done at %v, and comes back with %v", r.ID, want[i], r.Time)
		}
	}
	for g, err := range j.Groups(ctx, 0) {
		if ok(t, err); !g.First.Equal(want[1]) || !g.Last.Equal(want[0]) {
			t.Errorf("the group's rows were done from %v to %v", g.First, g.Last)
		}
	}
	if found := storetest.Problems(t, j, false); len(found) > 0 {
		t.Error(found)
	}
}
