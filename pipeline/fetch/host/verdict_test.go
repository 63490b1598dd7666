package host

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// TestVerdictOf: what each failure shows about its host.
func TestVerdictOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err      error
		kind     Kind
		spoke    bool
		lifeless bool
	}{
		{nil, Answered, true, false},
		{errors.New("the context is over"), Neutral, false, false},
		{&fetch.Error{Reason: fetch.Timeout}, Silent, false, true},
		{&fetch.Error{Reason: fetch.Timeout, Status: 200}, Silent, true, false},
		{&fetch.Error{Reason: fetch.TooSlow, Status: 200}, Silent, true, false},
		{&fetch.Error{Reason: fetch.DNSTimeout}, Silent, false, true},
		{&fetch.Error{Reason: fetch.DNSTimeout, Outage: true}, Ours, false, false},
		{&fetch.Error{Reason: fetch.Connect}, Refused, false, true},
		{&fetch.Error{Reason: fetch.Connect, Outage: true}, Ours, false, false},
		{&fetch.Error{Reason: fetch.Timeout, Status: http.StatusRequestTimeout}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.Timeout, Status: http.StatusTooEarly}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.HTTP5xx, Status: 500}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.HTTP5xx, Status: 503}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.HTTP5xx, Status: 503, RetryAfter: 1}, Busy, true, false},
		{&fetch.Error{Reason: fetch.HTTP5xx, Status: 500, RetryAfter: 1}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.HTTP429, Status: 429}, Busy, true, false},
		{&fetch.Error{Reason: fetch.Reset}, Trouble, false, false},
		{&fetch.Error{Reason: fetch.Truncated, Status: 200}, Trouble, true, false},
		{&fetch.Error{Reason: fetch.HTTP4xx, Status: 404}, Answered, true, false},
		{&fetch.Error{Reason: fetch.TooLarge, Status: 200}, Answered, true, false},
		{&fetch.Error{Reason: fetch.TLS}, Answered, true, false},
		{&fetch.Error{Reason: fetch.HTTPError}, Answered, true, false},
		{&fetch.Error{Reason: fetch.BadURL}, Neutral, false, false},
		{&fetch.Error{Reason: fetch.DNSNotFound}, Neutral, false, false},
		{&fetch.Error{Reason: fetch.PrivateAddress}, Neutral, false, false},
		{&fetch.Error{Reason: fetch.OptOut, Robots: fetch.RobotsRequested}, Answered, true, false},
		{&fetch.Error{Reason: fetch.OptOut, Robots: fetch.RobotsKnown}, Neutral, false, false},
		{&fetch.Error{Reason: fetch.HTTP5xx, Status: 503, Robots: fetch.RobotsKnown}, Neutral, false, false},
	} {
		v := VerdictOf(c.err)
		if v.Kind != c.kind || v.spoke() != c.spoke || v.lifeless() != c.lifeless {
			t.Errorf("%v: kind %d, spoke %t, lifeless %t", c.err, v.Kind, v.spoke(), v.lifeless())
		}
	}
	for _, part := range []fetch.Robots{fetch.RobotsRequested, fetch.RobotsKnown} {
		e := &fetch.Error{Reason: fetch.HTTP5xx, Status: 500, Robots: part, Wait: time.Second}
		if v := VerdictOf(e); v.Pause != time.Second || !v.NotRequested {
			t.Errorf("%+v", v)
		}
		e.FinalURL = "http://elsewhere.example/"
		if v := VerdictOf(e); v.Pause != 0 {
			t.Errorf("another host's robots.txt pauses this one: %+v", v)
		}
	}
	for _, c := range []struct {
		cause error
		class string
		route bool // that is missing to this host only
	}{
		{syscall.EHOSTUNREACH, syscall.EHOSTUNREACH.Error(), true},
		{syscall.EHOSTDOWN, syscall.EHOSTDOWN.Error(), true},
		{syscall.ENETUNREACH, syscall.ENETUNREACH.Error(), false},
		{errors.New("lookup"), fetch.Connect, false},
	} {
		v := VerdictOf(&fetch.Error{Reason: fetch.Connect, Outage: true, Err: c.cause})
		if v.class() != c.class || v.unreachable() != c.route {
			t.Errorf("%v: class %q, unreachable %t", c.cause, v.class(), v.unreachable())
		}
	}
	dns := VerdictOf(&fetch.Error{Reason: fetch.DNSTimeout, Outage: true})
	if dns.class() != resolver || (Verdict{}).class() != "" {
		t.Errorf("classes %q and %q", dns.class(), Verdict{}.class())
	}
}
