//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// giveUpAfter has no equal here: only keepalives notice it.
func giveUpAfter(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
