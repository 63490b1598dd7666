package store

import "strings"

// ignored removes what browsers ignore anywhere in a URL.
var ignored = strings.NewReplacer("\t", "", "\r", "", "\n", "")

// Redact replaces the password of a URL by ***. It finds the password where browsers do, so that one in a URL
// that is not quite correct is hidden, too.
func Redact(address string) string {
	if strings.IndexByte(address, '@') < 0 {
		return address
	}
	scheme, rest, ok := strings.Cut(address, ":")
	scheme = strings.TrimSpace(ignored.Replace(scheme))
	web := strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
	if !ok || !web && !strings.HasPrefix(ignored.Replace(rest), "//") {
		return address
	}
	authority := strings.TrimLeft(rest, "/\\\t\r\n")
	start := len(address) - len(authority)
	if end := strings.IndexAny(authority, `/?#\`); end >= 0 {
		authority = authority[:end]
	}
	user, _, ok := strings.Cut(authority, ":")
	at := strings.LastIndexByte(authority, '@')
	if !ok || at < len(user) {
		return address
	}
	return address[:start] + user + ":***" + address[start+at:]
}
