package cmd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// nameServer answers on loopback: names that begin with a digit exist, others do not.
func nameServer(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		switch {
		case name[0] < '0' || name[0] > '9':
			m.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			m.Answer = append(m.Answer,
				&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
					A: net.IPv4(192, 0, 2, 1)})
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})}
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return conn.LocalAddr().String()
}

// TestDoctorOfCertificates: a system without certificates of authorities is told what to install.
func TestDoctorOfCertificates(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"none": {[]string{"SSL_CERT_FILE=" + none, "SSL_CERT_DIR=" + none},
			"install the package ca-certificates"},
		"some": {nil, "ok    certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doctor := exec.Command(os.Args[0], "doctor", "--dns", nameServer(t), "--dir", t.TempDir())
			doctor.Env = append(append(os.Environ(), beMain+"=1"), c.env...)
			if out, err := doctor.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, without %q:\n%s", err, c.want, out)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr := nameServer(t)
	code, out, errs := here(t, "doctor", "--dns", addr, "--dir", dir)
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"descriptors", "cores", "GB free", "names per second, 50 of 50 answered"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	var list strings.Builder
	for i := range 40 {
		fmt.Fprintf(&list, "https://%d.example.com/a.jpg\nhttp://127.0.0.1/b\n", i)
	}
	path := filepath.Join(dir, "urls.txt")
	if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := mustHere(t, "doctor", "--dns", addr, "--dir", dir, "--list", path,
		"--json"); !strings.Contains(out, "40 of 40 answered") {
		t.Errorf("the list's hosts:\n%s", out)
	}

	// A server that is not there is in the way of a run, as is a job that is none.
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	code, out, _ = here(t, "doctor", "--dns", dead.LocalAddr().String(), "--dir", dir, "nothing.txt")
	if code != exitError || !strings.Contains(out, "no name server answers") ||
		!strings.Contains(out, "nothing.txt is not a job") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, _, _ := here(t, "doctor", "--dns", "not a server", "--dir", dir); code != exitUsage {
		t.Errorf("exit %d for a name server that is none", code)
	}
}
