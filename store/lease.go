package store

import (
	"crypto/rand"
	"fmt"
	"time"

	"facescan/store/figures"
)

// Trust is until when a holder may rely on a lease that it asks for after this call: by its own clock, and
// well before the store ends it.
func Trust(ttl time.Duration) time.Time { return time.Now().Add(ttl * 2 / 3) }

// Renewed are those leases whose shards are still held, with a new expiry.
func Renewed(ls []Lease, still map[int64]bool, expires time.Time) (held []Lease) {
	for _, l := range ls {
		if still[l.Shard] {
			l.Expires = expires
			held = append(held, l)
		}
	}
	return held
}

// Named is the owner with an ID, which is made up if it has none.
func (o Owner) Named() Owner {
	if o.ID == "" {
		o.ID = fmt.Sprintf("%d-%s", o.PID, rand.Text()[:10])
	}
	return o
}

// AllRows are the rows of some additions, one after the other.
func AllRows(all []Addition) []NewRow {
	if len(all) == 1 {
		return all[0].Rows
	}
	n := 0
	for i := range all {
		n += len(all[i].Rows)
	}
	rows := make([]NewRow, 0, n)
	for i := range all {
		rows = append(rows, all[i].Rows...)
	}
	return rows
}

// AllResults are the results of some batches, one after the other.
func AllResults(batches []Batch) []Result {
	if len(batches) == 1 {
		return batches[0].Results
	}
	results := make([]Result, 0, countResults(batches))
	for i := range batches {
		results = append(results, batches[i].Results...)
	}
	return results
}

// What a transaction does, for its errors. Of several sources or shards only the number is told.

// Adding says that sources are added.
func Adding(all []Source) string {
	if len(all) == 1 {
		return "add source " + all[0].Name
	}
	return fmt.Sprintf("add %d sources", len(all))
}

// Leasing says that the import of sources is leased.
func Leasing(sources []int) string {
	if len(sources) == 1 {
		return fmt.Sprintf("lease source %d", sources[0])
	}
	return fmt.Sprintf("lease %d sources", len(sources))
}

// Appending says that rows are appended to sources.
func Appending(all []Addition) string {
	if len(all) == 1 {
		return fmt.Sprintf("append to source %d", all[0].Lease.Source)
	}
	return fmt.Sprintf("append to %d sources", len(all))
}

// Committing says that results of shards are committed.
func Committing(batches []Batch) string {
	if len(batches) == 1 {
		return fmt.Sprintf("commit %s of shard %d", figures.Of(len(batches[0].Results), "row"),
			batches[0].Lease.Shard)
	}
	return fmt.Sprintf("commit %s of %d shards", figures.Of(countResults(batches), "row"), len(batches))
}

func countResults(batches []Batch) (n int) {
	for i := range batches {
		n += len(batches[i].Results)
	}
	return n
}
