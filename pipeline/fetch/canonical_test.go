package fetch

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"facescan/pipeline/fetch/guard"
)

func TestCanonical(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"http://example.com/a.jpg", "http://example.com/a.jpg"},
		{"HTTP://EXAMPLE.com", "http://example.com/"},
		{"  http://example.com/a b.jpg \r\n", "http://example.com/a%20b.jpg"},
		{"http://exa\tmple.com/a\nb", "http://example.com/ab"},
		{"http://example.com/a?from=\r\nhttps.html", "http://example.com/a?from=https.html"},
		{"http://example.com/a.jpg\rhttp://example.com/b.jpg", ""},
		{"http://example.com/a.jpg\n \tHTTPS://example.com/b.jpg\r", ""},
		{`http:\\example.com\a\b?c\d`, `http://example.com/a/b?c\d`},
		{"http:example.com/x", "http://example.com/x"},
		{"https:////example.com/x", "https://example.com/x"},
		{"http://example.com:80/", "http://example.com/"},
		{"https://example.com:443/", "https://example.com/"},
		{"https://example.com:0080/", "https://example.com:80/"},
		{"http://example.com:/", "http://example.com/"},
		{"http://example.com?q", "http://example.com/?q"},
		{"http://@example.com/", "http://example.com/"},
		{"http://:@example.com/", "http://:@example.com/"},
		{"http://[::ffff:1.2.3.4]/", "http://[::ffff:102:304]/"},
		{"http://a~b.example/", "http://a~b.example/"},
		{"http://a%7Fb.example/", ""},
		{"http://a\"b.example/", ""},
		{"http://1.2.3.4.0/", ""},
		{"http://1..2/", ""},
		{"http://1.+2/", "http://1.+2/"},
		{"http://0x+1/", "http://0x+1/"},
		{"http://example.com/a/%2e%2E/b", "http://example.com/b"},
		{"http://example.com/azAZ09@[`{:", "http://example.com/azAZ09@[%60%7B:"},
		{"http://example.com/%af%AF%09%g1%1g", "http://example.com/%af%AF%09%25g1%251g"},
		{"http://example.com/a\nftp://b", "http://example.com/aftp://b"},
		{"http://example.com/a\nhttp", "http://example.com/ahttp"},
		{"http://example.com/" + strings.Repeat("a", 64<<10-19),
			"http://example.com/" + strings.Repeat("a", 64<<10-19)},
		{"http://example.com/" + strings.Repeat("a", 64<<10-18), ""},
		{"http://example.com?", "http://example.com/?"},
		{"http://example.com/a#b?c", "http://example.com/a"},
		{"http://example.com/?a=1&amp;b=2", "http://example.com/?a=1&b=2"},
		{"http://example.com/?a='<é>", "http://example.com/?a=%27%3C%C3%A9%3E"},
		{"http://example.com/über/日本.jpg", "http://example.com/%C3%BCber/%E6%97%A5%E6%9C%AC.jpg"},
		{"http://example.com/a%2Fb%zz%", "http://example.com/a%2Fb%25zz%25"},
		{"http://example.com/a,b;c=d@e:f|g", "http://example.com/a,b;c=d@e:f%7Cg"},
		{"http://example.com/a/./b/../c/%2e%2E/d", "http://example.com/a/d"},
		{"http://example.com/../..", "http://example.com/"},
		{"http://example.com/a//b/.", "http://example.com/a//b/"},
		{"http://example.com/...", "http://example.com/..."},
		{"http://bücher.example/", "http://xn--bcher-kva.example/"},
		{"http://faß.example/", "http://xn--fa-hia.example/"},
		{"http://ＥＸＡＭＰＬＥ.com/", "http://example.com/"},
		{"http://ex%41mple.com/", "http://example.com/"},
		{"http://a_b.example.com/", "http://a_b.example.com/"},
		{"http://a_ü.example/", "http://xn--a_-yka.example/"},
		{"http://-ü.example/", "http://xn----eha.example/"},
		{"http://ab--ü.example/", "http://xn--ab---3ra.example/"},
		{"http://" + strings.Repeat("ü", 70) + ".example/",
			"http://xn--td" + strings.Repeat("a", 70) + ".example/"},
		{"http://א.example/", "http://xn--4db.example/"},
		{"http://אa.example/", ""},
		{"http://example.com./", "http://example.com./"},
		{"http://user:p@ss@example.com/", "http://user:p%40ss@example.com/"},
		{"http://user@example.com/", "http://user@example.com/"},
		{"http://127.1/", "http://127.0.0.1/"},
		{"http://0x7f000001/", "http://127.0.0.1/"},
		{"http://0X7F.1/", "http://127.0.0.1/"},
		{"http://2130706433/", "http://127.0.0.1/"},
		{"http://017700000001/", "http://127.0.0.1/"},
		{"http://0177.0.0.01/", "http://127.0.0.1/"},
		{"http://127.0.1/", "http://127.0.0.1/"},
		{"http://１２７.０.０.１/", "http://127.0.0.1/"},
		{"http://127。0。0。1/", "http://127.0.0.1/"},
		{"http://127.0.0.1./", "http://127.0.0.1/"},
		{"http://0x/", "http://0.0.0.0/"},
		{"http://%31%32%37.1/", "http://127.0.0.1/"},
		{"http://[::1]:8080/", "http://[::1]:8080/"},
		{"http://[0:0:0:0:0:0:0:1]/", "http://[::1]/"},
		{"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"},
		{"http://[64:FF9B::127.0.0.1]/", "http://[64:ff9b::7f00:1]/"},

		{"", ""},
		{"example.com/a.jpg", ""},
		{"//example.com/a.jpg", ""},
		{"ftp://example.com/", ""},
		{"file:///etc/passwd", ""},
		{"javascript:alert(1)", ""},
		{"data:image/png;base64,AA==", ""},
		{"http://", ""},
		{"http:///", ""},
		{"http://./", ""},
		{"http://?x", ""},
		{"http://exa mple.com/", ""},
		{"http://exa<mple.com/", ""},
		{"http://a%00b/", ""},
		{"http://example.com/a%", "http://example.com/a%25"},
		{"http://example.com/a%4", "http://example.com/a%254"},
		{"http://example.com/a%4g", "http://example.com/a%254g"},
		{"http://256.1.1.1/", ""},
		{"http://1.2.3.4.5/", ""},
		{"http://4294967296/", ""},
		{"http://1.2.3.0xg/", "http://1.2.3.0xg/"},
		{"http://1.2.3.08/", ""},
		{"http://example.com:99999/", ""},
		{"http://example.com:0/", ""},
		{"http://example.com:+80/", ""},
		{"http://example.com:8a/", ""},
		{"http://[::1/", ""},
		{"http://[::1%25eth0]/", ""},
		{"http://[1.2.3.4]/", ""},
		{"http://xn--/", ""},
	} {
		u, err := Canonical(c.raw)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("Canonical(%q) = %q, %v; want %q", c.raw, got, err, c.want)
		}
	}
}

