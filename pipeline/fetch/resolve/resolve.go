// Package resolve looks up the addresses of hosts, and remembers them.
//
//	Lookup → hosts file → cache → one query a name at a time → upstreams, in turn
//
// There are dozens of rows per host, so the cache matters most: answers are kept by their TTL within bounds,
// names that do not exist too, and an answer that is out of date still serves while no upstream gives a
// better one (RFC 8767). Rows that wait for one name share one query.
//
// IPv4 is queried first and IPv6 only where there is none: that halves the queries, and almost every web
// host has IPv4.
//
// # Whose fault
//
// A name that does not exist, or has no address, is NotFound. A name that upstreams fail at (SERVFAIL,
// REFUSED, no answer for this one name) is Failed. If they are silent, or refuse, for all names, it is a
// local outage: Unreachable. Control questions distinguish the two (control.go).
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"facescan/pipeline/crash"
)

// Kind says whose fault a failed lookup is.
type Kind int

const (
	NotFound    Kind = iota // the name does not exist, or has no address
	Failed                  // the name cannot be resolved now
	Unreachable             // no upstream works
)

// Error is a failed lookup.
type Error struct {
	Host string
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return "lookup " + e.Host + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Options of a Resolver. The zero value is the system's configuration.
type Options struct {
	Config  string        // a resolv.conf; empty means /etc/resolv.conf. Read again when it changes.
	Hosts   string        // a hosts file; empty means /etc/hosts. Read again when it changes.
	Servers []string      // upstreams, host:port, instead of those in Config
	Names   int           // that are remembered; 0 means 200,000, some 40 MB
	Queries int           // under way at once; 0 means DefaultQueries
	Timeout time.Duration // of one query to one upstream; 0 means 2 s
}

// DefaultQueries is how many queries are under way at once.
const DefaultQueries = 256

const (
	patience = 1800 * time.Millisecond // before an old answer serves while the upstream is silent
	rounds   = 2                       // through all upstreams
)

// Resolver looks names up. It may be used by many goroutines.
type Resolver struct {
	o       Options
	system  system
	queries chan struct{}
	cache   cache

	mu      sync.Mutex
	flights map[string]*flight

	control control
	next    atomic.Uint32
	health  sync.Map // upstream → *server

	ctx    context.Context
	cancel context.CancelFunc
	flying sync.WaitGroup
}

// Server is an upstream.
type Server struct {
	Addr     string
	Queries  int64
	Failures int64
	Time     time.Duration // of an answer, a moving average
}

// flight is a query under way that any number of lookups wait for.
type flight struct {
	done chan struct{}
	entry
}

// New makes a Resolver. Close it.
func New(o Options) (*Resolver, error) {
	o.Config = cmp.Or(o.Config, "/etc/resolv.conf")
	o.Hosts = cmp.Or(o.Hosts, "/etc/hosts")
	o.Names = cmp.Or(o.Names, 200_000)
	o.Queries = cmp.Or(o.Queries, DefaultQueries)
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	for _, s := range o.Servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("name server %q: %w", s, err)
		}
	}
	r := &Resolver{o: o, queries: make(chan struct{}, o.Queries), flights: map[string]*flight{}}
	r.system.o = &r.o
	r.cache.max = o.Names
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close ends the queries under way.
func (r *Resolver) Close() {
	r.cancel()
	r.flying.Wait()
}

// Lookup returns the addresses of a name in lower-case ASCII, at least one; they must not be changed. The
// error is an *Error, or the context's.
func (r *Resolver) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	name := strings.TrimSuffix(host, ".")
	if addrs := r.system.host(name); addrs != nil {
		return addrs, nil
	}
	if _, ok := dns.IsDomainName(name); !ok || len(name) > 253 {
		return nil, &Error{host, NotFound, errors.New("no name that could exist")}
	}
	old, ok := r.cache.get(name)
	if ok && time.Now().Before(old.expires) {
		return old.result(host)
	}
	f := r.fly(name)
	var impatient <-chan time.Time
	if len(old.addrs) > 0 {
		impatient = time.After(patience)
	}
	select {
	case <-f.done:
	case <-impatient:
		return old.addrs, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if f.err != nil && f.err.Kind != NotFound && len(old.addrs) > 0 {
		return old.addrs, nil
	}
	return f.result(host)
}

// fly joins the query for a name, or starts it. The query outlives its callers, so that later ones hit the
// cache.
func (r *Resolver) fly(name string) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[name]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		r.flights[name] = f
		r.flying.Go(func() {
			defer crash.Exit()
			f.entry = r.queryAll(name)
			r.cache.put(name, f.entry)
			r.mu.Lock()
			delete(r.flights, name)
			r.mu.Unlock()
			close(f.done)
		})
	}
	return f
}

// Servers lists the upstreams in use, those that were never queried without counts.
func (r *Resolver) Servers() []Server {
	var out []Server
	for _, addr := range r.system.servers() {
		s := r.server(addr)
		out = append(out, Server{addr, s.queries.Load(), s.failures.Load(), time.Duration(s.time.Load())})
	}
	return out
}
