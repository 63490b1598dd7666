package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"

	"github.com/miekg/dns"
)

// expire makes everything that is remembered out of date.
func (r *Resolver) expire() {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	for _, g := range []map[string]entry{r.cache.young, r.cache.old} {
		for k, e := range g {
			e.expires = time.Now().Add(-time.Second)
			g[k] = e
		}
	}
}

func TestCache(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	for range 50 {
		for _, name := range []string{"a.test", "missing.test", "empty.test", "brief.test", "A.test."[2:]} {
			r.Lookup(t.Context(), name)
		}
	}
	for _, q := range []string{"a.test A", "missing.test A", "empty.test A", "empty.test AAAA",
		"brief.test A"} {
		if n := u.count(q); n != 1 {
			t.Errorf("%s was requested %d times", q, n)
		}
	}
	if s := r.Servers()[0]; s.Queries != 6 || s.Failures != 0 { // the other 244 lookups were hits
		t.Errorf("%+v", s)
	}
	r.expire()
	r.Lookup(t.Context(), "a.test")
	if n := u.count("a.test A"); n != 2 {
		t.Errorf("requested %d times after the TTL", n)
	}
	ss := r.Servers()
	if len(ss) != 1 || ss[0].Addr != u.addr || ss[0].Queries != 7 || ss[0].Failures != 0 || ss[0].Time <= 0 {
		t.Errorf("%+v", ss)
	}
}

func TestTTLBounds(t *testing.T) {
	for _, c := range []struct {
		rr, ns string
		want   time.Duration
	}{
		{"a.test. 0 IN A 192.0.2.1", "", 10 * time.Second},
		{"a.test. 300 IN A 192.0.2.1", "", 300 * time.Second},
		{"a.test. 999999 IN A 192.0.2.1", "", time.Hour},
		{"", "test. 0 IN SOA a. b. 1 2 3 4 5", 10 * time.Second},
		{"", "test. 60 IN SOA a. b. 1 2 3 4 90", time.Minute},
		{"", "test. 90 IN SOA a. b. 1 2 3 4 60", time.Minute},
		{"", "test. 999999 IN SOA a. b. 1 2 3 4 999999", 5 * time.Minute},
		{"", "", 5 * time.Minute},
		{"failing", "", time.Second},
	} {
		u := newReply(t, c.rr, c.ns)
		r := newResolver(t, Options{Servers: []string{u}})
		before := time.Now()
		r.Lookup(t.Context(), "a.test")
		e, _ := r.cache.get("a.test")
		if e.expires.Before(before.Add(c.want)) || e.expires.After(time.Now().Add(c.want)) {
			t.Errorf("%q %q: kept for %v, want %v", c.rr, c.ns, e.expires.Sub(before), c.want)
		}
	}
}

// TestKeptAnswers: an answer can serve for a day after its time to live, and is then forgotten.
func TestKeptAnswers(t *testing.T) {
	for since, want := range map[time.Duration]bool{24*time.Hour - time.Minute: true, 24*time.Hour +
		1: false} {
		for _, old := range []bool{false, true} {
			c := cache{max: 2}
			c.put("a", entry{expires: time.Now().Add(-since)})
			if old {
				c.put("b", entry{})
			}
			if _, ok := c.get("a"); ok != want {
				t.Errorf("%v after its time, old %t: kept %t", since, old, ok)
			}
		}
	}
}

// newReply is a name server that says the same to everything, or that it fails.
func newReply(t *testing.T, answer, authority string) string {
	return fetchtest.NameServer(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch answer {
		case "":
		case "failing":
			if q.Question[0].Name != "." {
				m.Rcode = dns.RcodeServerFailure
			}
		default:
			m.Answer = append(m.Answer, fetchtest.Record("%s", answer))
		}
		if authority != "" {
			m.Ns = append(m.Ns, fetchtest.Record("%s", authority))
		}
		w.WriteMsg(m)
	}))
}

