package pipeline

import "testing"

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
}
