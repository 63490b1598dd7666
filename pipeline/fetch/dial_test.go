package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ends is a connection that notes when it is closed.
type ends struct {
	net.Conn
	name   string
	closed atomic.Bool
}

func (c *ends) Close() error { c.closed.Store(true); return nil }

// TestRace: addresses are tried in order, the next one when one failed or took 300 ms, and the first that
// connects wins. What connects later is closed. The error is that of the address that comes first.
func TestRace(t *testing.T) {
	const never = time.Hour
	type try struct {
		after time.Duration
		fails bool
	}
	for _, c := range []struct {
		what   string
		tries  []try
		want   string // address, or error
		took   time.Duration
		dialed int
	}{
		{"one", []try{{time.Second, false}}, "0", time.Second, 1},
		{"one that fails", []try{{time.Second, true}}, "error 0", time.Second, 1},
		{"the first is quick", []try{{299 * time.Millisecond, false}, {0, false}}, "0",
			299 * time.Millisecond, 1},
		{"the first is slow", []try{{never, false}, {100 * time.Millisecond, false}}, "1",
			400 * time.Millisecond, 2},
		{"the first is late", []try{{350 * time.Millisecond, false}, {100 * time.Millisecond, false}}, "0",
			350 * time.Millisecond, 2},
		{"the first fails", []try{{10 * time.Millisecond, true}, {10 * time.Millisecond, false}}, "1",
			20 * time.Millisecond, 2},
		{"all fail, the first at last", []try{{time.Second, true}, {0, true}, {0, true}}, "error 0",
			time.Second, 3},
		{"all fail in turn", []try{{0, true}, {0, true}, {0, true}}, "error 0", 0, 3},
		{"the last connects", []try{{never, true}, {never, true}, {0, false}}, "2",
			600 * time.Millisecond, 3},
		{"none ends", []try{{never, true}, {never, true}}, "enough", time.Minute, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			enough := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, enough)
			defer cancel()
			targets := make([]netip.AddrPort, len(c.tries))
			for i := range targets {
				targets[i] = netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))
			}
			var mu sync.Mutex
			var conns []*ends
			dialed := 0
			start := time.Now()
			got, err := race(ctx, targets, func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				mu.Lock()
				dialed++
				mu.Unlock()
				x := c.tries[a.Port()]
				time.Sleep(x.after) // it connects in spite of the context
				if x.fails {
					return nil, fmt.Errorf("error %d", a.Port())
				}
				e := &ends{name: fmt.Sprint(a.Port())}
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, e)
				return e, nil
			})
			took := time.Since(start)
			mu.Lock()
			tried := dialed
			mu.Unlock()
			name := fmt.Sprint(err)
			if err == nil {
				name = got.(*ends).name
			}
			if name != c.want || took != c.took || tried != c.dialed {
				t.Errorf("%s: %s after %v of %d, want %s after %v of %d", c.what, name, took, tried, c.want,
					c.took, c.dialed)
			}
			time.Sleep(2 * never)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			for _, e := range conns {
				if wins := err == nil && e == got; e.closed.Load() == wins {
					t.Errorf("%s: connection %s is closed: %t", c.what, e.name, e.closed.Load())
				}
			}
		})
	}
}

// TestKnownHost: which hosts need no resolver, and which of these have addresses.
func TestKnownHost(t *testing.T) {
	for host, want := range map[string]string{
		"127.0.0.1": "[127.0.0.1] true", "::1": "[::1] true", "localhost": "[127.0.0.1 ::1] true",
		"a.localhost.": "[127.0.0.1 ::1] true", "notlocalhost": "[] false", "invalid": "[] true",
		"a.invalid": "[] true", "ainvalid": "[] false", "example.com": "[] false",
	} {
		ips, known := knownHost(host)
		if got := fmt.Sprint(ips, known); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// TestOfIPv6: an IPv6 host that is not reached is an outage only where there is IPv6.
func TestOfIPv6(t *testing.T) {
	for _, c := range []struct {
		ip      string
		missing bool
		outage  bool
	}{
		{"2606:2800:220:1::1", true, false}, {"2606:2800:220:1::1", false, true}, {"93.184.216.34", true,
			true},
		{"::1", true, true},
	} {
		ip, missing := netip.MustParseAddr(c.ip), func() bool { return c.missing }
		err := ofIPv6(&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, ip, missing)
		if e := classify(err); e.Reason != Connect || e.Outage != c.outage {
			t.Errorf("%+v: %v, outage %t", c, e, e.Outage)
		}
		if err := ofIPv6(nil, ip, missing); err != nil {
			t.Errorf("%+v, connected: %v", c, err)
		}
	}
}

// TestIsPublicIPv6: only an address by which the public internet can be reached says that there is IPv6.
func TestIsPublicIPv6(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"2606:2800:220:1::1/64": true, "93.184.216.34/24": false, "127.0.0.1/8": false, "::1/128": false,
		"fe80::1/64": false, "fd00::1/64": false, "2001:db8::1/64": false,
	} {
		ip, prefix, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		prefix.IP = ip
		if got := isPublicIPv6(prefix); got != want {
			t.Errorf("%s: %t", text, got)
		}
		if lackIPv6([]net.Addr{prefix}, nil) == want {
			t.Errorf("a machine with %s lacks IPv6: %t", text, want)
		}
	}
	if !lackIPv6(nil, nil) || lackIPv6(nil, errors.New("unknown")) {
		t.Error("what is unknown counts as missing, or nothing as something")
	}
	if isPublicIPv6(&net.UnixAddr{Name: "2606:2800:220:1::1"}) {
		t.Error("what is not a prefix is an address")
	}
}
