package pipeline

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

// TestShareDescriptors: all kinds together stay below the limit, and usual limits do not slow down the
// default.
func TestShareDescriptors(t *testing.T) {
	for _, limit := range []int{20, 64, 256, 1024, 4096, 1 << 20} {
		d := shareDescriptors(limit)
		fetches := (&Options{Fetchers: d.Fetchers}).Slow() + d.Fetchers
		if used := fetches + d.Idle + d.Queries + d.Files; d.Fetchers < 1 || limit >= 64 && used > limit {
			t.Errorf("%d: %+v are %d", limit, d, used)
		}
		if limit >= 1024 && d.Fetchers < 256 {
			t.Errorf("%d: only %d fetchers", limit, d.Fetchers)
		}
	}
	for _, want := range []Descriptors{{2, 1, 1, 1, 1}, {20, 1, 1, 1, 2}, {100, 13, 10, 5, 12},
		{1024, 297, 238, 119, 16}} {
		if got := shareDescriptors(want.Limit); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if got, want := ShareDescriptors().Limit, int(min(l.Cur, math.MaxInt32)); got != want {
		t.Errorf("the limit of this process is %d, want %d", got, want)
	}
}
