package duplicates_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/duplicates"
	"facescan/store/storetest/interrupt"
)

// TestEachStepFails interrupts each step in turn, from the first table to the last page: that is an error, or
// the groups are all there nevertheless.
func TestEachStepFails(t *testing.T) {
	t.Parallel()
	var hashes []store.HashedRow
	for id, hash := range []uint64{0, 1, 0, 3, 0x5555_0000_5555_0000} {
		hashes = append(hashes, store.HashedRow{ID: int64(id + 1),
			Hashes: store.Hashes{PHash: store.NewPHash(hash)}})
	}
	for _, id := range []int64{8, 9} { // equal bytes alone
		hashes = append(hashes, store.HashedRow{ID: id,
			Hashes: store.Hashes{SHA256: store.SHA256(strings.Repeat("a", 32))}})
	}
	interrupt.Each(t, 20, func(ctx context.Context) error {
		groups, err := duplicates.Find(ctx, &hashed{hashes: hashes, results: 1}, 1)
		if err != nil {
			return err
		}
		defer groups.Close()
		var got []string
		for d, err := range groups.All() {
			if err != nil {
				return err
			}
			got = append(got, fmt.Sprintf("%d-%d-%d", d.First, d.ID, d.Distance))
		}
		const want = "1-1-0 1-2-1 1-3-0 2-2-0 2-4-1 8-8-0 8-9-0"
		if s := strings.Join(got, " "); s != want {
			t.Errorf("without an error: %s, want %s", s, want)
		}
		return nil
	})
}
