package store

import (
	"crypto/rand"
	"fmt"
	"time"
)

// Trust is until when a holder may rely on a lease that it asks for after this call: by its own clock, and
// well before the store ends it.
func Trust(ttl time.Duration) time.Time { return time.Now().Add(ttl * 2 / 3) }

// Renewed are those leases whose shards are still held, with a new expiry.
func Renewed(ls []Lease, still []int64, expires time.Time) (held []Lease) {
	is := idSet(still)
	for _, l := range ls {
		if is[l.Shard] {
			l.Expires = expires
			held = append(held, l)
		}
	}
	return held
}

func idSet(ids []int64) map[int64]bool {
	set := make(map[int64]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
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

// What a transaction does, for its errors. Of several sources or shards only the number is given.

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
