package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"facescan/detect"
)

// TestMachine: what is found of this machine has a state, and advice where it is not ok.
func TestMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f           Finding
		check, text string
	}{
		{Descriptors(), "descriptors", "may be open"},
		{Processor(3), "processor", "3 cores"},
		{Certificates(), "certificates", ""},
		{Disk(t.TempDir()), "disk", " GB free in "},
	} {
		if c.f.Check != c.check || !strings.Contains(c.f.Found, c.text) || c.f.State == "fail" ||
			(c.f.State == "ok") != (c.f.Advice == "") {
			t.Errorf("%+v", c.f)
		}
	}
	if f := Disk(filepath.Join(t.TempDir(), "nowhere")); f.State != "fail" || f.Advice != "name a folder with --dir" {
		t.Errorf("%+v", f)
	}
}

// TestResolver: names that do not exist are answers, silence is none; a list of addresses needs no resolver.
func TestResolver(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		_ = w.WriteMsg(m.SetRcode(q, dns.RcodeNameError))
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	list := filepath.Join(t.TempDir(), "urls.txt")
	if err := os.WriteFile(list, []byte("http://h1.invalid/a\nhttp://H1.invalid/b\nhttp://127.0.0.1/c\nno URL\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	addresses := filepath.Join(t.TempDir(), "urls.txt")
	if err := os.WriteFile(addresses, []byte("http://127.0.0.1/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string]string{"": "50 of 50 answered", list: "1 of 1 answered",
		addresses: "no resolver is needed"} {
		f, err := Resolver(context.Background(), []string{conn.LocalAddr().String()}, list)
		if err != nil || f.State == "fail" || !strings.Contains(f.Found, want) {
			t.Errorf("%s: %+v, %v", list, f, err)
		}
	}
	if _, err := Resolver(context.Background(), nil, list+".missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a list that is not there: %v", err)
	}
}

// TestNoSidecar: a sidecar that is not there keeps a run from beginning.
func TestNoSidecar(t *testing.T) {
	t.Parallel()
	f := Sidecar(context.Background(), "http://127.0.0.1:1", func(context.Context, detect.Params) (detect.Detector,
		error) {
		return nil, errors.New("not reached")
	})
	if f.State != "fail" || !strings.Contains(f.Advice, "a run would not begin") {
		t.Errorf("%+v", f)
	}
}
