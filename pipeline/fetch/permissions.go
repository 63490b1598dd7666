package fetch

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"facescan/pipeline/fetch/robots"
)

// How long what a robots.txt said, or that it could not be read, is relied on.
const (
	robotsFor      = 24 * time.Hour  // if it does not say how long, and at most (RFC 9309, 2.4)
	robotsUncached = time.Minute     // if it may not be cached: one for each row would double the requests
	robotsGivenUp  = 5 * time.Minute // rows fail without a request for so long after the last try

	robotsPause     = time.Second      // after the first try that was refused; then twice as long each time,
	robotsLastPause = 16 * time.Second // up to this
	robotsPatience  = 30 * time.Second // tries and pauses of so long together are enough

	robotsRedirects = 5                // that are followed (RFC 9309, 2.3.1.2)
	longestDelay    = 30 * time.Second // of crawl-delay that an attempt waits out; else its row comes again

	permissionsSize = 32 << 20 // bytes of what is remembered
	permissionSize  = 256      // of one, besides its rules
)

// Robots is the part of a robots.txt in an Error.
type Robots uint8

// Parts of a robots.txt.
const (
	NoRobots        Robots = iota
	RobotsRequested        // what it answered in this attempt is the reason
	RobotsKnown            // what it answered before is the reason: this attempt requested nothing
)

// permissions is what sites say in their robots.txt. Each is requested once, when the first row needs it; the
// ones used longest ago are forgotten when all together take too much memory.
//
//	unknown ─requested─▶ rules, until they expire ──▶ unknown
//	   ▲  └──5xx, 429──▶ waiting, then once again ──patience is over──▶ given up, for five minutes ──┐
//	   └─────────────────────────────────────────────────────────────────────────────────────────────┘
//
// While a site is waiting, Error.Wait says for how long its rows should be postponed. Once it is given up
// they fail, for the reason that its robots.txt failed for. A site that does not answer stays unknown: the
// attempt fails as if it had requested the row, so that silence means for a robots.txt what it means for a
// row.
type permissions struct {
	requests atomic.Int64

	mu    sync.Mutex
	sites map[site]*permission
	used  list.List // of *permission, the one used longest ago first
	size  int
}

type site struct{ scheme, host string }

// permission is what one site says. The mutex of permissions guards it.
type permission struct {
	site    site
	place   *list.Element
	rules   *robots.Rules
	expires time.Time // of rules
	inquiry *inquiry  // nil if no request is under way
	next    time.Time // no request before, by crawl-delay

	failure *Error // 5xx or 429, of the latest try
	again   time.Time
	tries   int
	spent   time.Duration // on tries and pauses
	givenUp bool          // that was too long
}

// inquiry is a request for a robots.txt under way. Attempts that need it wait for it.
type inquiry struct {
	done chan struct{}
	err  error // of a site that did not answer; set before done is closed
}

func newPermissions() *permissions { return &permissions{sites: map[site]*permission{}} }

// delay is the crawl-delay of a host as Host returns it, of either scheme; 0 for none.
func (p *permissions) delay(host string) (d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, scheme := range []string{"http", "https"} {
		if s := p.sites[site{scheme, host}]; s != nil && s.rules != nil {
			d = max(d, s.rules.Delay)
		}
	}
	return d
}

// of finds or makes a site's permission, and marks it as used.
func (p *permissions) of(u *url.URL) *permission {
	key := site{u.Scheme, u.Host}
	s := p.sites[key]
	if s == nil {
		s = &permission{site: key}
		p.sites[key] = s
		s.place = p.used.PushBack(s)
		p.size += permissionSize
	}
	p.used.MoveToBack(s.place)
	return s
}

// shrink forgets what was used longest ago until the rest fits. What is being requested stays.
func (p *permissions) shrink() {
	for e := p.used.Front(); e != nil && p.size > permissionsSize; {
		s := e.Value.(*permission)
		next := e.Next()
		if s.inquiry == nil {
			p.used.Remove(e)
			delete(p.sites, s.site)
			p.size -= permissionSize + s.rules.Size()
		}
		e = next
	}
}

// ruling is what permissions say about a request.
type ruling struct {
	err     error         // not now, or not at all
	pause   time.Duration // the request may be made after this
	pending *inquiry      // another attempt requests the robots.txt
	request *permission   // this attempt is to request it, and to call learned
}

// decide says whether a URL may be requested. requested means that this attempt has requested its robots.txt.
func (p *permissions) decide(u *url.URL, requested bool) ruling {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, now := p.of(u), time.Now()
	part := RobotsKnown
	if requested {
		part = RobotsRequested
	}
	switch {
	case s.failure != nil && (requested || now.Before(s.again)):
		e := *s.failure
		e.Robots = part
		if !s.givenUp {
			e.Wait = max(s.again.Sub(now), time.Millisecond)
		}
		return ruling{err: &e}
	case s.failure == nil && (requested && !s.expires.IsZero() || now.Before(s.expires)):
		return p.allow(s, u, part, now)
	case s.inquiry != nil:
		return ruling{pending: s.inquiry}
	}
	s.inquiry = &inquiry{done: make(chan struct{})}
	return ruling{request: s}
}

// allow decides by the rules of a site, and takes a turn by its crawl-delay.
func (p *permissions) allow(s *permission, u *url.URL, part Robots, now time.Time) ruling {
	path := u.EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		path += "?" + u.RawQuery
	}
	if !s.rules.Allows(path) {
		return ruling{err: &Error{Reason: OptOut, Robots: part, Err: errors.New("robots.txt disallows it")}}
	}
	if s.rules == nil || s.rules.Delay == 0 {
		return ruling{}
	}
	pause := max(s.next.Sub(now), 0)
	if pause > longestDelay {
		return ruling{err: &Error{Reason: Timeout, Robots: part, Wait: pause,
			Err: errors.New("the crawl-delay of robots.txt")}}
	}
	s.next = now.Add(pause + s.rules.Delay)
	return ruling{pause: pause}
}

