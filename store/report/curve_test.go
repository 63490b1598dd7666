package report

import (
	"strings"
	"testing"
	"time"
)

// TestColumns has a row done in every step: the columns of the drawing stand side by side, and none covers
// another.
func TestColumns(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	c := curve{step: time.Second}
	const n = 60
	for i := range n {
		c.add(start.Add(time.Duration(i)*time.Second), i%3 == 0)
	}
	columns := c.picture().Columns
	if len(columns) != n {
		t.Fatalf("%d columns, want %d", len(columns), n)
	}
	for i, col := range columns[1:] {
		if before := columns[i]; before.X+before.Width > col.X || col.Width < 0.5 {
			t.Errorf("column %d from %v, %v wide, the one before it from %v, %v wide", i+1, col.X, col.Width,
				before.X, before.Width)
		}
	}
}

// TestTimeTicks labels a span of time at round moments, seven at most.
func TestTimeTicks(t *testing.T) {
	first := time.Date(2030, 5, 6, 7, 8, 9, 500e6, time.UTC)
	for _, c := range []struct {
		length time.Duration
		want   string // the first three
	}{
		{6 * time.Second, "07:08:10 07:08:11 07:08:12"},
		{30 * time.Second, "07:08:10 07:08:15 07:08:20"},
		{100 * time.Second, "07:08:15 07:08:30 07:08:45"},
		{6 * time.Minute, "07:09 07:10 07:11"},
		{30 * time.Minute, "07:10 07:15 07:20"},
		{100 * time.Minute, "07:15 07:30 07:45"},
		{6 * time.Hour, "08:00 09:00 10:00"},
		{20 * time.Hour, "6 May 09:00 6 May 12:00 6 May 15:00"},
		{3 * 24 * time.Hour, "6 May 12:00 7 May 00:00 7 May 12:00"},
		{6 * 24 * time.Hour, "7 May 8 May 9 May"},
	} {
		ticks := timeTicks(first, c.length)
		var got []string
		for _, tick := range ticks[:min(3, len(ticks))] {
			got = append(got, tick.Label)
		}
		if s := strings.Join(got, " "); s != c.want || len(ticks) > 7 {
			t.Errorf("%v: %d ticks, the first %s, want %s", c.length, len(ticks), s, c.want)
		}
	}
}
