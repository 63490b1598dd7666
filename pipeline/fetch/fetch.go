// Package fetch turns a URL into the bytes behind it, one attempt at a time, and every way in which that can fail
// into one word.
//
// # An attempt
//
//	Canonical → [rate] → memory → hop: lookup, guard, dial, TLS, request, header → … → body
//
// A hop is one request; a redirect leads to the next. Everything is checked on every hop: the scheme, the blocked
// hosts, the address that is dialled. One clock runs from the first lookup to the last byte; it stands still while the
// attempt waits for our own limits, so that these cost no row its outcome.
//
// The package knows nothing of rows and retries: Fetch makes one attempt, Error.Temporary tells whether another may
// help, Backoff when. What may be asked next is decided in package host, names are looked up in package resolve, and
// addresses are judged in package guard.
//
// # Connections
//
// HTTP/1.1 with keep-alive only: measured, HTTP/2 costs more per image. Cookies are off, and so is every header that
// we were not told to send.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultMaxBytes = 32 << 20
)

// Options of a Fetcher. The zero value is of use: it follows no redirect and dials public addresses only.
type Options struct {
	Timeout      time.Duration // of an attempt, from its first lookup to its last byte; 0 means DefaultTimeout
	MaxBytes     int64         // of a body after its content encoding is undone; 0 means DefaultMaxBytes
	MaxRedirects int           // that are followed
	UserAgent    string
	AllowPrivate bool           // dial loopback and private addresses too
	Insecure     bool           // do not verify certificates
	RootCAs      *x509.CertPool // nil means the system's
	Conns        int            // idle connections that are kept; 0 means 2,048
	ConnsPerHost int            // of them to one host; 0 means 64
}

// Fetcher makes attempts. It may be used by many goroutines.
type Fetcher struct {
	o         Options
	header    http.Header // shared by all requests, never changed
	transport *http.Transport
}

// New makes a Fetcher. Close it to end its idle connections.
func New(o Options) (*Fetcher, error) {
	if o.Timeout < 0 || o.MaxBytes < 0 || o.MaxRedirects < 0 {
		return nil, errors.New("fetch: negative limit")
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Conns == 0 {
		o.Conns = 2048
	}
	if o.ConnsPerHost == 0 {
		o.ConnsPerHost = 64
	}
	if o.UserAgent == "" {
		o.UserAgent = "facescan"
	}
	f := &Fetcher{o: o, header: http.Header{
		"User-Agent":      {o.UserAgent},
		"Accept":          {"image/jpeg,image/*;q=0.9,*/*;q=0.5"}, // the cheapest to decode first
		"Accept-Encoding": {"identity"},
	}}
	d := &dialer{allowPrivate: o.AllowPrivate, tls: &tls.Config{
		InsecureSkipVerify: o.Insecure,
		RootCAs:            o.RootCAs,
		ClientSessionCache: tls.NewLRUClientSessionCache(o.Conns),
	}}
	f.transport = &http.Transport{
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		DisableCompression:     true,
		MaxIdleConns:           o.Conns,
		MaxIdleConnsPerHost:    o.ConnsPerHost,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		Protocols:              new(http.Protocols),
	}
	f.transport.Protocols.SetHTTP1(true)
	return f, nil
}

// Close ends the idle connections. Attempts under way go on.
func (f *Fetcher) Close() { f.transport.CloseIdleConnections() }

// Fetch makes one attempt. The error is an *Error, or ErrNoMemory, or the context's cause when that ended first.
// A 2xx answer without any bytes is a Body: whether bytes are an image is not judged here.
func (f *Fetcher) Fetch(ctx context.Context, rawURL string, mem Memory) (*Body, error) {
	u, err := Canonical(rawURL)
	if err != nil {
		return nil, &Error{Reason: BadURL, Err: err}
	}
	if err := mem.Reserve(ctx, firstBuffer); err != nil {
		return nil, err
	}
	buf := &buffer{mem: mem, paid: firstBuffer}
	a := f.begin(ctx)
	body, err := a.run(u, buf)
	if err != nil {
		err = a.verdict(err, int64(len(buf.b)))
		buf.free()
		a.end()
		return nil, err
	}
	a.end()
	return body, nil
}

// attempt is one attempt under way.
type attempt struct {
	f        *Fetcher
	parent   context.Context
	ctx      context.Context // the parent, cut by the clock
	cancel   context.CancelCauseFunc
	start    time.Time
	final    string // redacted URL of the latest hop, empty for the first
	status   int
	received atomic.Int64 // bytes of the body, as they came

	clock sync.Mutex
	timer *time.Timer
	due   time.Time
}

func (f *Fetcher) begin(ctx context.Context) *attempt {
	a := &attempt{f: f, parent: ctx, start: time.Now()}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.due = a.start.Add(f.o.Timeout)
	a.timer = time.AfterFunc(f.o.Timeout, func() { a.cancel(errTimeout) })
	return a
}

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(errFinished)
}

