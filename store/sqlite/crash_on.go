//go:build crashpoints

package sqlite

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Crash points, for tests that build with the tag crashpoints. FACESCAN_CRASH=commit:7 kills the process, as
// kill -9 does, when it passes the seventh point called commit. There is one before every statement of every
// transaction, BEGIN and COMMIT included, one after COMMIT, and some between the steps that make files; they
// bear the names of the transactions (see the calls of writer.update), "join" and "create".

var (
	crashName, crashCount, _ = strings.Cut(os.Getenv("FACESCAN_CRASH"), ":")
	crashAt, _               = strconv.ParseInt(crashCount, 10, 64)
	crashPassed              atomic.Int64
)

func crashPoint(name string) {
	if name == crashName && crashPassed.Add(1) == crashAt {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}
