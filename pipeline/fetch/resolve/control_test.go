package resolve

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestRefused: upstreams that answer and resolve nothing are our own outage, as silent ones are. A zone that
// fails by itself is not.
func TestRefused(t *testing.T) {
	u := newUpstream(t)
	r := newResolver(t, Options{Servers: []string{u.addr}})
	fails := func(name string, want Kind) {
		t.Helper()
		if _, err := r.Lookup(t.Context(), name); err == nil || kindOf(t, err) != want {
			t.Errorf("%s: %v, want kind %d", name, err, want)
		}
	}
	u.shut.Store(true)
	fails("a.one.test", Unreachable)
	if err := r.Probe(t.Context(), nil); !errors.Is(err, errRefuses) ||
		err.Error() != "no name server resolves anything: "+u.addr+" says REFUSED" {
		t.Error(err)
	}
	u.shut.Store(false)
	if _, err := r.Lookup(t.Context(), "a.one.test"); err != nil {
		t.Error("the failure was remembered:", err)
	}
	if err := r.Probe(t.Context(), []string{"a.two.test"}); err != nil {
		t.Error(err)
	}
	for question, asked := range map[string]bool{" NS": true, " A": false, "a.two.test A": true,
		"a.two.test NS": false} { // "." has name servers, and no address
		if u.count(question) > 0 != asked {
			t.Errorf("%q was requested: %t", question, !asked)
		}
	}
	u.fail.Store(true) // "." is answered, and only one zone is known
	fails("b.one.test", Failed)
	u.fail.Store(false)
	for i := range 2 * knownNames {
		if _, err := r.Lookup(t.Context(), fmt.Sprintf("a.zone%d.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	fails("servfail.two.test", Failed)
	u.fail.Store(true)
	fails("b.two.test", Unreachable)
	u.fail.Store(false)
}

// TestDown: one upstream that works is enough; the error is that of one that refuses, not of one that is
// silent. After Close nothing is down.
func TestDown(t *testing.T) {
	t.Parallel()
	silent, shut, good := newUpstream(t), newUpstream(t), newUpstream(t)
	silent.down.Store(true)
	shut.shut.Store(true)
	for _, c := range []struct {
		servers []string
		down    bool
		refuses bool
	}{
		{[]string{good.addr}, false, false}, {[]string{shut.addr, good.addr}, false, false},
		{[]string{shut.addr}, true, true}, {[]string{silent.addr}, true, false},
		{[]string{silent.addr, shut.addr}, true, true}, {[]string{"127.0.0.1:70000"}, true, false},
	} {
		timeout := time.Minute
		if slices.Contains(c.servers, silent.addr) {
			timeout = 500 * time.Millisecond
		}
		r := newResolver(t, Options{Servers: c.servers, Timeout: timeout})
		for range len(c.servers) { // each of them comes first
			err := r.Probe(t.Context(), nil)
			if (err != nil) != c.down || errors.Is(err, errRefuses) != c.refuses || r.Down() != c.down {
				t.Errorf("%v: %v, down %t", c.servers, err, r.Down())
			}
		}
		if r.Close(); r.Down() {
			t.Errorf("%v are down after Close", c.servers)
		}
	}
}

func TestZone(t *testing.T) {
	for name, want := range map[string]string{"a.b.one.test": "one.test", "xone.test": "xone.test",
		"one.test": "one.test", "three": "three", "a.b": "a.b", "": ""} {
		if got := zone(name); got != want {
			t.Errorf("%q is in %q, want %q", name, got, want)
		}
	}
}

// TestZonesAtFault: one zone that fails is to blame itself; of two, the upstreams are.
func TestZonesAtFault(t *testing.T) {
	for zones, want := range map[int]Kind{1: Failed, 2: Unreachable} {
		u := newUpstream(t)
		r := newResolver(t, Options{Servers: []string{u.addr}})
		for i := range zones {
			_, err := r.Lookup(t.Context(), fmt.Sprintf("a.zone%d.test", i))
			must(t, err)
		}
		u.fail.Store(true)
		if _, err := r.Lookup(t.Context(), "b.zone0.test"); err == nil || kindOf(t, err) != want {
			t.Errorf("%d zones: %v, want kind %d", zones, err, want)
		}
	}
}

// TestKnownNames: one name is kept of each zone, the latest last, and the zones that resolved longest ago go.
func TestKnownNames(t *testing.T) {
	var c control
	for _, x := range []struct{ name, want string }{
		{"a.one.test", "[a.one.test]"},
		{"b.one.test", "[b.one.test]"},
		{"two.test", "[b.one.test two.test]"},
		{"c.one.test", "[two.test c.one.test]"},
		{"c.one.test", "[two.test c.one.test]"},
		{"three", "[two.test c.one.test three]"},
		{"x.four.test", "[two.test c.one.test three x.four.test]"},
		{"five.test", "[c.one.test three x.four.test five.test]"},
		{"y.four.test", "[c.one.test three five.test y.four.test]"},
	} {
		if c.resolved(x.name); fmt.Sprint(c.names()) != x.want {
			t.Errorf("after %s: %v, want %s", x.name, c.names(), x.want)
		}
	}
}

// TestBackMeanwhile: upstreams that come back while a name is being asked for give its address.
func TestBackMeanwhile(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.down.Store(true)
	r := newResolver(t, Options{Servers: []string{u.addr}, Timeout: time.Second})
	go func() {
		for u.count("a.test A") < rounds {
			time.Sleep(time.Millisecond)
		}
		u.down.Store(false)
	}()
	// The control questions may have been sent too early.
	if _, err := r.Lookup(t.Context(), "a.test"); err != nil && kindOf(t, err) != Unreachable {
		t.Error(err)
	}
}
