// Package fetch downloads a URL, one attempt at a time, and turns every kind of failure into one reason.
//
// # An attempt
//
//	Canonical → memory → hop: [robots.txt], [rate], lookup, guard, dial, TLS, request, header → … → body
//
// A hop is one request; a redirect leads to the next. Everything is checked on every hop: the scheme, the
// blocked hosts, the site's robots.txt, the address that is dialled. One clock runs from the first lookup to
// the last byte; it is stopped while the attempt waits for our own limits, so that these cannot fail a row.
//
// The package knows nothing of rows and retries: Fetch makes one attempt, and Backoff says when another may
// start. Which reasons are tried again is decided in the table of reasons, in package store. Package host
// decides what is fetched next, package resolve looks names up, and package guard checks addresses.
//
// # Connections
//
// HTTP/1.1 with keep-alive only: measured, HTTP/2 costs more per image. No headers are sent besides the
// configured ones, except cookies that were set in the same chain of redirects; they are dropped after it.
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"

	"facescan/pipeline/fetch/resolve"
	"facescan/pipeline/fetch/robots"
	"facescan/pipeline/fileurl"
)

// Defaults of Options.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultMaxBytes = 32 << 20
	DefaultConns    = 2048
)

// connsPerHost is how many idle connections to one host are kept.
const connsPerHost = 64

// Options of a Fetcher. The zero value is usable: it follows no redirect and dials public addresses only.
type Options struct {
	// of an attempt, from its first lookup to its last byte; 0 means DefaultTimeout
	Timeout      time.Duration
	MinRate      int64 // minimum download speed, in bytes per second; 0 for none; see too_slow
	MaxBytes     int64 // of a decoded body; 0 means DefaultMaxBytes
	MaxRedirects int   // that are followed

	UserAgent    string
	Headers      []Header // beyond our own; see ParseHeader
	IgnoreOptOut bool     // read bodies despite X-Robots-Tag
	Robots       bool     // obey robots.txt
	Rate         float64  // requests per second, over all hosts; 0 for no limit
	Bandwidth    int64    // body bytes per second, over all hosts; 0 for no limit

	AllowFiles   []string       // folders below which a URL may name a file of this machine
	AllowPrivate bool           // dial loopback and private addresses too
	BlockHosts   *BlockList     // hosts to skip, on every hop; may be nil
	Insecure     bool           // do not verify certificates
	RootCAs      *x509.CertPool // nil means the system's
	Proxy        string         // a URL; "" means what the environment says, "none" none

	DNS   resolve.Options
	Conns int // idle connections that are kept; 0 means DefaultConns
}

// Fetcher makes attempts. It may be used by many goroutines.
type Fetcher struct {
	o            Options
	robot        string
	header       http.Header // shared by requests, never changed
	robotsHeader http.Header // likewise, of requests for a robots.txt
	permissions  *permissions
	transport    *http.Transport
	dialer       *dialer
	proxy        func(*url.URL) (*url.URL, error)
	requests     *rate.Limiter // nil for no limit
	bandwidth    *rate.Limiter
	files        []allowed // of Options.AllowFiles

	waitingRate, waitingBandwidth atomic.Int64 // attempts
}

// Limits are Options.Rate and Options.Bandwidth.
func (f *Fetcher) Limits() (rate float64, bandwidth int64) { return f.o.Rate, f.o.Bandwidth }

// RobotsRequests counts the requests for a robots.txt, redirects not counted.
func (f *Fetcher) RobotsRequests() int64 {
	if f.permissions == nil {
		return 0
	}
	return f.permissions.requests.Load()
}

// CrawlDelay is the least time between two requests to a host, as Host returns it, by its robots.txt; 0 if it
// has none, or none that is known.
func (f *Fetcher) CrawlDelay(host string) time.Duration {
	if f.permissions == nil {
		return 0
	}
	return f.permissions.delay(host)
}

// Waiting is how many attempts wait for Options.Rate, and how many for Options.Bandwidth.
func (f *Fetcher) Waiting() (rate, bandwidth int64) {
	return f.waitingRate.Load(), f.waitingBandwidth.Load()
}

