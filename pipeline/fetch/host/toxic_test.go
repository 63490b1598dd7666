package host_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
)

// TestToxics: what a link does to connections, each kind on a host of its own, beside a healthy one.
func TestToxics(t *testing.T) {
	s := newServer(t, 0)
	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	want := map[string]string{}
	var urls []string
	add := func(base, path, outcome string) {
		for i := range 2 {
			u := base + fmt.Sprintf(path, i)
			urls, want[u] = append(urls, u), outcome
		}
	}
	for _, c := range []struct{ toxic, path, want string }{
		{`{"type": "latency", "attributes": {"latency": 300, "jitter": 100}}`, "/i/%d/latency", "ok"},
		{`{"type": "slicer", "attributes": {"average_size": 20, "size_variation": 10, "delay": 1000}}`, "/i/%d/slicer", "ok"},
		{`{"type": "slow_close", "attributes": {"delay": 300}}`, "/i/%d/close", "ok"},
		{`{"type": "reset_peer", "attributes": {"timeout": 0}}`, "/i/%d/reset", fetch.Reset},
		{`{"type": "timeout", "attributes": {"timeout": 0}}`, "/i/%d/half-open", fetch.Timeout},
		{`{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`, "/i/%d/half-open-upstream", fetch.Timeout},
		{`{"type": "timeout", "attributes": {"timeout": 100}}`, "/i/%d/closed", fetch.Reset},
		{`{"type": "limit_data", "attributes": {"bytes": 700}}`, "/i/%d/cut", fetch.Truncated},
		{`{"type": "limit_data", "attributes": {"bytes": 20}}`, "/i/%d/cut-in-header", ""},
		{`{"type": "bandwidth", "attributes": {"rate": 5}}`, "/huge/1/%d", fetch.TooSlow},
	} {
		p := toxiproxy.NewProxy(proxies, c.path, "127.0.0.1:0", strings.TrimPrefix(s.URL, "http://"))
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(c.toxic)); err != nil {
			t.Fatal(err)
		}
		add("http://"+p.Listen, c.path, c.want)
	}
	add(s.URL, "/i/%d/healthy", "ok")
	got := run(t, host.Options{PerHost: 8, Slots: 16, Slow: 16}, fetch.Options{Timeout: 3 * time.Second, MinRate: 100_000}, 32, 0, urls)
	for u, w := range want {
		switch g := got[u]; {
		case w == "" && (g == fetch.Truncated || g == fetch.Reset || g == fetch.HTTPError): // a header that ends early
		case g != w:
			t.Errorf("%s: %q, want %q", u, g, w)
		}
	}
}
