// Package robots reads a robots.txt by RFC 9309, for one user agent, and says which paths it allows.
//
// The lines are parsed by grobotstxt, a port of the parser that the RFC was written from: it accepts the
// usual typos. Groups are chosen and paths are compared here, since that package would parse the whole file
// for every path, and compares escapes byte by byte.
package robots

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jimsmart/grobotstxt"
)

const (
	// MaxSize is how many bytes of a robots.txt count; the rest is not read (RFC 9309, 2.5).
	MaxSize = 500 << 10
	// MaxDelay is the longest crawl-delay that is obeyed; a longer one is cut to it.
	MaxDelay = time.Minute
)

// Rules are what a robots.txt says to one user agent. Nil allows everything.
type Rules struct {
	Delay time.Duration // least time between two requests; 0 for none
	rules []rule        // in order of precedence
}

type rule struct {
	pattern string // in the form of canonical
	allow   bool
}

// Parse reads a robots.txt for a user agent of this name, in any case. It returns nil if everything is
// allowed.
func Parse(body, agent string) *Rules {
	p := &parser{agent: agent}
	grobotstxt.Parse(inASCII(body), p)
	r := &p.all
	if p.named {
		r = &p.own
	}
	if len(r.rules) == 0 && r.Delay == 0 {
		return nil
	}
	// The longest pattern that matches decides; of two equal ones, the one that allows.
	slices.SortStableFunc(r.rules, func(a, b rule) int {
		switch {
		case len(a.pattern) != len(b.pattern):
			return len(b.pattern) - len(a.pattern)
		case a.allow == b.allow:
			return 0
		case a.allow:
			return -1
		}
		return 1
	})
	r.rules = slices.Clip(slices.Compact(r.rules))
	return r
}

// Allows reports whether a path may be requested. The path is a URL's, escaped, with its query; robots.txt
// itself may always be.
func (r *Rules) Allows(path string) bool {
	if r == nil || path == "/robots.txt" {
		return true
	}
	path = canonical(path, false)
	for _, rule := range r.rules {
		if matches(path, rule.pattern) {
			return rule.allow
		}
	}
	return true
}

// Size is about how many bytes the rules take.
func (r *Rules) Size() int {
	if r == nil {
		return 0
	}
	n := 48
	for _, rule := range r.rules {
		n += 32 + len(rule.pattern)
	}
	return n
}

// parser collects the rules of the groups for the agent, and those of the groups for all.
type parser struct {
	agent        string
	own, all     Rules
	named        bool // some group is for the agent
	inOwn, inAll bool // the present group is
	inRules      bool // a rule of it has been read: the next user agent begins another group
}

func (p *parser) HandleRobotsStart() {}
func (p *parser) HandleRobotsEnd()   {}

func (p *parser) HandleUserAgent(_ int, value string) {
	if p.inRules {
		p.inOwn, p.inAll, p.inRules = false, false, false
	}
	switch name := token(value); {
	case name == "*":
		p.inAll = true
	case name != "" && strings.EqualFold(name, p.agent):
		p.inOwn, p.named = true, true
	}
}

func (p *parser) HandleAllow(_ int, value string)    { p.add(value, true) }
func (p *parser) HandleDisallow(_ int, value string) { p.add(value, false) }
func (p *parser) HandleSitemap(int, string)          {}

// HandleUnknownAction knows crawl-delay. It ends no group, as RFC 9309 has it for lines beyond it.
func (p *parser) HandleUnknownAction(_ int, key, value string) {
	if !strings.EqualFold(key, "crawl-delay") {
		return
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds > 0) || math.IsInf(seconds, 0) {
		return
	}
	delay := time.Duration(min(seconds, MaxDelay.Seconds()) * float64(time.Second))
	for _, r := range p.present() {
		r.Delay = max(r.Delay, delay)
	}
}

// add adds a rule to the present group. One without a path has no effect.
func (p *parser) add(pattern string, allow bool) {
	p.inRules = true
	if pattern == "" {
		return
	}
	pattern = canonical(pattern, true)
	for _, r := range p.present() {
		r.rules = append(r.rules, rule{pattern, allow})
	}
}

// present are the rules that the present group adds to.
func (p *parser) present() (rs []*Rules) {
	if p.inOwn {
		rs = append(rs, &p.own)
	}
	if p.inAll {
		rs = append(rs, &p.all)
	}
	return rs
}

// token is the product of a user agent: what comes before a version or a blank.
func token(s string) string {
	end := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }
	if i := strings.IndexFunc(s, end); i >= 0 {
		s = s[:i]
	}
	return s
}

// Agent is the name that stands for a User-Agent header in a robots.txt: its first product without the
// version, or what follows "compatible;", as in "Mozilla/5.0 (compatible; Bot/1.0)".
func Agent(header string) string {
	if _, rest, ok := strings.Cut(header, "(compatible;"); ok {
		if name := token(strings.TrimLeft(rest, " ")); name != "" {
			return strings.ToLower(name)
		}
	}
	return strings.ToLower(token(strings.TrimLeft(header, " ")))
}

const hex = "0123456789ABCDEF"

// inASCII is a robots.txt in ASCII, with escapes in upper case: grobotstxt changes the digits of an escape
// when it raises its letters.
func inASCII(body string) string {
	body = strings.TrimPrefix(body, "\ufeff")
	var b strings.Builder
	b.Grow(len(body))
	for i := 0; i < len(body); i++ {
		c := body[i]
		if _, ok := unescape(body[i:]); ok {
			b.WriteString(strings.ToUpper(body[i : i+3]))
			i += 2
		} else if c >= 0x80 {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape reads the escape that a text begins with.
func unescape(s string) (c byte, ok bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(n), err == nil
}

// canonical spells a path, or a pattern, so that equal ones are equal bytes: what needs no escape has none,
// everything else has one. In a path and in a pattern alike, * and $ that are not special are escaped.
func canonical(s string, pattern bool) string {
	b := make([]byte, 0, len(s)+8)
	query := false
	for i := 0; i < len(s); i++ {
		c, escaped := unescape(s[i:])
		if escaped {
			i += 2
		} else {
			c = s[i]
		}
		var plain bool
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~:@!'(),;[]", c) >= 0:
			plain = true
		case c == '/':
			plain = !escaped || query
		case c == '&', c == '=', c == '+', c == '?':
			plain = !escaped
			query = query || c == '?' && !escaped
		case c == '*':
			plain = pattern && !escaped
		case c == '$':
			plain = pattern && !escaped && i == len(s)-1
		}
		if plain {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// matches reports whether a path begins as a pattern says, in which * is any text and $ at the end is the
// path's end. Both are canonical.
func matches(path, pattern string) bool {
	pattern, whole := strings.CutSuffix(pattern, "$")
	part, rest, more := strings.Cut(pattern, "*")
	path, ok := strings.CutPrefix(path, part)
	for ok && more {
		part, rest, more = strings.Cut(rest, "*")
		if !more && whole {
			return strings.HasSuffix(path, part)
		}
		_, path, ok = strings.Cut(path, part)
	}
	return ok && (!whole || path == "")
}