// New makes a Fetcher. Close it.
func New(o Options) (*Fetcher, error) {
	if o.Timeout < 0 || o.MaxBytes < 0 || o.MaxRedirects < 0 || o.MinRate < 0 || o.Rate < 0 ||
		o.Bandwidth < 0 {
		return nil, errors.New("fetch: negative limit")
	}
	if !httpguts.ValidHeaderFieldValue(o.UserAgent) {
		return nil, errors.New("the user agent cannot be sent: it holds a line end or a control character")
	}
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.MaxBytes = cmp.Or(o.MaxBytes, DefaultMaxBytes)
	o.Conns = cmp.Or(o.Conns, DefaultConns)
	o.UserAgent = cmp.Or(o.UserAgent, "facescan")
	f := &Fetcher{o: o, robot: robots.Agent(o.UserAgent), header: http.Header{
		"User-Agent":      {o.UserAgent},
		"Accept":          {"image/jpeg,image/*;q=0.9,*/*;q=0.5"}, // the cheapest to decode first
		"Accept-Encoding": {"identity"},
	}}
	if o.Robots {
		f.permissions = newPermissions()
		f.robotsHeader = f.header.Clone()
		f.robotsHeader.Set("Accept", "text/plain,*/*;q=0.5")
	}
	var err error
	if f.files, err = allow(o.AllowFiles); err != nil {
		return nil, err
	}
	if f.proxy, err = proxies(o.Proxy); err != nil {
		return nil, err
	}
	if o.Rate > 0 {
		f.requests = rate.NewLimiter(rate.Limit(o.Rate), 1)
	}
	if o.Bandwidth > 0 {
		f.bandwidth = rate.NewLimiter(rate.Limit(o.Bandwidth), int(min(max(o.Bandwidth/10, 1<<10), 1<<20)))
	}
	resolver, err := resolve.New(o.DNS)
	if err != nil {
		return nil, err
	}
	f.dialer = &dialer{allowPrivate: o.AllowPrivate, resolver: resolver, userAgent: o.UserAgent,
		tls: &tls.Config{
			InsecureSkipVerify: o.Insecure,
			RootCAs:            o.RootCAs,
			ClientSessionCache: tls.NewLRUClientSessionCache(o.Conns),
		}}
	f.transport = &http.Transport{
		DialContext:            f.dialer.dial,
		DialTLSContext:         f.dialer.dialTLS,
		MaxIdleConns:           o.Conns,
		MaxIdleConnsPerHost:    connsPerHost,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHead,
		Protocols:              new(http.Protocols),
	}
	f.transport.Protocols.SetHTTP1(true)
	return f, nil
}

// Close ends the idle connections. No attempt may be under way.
func (f *Fetcher) Close() {
	f.transport.CloseIdleConnections()
	f.dialer.resolver.Close()
}

// Fetch makes one attempt. The error is an *Error, ErrLostWaiting, or the context's cause if that ended
// first; of a file below Options.AllowFiles also a *GoneError. A 2xx answer without any bytes is a Body too:
// whether bytes are an image is decided elsewhere.
func (f *Fetcher) Fetch(ctx context.Context, rawURL string, mem Memory) (*Body, error) {
	if len(f.files) > 0 && fileurl.Is(tidy(rawURL)) {
		return f.fetchListed(ctx, rawURL, mem)
	}
	u, err := Canonical(rawURL)
	if err != nil {
		return nil, &Error{Reason: BadURL, Err: err}
	}
	if err := mem.Reserve(ctx, FirstMemory); err != nil {
		return nil, err
	}
	a := f.begin(ctx, mem)
	defer a.end()
	buf := &buffer{mem: mem, paid: FirstMemory, grow: a.grow}
	body, err := a.run(u, buf)
	if err != nil {
		err = a.verdict(err, int64(len(buf.b)))
		buf.free()
		return nil, err
	}
	return body, nil
}

