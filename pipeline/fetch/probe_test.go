package fetch_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/fetch/resolve"

	"github.com/miekg/dns"
)

// TestNeedsResolver: addresses, names whose meaning is fixed and those of the hosts file are not looked up.
func TestNeedsResolver(t *testing.T) {
	t.Parallel()
	hosts := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(hosts, []byte("192.0.2.1 printer.lan\n"), 0o600))
	f := newFetcher(t, fetch.Options{DNS: resolve.Options{Hosts: hosts, Servers: []string{"127.0.0.1:1"}}})
	for host, want := range map[string]bool{"": false, "a.test": true, "a.test.": true, "a.test:8080": true,
		"127.0.0.1": false, "127.0.0.1:80": false, "[::1]": false, "[::1]:80": false, "localhost:80": false,
		"name.invalid": false, "printer.lan": false, "printer.lan.:80": false, "a.printer.lan": true} {
		if f.NeedsResolver(host) != want {
			t.Errorf("%q has to be looked up: %t", host, !want)
		}
	}
}

// TestProbeResolver: it works while it resolves one of the hosts, or says that one does not exist.
func TestProbeResolver(t *testing.T) {
	t.Parallel()
	r := nameServer(t, map[string]string{"a.test": "192.0.2.1", "servfail.test": "servfail"})
	f := newFetcher(t, fetch.Options{DNS: r})
	if err := f.ProbeResolver(t.Context(), []string{"servfail.test", "127.0.0.1:80",
		"a.test:80"}); err != nil {
		t.Error(err)
	}
	// Nothing but this name is resolved: what is not looked up anyway must not be asked for instead of it.
	only := r
	only.Servers = []string{fetchtest.NameServer(t, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Name != "a.test." {
			m.Rcode = dns.RcodeRefused
		}
		w.WriteMsg(m)
	}))}
	f = newFetcher(t, fetch.Options{DNS: only})
	for host, works := range map[string]bool{"a.test:80": true, "127.0.0.1": false, "b.test": false} {
		if err := f.ProbeResolver(t.Context(), []string{host}); (err == nil) != works {
			t.Errorf("%s: %v", host, err)
		}
	}
	r.Servers, r.Timeout = []string{closedPort}, 100*time.Millisecond
	f = newFetcher(t, fetch.Options{DNS: r})
	for _, hosts := range [][]string{nil, {"127.0.0.1"}, {"a.test"}} {
		if err := f.ProbeResolver(t.Context(), hosts); err == nil {
			t.Errorf("%v: a resolver that is away works", hosts)
		}
	}
}

// TestProbe: an answer with a good status, or a redirect, shows that a host works.
func TestProbe(t *testing.T) {
	s := newServer(t)
	patient := newFetcher(t, fetch.Options{Timeout: time.Minute})
	hasty := newFetcher(t, fetch.Options{Timeout: 300 * time.Millisecond})
	for _, c := range []struct {
		url, reason string
		status      int
	}{
		{s.URL + "/i/0/x.jpg", "", 0}, {s.URL + "/huge/9/x", "", 0}, {s.URL + "/hang/", "", 0},
		{s.URL + "/redirect/1/0/x", "", 0}, {s.URL + "/nowhere/", fetch.HTTPError, 302},
		{s.URL + "/status/404", fetch.HTTP4xx, 404}, {s.URL + "/dead/", fetch.Timeout, 0},
		{s.URL + "/reset/", fetch.Reset, 0}, {"no url", fetch.BadURL, 0},
	} {
		f := patient
		if c.reason == fetch.Timeout {
			f = hasty
		}
		err := f.Probe(t.Context(), c.url)
		e := &fetch.Error{}
		if c.reason == "" && err != nil || c.reason != "" && !errors.As(err, &e) || e.Reason != c.reason ||
			e.Status != c.status || e.Bytes != 0 {
			t.Errorf("%s: %v, want %q", c.url, err, c.reason)
		}
	}
}
