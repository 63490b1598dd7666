package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"facescan/pipeline/crash"
	"facescan/pipeline/fetch/guard"
	"facescan/pipeline/fetch/resolve"
)

// stagger is how long one address is tried alone before the next one is tried beside it (RFC 8305).
const stagger = 300 * time.Millisecond

// dialer connects to hosts by the addresses it looked up and checked itself.
type dialer struct {
	allowPrivate bool
	resolver     *resolve.Resolver
	tls          *tls.Config
	userAgent    string
}

func (d *dialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.open(ctx, addr, false)
}

func (d *dialer) dialTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	return d.open(ctx, addr, true)
}

// open connects to host:port, through the hop's proxy if it has one. It ends with the attempt: net/http would
// continue it, for other requests.
func (d *dialer) open(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	h := ctx.Value(hopKey{}).(*hop)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errFinished)
	defer context.AfterFunc(h.a.ctx, func() { cancel(context.Cause(h.a.ctx)) })()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	c, err := d.connect(ctx, h, host, port)
	if err == nil && secure {
		c, err = d.handshake(ctx, c, host)
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

func (d *dialer) connect(ctx context.Context, h *hop, host, port string) (net.Conn, error) {
	if h.proxy != nil {
		return d.tunnel(ctx, h)
	}
	targets, err := d.targets(ctx, h, host, port)
	if err != nil {
		return nil, err
	}
	return race(ctx, targets, d.one)
}

// handshake speaks TLS on a connection, which it closes when that fails.
func (d *dialer) handshake(ctx context.Context, c net.Conn, host string) (net.Conn, error) {
	config := d.tls.Clone()
	config.ServerName = strings.TrimSuffix(host, ".")
	t := tls.Client(c, config)
	err := t.HandshakeContext(ctx)
	if err == nil {
		return t, nil
	}
	_ = c.Close()
	var errno syscall.Errno
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("closed during the handshake: %w", io.EOF)
	case ctx.Err() != nil || errors.As(err, &errno): // the connection's fault
		return nil, err
	}
	return nil, &fault{TLS, false, err}
}

// targets are the addresses of a canonical host that may be dialled, at least one. If there are none, the
// error is the guard's.
func (d *dialer) targets(ctx context.Context, h *hop, host, port string) ([]netip.AddrPort, error) {
	h.reach(lookingUp)
	all, err := d.addresses(ctx, host, port)
	if err != nil {
		return nil, err
	}
	h.reach(dialling)
	var targets []netip.AddrPort
	for _, t := range all {
		if err = guard.Check(t, d.allowPrivate); err == nil {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, err
	}
	return targets, nil
}

// race tries the addresses in order, the next one when one failed or took too long, and returns the first
// connection. The error is the first address's.
func race(ctx context.Context, targets []netip.AddrPort,
	dial func(context.Context, netip.AddrPort) (net.Conn, error)) (net.Conn, error) {
	if len(targets) == 1 {
		return dial(ctx, targets[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c   net.Conn
		err error
		i   int
	}
	results := make(chan result)
	var first error
	firstAt := len(targets)
	next := time.NewTimer(0)
	defer next.Stop()
	started, failed := 0, 0
	for {
		select {
		case <-next.C:
			i := started
			started++
			go func() {
				defer crash.Exit()
				c, err := dial(ctx, targets[i])
				select {
				case results <- result{c, err, i}:
				case <-ctx.Done():
					if c != nil {
						_ = c.Close()
					}
				}
			}()
			if started < len(targets) {
				next.Reset(stagger)
			}
		case r := <-results:
			if r.err == nil {
				return r.c, nil
			}
			failed++
			if r.i < firstAt {
				first, firstAt = r.err, r.i
			}
			if failed == len(targets) {
				return nil, first
			}
			if started < len(targets) {
				next.Reset(0)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// one dials one address. The guard checks it again at the last moment.
func (d *dialer) one(ctx context.Context, target netip.AddrPort) (net.Conn, error) {
	nd := net.Dialer{
		KeepAlive: -1, // attempts have their own clock
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", guard.ErrPrivate, address)
			}
			return guard.Check(a, d.allowPrivate)
		},
	}
	c, err := nd.DialContext(ctx, "tcp", target.String())
	return c, ofIPv6(err, target.Addr(), noIPv6)
}

// ofIPv6 is the error of dialling an address: a machine without IPv6 that does not reach one is not in an
// outage.
func ofIPv6(err error, ip netip.Addr, missing func() bool) error {
	if err != nil && ip.Is6() && !ip.IsLoopback() && missing() {
		return &fault{Connect, false, err}
	}
	return err
}

// addresses returns the addresses of a canonical host, at least one, with a port, by number or name.
func (d *dialer) addresses(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, err
	}
	ips, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		all[i] = netip.AddrPortFrom(ip, uint16(n))
	}
	return all, nil
}

// lookup returns the addresses of a canonical host, at least one.
func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	ips, known := knownHost(host)
	switch {
	case len(ips) > 0:
		return ips, nil
	case known:
		return nil, &fault{DNSNotFound, false, fmt.Errorf("%s: no such host", host)}
	}
	ips, err := d.resolver.Lookup(ctx, host)
	var e *resolve.Error
	switch {
	case err == nil:
		return ips, nil
	case !errors.As(err, &e):
		return nil, err
	case e.Kind == resolve.NotFound:
		return nil, &fault{DNSNotFound, false, err}
	}
	return nil, &fault{DNSTimeout, e.Kind == resolve.Unreachable, err}
}

// knownHost returns the addresses of a host that is not looked up, because it is an address, or a name whose
// meaning is fixed (RFC 6761). Such a name may have none.
func knownHost(host string) (ips []netip.Addr, known bool) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, true
	}
	name := strings.TrimSuffix(host, ".")
	if under(name, "localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, true
	}
	return nil, under(name, "invalid")
}

// under reports whether a name is a domain or is below it.
func under(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// noIPv6 reports whether this machine has no public IPv6 address. An unreachable IPv6 host is then not an
// outage.
var noIPv6 = sync.OnceValue(func() bool { return lackIPv6(net.InterfaceAddrs()) })

func lackIPv6(addrs []net.Addr, err error) bool {
	return err == nil && !slices.ContainsFunc(addrs, isPublicIPv6)
}

func isPublicIPv6(a net.Addr) bool {
	p, err := netip.ParsePrefix(a.String())
	return err == nil && p.Addr().Is6() && guard.Check(netip.AddrPortFrom(p.Addr(), 0), false) == nil
}
