package fetch_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/fetch/resolve"

	"github.com/miekg/dns"
)

// proxy is an HTTP proxy that makes tunnels, and notes what it was asked for.
type proxy struct {
	mu    sync.Mutex
	asked []string
	auth  string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI)
	p.auth = r.Header.Get("Proxy-Authorization")
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	c, err := net.Dial("tcp", r.RequestURI)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		c.Close()
		return
	}
	io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	join(client, c)
}

// requests are those since the last call.
func (p *proxy) requests() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.asked, "\n")
	p.asked = nil
	return s
}

// join copies both ways until one side is through.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, x := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			io.Copy(x[0], x[1])
			a.Close()
			b.Close()
		})
	}
	wg.Wait()
}

// nameServer is a DNS server on loopback that says for each name what the table says; names that are not in
// it do not exist, an empty answer means none at all.
func nameServer(t *testing.T, names map[string]string) resolve.Options {
	addr := fetchtest.NameServer(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := strings.TrimSuffix(q.Question[0].Name, ".")
		answer, ok := names[name]
		switch {
		case name == "":
		case !ok:
			m.Rcode = dns.RcodeNameError
		case answer == "":
			return
		case answer == "servfail":
			m.Rcode = dns.RcodeServerFailure
		default:
			for a := range strings.FieldsSeq(answer) {
				kind := "A"
				if netip.MustParseAddr(a).Is6() {
					kind = "AAAA"
				}
				if kind == dns.TypeToString[q.Question[0].Qtype] {
					m.Answer = append(m.Answer, fetchtest.Record("%s. 60 IN %s %s", name, kind, a))
				}
			}
		}
		w.WriteMsg(m)
	}))
	return resolve.Options{Servers: []string{addr}, Hosts: filepath.Join(t.TempDir(), "none"),
		Timeout: 150 * time.Millisecond}
}

func portOf(t *testing.T, rawURL string) string {
	u, err := url.Parse(rawURL)
	must(t, err)
	return u.Port()
}

func TestNames(t *testing.T) {
	s := newServer(t)
	port := portOf(t, s.URL)
	r := nameServer(t, map[string]string{
		"plain.test": "127.0.0.1", "several.test": "127.0.0.9 127.0.0.1",
		"mixed.test":    "169.254.169.254 127.0.0.1",
		"metadata.test": "169.254.169.254 fe80::1", "mapped.test": "::ffff:169.254.169.254", "mute.test": "",
		"servfail.test": "servfail",
	})
	f := newFetcher(t, fetch.Options{DNS: r, Timeout: 5 * time.Second})
	quick := newFetcher(t, fetch.Options{DNS: r, Timeout: 100 * time.Millisecond})
	for name, want := range map[string]string{
		"plain.test": "", "PLAIN.test.": "", "several.test": "", "mixed.test": "", "localhost": "",
		"any.localhost": "",
		"metadata.test": fetch.PrivateAddress, "mapped.test": fetch.PrivateAddress,
		"missing.test": fetch.DNSNotFound, "name.invalid": fetch.DNSNotFound,
		"servfail.test": fetch.DNSTimeout, "mute.test": fetch.DNSTimeout,
	} {
		_, e := attempt(t, f, "http://"+name+":"+port+"/i/0/x")
		if e != nil && (e.Reason != want || e.Outage) || e == nil && want != "" {
			t.Errorf("%s: %v (outage %v), want %q", name, e, e != nil && e.Outage, want)
		}
	}
	if _, e := attempt(t, quick, "http://mute2.test/"); e == nil || e.Reason != fetch.DNSNotFound {
		t.Errorf("%v", e)
	}
	if _, e := attempt(t, quick, "http://a.mute.test.:1/"); e == nil || e.Reason != fetch.DNSNotFound {
		t.Errorf("%v", e)
	}
	if _, e := attempt(t, quick, "http://mute.test:1/"); e == nil || e.Reason != fetch.DNSTimeout ||
		e.Outage {
		t.Errorf("a lookup longer than the attempt: %v", e)
	}
	public, err := fetch.New(fetch.Options{DNS: r})
	must(t, err)
	defer public.Close()
	if _, e := attempt(t, public, "http://plain.test:"+port+"/"); e == nil ||
		e.Reason != fetch.PrivateAddress {
		t.Errorf("a name for a private address: %v", e)
	}
}

