package pipeline

import (
	"fmt"
	"sync"

	"facescan/store"
)

const (
	maxDispatches = 5       // of one row by one process; attempts without an outcome are not counted
	repeatsKept   = 1 << 16 // rows that are remembered, about 2 MB
)

// repeats notices a row that is done again and again: something makes it pending each time, and it would be
// fetched for ever. It counts the outcomes that were committed for a row. When it is full it forgets some
// rows that were done once, by chance: one that comes again soon is still known, and of many that come again
// late some are.
type repeats struct {
	mu    sync.Mutex
	times map[int64]uint8
}

// note counts an outcome for each of some rows.
func (r *repeats) note(results []store.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = make(map[int64]uint8)
	}
	for i := range results {
		if id := results[i].ID; r.times[id] < maxDispatches {
			r.times[id]++
		}
	}
	for least := uint8(1); len(r.times) > repeatsKept; least++ {
		for id, n := range r.times {
			if len(r.times) <= repeatsKept*7/8 {
				break
			}
			if n <= least {
				delete(r.times, id)
			}
		}
	}
}

// check fails for a row that was done too often.
func (r *repeats) check(row store.Row) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times[row.ID] < maxDispatches {
		return nil
	}
	return fmt.Errorf("row %d (%s) was done %d times by this process and is pending again: something "+
		"clears its Done mark; "+
		"find out what, such as a trigger, or a script that repeats retry, then run the same command again",
		row.ID, store.Redact(row.URL), maxDispatches)
}
