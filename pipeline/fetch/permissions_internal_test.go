package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch/robots"
)

func siteURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := Canonical(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// inform answers a ruling that asks for a robots.txt.
func inform(t *testing.T, p *permissions, u string, body string, lifetime time.Duration, err error) {
	t.Helper()
	r := p.decide(siteURL(t, u), false)
	if r.request == nil {
		t.Fatalf("%s: its robots.txt is not asked for: %+v", u, r)
	}
	p.learned(r.request, robots.Parse(body, "facescan"), lifetime, err, 0)
}

// TestPermissionExpires: rules hold for their lifetime, by scheme, host and port, and are then asked for
// once.
func TestPermissionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPermissions()
		inform(t, p, "http://a.example/1", "User-agent: *\nDisallow: /no", time.Hour, nil)
		for _, u := range []string{"https://a.example/1", "http://a.example:81/1", "http://b.example/1"} {
			inform(t, p, u, "", time.Hour, nil)
		}
		no, yes := siteURL(t, "http://A.example:80/no"), siteURL(t, "http://a.example/yes")
		var e *Error
		if r := p.decide(no, false); !errors.As(r.err, &e) || e.Reason != OptOut || e.Robots != RobotsKnown {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Hour - 1)
		if r := p.decide(yes, false); r != (ruling{}) {
			t.Errorf("%+v", r)
		}
		time.Sleep(1 * time.Nanosecond)
		first, second := p.decide(yes, false), p.decide(yes, false)
		if first.request == nil || second.pending == nil || second.request != nil {
			t.Fatalf("%+v, %+v", first, second)
		}
		p.learned(first.request, nil, time.Hour, nil, 0)
		<-second.pending.done
		if r := p.decide(no, true); r != (ruling{}) {
			t.Errorf("%+v", r)
		}
	})
}

// TestPermissionPatience: a robots.txt that is refused is asked for after growing pauses, then given up, and
// asked for again after a while. A site that is silent is asked by every attempt.
func TestPermissionPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for retryAfter, want := range map[time.Duration][]time.Duration{
			0: {0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second,
				31 * time.Second},
			20 * time.Second: {0, 20 * time.Second, 40 * time.Second},
			time.Hour:        {0, 5 * time.Minute},
		} {
			p := newPermissions()
			u := siteURL(t, "http://a.example/1")
			start := time.Now()
			for i, at := range want {
				if d := time.Since(start); d != at {
					t.Errorf("try %d after %v, want %v", i, d, at)
				}
				failure := &Error{Reason: HTTP5xx, Status: 503, RetryAfter: retryAfter}
				inform(t, p, "http://a.example/", "", 0, failure)
				var e *Error
				if r := p.decide(u, false); !errors.As(r.err, &e) || e.Reason != HTTP5xx ||
					e.Robots != RobotsKnown || (e.Wait == 0) != (i == len(want)-1) {
					t.Fatalf("%v, try %d: %+v", retryAfter, i, r)
				}
				time.Sleep(e.Wait)
			}
			time.Sleep(5 * time.Minute)
			inform(t, p, "http://a.example/", "", time.Hour, nil)
			if r := p.decide(u, false); r != (ruling{}) {
				t.Errorf("after an answer: %+v", r)
			}
		}
		p := newPermissions()
		for _, err := range []error{&Error{Reason: Timeout}, errors.New("cancelled"), &Error{Reason: Connect,
			Outage: true}} {
			inform(t, p, "http://b.example/", "", 0, err)
		}
		inform(t, p, "http://b.example/", "", time.Hour, nil)
	})
}