// TestNoResolver: when no name server answers, no row is spent.
func TestNoResolver(t *testing.T) {
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	p.Close()
	f := newFetcher(t, fetch.Options{DNS: resolve.Options{Servers: []string{p.LocalAddr().String()},
		Timeout: 100 * time.Millisecond}})
	if _, e := attempt(t, f, "http://a.test/"); e == nil || !e.Outage || e.Reason != fetch.DNSTimeout {
		t.Errorf("%v", e)
	}
}

// certificate makes one for the names and addresses, and a pool that trusts it.
func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: names}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	s := newServer(t)
	cert, pool := certificate(t, "127.0.0.1", "secure.test")
	base := s.ListenTLS("127.0.0.1:0", cert)
	port := portOf(t, base)
	r := nameServer(t, map[string]string{"secure.test": "127.0.0.1", "other.test": "127.0.0.1"})
	trusting := newFetcher(t, fetch.Options{RootCAs: pool, DNS: r, MaxRedirects: 2})
	strict := newFetcher(t, fetch.Options{DNS: r})
	careless := newFetcher(t, fetch.Options{Insecure: true, DNS: r})
	for _, c := range []struct {
		f    *fetch.Fetcher
		url  string
		want string
	}{
		{trusting, base + "/i/0/x", ""},
		{trusting, "https://secure.test:" + port + "/i/0/x", ""},
		{trusting, "https://secure.test.:" + port + "/i/0/x", ""},
		{trusting, "https://other.test:" + port + "/i/0/x", fetch.TLS},
		{trusting, s.URL + "/to/" + url.PathEscape(base+"/i/0/x"), ""},
		{strict, base + "/i/0/x", fetch.TLS},
		{careless, base + "/i/0/x", ""},
		{careless, "https://other.test:" + port + "/i/0/x", ""},
	} {
		if _, e := attempt(t, c.f, c.url); e != nil && e.Reason != c.want || e == nil && c.want != "" {
			t.Errorf("%s: %v, want %q", c.url, e, c.want)
		}
	}
}

func TestHTTPProxy(t *testing.T) {
	s := newServer(t)
	cert, pool := certificate(t, "site.test", "127.0.0.1")
	secure := s.ListenTLS("127.0.0.1:0", cert)
	r := nameServer(t, map[string]string{"site.test": "127.0.0.1", "metadata.test": "169.254.169.254"})
	for _, kind := range []string{"http", "https"} {
		t.Run(kind, func(t *testing.T) {
			p := &proxy{}
			srv := httptest.NewUnstartedServer(p)
			if kind == "https" {
				srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			f := newFetcher(t, fetch.Options{Proxy: strings.Replace(srv.URL, "://", "://me:secret@", 1),
				DNS: r, RootCAs: pool, MaxRedirects: 2})
			defer f.Close()
			plain, encrypted := strings.TrimPrefix(s.URL, "http://"), strings.TrimPrefix(secure, "https://")
			closed := closedPort
			for _, c := range []struct{ url, want, asked string }{
				{"http://site.test:" + portOf(t, s.URL) + "/echo/a%2Fb?q=1", "", "CONNECT " + plain},
				// by the same tunnel
				{"http://site.test:" + portOf(t, s.URL) + "/status/404", fetch.HTTP4xx, ""},
				{"https://site.test:" + portOf(t, secure) + "/echo/a%2Fb?q=1", "", "CONNECT " + encrypted},
				{"http://missing.test/", fetch.DNSNotFound, ""},
				{"http://metadata.test/", fetch.PrivateAddress, ""},
				{"https://metadata.test/", fetch.PrivateAddress, ""},
				{"http://169.254.169.254/", fetch.PrivateAddress, ""},
				{s.URL + "/to/" + url.PathEscape("http://metadata.test/"), fetch.PrivateAddress,
					"CONNECT " + plain},
				{"https://" + closed + "/", fetch.Connect, "CONNECT " + closed},
			} {
				got, e := attempt(t, f, c.url)
				if e != nil && (e.Reason != c.want || e.Outage) || e == nil && c.want != "" {
					t.Errorf("%s: %v, want %q", c.url, e, c.want)
				}
				if e == nil && (!strings.HasPrefix(got, "GET /echo/a%2Fb?q=1 ") ||
					!strings.Contains(got, "\r\nHost: site.test:") || strings.Contains(got, "Proxy-")) {
					t.Errorf("%s: the server saw\n%s", c.url, got)
				}
				if asked := p.requests(); asked != c.asked {
					t.Errorf("%s: the proxy was asked for %q, want %q", c.url, asked, c.asked)
				}
				if p.auth != "Basic "+base64.StdEncoding.EncodeToString([]byte("me:secret")) {
					t.Errorf("%s: the proxy was shown %q", c.url, p.auth)
				}
			}
		})
	}
}

// TestProxyIsOurs: a proxy that fails is our outage, not the rows'.
func TestProxyIsOurs(t *testing.T) {
	s := newServer(t)
	needsAuth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer needsAuth.Close()
	curt := listen(t, func(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) })
	addr, _ := socks(t, "me:secret")
	for p, want := range map[string]string{
		"http://" + closedPort: "proxy: dial tcp", "socks5://" + closedPort: "proxy: dial tcp",
		needsAuth.URL: "proxy: 407 ", "http://" + curt: "proxy: unexpected EOF",
		"http://missing.test:3128":   "proxy: lookup missing.test: no such host",
		"socks5://" + addr:           "proxy: ",
		"socks5://me:Secret@" + addr: "proxy: socks connect ",
	} {
		f := newFetcher(t, fetch.Options{Proxy: p, DNS: nameServer(t, nil)})
		if _, e := attempt(t, f, "https://127.0.0.1:"+portOf(t, s.URL)+"/"); e == nil || !e.Outage ||
			e.Reason != fetch.Connect || !strings.HasPrefix(e.Err.Error(), want) {
			t.Errorf("%s: %v", p, e)
		}
	}
	// One that connects and then says nothing takes the attempt's time.
	mute := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, scheme := range []string{"http", "https", "socks5"} {
		f := newFetcher(t, fetch.Options{Proxy: scheme + "://" + mute, Timeout: 200 * time.Millisecond})
		if _, e := attempt(t, f, s.URL+"/i/0/x"); e == nil || e.Reason != fetch.Timeout || e.Outage {
			t.Errorf("a silent proxy by %s: %v", scheme, e)
		}
	}
	for _, p := range []string{"ftp://a", "a:1", "http://", "socks4://user:secret@a"} {
		if _, err := fetch.New(fetch.Options{Proxy: p}); err == nil ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("proxy %q: %v", p, err)
		}
	}
}

