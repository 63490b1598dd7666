package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"facescan/pipeline/fetch/guard"
)

// stagger is how long one address is tried alone before the next one is tried beside it (RFC 8305).
const stagger = 300 * time.Millisecond

// dialer connects to hosts by the addresses it looked up and checked itself.
type dialer struct {
	allowPrivate bool
	tls          *tls.Config
}

// dial connects to host:port. net/http lets a dial outlive its request; here it ends with it.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h := ctx.Value(hopKey{}).(*hop)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errFinished)
	defer context.AfterFunc(h.a.ctx, func() { cancel(context.Cause(h.a.ctx)) })()
	return d.connect(ctx, h, addr)
}

// dialTLS is dial, with the handshake after it.
func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	h := ctx.Value(hopKey{}).(*hop)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errFinished)
	defer context.AfterFunc(h.a.ctx, func() { cancel(context.Cause(h.a.ctx)) })()
	c, err := d.connect(ctx, h, addr)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(addr)
	config := d.tls.Clone()
	config.ServerName = strings.TrimSuffix(host, ".")
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		var errno syscall.Errno
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("closed during the handshake: %w", io.EOF)
		case ctx.Err() != nil || errors.As(err, &errno): // the connection's fault
			return nil, err
		}
		return nil, tlsError{err}
	}
	return t, nil
}

func (d *dialer) connect(ctx context.Context, h *hop, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	h.reach(lookingUp)
	ips, err := d.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, err
	}
	var targets []netip.AddrPort
	for _, ip := range ips {
		t := netip.AddrPortFrom(ip, uint16(n))
		if err = guard.Check(t, d.allowPrivate); err == nil {
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, err
	}
	h.reach(dialling)
	return d.race(ctx, targets)
}

// race tries the addresses in order, the next one when one failed or took too long, and returns the first
// connection. The error is the first address's.
func (d *dialer) race(ctx context.Context, targets []netip.AddrPort) (net.Conn, error) {
	if len(targets) == 1 {
		return d.one(ctx, targets[0])
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
				c, err := d.one(ctx, targets[i])
				select {
				case results <- result{c, err, i}:
				case <-ctx.Done():
					if c != nil {
						c.Close()
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
			if failed++; r.i < firstAt {
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

// one dials one address. The guard looks at it once more, at the last moment.
func (d *dialer) one(ctx context.Context, target netip.AddrPort) (net.Conn, error) {
	nd := net.Dialer{
		KeepAlive: -1, // requests end by their own clock
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", guard.ErrPrivate, address)
			}
			return guard.Check(a, d.allowPrivate)
		},
	}
	return nd.DialContext(ctx, "tcp", target.String())
}

// lookup returns the addresses of a canonical host, at least one.
func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	switch name := strings.TrimSuffix(host, "."); {
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	case name == "invalid" || strings.HasSuffix(name, ".invalid"):
		return nil, &dnsError{reason: DNSNotFound, err: fmt.Errorf("%s: no such host", host)}
	}
	ips, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
	if err != nil {
		e := &dnsError{reason: DNSTimeout, err: err}
		var de *net.DNSError
		if errors.As(err, &de) && de.IsNotFound {
			e.reason = DNSNotFound
		}
		return nil, e
	}
	return ips, nil
}
