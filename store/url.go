package store

import (
	"net/url"
	"path"
	"strings"
)

// ignored removes what browsers ignore anywhere in a URL.
var ignored = strings.NewReplacer("\t", "", "\r", "", "\n", "")

// Redact replaces the password of a URL by ***. It finds the password where browsers do, so that one in a URL
// that is not quite correct is hidden, too.
func Redact(address string) string {
	if !strings.Contains(address, "@") {
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

// nameLength of a file is in characters.
const nameLength = 60

// FileName is the name of the file that a URL is of, shortened if it is long; empty if it has none.
func FileName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." {
		return ""
	}
	name = strings.ToValidUTF8(name, "\ufffd")
	if runes := []rune(name); len(runes) > nameLength {
		name = string(runes[:nameLength-21]) + "…" + string(runes[len(runes)-20:])
	}
	return name
}

// Link is a URL to which a page can link: of the web or of a file, and without a password; else empty.
func Link(address string) string {
	u, err := url.Parse(address)
	if err != nil || Redact(address) != address {
		return ""
	}
	switch u.Scheme {
	case "http", "https", "file":
		return u.String()
	}
	return ""
}