// verdict turns whatever ended the attempt into what Fetch returns.
func (a *attempt) verdict(err error, got int64) error {
	if errors.Is(err, ErrNoMemory) {
		return ErrNoMemory
	}
	if a.parent.Err() != nil {
		return context.Cause(a.parent)
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
	var seen map[string]bool
	for hops := 0; ; hops++ {
		resp, err := a.request(u)
		if err != nil {
			return nil, err
		}
		a.status = resp.StatusCode
		if isRedirect(resp) {
			discard(resp.Body, 2<<10)
			if seen == nil {
				seen = map[string]bool{}
			}
			seen[u.String()] = true
			if u, err = resolve(u, resp.Header.Get("Location")); err != nil {
				return nil, &Error{Reason: HTTPError, Err: fmt.Errorf("redirect: %w", err)}
			}
			a.final = Redact(u.String())
			if seen[u.String()] {
				return nil, &Error{Reason: RedirectLoop, Err: errors.New("a redirect leads back")}
			}
			if hops == a.f.o.MaxRedirects {
				return nil, &Error{Reason: RedirectLoop, Err: fmt.Errorf("more than %d redirects", hops)}
			}
			continue
		}
		first := time.Since(a.start)
		if e := fromStatus(resp); e != nil {
			a.quickly()
			discard(resp.Body, 16<<10)
			return nil, e
		}
		err = a.read(resp, buf)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		return &Body{Bytes: buf.b, FinalURL: a.final, Status: resp.StatusCode, Header: resp.Header,
			First: first, Took: time.Since(a.start), buf: buf}, nil
	}
}

// request makes one hop.
func (a *attempt) request(u *url.URL) (*http.Response, error) {
	h := &hop{a: a}
	ctx := context.WithValue(a.ctx, hopKey{}, h)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: h.gotConn})
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: a.f.header, Proto: "HTTP/1.1",
		ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if u.User != nil {
		req.Header = req.Header.Clone()
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	resp, err := a.f.transport.RoundTrip(req)
	if err != nil {
		if cause := context.Cause(a.ctx); cause != nil {
			err = cause
			if errors.Is(cause, errTimeout) && h.phase.Load() == lookingUp {
				err = &dnsError{reason: DNSTimeout, err: cause}
			}
		}
		return nil, err
	}
	return resp, nil
}

// hop is one request under way. The dialer finds it in its context.
type hop struct {
	a     *attempt
	phase atomic.Int32
	conns int
}

type hopKey struct{}

// Phases of a hop, for telling a slow resolver from a slow server.
const (
	waiting int32 = iota
	lookingUp
	dialling
	asking
)

// reach moves the phase on; a dial that lost to an idle connection cannot move it back.
func (h *hop) reach(phase int32) {
	for {
		old := h.phase.Load()
		if old >= phase || h.phase.CompareAndSwap(old, phase) {
			return
		}
	}
}

// gotConn notes that the request goes out. net/http asks again on another connection when a kept one turns out dead;
// a server that resets whatever asks for this URL would so be asked once for each kept connection.
func (h *hop) gotConn(httptrace.GotConnInfo) {
	h.reach(asking)
	if h.conns++; h.conns > 3 {
		h.a.cancel(errStale)
	}
}

// quickly leaves the attempt a moment to read what only makes a connection reusable.
func (a *attempt) quickly() {
	a.clock.Lock()
	defer a.clock.Unlock()
	if time.Until(a.due) > 250*time.Millisecond && a.timer.Stop() {
		a.timer.Reset(250 * time.Millisecond)
	}
}

// throttled reads once.
func (a *attempt) throttled(r io.Reader, p []byte) (int, error) { return r.Read(p) }

// isRedirect tells whether the answer leads elsewhere; 300, 304, 305 and 306 do not.
func isRedirect(r *http.Response) bool {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return r.Header.Get("Location") != ""
	}
	return false
}

// discard reads a body that nobody wants to its end, so that its connection can be used again, if that is near.
func discard(b io.ReadCloser, limit int64) {
	io.CopyN(io.Discard, b, limit)
	b.Close()
}
