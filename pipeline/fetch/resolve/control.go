package resolve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"facescan/pipeline/crash"
)

// knownNames is how many names that resolved lately are kept as control questions.
const knownNames = 4

// errRefuses is the cause of Unreachable when the upstreams answer, but resolve nothing.
var errRefuses = errors.New("no name server resolves anything")

// control checks whether the upstreams work, by questions whose answers are known.
//
// The answer to "." is in every resolver's cache, so it alone does not show that others can be found. Names
// that resolved before do; but when all of them lie in one zone, that zone may be to blame.
type control struct {
	mu    sync.Mutex
	began time.Time // when the latest control began
	err   error     // and what it found

	known struct {
		sync.Mutex
		names []string // one per zone, the latest last
	}
}

// resolved notes a name that the upstreams resolved.
func (c *control) resolved(name string) {
	k := &c.known
	k.Lock()
	defer k.Unlock()
	same := func(old string) bool { return zone(old) == zone(name) }
	if i := slices.IndexFunc(k.names, same); i >= 0 {
		k.names = slices.Delete(k.names, i, i+1)
	} else if len(k.names) == knownNames {
		k.names = slices.Delete(k.names, 0, 1)
	}
	k.names = append(k.names, name)
}

func (c *control) names() []string {
	c.known.Lock()
	defer c.known.Unlock()
	return slices.Clone(c.known.names)
}

// zone is the end of a name that is most likely one owner's: its last two labels.
func zone(name string) string {
	last := strings.LastIndexByte(name, '.')
	return name[strings.LastIndexByte(name[:max(last, 0)], '.')+1:]
}

// check returns nil if an upstream worked after the given time. Concurrent callers share the questions.
func (r *Resolver) check(after time.Time) error {
	c := &r.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.began.After(after) {
		c.began = time.Now()
		c.err = r.probe(r.ctx, nil)
	}
	return c.err
}

// Down reports whether no upstream works.
func (r *Resolver) Down() bool { return r.check(time.Now()) != nil && r.ctx.Err() == nil }

// Probe returns nil if the upstreams work now. names are more names that may resolve.
func (r *Resolver) Probe(ctx context.Context, names []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	return r.probe(ctx, names)
}

// probe sends the control questions, and queries for more names, side by side.
func (r *Resolver) probe(ctx context.Context, more []string) error {
	known := r.control.names()
	names := append(slices.Concat(known, more), ".")
	answers := make([]error, len(names))
	var queries sync.WaitGroup
	for i, name := range names {
		queries.Go(func() {
			defer crash.Exit()
			kind := dns.TypeA
			if name == "." {
				kind = dns.TypeNS
			}
			answers[i] = r.usable(ctx, name, kind)
		})
	}
	queries.Wait()
	root := len(names) - 1
	var err error
	for _, err = range answers[:root] {
		if err == nil {
			return nil
		}
	}
	if answers[root] != nil {
		return answers[root]
	}
	if len(known) > 1 {
		return err // and one zone alone is not to blame
	}
	return nil
}

// usable returns nil when an upstream says what a name is, or that it does not exist.
func (r *Resolver) usable(ctx context.Context, name string, kind uint16) error {
	q := newQuery(name, kind)
	var last error
	for _, addr := range r.inOrder() {
		m, err := r.once(ctx, q, addr)
		switch {
		case err != nil:
			if last == nil {
				last = fmt.Errorf("no name server answers; the last: %w", err)
			}
		case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
			return nil
		default:
			last = fmt.Errorf("%w: %s says %s", errRefuses, addr, dns.RcodeToString[m.Rcode])
		}
	}
	return last
}

// Needed reports whether the upstreams are needed for a name; those in the hosts file do without.
func (r *Resolver) Needed(name string) bool {
	return r.system.host(strings.TrimSuffix(name, ".")) == nil
}
