package resolve

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNeeded: a name of the hosts file needs no upstream, written with a final dot or without.
func TestNeeded(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 here.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Hosts: hosts, Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"here.example": false, "here.example.": false,
		"there.example": true} {
		if r.Needed(name) != want {
			t.Errorf("%s needs an upstream: %t", name, !want)
		}
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
	for name, needed := range map[string]bool{"printer": false, "line": true, "zoned": true} {
		if r.Needed(name) != needed {
			t.Errorf("%s needs an upstream: %t", name, !needed)
		}
	}
	if got := fmt.Sprint(r.system.servers(), r.system.names("nas"),
		r.system.names("a.b")); got != "[192.0.2.53:53 [2001:db8::53]:53] [nas.lan nas.example nas] [a.b]" {
		t.Error(got)
	}
	write(hosts, "192.0.2.100 printer\n", time.Unix(2, 0))
	write(config, "search lan\n", time.Unix(2, 0))
	r.system.checked = time.Now() // files are looked at every five seconds
	if got, err := r.Lookup(t.Context(), "printer"); err != nil || len(got) != 2 {
		t.Errorf("before the files are looked at again: %v, %v", got, err)
	}
	r.system.checked = time.Now().Add(-5 * time.Second)
	if got, err := r.Lookup(t.Context(), "printer"); err != nil || fmt.Sprint(got) != "[192.0.2.100]" {
		t.Errorf("after a change: %v, %v", got, err)
	}
	if got := r.system.servers(); len(got) != 2 || got[0] != "127.0.0.1:53" {
		t.Errorf("without a name server: %v", got)
	}
	none := newResolver(t, Options{Config: filepath.Join(dir, "absent")})
	if got := fmt.Sprint(none.system.servers()); got != "[127.0.0.1:53 [::1]:53]" {
		t.Errorf("without a configuration: %s", got)
	}
	// The search list is asked through, up to the name itself.
	r = newResolver(t, Options{Hosts: hosts, Config: config, Servers: []string{u.addr}})
	if _, err := r.Lookup(t.Context(), "missing"); err == nil || u.count("missing.lan A") != 1 ||
		u.count("missing A") != 1 {
		t.Errorf("%v %v", err, u.asked)
	}
}
