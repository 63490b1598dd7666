package host

import (
	"testing"
	"time"
)

// TestWait: Retry-After is obeyed up to maxPause, and pauses in a row double from minPause to 64 times that.
// A pause is never shortened.
func TestWait(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		pauses           int
		retryAfter, want time.Duration
	}{
		{1, 0, minPause}, {2, 0, 2 * minPause}, {3, 0, 4 * minPause}, {7, 0, 64 * minPause}, {8, 0, 64 * minPause},
		{1, 30 * time.Second, 30 * time.Second}, {7, 30 * time.Second, 64 * minPause}, {1, time.Hour, maxPause},
	} {
		p := pace{pauses: c.pauses}
		p.wait(now, c.retryAfter)
		if got := p.until.Sub(now); got != c.want {
			t.Errorf("pause %d after Retry-After %v: %v, want %v", c.pauses, c.retryAfter, got, c.want)
		}
		p.wait(now.Add(-time.Minute), c.retryAfter)
		if got := p.until.Sub(now); got != c.want {
			t.Errorf("pause %d was changed to %v by an older one", c.pauses, got)
		}
	}
}

// TestSureCeiling: a ceiling is confirmed by its height, or by refusals above it; without one there is
// nothing to confirm.
func TestSureCeiling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ceiling, missed int
		sure            bool
	}{
		{0, 0, false}, {0, missMax, false}, {1, 0, false}, {1, missMax - 1, false}, {1, missMax, true},
		{surely - 1, 0, false}, {surely, 0, true},
	} {
		p := pace{ceiling: c.ceiling, missed: c.missed}
		most := c.ceiling
		if !c.sure {
			most++
		}
		if p.sure() != c.sure || p.most() != most {
			t.Errorf("ceiling %d, %d refused: sure %t, at most %d", c.ceiling, c.missed, p.sure(), p.most())
		}
	}
}
