package fetch

import (
	"bufio"
	"cmp"
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
		variables := map[string]string{"HTTP_PROXY": env.HTTPProxy, "HTTPS_PROXY": env.HTTPSProxy}
		for name, value := range variables {
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
				return nil, proxyFault(err)
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

// proxyFault is a failure of the proxy itself, which must not count against a row.
func proxyFault(err error) error { return &fault{Connect, true, fmt.Errorf("proxy: %w", err)} }

// proxyRefuses is a working proxy's refusal to connect to this target.
func proxyRefuses(status string) error {
	return &fault{Connect, false, errors.New("the proxy says " + status)}
}

// dialProxy connects to the proxy. It may be anywhere: the user named it.
func (d *dialer) dialProxy(ctx context.Context, p *url.URL) (net.Conn, error) {
	port := cmp.Or(p.Port(), map[string]string{"http": "80", "https": "443"}[p.Scheme], "1080")
	addresses, err := d.addresses(ctx, strings.ToLower(p.Hostname()), port)
	if err != nil {
		return nil, err
	}
	c, err := race(ctx, addresses, func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
		return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", a.String())
	})
	if err != nil || p.Scheme != "https" {
		return c, err
	}
	return d.handshake(ctx, c, p.Hostname())
}

// tunnel connects to the target through the proxy.
func (d *dialer) tunnel(ctx context.Context, h *hop) (net.Conn, error) {
	c, err := d.dialProxy(ctx, h.proxy)
	if err != nil {
		return nil, proxyFault(err)
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if strings.HasPrefix(h.proxy.Scheme, "socks5") {
		err = viaSOCKS(ctx, c, h)
	} else {
		err = viaHTTP(c, h, d.userAgent)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// viaHTTP has an HTTP proxy connect to the target.
func viaHTTP(c net.Conn, h *hop, userAgent string) error {
	target := h.target.String()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target,
		Header: http.Header{"User-Agent": {userAgent}}}
	if u := h.proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return proxyFault(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req) // nothing follows it before we send more
	switch {
	case err != nil:
		return proxyFault(err)
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return proxyFault(errors.New(resp.Status))
	case resp.StatusCode != http.StatusOK:
		return proxyRefuses(resp.Status)
	}
	return nil
}

// viaSOCKS has a SOCKS proxy connect to the target.
func viaSOCKS(ctx context.Context, c net.Conn, h *hop) error {
	var auth *proxy.Auth
	if u := h.proxy.User; u != nil {
		password, _ := u.Password()
		auth = &proxy.Auth{User: u.Username(), Password: password}
	}
	s, err := proxy.SOCKS5("tcp", h.proxy.Host, auth, nil)
	if err != nil {
		return proxyFault(err)
	}
	onConn := s.(interface { // of its Dialer, which is in an internal package
		DialWithConn(ctx context.Context, c net.Conn, network, address string) (net.Addr, error)
	})
	switch _, err = onConn.DialWithConn(ctx, c, "tcp", h.target.String()); {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "authentication"):
		return proxyFault(err)
	}
	return proxyRefuses(err.Error())
}
