package pipeline

import (
	"math"

	"golang.org/x/sys/unix"
)

// Descriptors says how many files and connections of each kind may be open, within what the system allows a
// process.
type Descriptors struct {
	Limit    int // of all
	Fetchers int // of them; a fetch needs two now and then, and there are half as many more for slow hosts
	Idle     int // connections that are kept
	Queries  int // to the resolver
	Files    int // synced at once
}

const (
	ownDescriptors   = 64 // for the job, what is kept, logs and the live page
	spareDescriptors = 8  // connections that are being closed
)

// ShareDescriptors divides the limit of this process.
func ShareDescriptors() Descriptors {
	var l unix.Rlimit
	limit := math.MaxInt32
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err == nil && l.Cur < math.MaxInt32 {
		limit = int(l.Cur)
	}
	return shareDescriptors(limit)
}

func shareDescriptors(limit int) Descriptors {
	own := min(ownDescriptors, limit/2)
	network := limit - own - spareDescriptors
	return Descriptors{Limit: limit, Fetchers: max(1, network*5/16), Idle: max(1, network/4),
		Queries: max(1, network/8), Files: max(1, own/4)}
}
