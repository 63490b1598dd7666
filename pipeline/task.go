package pipeline

import (
	"time"

	"facescan/store"
)

// task is a row on its way.
type task struct {
	row      store.Row
	lease    *leaseHandle
	suspect  int // times a process died with this row in a decoder
	attempts int
	memory   reservation
	body     body
	started  time.Time
	riders   []*task // rows of the same URL, which share the outcome
	outputs  store.Outputs
}
