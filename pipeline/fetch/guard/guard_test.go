package guard_test

import (
	"errors"
	"net/netip"
	"testing"

	"facescan/pipeline/fetch/guard"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	const (
		always  = iota // public
		flagged        // with allowPrivate only
		never
	)
	for _, c := range []struct {
		addr string
		want int
	}{
		{"93.184.216.34", always},
		{"1.1.1.1", always},
		{"223.255.255.254", always},
		{"172.15.255.255", always},
		{"172.32.0.1", always},
		{"100.63.255.255", always},
		{"100.128.0.1", always},
		{"168.63.129.15", always},
		{"2606:2800:220:1:248:1893:25c8:1946", always},
		{"::ffff:93.184.216.34", always},

		{"127.0.0.1", flagged},
		{"127.255.255.254", flagged},
		{"10.0.0.1", flagged},
		{"172.16.0.1", flagged},
		{"172.31.255.255", flagged},
		{"192.168.1.1", flagged},
		{"::1", flagged},
		{"fc00::1", flagged},
		{"fd12:3456::1", flagged},
		{"::ffff:127.0.0.1", flagged},
		{"::ffff:10.1.2.3", flagged},
		{"::ffff:c0a8:101", flagged},

		{"0.0.0.0", never},
		{"0.1.2.3", never},
		{"::", never},
		{"::ffff:0.0.0.0", never},
		{"169.254.0.1", never},
		{"169.254.169.254", never}, // metadata of most clouds
		{"::ffff:169.254.169.254", never},
		{"::ffff:a9fe:a9fe", never},
		{"168.63.129.16", never},   // Azure
		{"192.0.0.192", never},     // Oracle
		{"100.100.100.200", never}, // Alibaba
		{"fd00:ec2::254", never},   // AWS
		{"fd20:ce::254", never},    // Google
		{"fd00:42::42", never},     // Scaleway
		{"100.64.0.1", never},      // CGNAT
		{"100.127.255.255", never},
		{"192.0.2.1", never}, // documentation
		{"198.51.100.1", never},
		{"203.0.113.1", never},
		{"198.18.0.1", never},  // benchmarks
		{"192.88.99.1", never}, // 6to4 relay
		{"224.0.0.1", never},
		{"239.255.255.255", never},
		{"240.0.0.1", never},
		{"255.255.255.255", never},
		{"fe80::1", never},
		{"fe80::1%eth0", never},
		{"::1%lo", never},
		{"fc00::1%eth0", never},
		{"fec0::1", never}, // site-local, of old
		{"ff02::1", never},
		{"64:ff9b::7f00:1", never}, // NAT64 of 127.0.0.1
		{"64:ff9b::808:808", never},
		{"64:ff9b:1::1", never},
		{"2002:7f00:1::", never},   // 6to4 of 127.0.0.1
		{"2001:0:7f00:1::", never}, // Teredo
		{"2001:db8::1", never},
		{"::127.0.0.1", never},        // compatible, of old
		{"::ffff:0:127.0.0.1", never}, // SIIT
		{"100::1", never},             // discard
	} {
		a := netip.AddrPortFrom(netip.MustParseAddr(c.addr), 80)
		for _, allow := range []bool{false, true} {
			err := guard.Check(a, allow)
			ok := c.want == always || c.want == flagged && allow
			if ok != (err == nil) {
				t.Errorf("Check(%s, %v) = %v", c.addr, allow, err)
			}
			if err != nil && !errors.Is(err, guard.ErrPrivate) {
				t.Errorf("Check(%s, %v) = %v, not an ErrPrivate", c.addr, allow, err)
			}
		}
	}
	if guard.Check(netip.AddrPort{}, true) == nil {
		t.Error("no address passed")
	}
}