// TestBound: the cache holds no more than it may, and keeps what is used.
func TestBound(t *testing.T) {
	c := cache{max: 100}
	most := 0
	for i := range 1000 {
		c.put(fmt.Sprint(i), entry{expires: time.Now().Add(time.Hour)})
		if _, ok := c.get("0"); !ok {
			t.Fatalf("a name in use was dropped after %d others", i)
		}
		most = max(most, len(c.young)+len(c.old))
	}
	if most > 100 || most < 99 {
		t.Errorf("up to %d names in a cache of 100", most)
	}
	if _, ok := c.get("1"); ok {
		t.Error("a name that nobody used was kept")
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	want, err := r.Lookup(t.Context(), "a.test")
	must(t, err)
	_, err = r.Lookup(t.Context(), "brief.test")
	must(t, err)
	for name, broken := range map[string]*atomic.Bool{"silent": &u.down, "failing": &u.fail} {
		r.expire()
		broken.Store(true)
		for range 3 {
			if got, err := r.Lookup(t.Context(), "brief.test"); err != nil || len(got) != 1 {
				t.Errorf("upstream %s, one address: %v, %v", name, got, err)
			}
			got, err := r.Lookup(t.Context(), "a.test")
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("upstream %s: %v, %v", name, got, err)
			}
		}
		broken.Store(false)
	}
	r.cache.mu.Lock()
	e := r.cache.young["a.test"]
	e.expires = time.Now().Add(-staleTTL - time.Second)
	r.cache.young["a.test"] = e
	r.cache.mu.Unlock()
	u.fail.Store(true)
	if _, err := r.Lookup(t.Context(), "a.test"); err == nil {
		t.Error("an answer of the day before yesterday was served")
	}
}

// TestGoneMeanwhile: an old answer does not serve for a name that does not exist any more.
func TestGoneMeanwhile(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	r.cache.put("missing.test", entry{addrs: []netip.Addr{netip.IPv6Loopback()}, expires: time.Now()})
	if got, err := r.Lookup(t.Context(), "missing.test"); err == nil || kindOf(t, err) != NotFound {
		t.Errorf("%v, %v", got, err)
	}
}

// TestStaleWhileSilent: an old answer serves when the upstream has been silent for a while, not after all the
// timeouts. A name without one goes on waiting.
func TestStaleWhileSilent(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}, Timeout: time.Minute})
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil {
		t.Fatal(err)
	}
	r.expire()
	u.down.Store(true)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough, other := errors.New("enough"), make(chan error)
	go func() {
		_, err := r.Lookup(ctx, "b.test")
		other <- err
	}()
	for u.count("b.test A") == 0 {
		time.Sleep(time.Millisecond)
	}
	start := time.Now()
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 1700*time.Millisecond || d > 20*time.Second {
		t.Errorf("served after %v", d)
	}
	cancel(enough)
	if err := <-other; err != enough {
		t.Errorf("a name that was never resolved: %v", err)
	}
}

// TestPut: a failure replaces what is remembered, unless that is addresses, old or young, and it is not that
// the name does not exist.
func TestPut(t *testing.T) {
	failed, missing := &Error{Kind: Failed}, &Error{Kind: NotFound}
	addrs := []netip.Addr{netip.IPv6Loopback()}
	for _, c := range []struct {
		was, put entry
		kept     bool
	}{
		{entry{addrs: addrs}, entry{err: failed}, true},
		{entry{addrs: addrs}, entry{err: missing}, false},
		{entry{err: missing}, entry{err: failed}, false},
		{entry{err: failed}, entry{addrs: addrs}, false},
	} {
		for _, old := range []bool{false, true} {
			c.was.expires, c.put.expires = time.Now(), time.Now()
			cache := cache{max: 2}
			cache.put("a", c.was)
			if old {
				cache.put("b", entry{})
			}
			cache.put("a", c.put)
			want := c.put
			if c.kept {
				want = c.was
			}
			if e, ok := cache.get("a"); !ok || e.err != want.err || len(e.addrs) != len(want.addrs) {
				t.Errorf("%+v, old %t: %+v", c, old, e)
			}
		}
	}
}
