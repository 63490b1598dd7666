package fetch

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
)

// chain is the URLs of one attempt: the row's own, then the targets of redirects. It holds the cookies set on
// the way, each for the host that set it.
type chain struct {
	urls        []*url.URL // at least one
	cookies     *cookiejar.Jar
	cookieBytes int
	robots      bool // for a robots.txt: not subject to one, and without headers of the user
}

// Bounds of a chain.
const (
	maxVisits      = 2        // of one URL
	maxCookieBytes = 16 << 10 // of all its cookies
)

func (c *chain) last() *url.URL { return c.urls[len(c.urls)-1] }

// follow adds the target of a redirect and returns it, or an error if it must not be followed.
func (c *chain) follow(resp *http.Response, maxRedirects int) (*url.URL, error) {
	u, err := redirected(c.last(), resp.Header.Get("Location"))
	if err != nil {
		return nil, &Error{Reason: HTTPError, Err: fmt.Errorf("redirect: %w", err)}
	}
	if len(c.urls) > maxRedirects {
		return u, &Error{Reason: RedirectLoop, Err: fmt.Errorf("more than %d redirects", maxRedirects)}
	}
	visits := 0
	for _, before := range c.urls {
		if before.String() == u.String() {
			visits++
		}
	}
	if visits == maxVisits {
		return u, &Error{Reason: RedirectLoop, Err: errors.New("redirects lead to a URL for the third time")}
	}
	c.keepCookies(resp)
	c.urls = append(c.urls, u)
	return u, nil
}

// keepCookies stores the cookies of an answer of the last URL. The domain in a cookie is ignored.
func (c *chain) keepCookies(resp *http.Response) {
	var kept []*http.Cookie
	for _, k := range resp.Cookies() {
		if c.cookieBytes+len(k.Name)+len(k.Value) > maxCookieBytes {
			break
		}
		c.cookieBytes += len(k.Name) + len(k.Value)
		k.Domain = ""
		kept = append(kept, k)
	}
	if len(kept) == 0 {
		return
	}
	if c.cookies == nil {
		c.cookies, _ = cookiejar.New(nil) // without options it cannot fail
	}
	c.cookies.SetCookies(c.last(), kept)
}

// allows reports whether a header may be sent to the chain's last URL: the header covers every URL of the
// chain, so that no other host decided where it goes, and no redirect led from https to http.
func (c *chain) allows(h Header) bool {
	if c.robots { // it may be requested because another host redirected here
		return false
	}
	for i, u := range c.urls {
		if !h.covers(u, c.urls[0]) || i > 0 && c.urls[i-1].Scheme == "https" && u.Scheme != "https" {
			return false
		}
	}
	return true
}

// headersFor returns the headers of the request to the chain's last URL.
func (f *Fetcher) headersFor(c *chain) http.Header {
	u, header := c.last(), f.header
	if c.robots {
		header = f.robotsHeader
	}
	if len(f.o.Headers) == 0 && u.User == nil && c.cookies == nil {
		return header
	}
	h := header.Clone()
	for _, x := range f.o.Headers {
		if c.allows(x) {
			h.Set(x.Name, x.Value)
		}
	}
	if c.cookies != nil {
		req := http.Request{Header: h}
		for _, k := range c.cookies.Cookies(u) {
			req.AddCookie(k)
		}
	}
	return h
}
