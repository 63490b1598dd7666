//go:build unix && !linux

package sqlite

import "time"

// checkFilesystem allows every folder: only Linux has numbers for network file systems that we know.
func checkFilesystem(string) error { return nil }

// checkRoom allows every folder: a copy that does not fit fails.
func checkRoom(string, int64) error { return nil }

// leaseClock is the wall clock, in nanoseconds: no clock shared by all processes is at hand that is never
// set.
func leaseClock() int64 { return time.Now().UnixNano() }
