package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"facescan/store/figures"
)

// curve counts rows by the time when they were done, in steps that double when there would be too many of
// them.
type curve struct {
	step   time.Duration
	counts map[int64]outcome // by time / step
	lo, hi int64
}

// earliest is a time before which no row was done: an earlier one comes from a clock that was not set.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// isTime reports whether a row can have been done then.
func isTime(at time.Time) bool { return !at.Before(earliest) && at.Year() <= 2200 }

func (c *curve) add(at time.Time, failed bool) {
	if !isTime(at) {
		return
	}
	k := at.UnixNano() / int64(c.step)
	if c.counts == nil {
		c.counts, c.lo, c.hi = map[int64]outcome{}, k, k
	}
	for max(c.hi, k)-min(c.lo, k) >= curveSteps {
		c.widen()
		k /= 2
	}
	c.lo, c.hi = min(c.lo, k), max(c.hi, k)
	o := c.counts[k]
	if failed {
		o.failed++
	} else {
		o.ok++
	}
	c.counts[k] = o
}

func (c *curve) widen() {
	c.step *= 2
	wide := make(map[int64]outcome, len(c.counts)/2+1)
	for k, o := range c.counts {
		w := wide[k/2]
		w.ok, w.failed = w.ok+o.ok, w.failed+o.failed
		wide[k/2] = w
	}
	c.counts, c.lo, c.hi = wide, c.lo/2, c.hi/2
}

// The drawing, in units that are stretched to the room there is. Labels stand beside it, at shares of its
// sides, so that they are as large as other text on a screen of any width.
const (
	plotRight  = 820
	plotBottom = 190
)

// across and down are places in a drawing as percentages of its sides.
func across(x float64) string { return coord(tenth(100*x/plotRight)) + "%" }
func down(y float64) string   { return coord(tenth(100*y/plotBottom)) + "%" }

// curvePicture is two drawings: rows per second, and rows done, over the same time.
type curvePicture struct {
	Text     string // the same in words
	Columns  []columnPicture
	Line     string // points of what is done
	Rates    []tick
	Sums     []tick
	Times    []tick
	Baseline float64
	Right    float64
}

type columnPicture struct{ X, Width, OKTop, OKHeight, FailedTop, FailedHeight float64 }

type tick struct {
	At    float64
	Label string
}

// moment is how a time is written.
const moment = "2 January 2006 15:04:05"

func (c *curve) picture() *curvePicture {
	if len(c.counts) == 0 {
		return nil
	}
	n := float64(c.hi - c.lo + 1)
	x := func(k float64) float64 { return tenth(plotRight * k / n) }
	var peak, sum, failed int64
	for _, o := range c.counts {
		peak = max(peak, o.ok+o.failed)
		sum, failed = sum+o.ok+o.failed, failed+o.failed
	}
	seconds := c.step.Seconds()
	topRate, rates := ticks(float64(peak) / seconds)
	topSum, sums := ticks(float64(sum))
	y := func(v, top float64) float64 { return tenth(plotBottom - plotBottom*v/top) }
	p := &curvePicture{Baseline: plotBottom, Right: plotRight}
	var line strings.Builder
	fmt.Fprintf(&line, "0,%s", coord(plotBottom))
	var done int64
	var end float64
	for _, k := range slices.Sorted(maps.Keys(c.counts)) {
		o := c.counts[k]
		at := float64(k - c.lo)
		if at > end { // nothing happened for a while
			fmt.Fprintf(&line, " %s,%s", coord(x(at)), coord(y(float64(done), topSum)))
		}
		done, end = done+o.ok+o.failed, at+1
		fmt.Fprintf(&line, " %s,%s", coord(x(end)), coord(y(float64(done), topSum)))
		okTop := y(float64(o.ok)/seconds, topRate)
		allTop := y(float64(o.ok+o.failed)/seconds, topRate)
		left, right := x(at), x(at+1)
		p.Columns = append(p.Columns, columnPicture{left, tenth(max(right-left-0.6, 0.6)), okTop,
			tenth(plotBottom - okTop), allTop, tenth(okTop - allTop)})
	}
	p.Line = line.String()
	for _, v := range rates {
		p.Rates = append(p.Rates, tick{y(v, topRate), number(v)})
	}
	for _, v := range sums {
		p.Sums = append(p.Sums, tick{y(v, topSum), number(v)})
	}
	first := time.Unix(0, c.lo*int64(c.step)).UTC()
	length := time.Duration(c.hi-c.lo+1) * c.step
	p.Times = timeTicks(first, length)
	p.Text = fmt.Sprintf("%s rows were done from %s to %s UTC, %s of them failed; "+
		"at most %s per second, over %s.",
		figures.Count(sum), first.Format(moment), first.Add(length).Format(moment), figures.Count(failed),
		number(float64(peak)/seconds), figures.Span(c.step))
	return p
}

func tenth(f float64) float64 { return math.Round(10*f) / 10 }

// ticks are round numbers from 0 up to one that is not below the highest value, which is the first result.
func ticks(highest float64) (top float64, at []float64) {
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, part := range []float64{0.2, 0.5, 1, 2} {
		if highest/(step*part) <= 5 {
			step *= part
			break
		}
	}
	for i := 0.0; ; i++ {
		v := i * step
		at = append(at, v)
		if v >= highest {
			return v, at
		}
	}
}

// timeTicks labels a span of time at round moments.
func timeTicks(first time.Time, length time.Duration) (out []tick) {
	day := 24 * time.Hour
	step, format := day*365, "2006"
	for length > 7*step {
		step *= 2
	}
	for _, s := range []struct {
		step   time.Duration
		format string
	}{
		{time.Second, "15:04:05"}, {5 * time.Second, "15:04:05"}, {15 * time.Second, "15:04:05"},
		{time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {15 * time.Minute, "15:04"}, {time.Hour, "15:04"},
		{3 * time.Hour, "2 Jan 15:04"}, {12 * time.Hour, "2 Jan 15:04"}, {day, "2 Jan"}, {7 * day, "2 Jan"},
		{30 * day, "2 Jan 2006"}, {90 * day, "2 Jan 2006"},
	} {
		if length <= 7*s.step {
			step, format = s.step, s.format
			break
		}
	}
	for at := first.Truncate(step).Add(step); at.Before(first.Add(length)); at = at.Add(step) {
		x := tenth(plotRight * float64(at.Sub(first)) / float64(length))
		out = append(out, tick{x, at.Format(format)})
	}
	if len(out) == 0 {
		out = append(out, tick{0, first.Format("15:04:05")})
	}
	return out
}

// number is short, and exact enough for an axis.
func number(v float64) string {
	if v >= 100 {
		return figures.Count(int64(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
