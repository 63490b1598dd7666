package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is a name server on loopback. What it says is in the name's first label.
type upstream struct {
	addr string
	down atomic.Bool // it says nothing at all
	fail atomic.Bool // it says SERVFAIL to everything but "."
	shut atomic.Bool // it says REFUSED to everything

	mu    sync.Mutex
	asked map[string]int
	open  chan struct{} // names that begin with "slow" wait for it
	most  int
	now   int
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{asked: map[string]int{}, open: make(chan struct{})}
	u.addr = fetchtest.NameServer(t, u)
	return u
}

func (u *upstream) count(name string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[name]
}

func (u *upstream) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	name := q.Question[0].Name
	u.mu.Lock()
	u.asked[strings.TrimSuffix(name, ".")+" "+dns.TypeToString[q.Question[0].Qtype]]++
	u.now++
	u.most = max(u.most, u.now)
	u.mu.Unlock()
	over := sync.OnceFunc(func() { u.mu.Lock(); u.now--; u.mu.Unlock() })
	defer over()
	if u.down.Load() {
		return
	}
	m := new(dns.Msg).SetReply(q)
	label, _, _ := strings.Cut(name, ".")
	add := func(s string, args ...any) { m.Answer = append(m.Answer, fetchtest.Record(s, args...)) }
	soa := func(ttl int) {
		m.Ns = append(m.Ns, fetchtest.Record("test. %d IN SOA a. b. 1 2 3 4 %d", ttl, ttl))
	}
	if strings.HasPrefix(label, "slow") {
		<-u.open
		over() // before the answer, which may bring the next query at once
	}
	v6 := q.Question[0].Qtype == dns.TypeAAAA
	switch {
	case u.shut.Load():
		m.Rcode = dns.RcodeRefused
	case name == ".":
		add(". 60 IN NS a.")
	case u.fail.Load() || label == "servfail":
		m.Rcode = dns.RcodeServerFailure
	case label == "refused":
		m.Rcode = dns.RcodeRefused
	case label == "missing":
		m.Rcode = dns.RcodeNameError
		soa(60)
	case label == "mute":
		return
	case label == "empty":
		soa(60)
	case label == "six":
		if v6 {
			add("%s 60 IN AAAA 2001:db8::6", name)
		}
	case label == "alias":
		add("%s 60 IN CNAME real.test.", name)
		add("real.test. 60 IN A 192.0.2.7")
	case label == "many":
		if _, tcp := w.RemoteAddr().(*net.TCPAddr); !tcp {
			m.Truncated = true
			break
		}
		for i := range 100 {
			add("%s 60 IN A 192.0.2.%d", name, i)
		}
	case label == "brief":
		add("%s 0 IN A 192.0.2.1", name)
	case !v6:
		add("%s 60 IN A 192.0.2.1", name)
		add("%s 60 IN A 192.0.2.2", name)
	}
	w.WriteMsg(m)
}