// Probe requests a URL and returns nil for an answer with a good status, else the error of Fetch. It reads no
// body, follows no redirect and takes no memory from the budget. With Options.Robots it requests the
// robots.txt of the URL's site instead, which may always be requested.
func (f *Fetcher) Probe(ctx context.Context, rawURL string) error {
	u, err := Canonical(rawURL)
	if err != nil {
		return &Error{Reason: BadURL, Err: err}
	}
	a := f.begin(ctx, nil)
	defer a.end()
	c := &chain{urls: []*url.URL{u}}
	if f.permissions != nil {
		c = robotsChain(u)
	}
	resp, err := a.request(c)
	if err != nil {
		return a.verdict(err, 0)
	}
	a.status = resp.StatusCode
	a.quickly()
	discard(resp.Body, 16<<10)
	if e := fromStatus(resp); e != nil && !isRedirect(resp) {
		return a.verdict(e, 0)
	}
	return nil
}

// attempt is one attempt under way.
type attempt struct {
	f        *Fetcher
	mem      Memory
	parent   context.Context
	ctx      context.Context // the parent, cut by the clock
	cancel   context.CancelCauseFunc
	start    time.Time
	final    string // redacted URL of the latest hop, empty for the first
	status   int
	hop      *hop         // the latest
	received atomic.Int64 // bytes of the body, as received
	clock
}

func (f *Fetcher) begin(ctx context.Context, mem Memory) *attempt {
	a := &attempt{f: f, mem: mem, parent: ctx, start: time.Now()}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.due = a.start.Add(f.o.Timeout)
	a.timer = time.AfterFunc(f.o.Timeout, func() { a.cancel(errTimeout) })
	return a
}

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(errFinished)
}

// verdict turns the error that ended the attempt into the error of Fetch.
func (a *attempt) verdict(err error, got int64) error {
	if a.parent.Err() != nil {
		return context.Cause(a.parent)
	}
	if a.lostWaiting(err) {
		return fmt.Errorf("%w: %w", ErrLostWaiting, err)
	}
	var e *Error
	if !errors.As(err, &e) {
		e = classify(err)
	}
	if e.Status == 0 {
		e.Status = a.status
	}
	e.FinalURL, e.Bytes = a.final, got
	return e
}

// run follows the hops to a body.
func (a *attempt) run(u *url.URL, buf *buffer) (*Body, error) {
	resp, err := a.answer(&chain{urls: []*url.URL{u}}, a.f.o.MaxRedirects)
	if err != nil {
		return nil, err
	}
	first := time.Since(a.start)
	if e := fromStatus(resp); e != nil {
		a.quickly()
		discard(resp.Body, 16<<10)
		return nil, e
	}
	if !a.f.o.IgnoreOptOut && optedOut(resp.Header["X-Robots-Tag"], a.f.robot) {
		_ = resp.Body.Close() // unread, even if the connection is lost with it
		return nil, &Error{Reason: OptOut, Err: errors.New(strings.Join(resp.Header["X-Robots-Tag"], ", "))}
	}
	stop := a.watch()
	err = a.read(resp, buf, a.f.o.MaxBytes)
	stop()
	_ = resp.Body.Close() // it was read as far as it matters
	if err != nil {
		return nil, err
	}
	return &Body{Bytes: buf.b, FinalURL: a.final, Status: resp.StatusCode, Header: resp.Header,
		First: first, Took: time.Since(a.start), buf: buf}, nil
}

// answer follows the redirects of a chain, so many at most, to an answer that is not a redirect.
func (a *attempt) answer(c *chain, maxRedirects int) (*http.Response, error) {
	for {
		resp, err := a.request(c)
		if err != nil {
			return nil, err
		}
		a.status = resp.StatusCode
		if !isRedirect(resp) {
			return resp, nil
		}
		a.hop.dismiss(resp.Body)
		u, err := c.follow(resp, maxRedirects)
		if u != nil {
			a.final = redacted(u)
		}
		if err != nil {
			return nil, err
		}
	}
}

