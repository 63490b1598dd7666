package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
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

func kindOf(t *testing.T, err error) Kind {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	return e.Kind
}

func TestAnswers(t *testing.T) {
	t.Parallel()
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
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[2:]}, ".")
	if _, err := r.Lookup(t.Context(), longest); err != nil || u.count(longest+" A") != 1 {
		t.Errorf("the longest name there can be: %v", err)
	}
	if _, err := r.Lookup(t.Context(), longest+"a"); err == nil || u.count(longest+"a A") != 0 {
		t.Errorf("a longer one was requested: %v", err)
	}
}

// TestFailures: a name that one upstream fails at is tried once more when a control question has shown that
// the upstream works; one that gets no answer is tried twice before that.
func TestFailures(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	for _, c := range []struct {
		name, text string
		asked      int
		failures   int64 // from the start
	}{
		{"servfail.test", "lookup servfail.test: " + u.addr + " says SERVFAIL", 2, 0},
		{"mute.test", "lookup mute.test: " + u.addr + " does not answer within 200ms", 3, 3},
	} {
		_, err := r.Lookup(t.Context(), c.name)
		if err == nil || kindOf(t, err) != Failed || err.Error() != c.text ||
			u.count(c.name+" A") != c.asked || r.Servers()[0].Failures != c.failures {
			t.Errorf("%s: %v, requested %d times, %+v", c.name, err, u.count(c.name+" A"), r.Servers())
		}
	}
}

// TestAverage: the time of an answer follows the latest ones slowly.
func TestAverage(t *testing.T) {
	for _, c := range [][3]time.Duration{{0, 80, 80}, {80, 160, 90}, {160, 80, 150}, {80, 80, 80}} {
		if got := average(c[0], c[1]); got != c[2] {
			t.Errorf("%v after %v: %v, want %v", c[1], c[0], got, c[2])
		}
	}
}

// TestQuestion: answers by UDP are kept small enough not to be cut on the way, without signatures.
func TestQuestion(t *testing.T) {
	q := newQuery("a.test", dns.TypeA)
	if o := q.IsEdns0(); o == nil || o.UDPSize() != 1232 || o.Do() || q.Question[0].Name != "a.test." {
		t.Errorf("%v", q)
	}
}

func TestDefaults(t *testing.T) {
	r, err := New(Options{})
	must(t, err)
	defer r.Close()
	want := Options{Config: "/etc/resolv.conf", Hosts: "/etc/hosts", Names: 200_000, Queries: 256,
		Timeout: 2 * time.Second}
	if !reflect.DeepEqual(r.o, want) || cap(r.queries) != want.Queries || r.cache.max != want.Names {
		t.Errorf("%+v", r.o)
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

func TestSeveralUpstreams(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestSilentUpstreamComesLast for ten seconds.
func TestSilentUpstreamComesLast(t *testing.T) {
	silent, good := newUpstream(t), newUpstream(t)
	silent.down.Store(true)
	r := newResolver(t, Options{Servers: []string{silent.addr, good.addr}, Timeout: 50 * time.Millisecond})
	before := time.Now()
	if _, err := r.once(t.Context(), newQuery("a.test", dns.TypeA), silent.addr); err == nil {
		t.Fatal("no error")
	}
	weak := time.Unix(0, r.server(silent.addr).weak.Load())
	if weak.Before(before.Add(10*time.Second)) || weak.After(time.Now().Add(10*time.Second)) {
		t.Errorf("it comes last for %v", weak.Sub(before))
	}
	for range 4 {
		if order := r.inOrder(); order[0] != good.addr || order[1] != silent.addr {
			t.Errorf("%v, of which the first is silent", order)
		}
	}
	silent.down.Store(false)
	r.o.Timeout = time.Minute
	if _, err := r.once(t.Context(), newQuery("a.test", dns.TypeA), silent.addr); err != nil {
		t.Fatal(err)
	}
	if first, second := r.inOrder()[0], r.inOrder()[0]; first == second {
		t.Errorf("%s is always the first, although both answer", first)
	}
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
