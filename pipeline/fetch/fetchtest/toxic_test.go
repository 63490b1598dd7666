package fetchtest_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
)

// TestToxics: what a link does to connections, by toxiproxy, each kind on an address of its own. An attempt
// over it succeeds, or ends with one of the reasons that fit, and in time.
func TestToxics(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 100_000)
	s := fetchtest.New(map[string][]byte{"large": large}, 0)
	defer s.Close()
	proxies := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	f, err := fetch.New(fetch.Options{Timeout: 4 * time.Second, MinRate: 1_000_000, AllowPrivate: true,
		Proxy: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for _, c := range []struct{ name, toxic, want string }{
		{"latency", `{"type": "latency", "attributes": {"latency": 300, "jitter": 100}}`, ""},
		{"slicer", `{"type": "slicer", "attributes":
			{"average_size": 5000, "size_variation": 100, "delay": 100}}`, ""},
		{"slow close", `{"type": "slow_close", "attributes": {"delay": 300}}`, ""},
		{"reset", `{"type": "reset_peer", "attributes": {"timeout": 0}}`, fetch.Reset},
		{"half open, downstream", `{"type": "timeout", "attributes": {"timeout": 0}}`, fetch.Timeout},
		{"half open, upstream", `{"type": "timeout", "stream": "upstream", "attributes": {"timeout": 0}}`,
			fetch.Timeout},
		{"closed before an answer", `{"type": "timeout", "attributes": {"timeout": 100}}`, fetch.Reset},
		{"cut in the body", `{"type": "limit_data", "attributes": {"bytes": 700}}`, fetch.Truncated},
		{"cut in the header", `{"type": "limit_data", "attributes": {"bytes": 20}}`,
			fetch.Reset + fetch.HTTPError + fetch.Truncated},
		{"narrow", `{"type": "bandwidth", "attributes": {"rate": 10}}`, fetch.TooSlow},
	} {
		p := toxiproxy.NewProxy(proxies, c.name, "127.0.0.1:0", strings.TrimPrefix(s.URL, "http://"))
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(c.toxic)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			b, err := f.Fetch(t.Context(), "http://"+p.Listen+"/i/0/x", fetchtest.Unlimited{})
			var fe *fetch.Error
			switch {
			case err == nil:
				if c.want != "" || !bytes.HasPrefix(b.Bytes, large) {
					t.Errorf("%s: %d bytes, want %s", c.name, len(b.Bytes), c.want)
				}
				b.Release()
			case !errors.As(err, &fe) || c.want == "" || !strings.Contains(c.want, fe.Reason):
				t.Errorf("%s: %v, want %s", c.name, err, c.want)
			}
		})
	}
	wg.Wait()
}
