package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURL is the longest URL that is requested, in bytes.
const maxURL = 64 << 10

// Canonical reads a URL as a browser does that is about to request it, following the WHATWG URL standard:
// blanks and controls around it, tabs and line ends inside, backslashes for slashes, non-ASCII hosts and
// paths, dot segments, odd spellings of IPv4 addresses. The fragment is dropped, and &amp; left over from
// HTML is & again. It differs from a browser in one thing: a percent sign that begins no escape is sent as
// %25, since servers refuse it bare. It is an error if the text is not an http or https URL, is longer than
// 64 KiB, or is several URLs.
func Canonical(raw string) (*url.URL, error) {
	if areSeveral(raw) {
		return nil, errors.New("several URLs, with line ends between them")
	}
	return parse(strings.ReplaceAll(raw, "&amp;", "&"))
}

func parse(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("URL of %d bytes", len(raw))
	}
	s := tidy(raw)
	scheme, rest, ok := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return nil, errors.New("not an http or https URL")
	}
	rest = strings.TrimLeft(rest, `/\`)
	end := strings.IndexAny(rest, `/\?#`)
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	u := &url.URL{Scheme: scheme}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		u.User = userinfo(authority[:i])
		authority = authority[i+1:]
	}
	host, port, err := splitPort(authority, scheme)
	if err != nil {
		return nil, err
	}
	if host, err = canonicalHost(host); err != nil {
		return nil, err
	}
	u.Host = host + port
	setPath(u, rest)
	return u, nil
}

// redirected returns the target of a redirect from base. A Location is not HTML: &amp; stays.
func redirected(base *url.URL, location string) (*url.URL, error) {
	s := tidy(location)
	if i := strings.IndexAny(s, `:/\?#`); i > 0 && s[i] == ':' {
		return parse(s)
	}
	if len(s) > maxURL {
		return nil, fmt.Errorf("redirect to a URL of %d bytes", len(s))
	}
	if len(s) >= 2 && strings.IndexByte(`/\`, s[0]) >= 0 && strings.IndexByte(`/\`, s[1]) >= 0 {
		return redirected(base, base.Scheme+":"+s)
	}
	u := *base
	switch {
	case s == "" || s[0] == '#':
		return &u, nil
	case s[0] == '?':
		s = base.EscapedPath() + s
	case s[0] != '/' && s[0] != '\\':
		p := base.EscapedPath()
		s = p[:strings.LastIndexByte(p, '/')+1] + s
	}
	setPath(&u, s)
	return &u, nil
}

// tidy drops what browsers drop: controls and blanks around the URL, tabs and line ends within.
func tidy(s string) string {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	if strings.ContainsAny(s, "\t\r\n") {
		s = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(s)
	}
	return s
}

// areSeveral reports whether a text is several URLs on lines of their own, as a list gives them whose lines
// end now in CR and now in LF. A browser would join them into one URL.
func areSeveral(raw string) bool {
	if !strings.ContainsAny(raw, "\r\n") {
		return false
	}
	urls := 0
	for line := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '\r' || r == '\n' }) {
		scheme, _, ok := strings.Cut(strings.TrimLeft(line, " \t"), "://")
		if ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) {
			urls++
		}
	}
	return urls > 1
}

func userinfo(s string) *url.Userinfo {
	name, password, has := strings.Cut(s, ":")
	name, _ = url.PathUnescape(escape(name, ""))
	if !has {
		if name == "" {
			return nil
		}
		return url.User(name)
	}
	password, _ = url.PathUnescape(escape(password, ""))
	return url.UserPassword(name, password)
}

// splitPort cuts the port off, and returns it with its colon, or empty if it is the scheme's own.
func splitPort(authority, scheme string) (host, port string, err error) {
	i := strings.LastIndexByte(authority, ':')
	if i <= strings.LastIndexByte(authority, ']') || strings.HasPrefix(authority, "[") &&
		!strings.Contains(authority, "]") {
		return authority, "", nil
	}
	host, port = authority[:i], authority[i+1:]
	if port == "" {
		return host, "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", "", fmt.Errorf("no port: %q", port)
	}
	if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return host, "", nil
	}
	return host, ":" + strconv.FormatUint(n, 10), nil
}

// toASCII maps as browsers do: UTS 46, not transitional, no check of lengths and hyphens.
var toASCII = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false),
	idna.StrictDomainName(false), idna.VerifyDNSLength(false), idna.BidiRule())

// canonicalHost returns a name in lower-case ASCII, or an address in its usual spelling, IPv6 in brackets.
func canonicalHost(h string) (string, error) {
	if strings.HasPrefix(h, "[") {
		ip, err := netip.ParseAddr(strings.TrimSuffix(h[1:], "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasSuffix(h, "]") {
			return "", fmt.Errorf("no IPv6 address: %q", h)
		}
		if ip.Is4In6() { // netip would write the dotted form
			b := ip.As16()
			return fmt.Sprintf("[::ffff:%x:%x]", uint16(b[12])<<8|uint16(b[13]),
				uint16(b[14])<<8|uint16(b[15])), nil
		}
		return "[" + ip.String() + "]", nil
	}
	if strings.IndexByte(h, '%') >= 0 {
		h, _ = url.PathUnescape(escape(h, "")) // it cannot fail after escape
	}
	if !plainName(h) {
		a, err := toASCII.ToASCII(h)
		if err != nil || !utf8.ValidString(h) {
			return "", fmt.Errorf("no host name: %q", h)
		}
		h = a
	}
	if h == "" || h == "." {
		return "", errors.New("no host")
	}
	for _, c := range []byte(h) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%/:<>?@[\\]^|{}`", c) >= 0 {
			return "", fmt.Errorf("no host name: %q", h)
		}
	}
	return ipv4(h)
}