// TestCrawlDelay: requests to a site are as far apart as it asks, from wherever they come; who would wait for
// too long is sent away.
func TestCrawlDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPermissions()
		inform(t, p, "https://a.example/", "User-agent: *\nCrawl-delay: 10", time.Hour, nil)
		u := siteURL(t, "https://a.example/1")
		if p.delay("a.example") != 10*time.Second || p.delay("b.example") != 0 {
			t.Errorf("%v, %v", p.delay("a.example"), p.delay("b.example"))
		}
		for i := range 4 {
			if r := p.decide(u, false); r.err != nil || r.pause != time.Duration(i)*10*time.Second {
				t.Errorf("request %d: %+v", i, r)
			}
		}
		for range 2 { // the second is not sent away for longer
			var e *Error
			if r := p.decide(u, false); !errors.As(r.err, &e) || e.Wait != 40*time.Second {
				t.Errorf("%+v", r)
			}
		}
		time.Sleep(45 * time.Second)
		if r := p.decide(u, false); r != (ruling{}) {
			t.Errorf("%+v", r)
		}
	})
}

// TestPermissionOfOneAttempt: what an attempt has requested rules it, even if it holds no longer than that.
func TestPermissionOfOneAttempt(t *testing.T) {
	p := newPermissions()
	u := siteURL(t, "http://a.example/no")
	inform(t, p, "http://a.example/", "User-agent: *\nDisallow: /no", 0, nil)
	var e *Error
	if r := p.decide(u, true); !errors.As(r.err, &e) || e.Reason != OptOut || e.Robots != RobotsRequested {
		t.Errorf("%+v", r)
	}
	if r := p.decide(u, false); r.request == nil {
		t.Errorf("the next attempt: %+v", r)
	}
}

// TestPermissionGivenUp: the time that tries take counts towards the patience; an answer gives it back.
func TestPermissionGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := &Error{Reason: HTTP429, Status: 429}
		for took, wait := range map[time.Duration]time.Duration{30*time.Second - 1: time.Second,
			30 * time.Second: 0} {
			p := newPermissions()
			u := siteURL(t, "http://a.example/1")
			for range 2 {
				r := p.decide(u, false)
				p.learned(r.request, nil, 0, failure, took)
				var e *Error
				if r := p.decide(u, true); !errors.As(r.err, &e) || e.Wait != wait || e.Reason != HTTP429 ||
					e.Robots != RobotsRequested {
					t.Errorf("after a try of %v: %+v", took, r)
				}
				time.Sleep(5*time.Minute - 1)
				if r := p.decide(u, false); wait == 0 && r.err == nil {
					t.Errorf("requested before five minutes: %+v", r)
				}
				time.Sleep(time.Nanosecond)
				if wait > 0 { // it was requested above
					p = newPermissions()
				} else {
					inform(t, p, "http://a.example/", "", time.Minute, nil)
					time.Sleep(time.Minute)
				}
			}
		}
	})
}

// TestPermissionOfQueries: rules are for the path with its query, an empty one too.
func TestPermissionOfQueries(t *testing.T) {
	p := newPermissions()
	inform(t, p, "http://a.example/", "User-agent: *\nDisallow: /a?q=1\nDisallow: /b?$", time.Hour, nil)
	for path, want := range map[string]bool{"/a": true, "/a?q=2": true, "/a?q=1": false, "/b": true,
		"/b?": false, "/b?q": true} {
		if r := p.decide(siteURL(t, "http://a.example"+path), false); (r.err == nil) != want {
			t.Errorf("%s: %v", path, r.err)
		}
	}
}

