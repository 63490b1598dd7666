//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// giveUpAfter has no equal here: keepalives alone tell.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
