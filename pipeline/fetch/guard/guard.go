// Package guard decides which addresses may be dialled. A list of URLs is not trusted, so it must not reach
// what only this machine can: its own services, its network, its cloud's metadata.
//
// The decision is made on the address that is really dialled, after the lookup and again for every redirect.
// A name that answers differently the second time gains nothing by it.
package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"code.dny.dev/ssrf"
)

// ErrPrivate refuses an address that is not on the public internet.
var ErrPrivate = errors.New("address is not public")

// local are the ranges that allowPrivate opens: loopback, RFC 1918, unique local IPv6.
var local = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")

// never are addresses that no flag allows: where clouds keep credentials of their machines, in public or
// unique local ranges. Those in link-local and shared ranges are refused with their range.
var never = prefixes(
	"168.63.129.16/32", // Azure
	"192.0.0.192/32",   // Oracle
	"fd00:ec2::/32",    // AWS
	"fd20:ce::254/128", // Google
	"fd00:42::42/128",  // Scaleway
)

var public = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork())

// Check returns nil if the address may be dialled, else an error that wraps ErrPrivate. An IPv4 address
// inside an IPv6 one counts as itself when it is mapped, since that is what the kernel dials; translated and
// tunnelled ones (NAT64, 6to4, Teredo) are always refused.
func Check(a netip.AddrPort, allowPrivate bool) error {
	ip := a.Addr().Unmap()
	if !ip.IsValid() || ip.Zone() != "" || contains(never, ip) {
		return fmt.Errorf("%w: %s", ErrPrivate, a)
	}
	if allowPrivate && contains(local, ip) {
		return nil
	}
	if public.SafeAddr(ip) != nil {
		return fmt.Errorf("%w: %s", ErrPrivate, a)
	}
	return nil
}

func contains(ps []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func prefixes(ss ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(ss))
	for i, s := range ss {
		ps[i] = netip.MustParsePrefix(s)
	}
	return ps
}
