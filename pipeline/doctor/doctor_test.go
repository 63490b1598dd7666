package doctor

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/cpu"

	"facescan/detect"
	"facescan/detect/sidecar"
	"facescan/pipeline"
	"facescan/pipeline/fetch/resolve"
	"facescan/pipeline/source"
)

// TestMachine: what is found of this machine has a state, and advice where it is not ok.
func TestMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		f           Finding
		check, text string
	}{
		{Descriptors(), "descriptors", "may be open"},
		{Processor(3), "processor", "3 cores, "},
		{Certificates(), "certificates", ""},
		{Disk(dir), "disk", " GB free in " + dir},
	} {
		if c.f.Check != c.check || !strings.Contains(c.f.Found, c.text) || c.f.State == "fail" ||
			(c.f.State == "ok") != (c.f.Advice == "") {
			t.Errorf("%+v", c.f)
		}
	}
	for name, has := range map[string]bool{"AVX2": cpu.X86.HasAVX2, "NEON": cpu.ARM64.HasASIMD} {
		if f := Processor(3); strings.Contains(f.Found, name) != has {
			t.Errorf("%s %v, but %+v", name, has, f)
		}
	}
	if took, err := syncTime(dir); err != nil || took <= 0 {
		t.Errorf("a commit takes %v, %v", took, err)
	}
	var free float64
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	want := float64(s.Bavail) * float64(s.Bsize) / 1e9
	if _, err := fmt.Sscan(Disk(dir).Found, &free); err != nil || free < want/2-1 || free > want*2+1 {
		t.Errorf("%v GB free, %v; want about %v", free, err, want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left in the folder", left, err)
	}
	if f := Disk(filepath.Join(dir, "nowhere")); f.State != "fail" || f.Advice != "name a folder with --dir" {
		t.Errorf("%+v", f)
	}
	if f := Disk("/proc"); f.State != "fail" || f.Advice != "a job needs a folder that can be written to" {
		t.Errorf("%+v", f)
	}
}

// TestMachines: other machines than this one, on both sides of each limit.
func TestMachines(t *testing.T) {
	t.Parallel()
	some := x509.NewCertPool()
	some.AddCert(&x509.Certificate{Raw: []byte("one")})
	const GB, ms = 1 << 30, time.Millisecond
	for _, c := range []struct {
		f           Finding
		found, does string // does is the advice
	}{
		{descriptors(pipeline.Descriptors{Limit: 4096}), "4096 may be open", ""},
		{descriptors(pipeline.Descriptors{Limit: 4095, Fetchers: 77}), "4095 may be open",
			"raise the limit for more than 77 fetchers: ulimit -n 4096"},
		{processor(3, []string{"AVX2", "AVX-512"}), "3 cores, AVX2 AVX-512; yunet runs on ", ""},
		{processor(1, []string{"NEON"}), "1 cores, NEON; yunet runs on ", ""},
		{processor(3, nil), "3 cores without vector instructions; yunet runs on ",
			"detection is several times slower here; --min-face 40 makes up for it"},
		{certificates(some, nil), "the system's, for https", ""},
		{certificates(x509.NewCertPool(), nil), "none of any authority",
			"install the package ca-certificates"},
		{certificates(nil, errors.New("denied")), "none of any authority", "facescan retry JOB --reason tls"},
		{disk("d", GB, 20*ms), "1.1 GB free in d, room for about 5.37 million rows; a commit takes 20ms", ""},
		{disk("d", GB-1, 0), "1.1 GB free in d, ", "make room: a million rows take about 200 MB"},
		{disk("d", GB, 20*ms+1), "; a commit takes 20ms", "a slow disk: jobs belong on an SSD"},
		{disk("d", 10*GB, 1_234_567),
			"10.7 GB free in d, room for about 53.7 million rows; a commit takes 1.23ms",
			""},
		{resolver(100, 100, time.Second, nil), "100 names per second, 100 of 100 answered", ""},
		{resolver(1, 100, ms, nil), "1000 names per second, 1 of 100 ", "the resolver drops queries: "},
		{resolver(97, 100, ms, nil), "97 of 100 answered", "the resolver drops queries: "},
		{resolver(98, 100, ms, nil), "98 of 100 answered", ""},
		{resolver(100, 100, 1010*ms, nil), "99 names per second", "a slow resolver holds back lists"},
		{resolver(100, 100, time.Second, []resolve.Server{{Addr: "192.0.2.1:53",
			Time: 1234 * time.Microsecond},
			{Addr: "192.0.2.2:53",
				Time: 2 * ms}}), "answered; 192.0.2.1:53 in 1.2ms; 192.0.2.2:53 in 2ms", ""},
	} {
		state := "ok"
		if c.does != "" {
			state = "warn"
		}
		if c.f.State != state || !strings.Contains(c.f.Found, c.found) ||
			!strings.Contains(c.f.Advice, c.does) {
			t.Errorf("%+v; want %s, %q, %q", c.f, state, c.found, c.does)
		}
	}
	f := resolver(0, 100, 10*time.Second, nil)
	if f.State != "fail" || !strings.HasPrefix(f.Advice, "no name server answers: check /etc/resolv.conf") {
		t.Errorf("%+v", f)
	}
	for want, of := range map[time.Duration][]time.Duration{5: {5}, 2: {3, 1, 2}, 4: {9, 4, 1, 8, 3}} {
		if got := median(of); got != want {
			t.Errorf("median of %d is %d, want %d", of, got, want)
		}
	}
}