func newResolver(t *testing.T, o Options) *Resolver {
	t.Helper()
	if o.Hosts == "" {
		o.Hosts = filepath.Join(t.TempDir(), "none")
	}
	if o.Timeout == 0 {
		o.Timeout = 200 * time.Millisecond
	}
	r, err := New(o)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

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

func kindOf(t *testing.T, err error) Kind {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	return e.Kind
}

func TestAnswers(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	for name, want := range map[string]string{
		"a.test": "[192.0.2.1 192.0.2.2]", "a.test.": "[192.0.2.1 192.0.2.2]", "six.test": "[2001:db8::6]",
		"alias.test": "[192.0.2.7]", "brief.test": "[192.0.2.1]",
	} {
		if got, err := r.Lookup(t.Context(), name); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v, want %s", name, got, err, want)
		}
	}
	if got, err := r.Lookup(t.Context(), "many.test"); err != nil || len(got) != 100 {
		t.Errorf("an answer that needs TCP: %d addresses, %v", len(got), err)
	}
	for name, want := range map[string]Kind{
		"missing.test": NotFound, "empty.test": NotFound, "servfail.test": Failed, "refused.test": Failed,
		"mute.test": Failed,
		"":          NotFound, ".": NotFound, "a..b": NotFound, strings.Repeat("a", 64) + ".test": NotFound,
		strings.Repeat("a.", 130) + "test": NotFound,
	} {
		if got, err := r.Lookup(t.Context(), name); err == nil || kindOf(t, err) != want {
			t.Errorf("%q: %v, %v, want kind %v", name, got, err, want)
		}
	}
	if u.count("missing.test AAAA") != 0 || u.count("a.test AAAA") != 0 {
		t.Error("IPv6 was asked for where IPv4 had told all")
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
		rr, ns   string
		low, top time.Duration
	}{
		{"a.test. 0 IN A 192.0.2.1", "", minTTL, minTTL},
		{"a.test. 300 IN A 192.0.2.1", "", 300 * time.Second, 300 * time.Second},
		{"a.test. 999999 IN A 192.0.2.1", "", maxTTL, maxTTL},
		{"", "test. 0 IN SOA a. b. 1 2 3 4 5", minTTL, minTTL},
		{"", "test. 60 IN SOA a. b. 1 2 3 4 90", time.Minute, time.Minute},
		{"", "test. 999999 IN SOA a. b. 1 2 3 4 999999", maxNoTTL, maxNoTTL},
		{"", "", maxNoTTL, maxNoTTL},
	} {
		u := newReply(t, c.rr, c.ns)
		r := newResolver(t, Options{Servers: []string{u}})
		before := time.Now()
		r.Lookup(t.Context(), "a.test")
		e, _ := r.cache.get("a.test")
		if d := e.expires.Sub(before); d < c.low || d > c.top+time.Second {
			t.Errorf("%q %q: kept for %v, want %v", c.rr, c.ns, d, c.low)
		}
	}
}

// newReply is a name server that says the same to everything.
func newReply(t *testing.T, answer, authority string) string {
	return fetchtest.NameServer(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if answer != "" {
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
	for i := range 1000 {
		c.put(fmt.Sprint(i), entry{expires: time.Now().Add(time.Hour)})
		if _, ok := c.get("0"); !ok {
			t.Fatalf("a name in use was dropped after %d others", i)
		}
		if n := len(c.young) + len(c.old); n > 100 {
			t.Fatalf("%d names in a cache of 100", n)
		}
	}
	if _, ok := c.get("1"); ok {
		t.Error("a name that nobody used was kept")
	}
}

func TestSingleFlight(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}, Timeout: 10 * time.Second})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := r.Lookup(t.Context(), "slow.test"); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	if _, err := r.Lookup(ctx, "slow.test"); err != stop {
		t.Errorf("a lookup whose context is over: %v", err)
	}
	close(u.open)
	wg.Wait()
	if n := u.count("slow.test A"); n != 1 {
		t.Errorf("requested %d times", n)
	}
}

func TestQueriesAtOnce(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}, Queries: 5, Timeout: 10 * time.Second})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() { r.Lookup(t.Context(), fmt.Sprintf("slow%d.test", i)) })
	}
	for {
		u.mu.Lock()
		n := u.now
		u.mu.Unlock()
		if n == 5 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(u.open)
	wg.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.most != 5 {
		t.Errorf("%d queries at once, want 5", u.most)
	}
}

func TestStale(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	want, err := r.Lookup(t.Context(), "a.test")
	must(t, err)
	for name, broken := range map[string]*atomic.Bool{"silent": &u.down, "failing": &u.fail} {
		r.expire()
		broken.Store(true)
		for range 3 {
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

// TestStaleWhileSilent: an old answer does not wait for all the timeouts.
func TestStaleWhileSilent(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}, Timeout: time.Minute})
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil {
		t.Fatal(err)
	}
	r.expire()
	u.down.Store(true)
	start := time.Now()
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("served after %v", d)
	}
}

func TestSeveralUpstreams(t *testing.T) {
	dead, broken, good := newUpstream(t), newUpstream(t), newUpstream(t)
	dead.down.Store(true)
	broken.fail.Store(true)
	r := newResolver(t, Options{Servers: []string{dead.addr, broken.addr, good.addr}})
	for i := range 30 {
		if _, err := r.Lookup(t.Context(), fmt.Sprintf("a%d.test", i)); err != nil {
			t.Error(err)
		}
	}
	dead.mu.Lock()
	defer dead.mu.Unlock()
	n := 0
	for _, c := range dead.asked {
		n += c
	}
	if n > 3 {
		t.Errorf("the silent upstream got %d requests", n)
	}
}

