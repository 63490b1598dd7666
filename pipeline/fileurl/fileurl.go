// Package fileurl writes and reads the URLs of files on this machine.
//
// The URL of a file is file:// and its absolute path; that of a member of a tar is the tar's URL, a # and the
// member's name. Every byte of path and name is percent-encoded except letters, digits, - . _ ~ and /, so
// that any name a file can have, UTF-8 or not, comes back byte for byte.
package fileurl

import (
	"net/url"
	"path"
	"strings"
)

const scheme = "file:"

// Of is the URL of the file with an absolute path.
func Of(file string) string { return scheme + "//" + encode(file) }

// OfMember is the URL of a member of a tar.
func OfMember(tar, name string) string { return Of(tar) + "#" + encode(name) }

// Is reports whether a text is meant to be the URL of a file.
func Is(text string) bool {
	return len(text) >= len(scheme) && strings.EqualFold(text[:len(scheme)], scheme)
}

// Split returns path and member of a URL that Of or OfMember wrote; ok is false for any other text.
func Split(text string) (file, member string, ok bool) {
	rest, name, isMember := strings.Cut(strings.TrimPrefix(text, scheme+"//"), "#")
	file, _ = url.PathUnescape(rest) // what cannot be read becomes empty, which was not written so
	member, _ = url.PathUnescape(name)
	again := Of(file)
	if isMember {
		again = OfMember(file, member)
	}
	return file, member, again == text
}

// Path is the clean absolute path that a URL in a list names, as people write it: with no host or localhost,
// one slash or three, bytes encoded or not. Query and fragment are dropped, as in any URL. Not ok is a text
// without an absolute path.
func Path(text string) (file string, ok bool) {
	if !Is(text) {
		return "", false
	}
	rest := text[len(scheme):]
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	if after, found := strings.CutPrefix(rest, "//"); found {
		slash := strings.IndexByte(after, '/')
		if slash < 0 || slash > 0 && !strings.EqualFold(after[:slash], "localhost") {
			return "", false
		}
		rest = after[slash:]
	}
	file = decode(rest)
	if !strings.HasPrefix(file, "/") || strings.Contains(file, "\x00") {
		return "", false
	}
	return path.Clean(file), true
}

const hex = "0123456789ABCDEF"

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~' || c == '/'
}

func encode(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; isPlain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// decode replaces the escapes that are there; a percent sign that begins none stands for itself.
func decode(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if one, err := url.PathUnescape(s[i : i+3]); err == nil {
				b = append(b, one...)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