// request makes one hop, to the last URL of the chain.
func (a *attempt) request(c *chain) (*http.Response, error) {
	f, u := a.f, c.last()
	if name := u.Hostname(); f.o.BlockHosts.Has(name) {
		return nil, &Error{Reason: Blocked, Err: fmt.Errorf("%s is on the list of blocked hosts", name)}
	}
	if f.permissions != nil && !c.robots {
		if err := a.permit(u); err != nil {
			return nil, err
		}
	}
	if f.requests != nil {
		if d := f.requests.Reserve().Delay(); d > 0 {
			if err := a.delay(d, &f.waitingRate); err != nil {
				return nil, err
			}
		}
	}
	h := &hop{a: a}
	a.hop = h
	ctx, cancel := context.WithCancelCause(a.ctx)
	h.cancel = cancel
	ctx = context.WithValue(ctx, hopKey{}, h)
	ctx = httptrace.WithClientTrace(ctx,
		&httptrace.ClientTrace{GotConn: h.gotConn, Got1xxResponse: h.gotInterim})
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: f.headersFor(c)}).
		WithContext(ctx)
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	err := h.route(ctx, u)
	var resp *http.Response
	if err == nil {
		resp, err = f.transport.RoundTrip(req)
	}
	if err != nil {
		if cause := context.Cause(a.ctx); cause != nil {
			err = cause
			if errors.Is(cause, errTimeout) && h.phase.Load() == lookingUp {
				err = &fault{DNSTimeout, f.dialer.resolver.Down(), cause}
			}
		} else if h.conn != nil {
			// The end of the connection takes precedence over a parser's error.
			err = cmp.Or(h.conn.cutShort(), err)
		}
		return nil, err
	}
	return resp, nil
}

// route sets the request's proxy, if any. With one it looks the target up and checks it.
func (h *hop) route(ctx context.Context, u *url.URL) error {
	p, err := h.a.f.proxy(u)
	if err != nil || p == nil {
		return err
	}
	targets, err := h.a.f.dialer.targets(ctx, h, u.Hostname(), cmp.Or(u.Port(), u.Scheme))
	if err != nil {
		return err
	}
	h.proxy, h.target = p, targets[0]
	return nil
}

// hop is one request under way. The dialer finds it in its context.
type hop struct {
	a       *attempt
	phase   atomic.Int32
	cancel  context.CancelCauseFunc
	conn    *conn // the latest, nil before
	conns   int
	interim int            // 1xx answers
	proxy   *url.URL       // nil for none
	target  netip.AddrPort // the target for the proxy
}

type hopKey struct{}

// Phases of a hop, to distinguish a slow resolver from a slow server.
const (
	waiting int32 = iota
	lookingUp
	dialling
	requesting
)

// reach advances the phase; a dial that lost to an idle connection cannot set it back.
func (h *hop) reach(phase int32) {
	for {
		old := h.phase.Load()
		if old >= phase || h.phase.CompareAndSwap(old, phase) {
			return
		}
	}
}

// gotConn records that the request is sent. net/http retries on another connection if an idle one turns out
// dead. A server that resets every request for this URL would so get one per idle connection; gotConn ends
// this.
func (h *hop) gotConn(info httptrace.GotConnInfo) {
	h.reach(requesting)
	h.conn = info.Conn.(*conn)
	h.conn.expectAnswer()
	if h.conns++; h.conns > 3 {
		h.a.cancel(errStale)
	}
}

// maxInterim is the most 1xx answers that may come before the one that counts.
const maxInterim = 5

// gotInterim counts 1xx answers. It is called by one goroutine at a time.
func (h *hop) gotInterim(int, textproto.MIMEHeader) error {
	if h.interim++; h.interim > maxInterim {
		return fmt.Errorf("more than %d interim answers", maxInterim)
	}
	return nil
}

// A redirect's own body is read if it is short and has arrived, so that its connection can be reused.
const (
	dismissBytes = 4 << 10
	dismissTime  = 50 * time.Millisecond
)

func (h *hop) dismiss(body io.ReadCloser) {
	defer time.AfterFunc(dismissTime, func() { h.cancel(errUnwanted) }).Stop()
	discard(body, dismissBytes)
}

// isRedirect reports whether the answer is a redirect; 300, 304, 305 and 306 are not.
func isRedirect(r *http.Response) bool {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return r.Header.Get("Location") != ""
	}
	return false
}

// discard reads an unwanted body to its end if that is near, so that its connection can be reused.
func discard(b io.ReadCloser, limit int64) {
	_, _ = io.CopyN(io.Discard, b, limit)
	_ = b.Close()
}