func TestNoUpstream(t *testing.T) {
	u := newUpstream(t)
	u.down.Store(true)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	for _, servers := range [][]string{{u.addr}, {closed.LocalAddr().String()},
		{u.addr, closed.LocalAddr().String()}} {
		r := newResolver(t, Options{Servers: servers})
		_, err := r.Lookup(t.Context(), "a.test")
		if err == nil || kindOf(t, err) != Unreachable ||
			!strings.Contains(err.Error(), "no name server answers") {
			t.Errorf("%v: %v", servers, err)
		}
	}
	if _, err := New(Options{Servers: []string{"127.0.0.1"}}); err == nil {
		t.Error("a server without a port was accepted")
	}
}

// TestRefused: upstreams that answer and resolve nothing are our own outage, as silent ones are. A zone that
// fails by itself is not.
func TestRefused(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	fails := func(name string, want Kind) {
		t.Helper()
		if _, err := r.Lookup(t.Context(), name); err == nil || kindOf(t, err) != want {
			t.Errorf("%s: %v, want kind %d", name, err, want)
		}
	}
	u.shut.Store(true)
	fails("a.one.test", Unreachable)
	if err := r.Probe(t.Context(), nil); !errors.Is(err, errRefuses) {
		t.Error(err)
	}
	u.shut.Store(false)
	if _, err := r.Lookup(t.Context(), "a.one.test"); err != nil {
		t.Error("the failure was remembered:", err)
	}
	if err := r.Probe(t.Context(), nil); err != nil {
		t.Error(err)
	}
	u.fail.Store(true) // "." is answered, and only one zone is known
	fails("b.one.test", Failed)
	u.fail.Store(false)
	for i := range 2 * knownNames {
		if _, err := r.Lookup(t.Context(), fmt.Sprintf("a.zone%d.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.control.names()); n != knownNames {
		t.Errorf("%d names are known", n)
	}
	fails("servfail.two.test", Failed)
	u.fail.Store(true)
	fails("b.two.test", Unreachable)
	u.fail.Store(false)
}

// TestUpstreamsTakeTurns: each upstream is the first as often as the others.
func TestUpstreamsTakeTurns(t *testing.T) {
	for n := 2; n <= 3; n++ {
		r := newResolver(t, Options{Servers: []string{"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"}[:n]})
		first := map[string]int{}
		for range 10 * n {
			order := r.inOrder()
			first[order[0]]++
			if slices.Sort(order); !slices.Equal(order, r.o.Servers) {
				t.Errorf("%v", order)
			}
		}
		for addr, times := range first {
			if times != 10 || len(first) != n {
				t.Errorf("%s was the first of %d in %d of %d turns", addr, n, times, 10*n)
			}
		}
	}
}

func TestZone(t *testing.T) {
	for name, want := range map[string]string{"a.b.one.test": "one.test", "xone.test": "xone.test",
		"one.test": "one.test", "three": "three", "a.b": "a.b", "": ""} {
		if got := zone(name); got != want {
			t.Errorf("%q is in %q, want %q", name, got, want)
		}
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

// TestZonesAtFault: one zone that fails is to blame itself; of two, the upstreams are.
func TestZonesAtFault(t *testing.T) {
	for zones, want := range map[int]Kind{1: Failed, 2: Unreachable} {
		u := newUpstream(t)
		r := newResolver(t, Options{Servers: []string{u.addr}})
		for i := range zones {
			_, err := r.Lookup(t.Context(), fmt.Sprintf("a.zone%d.test", i))
			must(t, err)
		}
		u.fail.Store(true)
		if _, err := r.Lookup(t.Context(), "b.zone0.test"); err == nil || kindOf(t, err) != want {
			t.Errorf("%d zones: %v, want kind %d", zones, err, want)
		}
	}
}

// TestKnownNames: one name is kept of each zone, the latest last, and the zones that resolved longest ago go.
func TestKnownNames(t *testing.T) {
	var c control
	for _, x := range []struct{ name, want string }{
		{"a.one.test", "[a.one.test]"},
		{"b.one.test", "[b.one.test]"},
		{"two.test", "[b.one.test two.test]"},
		{"c.one.test", "[two.test c.one.test]"},
		{"c.one.test", "[two.test c.one.test]"},
		{"three", "[two.test c.one.test three]"},
		{"x.four.test", "[two.test c.one.test three x.four.test]"},
		{"five.test", "[c.one.test three x.four.test five.test]"},
		{"y.four.test", "[c.one.test three five.test y.four.test]"},
	} {
		if c.resolved(x.name); fmt.Sprint(c.names()) != x.want {
			t.Errorf("after %s: %v, want %s", x.name, c.names(), x.want)
		}
	}
}

// TestBackMeanwhile: upstreams that come back while a name is being asked for give its address.
func TestBackMeanwhile(t *testing.T) {
	u := newUpstream(t)
	u.down.Store(true)
	r := newResolver(t, Options{Servers: []string{u.addr}, Timeout: 100 * time.Millisecond})
	go func() {
		for u.count("a.test A") < rounds {
			time.Sleep(time.Millisecond)
		}
		u.down.Store(false)
	}()
	// The control questions may have been sent too early.
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil && kindOf(t, err) != Unreachable {
		t.Error(err)
	}
}

func TestSystemFiles(t *testing.T) {
	u := newUpstream(t)
	dir := t.TempDir()
	hosts, config := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	write := func(file, text string, mod time.Time) {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		must(t, os.Chtimes(file, mod, mod))
	}
	write(hosts, "# comment\n192.0.2.99 Printer printer.lan # trailing\n2001:db8::1 printer\nbroken "+
		"line\nfe80::1%eth0 zoned\n", time.Unix(1, 0))
	write(config, "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch lan example\n", time.Unix(1, 0))
	r := newResolver(t, Options{Hosts: hosts, Config: config})
	if got, err := r.Lookup(t.Context(), "printer"); err != nil ||
		fmt.Sprint(got) != "[192.0.2.99 2001:db8::1]" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := r.Lookup(t.Context(), "printer.lan."); err != nil || fmt.Sprint(got) != "[192.0.2.99]" {
		t.Errorf("%v, %v", got, err)
	}
	if got := fmt.Sprint(r.system.servers(), r.system.names("nas"),
		r.system.names("a.b")); got != "[192.0.2.53:53 [2001:db8::53]:53] [nas.lan nas.example nas] [a.b]" {
		t.Error(got)
	}
	write(hosts, "192.0.2.100 printer\n", time.Unix(2, 0))
	write(config, "search lan\n", time.Unix(2, 0))
	r.system.checked = time.Time{}
	if got, err := r.Lookup(t.Context(), "printer"); err != nil || fmt.Sprint(got) != "[192.0.2.100]" {
		t.Errorf("after a change: %v, %v", got, err)
	}
	if got := r.system.servers(); len(got) != 2 || got[0] != "127.0.0.1:53" {
		t.Errorf("without a name server: %v", got)
	}
	// The search list is asked through, up to the name itself.
	r = newResolver(t, Options{Hosts: hosts, Config: config, Servers: []string{u.addr}})
	if _, err := r.Lookup(t.Context(), "missing"); err == nil || u.count("missing.lan A") != 1 ||
		u.count("missing A") != 1 {
		t.Errorf("%v %v", err, u.asked)
	}
}

func TestCloseEndsQueries(t *testing.T) {
	u := newUpstream(t)
	u.down.Store(true)
	r, err := New(Options{Servers: []string{u.addr}, Timeout: time.Hour})
	must(t, err)
	failed := make(chan error)
	go func() {
		_, err := r.Lookup(context.Background(), "a.test")
		failed <- err
	}()
	for u.count("a.test A") == 0 {
		time.Sleep(time.Millisecond)
	}
	r.Close()
	if err := <-failed; err == nil {
		t.Error("a lookup succeeded without an answer")
	}
}

var sink []netip.Addr

func BenchmarkCached(b *testing.B) {
	r, err := New(Options{Servers: []string{"127.0.0.1:1"}})
	must(b, err)
	defer r.Close()
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("host%d.test", i)
		r.cache.put(names[i], entry{addrs: []netip.Addr{netip.IPv6Loopback()},
			expires: time.Now().Add(time.Hour)})
	}
	b.ReportAllocs()
	for i := range b.N {
		sink, _ = r.Lookup(b.Context(), names[i%len(names)])
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
