package cmd

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"facescan/pipeline/fetch/fetchtest"
)

// silence is a port on all addresses of loopback where connections are neither taken nor refused: its backlog
// is full.
func silence(t *testing.T) (port int) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port = name.(*unix.SockaddrInet4).Port
	for { // until it is full
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 200*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { c.Close() })
	}
}

// nameserver is a resolver at the addresses that this machine's configuration names. Every name below test.
// is an address of loopback, by the digits in its first label.
type nameserver struct {
	refuses, silent atomic.Bool
	servers         []*dns.Server
	running         sync.WaitGroup
}

func (n *nameserver) start(t *testing.T) {
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	addresses := []string{"127.0.0.1"}
	if err == nil && len(config.Servers) > 0 {
		addresses = config.Servers
	}
	n.servers = nil
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err == nil && !ip.IsLoopback() {
			if out, err := exec.Command("ip", "addr", "replace", a, "dev",
				"lo").CombinedOutput(); err != nil {
				t.Fatalf("ip addr replace %s dev lo: %v %s", a, err, out)
			}
		}
		p, err := net.ListenPacket("udp", net.JoinHostPort(a, "53"))
		if err != nil {
			t.Fatal(err)
		}
		s := &dns.Server{PacketConn: p, Handler: n}
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		n.running.Go(func() { s.ActivateAndServe() })
		<-started
		n.servers = append(n.servers, s)
	}
}

func (n *nameserver) stop() {
	for _, s := range n.servers {
		s.Shutdown()
	}
	n.running.Wait()
}

func (n *nameserver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if n.silent.Load() {
		return
	}
	m := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	var host int
	fmt.Sscanf(name, "h%d.", &host)
	switch {
	case n.refuses.Load():
		m.Rcode = dns.RcodeRefused
	case q.Question[0].Qtype == dns.TypeA && strings.HasSuffix(name, ".test."):
		rr, err := dns.NewRR(fmt.Sprintf("%s 1 IN A 127.0.%d.%d", name, host/250, 1+host%250))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	w.WriteMsg(m)
}

// TestResolverAway: a resolver that refuses, is gone or hangs for a while costs no row. It ends by itself.
func TestResolverAway(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	s := fetchtest.New(pictures(t), 30*time.Millisecond)
	defer s.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.Listen("0.0.0.0:0"), "http://"))
	var lines []string
	for i := range 400 {
		lines = append(lines, fmt.Sprintf("http://h%d.zone%d.test:%s/i/%d/x.jpg", i, i%10, port, i))
	}
	n := &nameserver{}
	n.start(t)
	defer n.stop()
	for _, c := range []struct {
		name      string
		away, now func()
	}{
		{"refuses", func() { n.refuses.Store(true) }, func() { n.refuses.Store(false) }},
		{"is silent", func() { n.silent.Store(true) }, func() { n.silent.Store(false) }},
		{"is gone", n.stop, func() { n.start(t) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := writeList(t, t.TempDir(), lines)
			begun := s.Total()
			p, stderr := child(t, ".", "run", list, "--allow-private", "--progress", "none",
				"--fetchers", "8", "--retries", "0")
			eventually(t, "some rows", func() bool { return s.Total()-begun > 40 })
			c.away()
			eventually(t, "the outage",
				func() bool { return strings.Contains(stderr.String(), "cut off") })
			c.now()
			if err := p.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			if out := mustHere(t, "status", list, "--json"); !strings.Contains(out, `"ok":400`) {
				t.Errorf("%s\n%s", out, stderr)
			}
		})
	}
}

// TestDeadHostsFirst: rows of dead hosts at the begin of a list do not keep the others from being done, and
// when these are done, they do not hold up a run of what is left.
func TestDeadHostsFirst(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	dead := 200
	if os.Getenv("FACESCAN_SOAK") != "" {
		dead = 3000
	}
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	port := silence(t)
	var lines []string
	for i := range dead {
		lines = append(lines, fmt.Sprintf("http://127.1.%d.%d:%d/%d.jpg", i/250, 1+i%250, port, i))
	}
	silent := len(lines)
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("%s/i/%d/x.jpg", s.URL, i))
	}
	list := writeList(t, t.TempDir(), lines)
	args := []string{"run", list, "--allow-private", "--progress", "none", "--timeout", "500ms", "--retries",
		"0"}
	for _, when := range []string{"at first", "after retry"} {
		mustHere(t, args...)
		var got struct {
			OK, Pending int
			Failures    map[string]int
		}
		out := mustHere(t, "status", list, "--json")
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.OK != 60 || got.Pending != 0 || len(got.Failures) != 1 || got.Failures["timeout"] != silent {
			t.Errorf("%s: %s, want %d rows of timeout and 60 ok", when, out, silent)
		}
		mustHere(t, "retry", list)
	}

	// With no host that ever answered, the resolver's word decides.
	n := &nameserver{}
	n.start(t)
	defer n.stop()
	alone := filepath.Join(t.TempDir(), "alone.txt")
	if err := os.WriteFile(alone, []byte(strings.Join(lines[:40], "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args[1] = alone
	mustHere(t, args...)
	if out := mustHere(t, "status", alone, "--json"); !strings.Contains(out, `"failures":{"timeout":40}`) {
		t.Errorf("of dead hosts alone: %s", out)
	}
}