// nameServer answers: names that begin with a have an address, for those with fail the server fails, and
// others do not exist.
func nameServer(t *testing.T) (addr string) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		switch name := q.Question[0].Name; {
		case strings.HasPrefix(name, "fail"):
			m.Rcode = dns.RcodeServerFailure
		case name[0] == 'a' && q.Question[0].Qtype == dns.TypeA:
			m.Rcode = dns.RcodeSuccess
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET,
				Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return conn.LocalAddr().String()
}

// TestResolver: names that do not exist are answers, a failure and silence are none; a list of addresses
// needs no resolver. A host is looked up once, and of many hosts 500 are, from all lists that are named. Of
// each list the first million rows are read.
func TestResolver(t *testing.T) {
	t.Parallel()
	addr := nameServer(t)
	for name, c := range map[string]struct {
		lists []string
		want  string
		state string
	}{
		"no list": {nil, "50 of 50 answered", "ok"},
		"a list": {[]string{"http://h1.example/a\nhttp://H1.example/b\nhttp://127.0.0.1/c\nno URL\n" +
			"http://a.example/\n"}, "2 of 2 answered", "ok"},
		"addresses": {[]string{"http://127.0.0.1/a\nhttp://[::1]/b\n"}, "no resolver is needed", "ok"},
		"a failure": {[]string{urls("a", 1, "fail", 2, "h", 1)}, "2 of 4 answered", "warn"},
		"many hosts": {[]string{urls("h", 300), urls("a", 199, "x", 1), urls("h", 299, "y", 3)},
			"500 of 500 answered", "ok"},
		"499 hosts": {[]string{urls("h", 300), urls("a", 199), urls("h", 299)}, "499 of 499 answered", "ok"},
		"a million rows": {[]string{strings.Repeat("http://a.example/\n", 1e6+512) + urls("b", 1)},
			"1 of 1 answered", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, list := t.TempDir(), ""
			for i, text := range c.lists {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".txt")), []byte(text),
					0o600); err != nil {
					t.Fatal(err)
				}
				list = dir
			}
			f, err := Resolver(t.Context(), []string{addr}, list)
			if err != nil || f.Check != "resolver" || !strings.Contains(f.Found, c.want) {
				t.Errorf("%+v, %v; want %q", f, err, c.want)
			}
			if f.State != c.state && !strings.HasPrefix(f.Advice, "a slow resolver") { // a loaded machine
				t.Errorf("%+v; want %s", f, c.state)
			}
			if c.want != "no resolver is needed" && !strings.Contains(f.Found, "; "+addr+" in ") {
				t.Errorf("no name server in %+v", f)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		if f, err := Resolver(t.Context(), []string{"127.0.0.1:1"}, ""); err != nil || f.State != "fail" ||
			!strings.HasPrefix(f.Found, "0 names per second, 0 of 50 answered") {
			t.Errorf("%+v, %v", f, err)
		}
	})
	var usage *pipeline.UsageError
	if _, err := Resolver(t.Context(), []string{"nonsense"}, ""); !errors.As(err, &usage) {
		t.Errorf("a name server that is none: %v", err)
	}
	for _, list := range []string{"missing.txt", "missing.csv"} {
		_, err := Resolver(t.Context(), nil, filepath.Join(t.TempDir(), list))
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a list that is not there: %v", err)
		}
	}
	noURLs := filepath.Join(t.TempDir(), "urls.csv")
	if err := os.WriteFile(noURLs, []byte("a,b\n1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var column *source.UsageError
	if _, err := Resolver(t.Context(), nil, noURLs); !errors.As(err, &column) {
		t.Errorf("a list without URLs: %v", err)
	}
}

// urls is a list of n hosts for each name.
func urls(namesAndNumbers ...any) string {
	var b strings.Builder
	for i := 0; i < len(namesAndNumbers); i += 2 {
		for n := range namesAndNumbers[i+1].(int) {
			fmt.Fprintf(&b, "http://%s%d.example/\n", namesAndNumbers[i], n)
		}
	}
	return b.String()
}

// TestSidecar: a sidecar is asked what a run would ask it, and one that cannot be used keeps a run from
// beginning.
func TestSidecar(t *testing.T) {
	t.Parallel()
	served, err := sidecar.NewServer(sidecar.ServerOptions{Detector: detect.Pigo, Open: detect.New,
		Workers: 1,
		Token:   "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = served.Close() })
	server := httptest.NewServer(served)
	t.Cleanup(server.Close)
	there := strings.Replace(server.URL, "//", "//secret@", 1)
	for name, c := range map[string]struct {
		url            string
		opens, answers error
		state          string
		found, advice  string
	}{
		"ok":        {there, nil, nil, "ok", "print at " + server.URL + "; a picture of 500x375 in ", ""},
		"no answer": {there, nil, errors.New("is gone"), "fail", "is gone", ""},
		"refused": {there, errors.New("other model"), nil, "fail", "other model",
			"a run would not begin: "},
		"not there":  {"http://127.0.0.1:1", nil, nil, "fail", "127.0.0.1:1", "a run would not begin: "},
		"no token":   {server.URL, nil, nil, "fail", "401", "a run would not begin: "},
		"no sidecar": {"ftp://127.0.0.1", nil, nil, "fail", "ftp://127.0.0.1", "a run would not begin: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &detector{err: c.answers}
			var params detect.Params
			f := Sidecar(t.Context(), c.url, func(_ context.Context, p detect.Params) (detect.Detector,
				error) {
				params = p
				return d, c.opens
			})
			if f.Check != "sidecar" || f.State != c.state || !strings.Contains(f.Found, c.found) ||
				!strings.HasPrefix(f.Advice, c.advice) || strings.Contains(f.Found, "secret") {
				t.Errorf("%+v", f)
			}
			if (f.Advice == "") != (c.advice == "") {
				t.Errorf("advice %q", f.Advice)
			}
			if c.state == "ok" && (!reflect.DeepEqual(params, detect.Defaults(detect.Pigo)) || d.asked < 3) {
				t.Errorf("%d pictures with %+v", d.asked, params)
			}
			if d.closed != (c.opens == nil && params.MinFace > 0) {
				t.Errorf("closed: %v", d.closed)
			}
		})
	}
}

// detector checks the pictures that it is given.
type detector struct {
	err    error
	asked  int
	closed bool
}

func (d *detector) Detect(_ context.Context, images []detect.Image) ([]detect.Answer, error) {
	d.asked++
	if d.err != nil {
		return nil, d.err
	}
	want := image.Rect(0, 0, 500, 375)
	for _, i := range images {
		file, err := png.Decode(bytes.NewReader(i.Encoded))
		face := detect.Face{X: 1, Score: 2}
		if err != nil || file.Bounds() != want || i.Luma.Bounds() != want || i.Scale != 1 || i.Width != 500 ||
			i.Height != 375 || !reflect.DeepEqual(i.FromStored(face), face) {
			return nil, fmt.Errorf("a picture of %v, %v, %+v", file, err, i)
		}
	}
	return make([]detect.Answer, len(images)), nil
}

func (d *detector) Fingerprint() string { return "print" }

func (d *detector) Close() error {
	d.closed = true
	return nil
}