// TestRefusals: why a text cannot be requested.
func TestRefusals(t *testing.T) {
	for raw, want := range map[string]string{
		"example.com": "not an http or https URL", "ftp://a": "not an http or https URL",
		"http://": "no host", "http://?x": "no host", "http://:80/": "no host", "http://.": "no host",
		"http://a:0/": `no port: "0"`, "http://a:65536/": `no port: "65536"`, "http://a:+80/": `no port: "+80"`,
		"http://a b/": `no host name: "a b"`, "http://[::g]/": `no IPv6 address: "[::g]"`,
		"http://[::1/": `no IPv6 address: "[::1"`, "http://[::1:80/": `no IPv6 address: "[::1:80"`,
		"http://[1.2.3.4]/": `no IPv6 address: "[1.2.3.4]"`, "http://1.2.3.256/": `no IPv4 address: "1.2.3.256"`,
		"http://1.2.3.4.5/":                 "no IPv4 address: \"1.2.3.4.5\"",
		"http://a/\nhttp://b/":              "several URLs, with line ends between them",
		strings.Repeat("a", 64<<10+1):       "URL of 65537 bytes",
		"http:" + strings.Repeat("/", 9999): "no host",
	} {
		if _, err := Canonical(raw); err == nil || err.Error() != want {
			t.Errorf("%.50q: %v, want %s", raw, err, want)
		}
	}
}