// socks is a SOCKS5 proxy for CONNECT by address; it tells what it was asked for. Unless the login, a user
// and a password, is empty, it lets only that one in.
func socks(t *testing.T, login string) (addr string, asked func() string) {
	var mu sync.Mutex
	last := ""
	addr = listen(t, func(c net.Conn) {
		b := make([]byte, 262)
		io.ReadFull(c, b[:2])
		io.ReadFull(c, b[:b[1]])
		if user, password, has := strings.Cut(login, ":"); has {
			if !bytes.Contains(b[:b[1]], []byte{2}) {
				c.Write([]byte{5, 0xff})
				return
			}
			c.Write([]byte{5, 2})
			want := fmt.Sprintf("\x01%c%s%c%s", len(user), user, len(password), password)
			if io.ReadFull(c, b[:len(want)]); string(b[:len(want)]) != want {
				c.Write([]byte{1, 1})
				return
			}
			c.Write([]byte{1, 0})
		} else {
			c.Write([]byte{5, 0})
		}
		io.ReadFull(c, b[:4])
		if b[3] != 1 {
			mu.Lock()
			last = fmt.Sprintf("address type %d", b[3])
			mu.Unlock()
			return
		}
		io.ReadFull(c, b[:6])
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])).String()
		mu.Lock()
		last = a
		mu.Unlock()
		d, err := net.Dial("tcp", a)
		if err != nil {
			c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		join(c, d)
	})
	return addr, func() string { mu.Lock(); defer mu.Unlock(); return last }
}

func TestSOCKS(t *testing.T) {
	s := newServer(t)
	cert, pool := certificate(t, "site.test")
	secure := s.ListenTLS("127.0.0.1:0", cert)
	for _, login := range []string{"", "me:secret"} {
		addr, asked := socks(t, login)
		f := newFetcher(t, fetch.Options{Proxy: "socks5://" + strings.TrimPrefix(login+"@", "@") + addr,
			DNS: nameServer(t, map[string]string{"site.test": "127.0.0.1"}), RootCAs: pool})
		for _, base := range []string{s.URL, secure} {
			u, _ := url.Parse(base)
			u.Host, u.Path = "site.test:"+u.Port(), "/i/0/x"
			if _, e := attempt(t, f, u.String()); e != nil {
				t.Errorf("%s: %v", u, e)
			}
			if want := "127.0.0.1:" + u.Port(); asked() != want {
				t.Errorf("%s: the proxy was asked for %s, want %s", u, asked(), want)
			}
		}
		if _, e := attempt(t, f, "http://"+closedPort+"/"); e == nil || e.Reason != fetch.Connect ||
			e.Outage || !strings.HasPrefix(e.Err.Error(), "the proxy says ") {
			t.Errorf("a target that refuses: %v", e)
		}
		f.Close()
	}
}

