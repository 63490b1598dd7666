package report

import (
	"strings"
	"testing"
	"time"

	"facescan/store"
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

// TestWidening has more time between rows than there are steps for: they are put together, whatever order the
// times come in.
func TestWidening(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	for after, want := range map[int]int{179: 1, 180: 2} { // 180 steps at most
		c := curve{step: time.Second}
		c.add(start, false)
		c.add(start.Add(time.Duration(after)*time.Second), false)
		if c.step != time.Duration(want)*time.Second {
			t.Errorf("%d seconds are in steps of %v, want %d", after, c.step, want)
		}
	}
	const long = "3 rows were done from 6 May 2030 07:08:08 to 6 May 2030 07:18:12 UTC, 1 of them failed; " +
		"at most 0.5 per second, over 4s."
	for _, c := range []struct {
		after []time.Duration // the second one failed
		want  string
	}{
		{[]time.Duration{0, 124 * time.Millisecond}, "2 rows were done from 6 May 2030 07:08:09 to " +
			"6 May 2030 07:08:09 UTC, 1 of them failed; at most 16 per second, over 125ms."},
		{[]time.Duration{0, time.Second, 10 * time.Minute}, long},
		{[]time.Duration{10 * time.Minute, 0, time.Second}, long},
		{[]time.Duration{0, 10 * time.Minute, time.Second}, long},
	} {
		tally := newTally((&Options{}).scale)
		for i, after := range c.after {
			r := store.Result{Status: store.OK, Time: start.Add(after)}
			if i == 1 {
				r.Status = store.Failed
			}
			tally.add(&r)
		}
		if got := tally.curve.picture().Text; got != c.want {
			t.Errorf("%v: %s, want\n%s", c.after, got, c.want)
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
		{45 * 24 * time.Hour, "13 May 20 May 27 May"},
		{200 * 24 * time.Hour, "14 May 2030 13 Jun 2030 13 Jul 2030"},
		{600 * 24 * time.Hour, "13 Jun 2030 11 Sep 2030 10 Dec 2030"},
		{5 * 365 * 24 * time.Hour, "2030 2031 2032"},
		{20 * 365 * 24 * time.Hour, "2031 2035 2039"},
		{7 * time.Second, "07:08:10 07:08:11 07:08:12"},
		{8 * time.Second, "07:08:10 07:08:15"},
		{7 * 365 * 24 * time.Hour, "2030 2031 2032"},
		{500 * time.Millisecond, "07:08:09"}, // the next second is just behind it
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