// TestSpellings: however an address of this machine or its network is written, it is refused where that is
// decided. Nothing is dialled.
func TestSpellings(t *testing.T) {
	const opened, never = true, false // by AllowPrivate
	for _, c := range []struct {
		raw  string
		want bool
	}{
		{"http://localhost/", opened},
		{"http://LocalHost./", opened},
		{"http://a.b.localhost/", opened},
		{"http://127.0.0.1/", opened},
		{"http://127.0.0.1./", opened},
		{"http://127.1/", opened},
		{"http://127.0.1/", opened},
		{"http://0x7f.1/", opened},
		{"http://0X7F000001/", opened},
		{"http://0177.0.0.01/", opened},
		{"http://017700000001/", opened},
		{"http://2130706433/", opened},
		{"http://127.255.255.254/", opened},
		{"http://%31%32%37.1/", opened},
		{"http://127%2e0%2E0.1/", opened},
		{"http://１２７。１/", opened},
		{"http://①②⑦.0.0.1/", opened},
		{"http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", opened},
		{"http://user@127.1/", opened},
		{"http://example.com@127.1/", opened},
		{`http:\\127.1\x`, opened},
		{"http://10.1/", opened},
		{"http://0xa000001/", opened},
		{"http://172.1048577/", opened},
		{"http://192.168.257/", opened},
		{"http://[::1]/", opened},
		{"http://[0:0::0:1]/", opened},
		{"http://[::ffff:127.0.0.1]/", opened},
		{"http://[::FFFF:7F00:1]/", opened},
		{"http://[0:0:0:0:0:ffff:a00:1]/", opened},
		{"http://[fd00::1]/", opened},

		{"http://0/", never},
		{"http://0.0.0.0/", never},
		{"http://0x/", never},
		{"http://[::]/", never},
		{"http://[::ffff:0:0]/", never},
		{"http://169.254.169.254/", never},
		{"http://169.254.43518/", never},
		{"http://2852039166/", never},
		{"http://0xA9FEA9FE/", never},
		{"http://0251.0376.0251.0376/", never},
		{"http://[::ffff:169.254.169.254]/", never},
		{"http://[::ffff:a9fe:a9fe]/", never},
		{"http://[64:ff9b::169.254.169.254]/", never},
		{"http://[64:ff9b::7f00:1]/", never},
		{"http://[64:ff9b::808:808]/", never},
		{"http://[64:ff9b:1::7f00:1]/", never},
		{"http://[2002:7f00:1::]/", never},
		{"http://[2001:0:7f00:1::]/", never},
		{"http://[::127.0.0.1]/", never},
		{"http://[::ffff:0:127.0.0.1]/", never},
		{"http://[fe80::1]/", never},
		{"http://[fec0::1]/", never},
		{"http://[ff02::1]/", never},
		{"http://[fd00:ec2::254]/", never},
		{"http://100.64.1/", never},
		{"http://100.100.100.200/", never},
		{"http://168.63.129.16/", never},
		{"http://0xa83f8110/", never},
		{"http://192.0.0.192/", never},
		{"http://198.18.1/", never},
		{"http://224.1/", never},
		{"http://4294967295/", never},
	} {
		u, err := Canonical(c.raw)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		for _, allow := range []bool{false, true} {
			d := dialer{allowPrivate: allow}
			targets, err := d.targets(t.Context(), &hop{}, u.Hostname(), "80")
			if open := err == nil; open != (allow && c.want == opened) || err != nil &&
				!errors.Is(err, guard.ErrPrivate) {
				t.Errorf("%s, private ones allowed %v: %v, %v", c.raw, allow, targets, err)
			}
		}
	}
}