// learned takes what a request for a robots.txt gave after so long: rules for a time, or an error.
func (p *permissions) learned(s *permission, rules *robots.Rules, lifetime time.Duration, err error,
	took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := refusedRobots(err); {
	case err == nil:
		p.size += rules.Size() - s.rules.Size()
		s.rules, s.expires = rules, time.Now().Add(lifetime)
		s.failure, s.tries, s.spent, s.givenUp = nil, 0, 0, false
	case e == nil:
		s.inquiry.err = err
	default:
		s.failure, s.spent = e, s.spent+took
		if s.givenUp = s.spent >= robotsPatience; s.givenUp {
			s.again = time.Now().Add(robotsGivenUp)
			break
		}
		pause := max(min(robotsPause<<min(s.tries, 6), robotsLastPause), min(e.RetryAfter, MaxRetryAfter))
		s.again = time.Now().Add(pause)
		s.tries++
		s.spent += pause
	}
	close(s.inquiry.done)
	s.inquiry = nil
	p.shrink()
}

// refusedRobots is the error of a site that answered for its robots.txt, but not with it, and may do so
// later. It is nil for any other.
func refusedRobots(err error) *Error {
	var e *Error
	if errors.As(err, &e) && (e.Reason == HTTP5xx || e.Reason == HTTP429) {
		return e
	}
	return nil
}

// permit waits until a URL may be requested by its site's robots.txt, which it requests if that is unknown.
// The attempt's clock is stopped meanwhile.
func (a *attempt) permit(u *url.URL) error {
	return a.outside(func() error {
		p := a.f.permissions
		for requested := false; ; requested = true {
			r := p.decide(u, requested)
			switch {
			case r.err != nil:
				return r.err
			case r.pending != nil:
				select {
				case <-r.pending.done:
				case <-a.parent.Done():
					return context.Cause(a.parent)
				}
				var e *Error
				if errors.As(r.pending.err, &e) {
					own := *e
					return &own
				}
			case r.request != nil:
				from := time.Now()
				rules, lifetime, err := a.f.requestRobots(a.parent, u, a.mem)
				p.learned(r.request, rules, lifetime, err, time.Since(from))
				if err != nil && refusedRobots(err) == nil {
					return err
				}
			case r.pause > 0:
				return sleep(a.parent, r.pause)
			default:
				return nil
			}
		}
	})
}

// requestRobots reads the robots.txt of a URL's site. The rules are nil if everything is allowed, as without
// a robots.txt: all of 4xx but 429, and too many redirects (RFC 9309, 2.3.1).
func (f *Fetcher) requestRobots(ctx context.Context, site *url.URL, mem Memory) (rules *robots.Rules,
	holds time.Duration, err error) {
	a := f.begin(ctx, mem)
	defer a.end()
	buf := &buffer{mem: mem, grow: a.grow}
	defer buf.free()
	f.permissions.requests.Add(1)
	resp, err := a.answer(robotsChain(site), robotsRedirects)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Reason == RedirectLoop:
		return nil, robotsFor, nil
	case err == nil:
		err = a.readRobots(resp, buf)
	}
	if err != nil {
		err = a.verdict(err, 0)
		if errors.As(err, &e) {
			e.FinalURL, e.Err = "", fmt.Errorf("robots.txt: %w", e.Err)
		}
		return nil, 0, err
	}
	return robots.Parse(string(buf.b), f.robot), lifetime(resp.Header, time.Now()), nil
}

// robotsChain is the chain of a request for the robots.txt of a URL's site.
func robotsChain(u *url.URL) *chain {
	return &chain{urls: []*url.URL{{Scheme: u.Scheme, Host: u.Host, Path: "/robots.txt"}}, robots: true}
}

// readRobots reads the body of an answer for a robots.txt, as far as it counts. It stays empty if there is
// none.
func (a *attempt) readRobots(resp *http.Response, buf *buffer) error {
	none := resp.StatusCode == http.StatusNoContent ||
		resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests
	if e := fromStatus(resp); e != nil || none {
		a.quickly()
		discard(resp.Body, 16<<10)
		if none {
			return nil
		}
		return e
	}
	defer a.watch()()
	defer resp.Body.Close()
	resp.ContentLength = min(resp.ContentLength, robots.MaxSize) // a longer one is cut
	err := a.read(resp, buf, robots.MaxSize)
	var e *Error
	if errors.As(err, &e) && e.Reason == TooLarge {
		return nil
	}
	return err
}

// lifetime is how long a robots.txt holds that came with this header.
func lifetime(h http.Header, now time.Time) time.Duration {
	d := robotsFor
	if expires := h.Get("Expires"); expires != "" {
		t, err := http.ParseTime(expires)
		if err != nil {
			t = now // "0" and its like mean that it has expired
		} else if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		d = t.Sub(now)
	}
	for part := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "no-store", "no-cache":
			return robotsUncached
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `" `), 10, 31); err == nil {
				age, _ := strconv.ParseUint(h.Get("Age"), 10, 31)
				d = time.Duration(n)*time.Second - time.Duration(age)*time.Second
			}
		}
	}
	if d <= 0 {
		return robotsUncached
	}
	return min(d, robotsFor)
}