// plainName reports whether mapping would leave the name unchanged.
func plainName(h string) bool {
	return strings.Trim(h, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == "" && !strings.Contains(h, "xn--")
}

// ipv4 rewrites a host that ends in a number as the IPv4 address that browsers read: one to four parts,
// decimal, octal after 0, hexadecimal after 0x, the last one filling what is left. Other hosts are returned
// as they are.
func ipv4(h string) (string, error) {
	parts := strings.Split(strings.TrimSuffix(h, "."), ".")
	last := parts[len(parts)-1]
	if _, ok := ipv4Number(last); !ok && strings.Trim(last, "0123456789") != "" || last == "" {
		return h, nil
	}
	if len(parts) > 4 {
		return "", fmt.Errorf("no IPv4 address: %q", h)
	}
	var addr uint64
	for i, p := range parts {
		n, ok := ipv4Number(p)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if !ok || n >= 1<<bits {
			return "", fmt.Errorf("no IPv4 address: %q", h)
		}
		addr = addr<<bits | n
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(addr)))).String(), nil
}

func ipv4Number(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		s, base = s[2:], 16
		if s == "" {
			return 0, true
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

// setPath sets path and query from what follows the authority, and drops the fragment.
func setPath(u *url.URL, s string) {
	s, _, _ = strings.Cut(s, "#")
	path, query, hasQuery := strings.Cut(s, "?")
	if strings.IndexByte(path, '\\') >= 0 {
		path = strings.ReplaceAll(path, `\`, "/")
	}
	u.RawPath = escape(dotless(path), "/!$&'()*+,;=:@[]")
	u.Path, _ = url.PathUnescape(u.RawPath) // it cannot fail after escape
	u.RawQuery = escape(query, "/!$&()*+,;=:@[]?\\^`{|}")
	u.ForceQuery = hasQuery && query == ""
}

// dotless resolves . and .. segments, escaped ones too, and begins with a slash.
func dotless(path string) string {
	path = strings.TrimPrefix(path, "/")
	if !strings.Contains(path, ".") && !strings.Contains(strings.ToLower(path), "%2e") {
		return "/" + path
	}
	var out []string
	segments := strings.Split(path, "/")
	for i, seg := range segments {
		last := i == len(segments)-1
		plain := seg
		if len(seg) <= 6 {
			plain = strings.ReplaceAll(strings.ToLower(seg), "%2e", ".")
		}
		if plain == ".." {
			out = out[:max(len(out)-1, 0)]
		}
		if plain != "." && plain != ".." {
			out = append(out, seg)
		} else if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// escape percent-encodes every byte but letters, digits, -._~, those of keep, and escapes that are there.
func escape(s, keep string) string {
	const hex = "0123456789ABCDEF"
	plain := func(i int) bool {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_',
			c == '~':
			return true
		case c == '%':
			return i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])
		}
		return strings.IndexByte(keep, c) >= 0
	}
	i := 0
	for i < len(s) && plain(i) {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s[:i])
	for ; i < len(s); i++ {
		if plain(i) {
			b = append(b, s[i])
		} else {
			b = append(b, '%', hex[s[i]>>4], hex[s[i]&15])
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// Host is the host of a URL, canonical, with its port unless that is the scheme's own; empty if the URL
// cannot be fetched. Rows of one host share its limits.
func Host(raw string) string {
	u, err := Canonical(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// redacted is a canonical URL with *** for its password.
func redacted(u *url.URL) string {
	if _, has := u.User.Password(); !has {
		return u.String()
	}
	return strings.Replace(u.Redacted(), ":xxxxx@", ":***@", 1)
}