func TestRedirected(t *testing.T) {
	base, err := Canonical("https://user:pw@example.com:8443/a/b%2Fc/d?q")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ location, want string }{
		{"e f.jpg", "https://user:pw@example.com:8443/a/b%2Fc/e%20f.jpg"},
		{"../x", "https://user:pw@example.com:8443/a/x"},
		{"/é?a=1&amp;b", "https://user:pw@example.com:8443/%C3%A9?a=1&amp;b"},
		{`\x`, "https://user:pw@example.com:8443/x"},
		{"?r", "https://user:pw@example.com:8443/a/b%2Fc/d?r"},
		{"#f", "https://user:pw@example.com:8443/a/b%2Fc/d?q"},
		{"//other.example/x", "https://other.example/x"},
		{`/\127.1/x`, "https://127.0.0.1/x"},
		{"http://other.example", "http://other.example/"},
		{"a/b:c", "https://user:pw@example.com:8443/a/b%2Fc/a/b:c"},
		{":x", "https://user:pw@example.com:8443/a/b%2Fc/:x"},
		{"/", "https://user:pw@example.com:8443/"},
		{"", "https://user:pw@example.com:8443/a/b%2Fc/d?q"},
		{"/" + strings.Repeat("a", 64<<10-1), "https://user:pw@example.com:8443/" + strings.Repeat("a", 64<<10-1)},
		{"/" + strings.Repeat("a", 64<<10), ""},
		{"//", ""},
		{"a:b", ""},
		{"file:///etc/passwd", ""},
		{"ftp://example.com/", ""},
		{"http://", ""},
	} {
		u, err := redirected(base, c.location)
		got := ""
		if err == nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("redirected(%q) = %q, %v; want %q", c.location, got, err, c.want)
		}
	}
}

func TestRedacted(t *testing.T) {
	for raw, want := range map[string]string{
		"http://example.com/a:b@c":               "http://example.com/a:b@c",
		"http://user:secret@example.com/x":       "http://user:***@example.com/x",
		"http://user:se@cr:et@example.com":       "http://user:***@example.com/",
		`http:\\user:secret@example.com\x`:       "http://user:***@example.com/x",
		"http://:secret@example.com?a:xxxxx@b":   "http://:***@example.com/?a:xxxxx@b",
		"http://user@example.com/:xxxxx@example": "http://user@example.com/:xxxxx@example",
		"http://user:xxxxx@example.com/":         "http://user:***@example.com/",
		"http://us%3Aer:xx%20x@example.com/":     "http://us%3Aer:***@example.com/",
	} {
		u, err := Canonical(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := redacted(u); got != want {
			t.Errorf("redacted(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestHost(t *testing.T) {
	for raw, want := range map[string]string{
		"http://Example.com:80/x": "example.com", "http://127.1:81": "127.0.0.1:81", "https://x:443": "x",
		"x": "",
	} {
		if got := Host(raw); got != want {
			t.Errorf("Host(%q) = %q, want %q", raw, got, want)
		}
	}
}

// FuzzCanonical holds Canonical to what the rest relies on: no panic, no other scheme, a URL that net/url
// reads the same way, and that stays as it is when it is read again.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"http://example.com/a b?c#d", `https:\\u:p@[::1]:8\..\%2e%`,
		"http://0x7f.1/é", "http://ß。x/", "http://xn--a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := Canonical(raw)
		if err != nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
			!strings.HasPrefix(u.EscapedPath(), "/") {
			t.Fatalf("%q became %#v", raw, u)
		}
		s := u.String()
		p, err := url.Parse(s)
		if err != nil || p.Host != u.Host || p.EscapedPath() != u.EscapedPath() || p.RawQuery != u.RawQuery {
			t.Fatalf("%q became %q, which net/url reads as %#v, %v", raw, s, p, err)
		}
		if strings.Contains(s, "&amp;") {
			return // a doubly escaped ampersand loses a layer each time
		}
		again, err := Canonical(s)
		if err != nil || again.String() != s {
			t.Fatalf("%q became %q, then %v, %v", raw, s, again, err)
		}
	})
}