// TestPermit: attempts wait while another one requests the robots.txt. Of a site that does not answer each
// gets the error, as its own. Their clocks stand still, also while they wait for their turn by crawl-delay.
func TestPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Fetcher{o: Options{Timeout: time.Second}, permissions: newPermissions()}
		u := siteURL(t, "https://a.example/1")
		ctx, cancel := context.WithCancelCause(t.Context())
		enough, failed := errors.New("enough"), &Error{Reason: Timeout}
		permit := func(ctx context.Context) chan error {
			ended := make(chan error, 1)
			go func() {
				a := f.begin(ctx, nil)
				defer a.end()
				err := a.permit(u)
				if err == nil && a.ctx.Err() != nil {
					err = context.Cause(a.ctx)
				}
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		r := f.permissions.decide(u, false)
		first, second, cancelled := permit(t.Context()), permit(t.Context()), permit(ctx)
		if cancel(enough); <-cancelled != enough {
			t.Error("it waits in spite of its context")
		}
		time.Sleep(time.Minute)
		f.permissions.learned(r.request, nil, 0, failed, time.Minute)
		one, other := <-first, <-second
		if one == other || one.(*Error).Reason != Timeout || one == error(failed) ||
			other.(*Error).Reason != Timeout {
			t.Errorf("%v and %v, want an error for each", one, other)
		}
		r = f.permissions.decide(u, false)
		last := permit(t.Context())
		f.permissions.learned(r.request, robots.Parse("User-agent: *\nCrawl-delay: 10", "x"), time.Hour, nil,
			0)
		if err := <-last; err != nil || f.CrawlDelay("a.example") != 10*time.Second {
			t.Errorf("%v, crawl-delay %v", err, f.CrawlDelay("a.example"))
		}
		start := time.Now()
		for turn := range 3 {
			if err := <-permit(t.Context()); err != nil ||
				time.Since(start) != time.Duration(turn+1)*10*time.Second {
				t.Errorf("turn %d after %v: %v", turn, time.Since(start), err)
			}
		}
	})
}

// TestPermissionsAreBounded: what is remembered of a million sites takes no more than it may; what was used
// lately is kept.
func TestPermissionsAreBounded(t *testing.T) {
	p := newPermissions()
	rules := []*robots.Rules{robots.Parse("User-agent: *\n"+strings.Repeat("Disallow: /some/folder\n"+
		"Disallow: /"+strings.Repeat("x", 100)+"\n", 10), "facescan"), nil, nil}
	decide := func(i int) ruling {
		return p.decide(&url.URL{Scheme: "http", Host: fmt.Sprint("h", i), Path: "/"}, false)
	}
	for i := range 150_000 {
		r := decide(i)
		p.learned(r.request, rules[i%3], time.Hour, nil, 0)
		if r := decide(0); r.request != nil {
			t.Fatalf("the one that is used all the time is forgotten after %d", i)
		}
	}
	size := 0
	for _, s := range p.sites {
		size += permissionSize + s.rules.Size()
	}
	if size != p.size || size > 32<<20 || size < 32<<20-5000 || len(p.sites) != p.used.Len() {
		t.Errorf("%d bytes of %d sites, %d are accounted for", size, len(p.sites), p.size)
	}
	if r := decide(1); r.request == nil {
		t.Error("the oldest is remembered")
	}
}

func TestLifetime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, 24 * time.Hour},
		{[]string{"Cache-Control", "max-age=2"}, 2 * time.Second},
		{[]string{"Cache-Control", `public, Max-Age="60", must-revalidate`}, time.Minute},
		{[]string{"Cache-Control", "max-age=604800"}, 24 * time.Hour},
		{[]string{"Cache-Control", "max-age=100", "Age", "30"}, 70 * time.Second},
		{[]string{"Cache-Control", "max-age=0"}, time.Minute},
		{[]string{"Cache-Control", "max-age=100", "Age", "300"}, time.Minute},
		{[]string{"Cache-Control", "max-age=100", "Age", "100"}, time.Minute},
		{[]string{"Cache-Control", "max-age=100", "Age", "99"}, time.Second},
		{[]string{"Cache-Control", "no-store"}, time.Minute},
		{[]string{"Cache-Control", "private, no-cache"}, time.Minute},
		{[]string{"Cache-Control", "max-age=soon"}, 24 * time.Hour},
		{[]string{"Expires", at(time.Hour)}, time.Hour},
		{[]string{"Expires", at(time.Hour), "Date", at(50 * time.Minute)}, 10 * time.Minute},
		{[]string{"Expires", at(-time.Hour)}, time.Minute},
		{[]string{"Expires", "0"}, time.Minute},
		{[]string{"Expires", at(time.Hour), "Cache-Control", "max-age=5"}, 5 * time.Second},
	} {
		h := http.Header{}
		for i := 0; i < len(c.header); i += 2 {
			h.Set(c.header[i], c.header[i+1])
		}
		if got := lifetime(h, now); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}