// TestProxyFromEnvironment in its usual variables. They leave loopback out, so the target is another address;
// only the proxy is asked for it, and answers itself.
func TestProxyFromEnvironment(t *testing.T) {
	s := newServer(t)
	var mu sync.Mutex
	var asked []string
	srv := listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		mu.Lock()
		asked = append(asked, req.Method+" "+req.RequestURI)
		mu.Unlock()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		if _, err := http.ReadRequest(r); err == nil {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy")
		}
	})
	t.Setenv("HTTP_PROXY", "http://"+srv)
	t.Setenv("REQUEST_METHOD", "")
	t.Setenv("NO_PROXY", "direct.test")
	f := newFetcher(t, fetch.Options{DNS: nameServer(t, map[string]string{"site.test": "10.1.2.3",
		"direct.test": "127.0.0.1"})})
	if got, e := attempt(t, f, "http://site.test/x"); e != nil || got != "proxy" || len(asked) != 1 ||
		asked[0] != "CONNECT 10.1.2.3:80" {
		t.Errorf("%q, %v, asked %q", got, e, asked)
	}
	if _, e := attempt(t, f, "http://direct.test:"+portOf(t, s.URL)+"/i/0/x"); e != nil || len(asked) != 1 {
		t.Errorf("NO_PROXY: %v, asked %q", e, asked)
	}
	none := newFetcher(t, fetch.Options{DNS: nameServer(t, map[string]string{"site.test": "127.0.0.1"}),
		Proxy: "none"})
	if _, e := attempt(t, none, "http://site.test:"+portOf(t, s.URL)+"/i/0/x"); e != nil || len(asked) != 1 {
		t.Errorf("no proxy: %v, asked %q", e, asked)
	}
	t.Setenv("REQUEST_METHOD", "GET") // as in a CGI script, where a client may have set HTTP_PROXY
	cgi := newFetcher(t, fetch.Options{})
	if _, e := attempt(t, cgi, "http://10.1.2.3/x"); e == nil || !e.Outage || e.Reason != fetch.Connect ||
		len(asked) != 1 {
		t.Errorf("in a CGI script: %v, asked %q", e, asked)
	}
}

// TestProxyIsNotShown: a proxy that is refused may hold a password, wherever a parser would look for it.
func TestProxyIsNotShown(t *testing.T) {
	for _, bad := range []string{"http://user:se/cret@proxy.test:3128", "user:secret@proxy.test:3128",
		"http://user:1/secret@proxy.test", "http://user:secret",
		"http://user:1?secret@proxy.test", "http://user:1#secret@proxy.test",
		"http://user:%zsecret@proxy.test", "gopher://user:secret@proxy.test", "//user:secret@proxy.test",
		"http:user:secret@proxy.test", "secret", "http://user:secret@:3128", "http:///secret", "ftp://secret",
		"http://user:se cret@proxy.test", "user:secret@"} {
		if _, err := fetch.New(fetch.Options{Proxy: bad}); err == nil ||
			strings.Contains(err.Error(), "cret") || !strings.Contains(err.Error(), "--proxy") {
			t.Errorf("--proxy %s: %v", bad, err)
		}
	}
	for _, name := range []string{"HTTP_PROXY", "https_proxy"} {
		for _, bad := range []string{"http://user:se/cret@proxy.test", "http://user:p%zsecret@proxy.test",
			"gopher://secret", "user:1/secret@proxy.test"} {
			t.Setenv(name, bad)
			if _, err := fetch.New(fetch.Options{}); err == nil || strings.Contains(err.Error(), "cret") ||
				!strings.Contains(err.Error(), strings.ToUpper(name)) {
				t.Errorf("%s=%s: %v", name, bad, err)
			}
			f, err := fetch.New(fetch.Options{Proxy: "none"})
			must(t, err)
			f.Close()
		}
		t.Setenv(name, "user:secret@proxy.test:3128")
		f, err := fetch.New(fetch.Options{})
		must(t, err)
		f.Close()
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
