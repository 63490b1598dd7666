package postgres

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDialer: a connection breaks after 20 seconds without a word from the other machine, whether something
// was sent or not.
func TestDialer(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer server.Close()
	c, err := dialer().DialContext(t.Context(), "tcp", server.Addr().String())
	ok(t, err)
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	ok(t, err)
	ok(t, raw.Control(func(fd uintptr) {
		for _, o := range []struct {
			what              string
			level, name, want int
		}{
			{"milliseconds until what was sent is given up", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20_000},
			{"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"seconds until the first keepalive", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
			{"seconds between two", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 3}, // of 2.5
			{"keepalives", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		} {
			if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); got != o.want || err != nil {
				t.Errorf("%s: %d, %v; want %d", o.what, got, err, o.want)
			}
		}
	}))
	if err := giveUpAfter(silence)("unix", "", nil); err != nil { // which no other machine is at
		t.Error(err)
	}
}
