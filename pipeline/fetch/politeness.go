package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// optOut are the words in X-Robots-Tag by which a site asks not to be used this way; none means noindex and
// more.
var optOut = map[string]bool{"noai": true, "noimageai": true, "noindex": true, "noimageindex": true,
	"noml": true, "none": true}

// optedOut reports whether the headers ask a robot of this name, or every robot, to stay away. Each header
// may begin with the name of the robot it is for.
func optedOut(headers []string, robot string) bool {
	for _, h := range headers {
		h = strings.ToLower(h)
		if name, rest, ok := strings.Cut(h, ":"); ok {
			name = strings.TrimSpace(name)
			if !strings.ContainsAny(name, ", ") && name != "unavailable_after" {
				if name != robot && name != "*" {
					continue
				}
				h = rest
			}
		}
		for word := range strings.SplitSeq(h, ",") {
			if optOut[strings.TrimSpace(word)] {
				return true
			}
		}
	}
	return false
}

// Header is a header that requests carry.
type Header struct {
	Host        string // the only host it goes to, on every port unless one is named; empty means every row's
	Name, Value string
}

// hostForm is what may be a host before a header: no blank, slash, star or user, and a colon only before a
// port or in brackets.
var hostForm = regexp.MustCompile(`^(\[[^\]\s/@]*\]|[^:\[\]\s/@*]+)(:[0-9]+)?$`)

// ParseHeader reads "Name: value" or "HOST=Name: value". Credentials need the latter form; headers that
// net/http sets itself cannot be set.
func ParseHeader(s string) (Header, error) {
	name, value, ok := strings.Cut(s, ":")
	var h Header
	if host, rest, _ := strings.Cut(s, "="); strings.Contains(rest, ":") && hostForm.MatchString(host) {
		u, err := Canonical("http://" + host)
		if err != nil {
			return h, fmt.Errorf("header for %q: not a host", host)
		}
		h.Host = u.Host
		name, value, ok = strings.Cut(rest, ":")
	}
	h.Name, h.Value = http.CanonicalHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
	switch {
	case !ok || !httpguts.ValidHeaderFieldName(h.Name):
		// the value may be a secret
		return h, errors.New("not a header: write 'Name: value' or 'HOST=Name: value'")
	case !httpguts.ValidHeaderFieldValue(h.Value):
		return h, fmt.Errorf("header %s: not a header's value", h.Name)
	}
	switch h.Name {
	case "Authorization", "Cookie":
		if h.Host == "" {
			return h, fmt.Errorf("header %s would go to every host of the list: write 'HOST=%s: …'",
				h.Name, h.Name)
		}
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade",
		"Proxy-Authorization", "Accept-Encoding":
		return h, fmt.Errorf("header %s cannot be set", h.Name)
	}
	return h, nil
}

// ReadHeaders reads a header per line, as ParseHeader does. Empty lines and lines that begin with # are
// skipped.
func ReadHeaders(r io.Reader) ([]Header, error) {
	var hs []Header
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || text[0] == '#' {
			continue
		}
		h, err := ParseHeader(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		hs = append(hs, h)
	}
	return hs, lines.Err()
}

// covers reports whether the header belongs to a URL, in a chain that began at origin.
func (h Header) covers(u, origin *url.URL) bool {
	if h.Host == "" {
		return u.Host == origin.Host
	}
	return h.Host == u.Host || h.Host == strings.TrimSuffix(u.Host, ":"+u.Port())
}

// BlockList is a set of hosts to skip.
type BlockList struct{ hosts map[string]bool }

// ReadBlockList reads one host per line; a host includes its subdomains. Comments begin with #. Of the lines
// of a hosts file, an address and names, the names count; *. and . before a name are ignored.
func ReadBlockList(r io.Reader) (*BlockList, error) {
	l := &BlockList{hosts: map[string]bool{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) > 1 {
			words = words[1:]
		}
		for _, w := range words {
			h, err := canonicalHost(strings.TrimPrefix(strings.TrimPrefix(w, "*"), "."))
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			l.hosts[strings.TrimSuffix(h, ".")] = true
		}
	}
	return l, lines.Err()
}

// Has reports whether a host, without port, is on the list.
func (l *BlockList) Has(host string) bool {
	if l == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	if l.hosts[host] || strings.Contains(host, ":") && l.hosts["["+host+"]"] {
		return true
	}
	for {
		_, parent, ok := strings.Cut(host, ".")
		if !ok {
			return false
		}
		if host = parent; l.hosts[host] {
			return true
		}
	}
}
