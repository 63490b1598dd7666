package fetch

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// A proxy would look names up itself, without the guard. So the target is looked up and checked here, and the
// proxy makes a tunnel to its address, for plain requests as well: a forwarded request would have to name the
// address instead of the host (RFC 9112 3.2.2), and the server could not know which of its sites is meant. A
// proxy that lets no tunnel through to port 80 refuses such rows.

// proxies returns which proxy a URL goes through, nil for none. "" is the environment's choice, "none" is
// none.
func proxies(setting string) (func(*url.URL) (*url.URL, error), error) {
	switch setting {
	case "":
		env := httpproxy.FromEnvironment()
		for name, value := range map[string]string{"HTTP_PROXY": env.HTTPProxy,
			"HTTPS_PROXY": env.HTTPSProxy} {
			if value == "" {
				continue
			}
			if !strings.Contains(value, "://") {
				value = "http://" + value // httpproxy does so, too
			}
			if _, err := parseProxy(value); err != nil { // httpproxy would do without a proxy
				return nil, fmt.Errorf("the variable %s: %w; --proxy none connects without it", name, err)
			}
		}
		choose := env.ProxyFunc()
		return func(u *url.URL) (*url.URL, error) {
			p, err := choose(u)
			if err != nil {
				return nil, &proxyError{err}
			}
			return p, nil
		}, nil
	case "none":
		return func(*url.URL) (*url.URL, error) { return nil, nil }, nil
	}
	p, err := parseProxy(setting)
	if err != nil {
		return nil, fmt.Errorf("--proxy: %w", err)
	}
	return func(*url.URL) (*url.URL, error) { return p, nil }, nil
}

var errProxyURL = errors.New("not the URL of a proxy (not shown, since it may hold a password): " +
	"write http://HOST:PORT, https://… or socks5://…, with USER:PASSWORD@ before HOST if needed; " +
	"/ ? # % : @ in these are %2F %3F %23 %25 %3A %40")

// parseProxy reads a proxy's URL. One with a path is refused: it is a password with a slash more often than
// not. The error shows nothing of the URL.
func parseProxy(s string) (*url.URL, error) {
	p, err := url.Parse(s)
	if err != nil || p.Hostname() == "" || p.Path != "" && p.Path != "/" || p.RawQuery != "" ||
		p.Fragment != "" {
		return nil, errProxyURL
	}
	switch p.Scheme {
	case "http", "https", "socks5", "socks5h":
		return p, nil
	}
	return nil, errProxyURL
}

// proxyError is a failure of the proxy itself, which must not count against a row.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return "proxy: " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// refusal is a working proxy's refusal to connect to this target.
type refusal struct{ status string }

func (r *refusal) Error() string { return "the proxy says " + r.status }

// dialProxy connects to the proxy. It may be anywhere: the user named it.
func (d *dialer) dialProxy(ctx context.Context, h *hop) (net.Conn, error) {
	p := h.proxy
	port := p.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.Scheme]
	}
	if port == "" {
		port = "1080"
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, &proxyError{err}
	}
	ips, err := d.lookup(ctx, strings.ToLower(p.Hostname()))
	if err != nil {
		return nil, &proxyError{err}
	}
	targets := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		targets[i] = netip.AddrPortFrom(ip, uint16(n))
	}
	c, err := race(ctx, targets, func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", a.String())
	})
	if err != nil {
		return nil, &proxyError{err}
	}
	if p.Scheme != "https" {
		return c, nil
	}
	t, err := d.handshake(ctx, c, p.Hostname())
	if err != nil {
		return nil, &proxyError{err}
	}
	return t, nil
}

// tunnel connects to the target through the proxy.
func (d *dialer) tunnel(ctx context.Context, h *hop) (net.Conn, error) {
	if strings.HasPrefix(h.proxy.Scheme, "socks5") {
		return d.socks(ctx, h)
	}
	c, err := d.dialProxy(ctx, h)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: h.target.String()},
		Host:   h.target.String(),
		Header: http.Header{"User-Agent": {d.userAgent}}}
	if u := h.proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	var resp *http.Response
	if err = req.Write(c); err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(c), req) // what follows is only said after we spoke
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err != nil:
		err = &proxyError{err}
	case resp.StatusCode == http.StatusProxyAuthRequired:
		err = &proxyError{errors.New(resp.Status)}
	case resp.StatusCode != http.StatusOK:
		err = &refusal{resp.Status}
	default:
		return c, nil
	}
	_ = c.Close()
	return nil, err
}

func (d *dialer) socks(ctx context.Context, h *hop) (net.Conn, error) {
	var auth *proxy.Auth
	if u := h.proxy.User; u != nil {
		password, _ := u.Password()
		auth = &proxy.Auth{User: u.Username(), Password: password}
	}
	var reached bool
	forward := forwarder(func(ctx context.Context) (net.Conn, error) {
		c, err := d.dialProxy(ctx, h)
		reached = err == nil
		return c, err
	})
	s, err := proxy.SOCKS5("tcp", h.proxy.Host, auth, forward)
	if err != nil {
		return nil, &proxyError{err}
	}
	c, err := s.(proxy.ContextDialer).DialContext(ctx, "tcp", h.target.String())
	if err != nil && ctx.Err() == nil {
		if reached && !strings.Contains(err.Error(), "authentication") {
			return nil, &refusal{err.Error()}
		}
		return nil, &proxyError{err}
	}
	return c, err
}

// forwarder is how the SOCKS client gets to its proxy.
type forwarder func(ctx context.Context) (net.Conn, error)

func (f forwarder) Dial(string, string) (net.Conn, error) { return f(context.Background()) }

func (f forwarder) DialContext(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }
