package fetch

import (
	"context"
	"net"
	"strings"
)

// NeedsResolver reports whether a host, as Host returns it, has to be looked up.
func (f *Fetcher) NeedsResolver(host string) bool {
	name := hostname(host)
	_, known := knownHost(name)
	return !known && name != "" && f.dialer.resolver.Needed(name)
}

// ProbeResolver returns nil if the resolver works. hosts are names that it may be able to resolve.
func (f *Fetcher) ProbeResolver(ctx context.Context, hosts []string) error {
	var names []string
	for _, h := range hosts {
		if f.NeedsResolver(h) {
			names = append(names, hostname(h))
		}
	}
	return f.dialer.resolver.Probe(ctx, names)
}

// hostname is a host without its port, brackets and final dot.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.TrimSuffix(strings.Trim(host, "[]"), ".")
}
