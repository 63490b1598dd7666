package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// server is the state of an upstream.
type server struct {
	queries, failures atomic.Int64
	time              atomic.Int64 // nanoseconds of an answer, a moving average
	weak              atomic.Int64 // Unix nanoseconds until which it comes last
}

// weakFor is how long an upstream that did not answer comes after the others.
const weakFor = 10 * time.Second

func (r *Resolver) server(addr string) *server {
	if s, ok := r.health.Load(addr); ok {
		return s.(*server)
	}
	s, _ := r.health.LoadOrStore(addr, &server{})
	return s.(*server)
}

var errNoAddress = errors.New("no such host")

// queryAll looks a name up, for the cache.
func (r *Resolver) queryAll(name string) entry {
	select {
	case r.queries <- struct{}{}:
		defer func() { <-r.queries }()
	case <-r.ctx.Done():
		return failure(name, Unreachable, context.Cause(r.ctx))
	}
	var e entry
	for _, full := range r.system.names(name) {
		e = r.addresses(name, full)
		if e.err == nil || e.err.Kind != NotFound {
			break
		}
	}
	return e
}

// addresses queries the IPv4 addresses of a name, then those of IPv6.
func (r *Resolver) addresses(name, full string) entry {
	ttl := maxTTL
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := r.exchange(full, kind)
		if err != nil {
			return failure(name, err.Kind, err.Err)
		}
		addrs, t := answer(m)
		ttl = min(ttl, t)
		if len(addrs) > 0 {
			r.control.resolved(full)
			return entry{addrs: addrs, expires: time.Now().Add(max(ttl, minTTL))}
		}
		if m.Rcode == dns.RcodeNameError {
			break
		}
	}
	e := failure(name, NotFound, errNoAddress)
	e.expires = time.Now().Add(min(max(ttl, minTTL), maxNoTTL))
	return e
}

// failure is cached for a moment; a failure of the upstreams is not, since they may be back at any time.
func failure(name string, k Kind, err error) entry {
	e := entry{err: &Error{name, k, err}, expires: time.Now()}
	if k != Unreachable {
		e.expires = e.expires.Add(failTTL)
	}
	return e
}

// answer collects the addresses of an answer, following aliases, and its time to live.
func answer(m *dns.Msg) (addrs []netip.Addr, ttl time.Duration) {
	ttl = maxTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
		var ip netip.Addr
		switch rr := rr.(type) {
		case *dns.A:
			ip, _ = netip.AddrFromSlice(rr.A.To4())
		case *dns.AAAA:
			ip, _ = netip.AddrFromSlice(rr.AAAA.To16())
		}
		if ip.IsValid() {
			addrs = append(addrs, ip)
		}
	}
	if len(addrs) == 0 {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok { // RFC 2308
				ttl = min(ttl, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
	}
	return addrs, ttl
}

// exchange queries one upstream after the other until one gives a reliable answer. If none does, control
// questions decide whether the name or the upstreams are at fault. The upstreams may have been down during
// the query and be back now, so the name is tried once more before it counts as failed.
func (r *Resolver) exchange(name string, kind uint16) (*dns.Msg, *Error) {
	q := newQuery(name, kind)
	m, err := r.pass(q, rounds)
	if m != nil {
		return m, nil
	}
	if r.ctx.Err() == nil {
		if down := r.check(time.Now()); down != nil {
			return nil, &Error{name, Unreachable, down}
		}
		if m, err = r.pass(q, 1); m != nil {
			return m, nil
		}
	}
	if r.ctx.Err() != nil {
		return nil, &Error{name, Unreachable, context.Cause(r.ctx)}
	}
	return nil, &Error{name, Failed, err}
}

// datagram is the most bytes that an answer by UDP may have.
const datagram = 1232

func newQuery(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), kind).SetEdns0(datagram, false)
}

// pass queries all upstreams in turn, several times if none answers.
func (r *Resolver) pass(q *dns.Msg, rounds int) (*dns.Msg, error) {
	err, said := errors.New("no name server"), false
	for range rounds {
		for _, addr := range r.inOrder() {
			m, e := r.once(r.ctx, q, addr)
			switch {
			case r.ctx.Err() != nil:
				return nil, context.Cause(r.ctx)
			case e != nil:
				err = e
			case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
				return m, nil
			default:
				err, said = fmt.Errorf("%s says %s", addr, dns.RcodeToString[m.Rcode]), true
			}
		}
		if said {
			break // an upstream that fails at a name does so for a while
		}
	}
	return nil, err
}

// inOrder returns the upstreams, starting with another one each time; those that did not answer lately come
// last.
func (r *Resolver) inOrder() []string {
	all := r.system.servers()
	first, now := int(r.next.Add(1)), time.Now().UnixNano()
	good, weak := make([]string, 0, len(all)), []string(nil)
	for i := range all {
		addr := all[(first+i)%len(all)]
		if r.server(addr).weak.Load() > now {
			weak = append(weak, addr)
		} else {
			good = append(good, addr)
		}
	}
	return append(good, weak...)
}

// once sends a query to an upstream and waits for its answer; one that does not fit into a datagram comes by
// TCP.
func (r *Resolver) once(ctx context.Context, q *dns.Msg, addr string) (*dns.Msg, error) {
	s := r.server(addr)
	s.queries.Add(1)
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	m, took, err := exchangeBy(ctx, "udp", q, addr)
	if err == nil && m.Truncated {
		m, took, err = exchangeBy(ctx, "tcp", q, addr)
	}
	if err != nil {
		s.failures.Add(1)
		s.weak.Store(time.Now().Add(weakFor).UnixNano())
		var late net.Error
		if ctx.Err() != nil || errors.As(err, &late) && late.Timeout() { // whichever ended the read
			err = fmt.Errorf("%s does not answer within %v", addr, r.o.Timeout)
		}
		return nil, err
	}
	s.weak.Store(0)
	s.time.Store(int64(average(time.Duration(s.time.Load()), took)))
	return m, nil
}

// average is a moving average after one more value; old is 0 before the first.
func average(old, value time.Duration) time.Duration {
	if old == 0 {
		return value
	}
	return old + (value-old)/8
}

func exchangeBy(ctx context.Context, network string, q *dns.Msg, addr string) (*dns.Msg, time.Duration,
	error) {
	c := dns.Client{Net: network, UDPSize: datagram}
	conn, err := c.DialContext(ctx, addr)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // it ignores its context while it waits
	deadline, _ := ctx.Deadline()
	c.Timeout = time.Until(deadline)
	q = q.Copy()
	q.Id = dns.Id()
	return c.ExchangeWithConn(q, conn)
}
