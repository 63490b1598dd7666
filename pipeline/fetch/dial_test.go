package fetch

import (
	"net"
	"testing"
)

// TestIsPublicIPv6: only an address by which the public internet can be reached says that there is IPv6.
func TestIsPublicIPv6(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"2606:2800:220:1::1/64": true, "93.184.216.34/24": false, "127.0.0.1/8": false, "::1/128": false,
		"fe80::1/64": false, "fd00::1/64": false, "2001:db8::1/64": false,
	} {
		ip, prefix, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		prefix.IP = ip
		if got := isPublicIPv6(prefix); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	if isPublicIPv6(&net.UnixAddr{Name: "2606:2800:220:1::1"}) {
		t.Error("what is not a prefix is an address")
	}
}
