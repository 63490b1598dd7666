package robots

import (
	"strings"
	"testing"
	"time"

	"github.com/jimsmart/grobotstxt"
)

// TestAllows: groups, precedence, special characters and escapes, as RFC 9309 has them.
func TestAllows(t *testing.T) {
	t.Parallel()
	const private = "User-agent: *\nDisallow: /private/\n"
	for _, c := range []struct {
		name, body, path string
		want             bool
	}{
		{"nothing said", "", "/a", true},
		{"a page of HTML", "<html><body>Not: found</body></html>", "/a", true},
		{"a folder", private, "/private/a.jpg", false},
		{"beside it", private, "/privat", true},
		{"its name alone", private, "/private", true},
		{"robots.txt itself", "User-agent: *\nDisallow: /\n", "/robots.txt", true},
		{"case of keys", "USER-AGENT:*\ndisALLOW:/x\n", "/x", false},
		{"case of paths", "User-agent: *\nDisallow: /X\n", "/x", true},
		{"empty disallow", "User-agent: *\nDisallow:\n", "/x", true},
		{"byte order mark", "\ufeffUser-agent: *\nDisallow: /\n", "/x", false},
		{"CR LF", "User-agent: *\r\nDisallow: /x\r\n", "/x", false},
		{"CR", "User-agent: *\rDisallow: /x\r", "/x", false},
		{"comments", "User-agent: * # all\nDisallow: /x # here\n", "/x", false},
		{"a rule before any group", "Disallow: /\nUser-agent: *\nDisallow: /y\n", "/x", true},
		{"a typo", "User agent: *\nDisalow: /x\n", "/x", false},

		{"own group", "User-agent: *\nDisallow: /\n\nUser-agent: FaceScan\nAllow: /\n", "/x", true},
		{"own group alone", "User-agent: *\nDisallow: /x\n\nUser-agent: facescan\nDisallow: /y\n",
			"/x", true},
		{"another's group behind one's own",
			"User-agent: facescan\nDisallow: /x\nUser-agent: b\nDisallow: /y\n",
			"/y", true},
		{"another's group behind that for all", "User-agent: *\nDisallow: /x\nUser-agent: b\nDisallow: /y\n",
			"/y", true},
		{"own group without rules", "User-agent: facescan\n\nUser-agent: *\nAllow: /\n", "/x", true},
		{"own groups merge", "User-agent: facescan\nDisallow: /x\nUser-agent: b\nDisallow: /\n" +
			"User-agent: facescan\nDisallow: /y\n", "/x", false},
		{"two names", "User-agent: other\nUser-agent: facescan\nDisallow: /x\n", "/x", false},
		{"a name with a version", "User-agent: facescan/2.0\nDisallow: /x\n", "/x", false},
		{"another's name that begins alike", "User-agent: facescan2\nDisallow: /x\n", "/x", true},
		{"a sitemap between", "User-agent: facescan\nSitemap: http://a/\nUser-agent: b\nDisallow: /x\n",
			"/x", false},
		{"a crawl-delay between", "User-agent: facescan\nCrawl-delay: 1\nUser-agent: b\nDisallow: /x\n",
			"/x", false},

		{"the longest wins", "User-agent: *\nAllow: /p/q\nDisallow: /p\n", "/p/q/r", true},
		{"in any order", "User-agent: *\nDisallow: /p\nAllow: /p/q\n", "/p/q/r", true},
		{"allow wins a tie", "User-agent: *\nDisallow: /p\nAllow: /p\n", "/p", true},
		{"stars are counted", "User-agent: *\nAllow: /page\nDisallow: /*.htm\n", "/page.htm", false},

		{"any text", "User-agent: *\nDisallow: /*.gif\n", "/a/b.gif", false},
		{"any text, the end", "User-agent: *\nDisallow: /*.gif$\n", "/a/b.gif?x", true},
		{"the last of several", "User-agent: *\nDisallow: /*.gif$\n", "/a.gif.gif", false},
		{"whole path", "User-agent: *\nDisallow: /$\n", "/", false},
		{"whole path, more", "User-agent: *\nDisallow: /$\n", "/a", true},
		{"a dollar within", "User-agent: *\nDisallow: /a$b\n", "/a$b", false},
		{"escaped star", "User-agent: *\nDisallow: /f-%2A.html\n", "/f-*.html", false},
		{"escaped star is not a wildcard", "User-agent: *\nDisallow: /f-%2A.html\n", "/f-x.html", true},
		{"escaped dollar", "User-agent: *\nDisallow: /f-%24\n", "/f-$", false},

		{"unreserved", "User-agent: *\nDisallow: /bar/%62%61%7A\n", "/bar/baz", false},
		{"unreserved in the path", "User-agent: *\nDisallow: /bar/baz\n", "/bar/%62%61%7A", false},
		{"UTF-8", "User-agent: *\nDisallow: /ツ\n", "/%E3%83%84", false},
		{"another byte", "User-agent: *\nDisallow: /%C3%A9\n", "/%D3%A9", true},
		{"another byte at the end", "User-agent: *\nDisallow: /%C3%A9\n", "/%C3%A8", true},
		{"lower case", "User-agent: *\nDisallow: /%e3%83%84\n", "/%E3%83%84", false},
		{"a URL in a query", "User-agent: *\nDisallow: /b?u=http://foo.bar\n", "/b?u=http%3A%2F%2Ffoo.bar",
			false},
		{"its escaped form", "User-agent: *\nDisallow: /b?u=http%3A%2F%2Ffoo.bar\n", "/b?u=http://foo.bar",
			false},
		{"an escaped slash is not a slash", "User-agent: *\nDisallow: /a/b\n", "/a%2Fb", true},
		{"reserved", "User-agent: *\nDisallow: /a,b\n", "/a%2cb", false},
		{"blanks", "User-agent: *\nDisallow: /a b\n", "/a%20b", false},
		{"a bare percent sign", "User-agent: *\nDisallow: /100%\n", "/100%25", false},
		{"query", "User-agent: *\nDisallow: /?\n", "/?q", false},
		{"query, none", "User-agent: *\nDisallow: /?\n", "/", true},
	} {
		if got := Parse(c.body, "facescan").Allows(c.path); got != c.want {
			t.Errorf("%s: %s: %v, want %v", c.name, c.path, got, c.want)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]time.Duration{
		"User-agent: *\nCrawl-delay: 2\n":                                              2 * time.Second,
		"User-agent: *\ncrawl-delay: 0.5 # half\n":                                     time.Second / 2,
		"User-agent: *\nCrawl-delay: 86400\n":                                          MaxDelay,
		"User-agent: *\nCrawl-delay: 1e300\n":                                          MaxDelay,
		"User-agent: *\nCrawl-delay: -1\n":                                             0,
		"User-agent: *\nCrawl-delay: soon\n":                                           0,
		"User-agent: *\nCrawl-delay: NaN\n":                                            0,
		"User-agent: *\nCrawl-delay: Inf\n":                                            0,
		"Crawl-delay: 3\nUser-agent: *\nDisallow: /x\n":                                0,
		"User-agent: *\nCrawl-delay: 9\nDisallow:\nUser-agent: facescan\nDisallow: /x": 0,
		"User-agent: facescan\nDisallow: /x\nCrawl-delay: 4\nUser-agent: *\nAllow: /":  4 * time.Second,
	} {
		got := time.Duration(0)
		if r := Parse(body, "facescan"); r != nil {
			got = r.Delay
		}
		if got != want {
			t.Errorf("%q: %v, want %v", body, got, want)
		}
	}
}

// TestSize: it is about what the rules take, and grows with them.
func TestSize(t *testing.T) {
	t.Parallel()
	const rule = "Disallow: /a\n"
	one := Parse("User-agent: *\n"+rule, "facescan").Size()
	two := Parse("User-agent: *\n"+rule+"Disallow: /"+strings.Repeat("b", 1000), "facescan").Size()
	if (*Rules)(nil).Size() != 0 || one < 16 || one > 200 || two < one+1000 || two > one+1200 {
		t.Errorf("%d bytes of one rule, %d of two", one, two)
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"facescan/1.0 (+https://example.org/bot)": "facescan",
		"MyBot":       "mybot",
		"my.bot2/1.0": "my.bot2",
		"Mozilla/5.0 (compatible; FooBot/2.1; +http://)": "foobot",
		"Mozilla/5.0 (X11; Linux x86_64)":                "mozilla",
		"":                                               "",
		"(nothing)":                                      "",
	} {
		if got := Agent(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

// FuzzAllows compares with grobotstxt where both follow the same rules, and looks for crashes everywhere.
func FuzzAllows(f *testing.F) {
	f.Add("User-agent: *\nDisallow: /a*b$\nAllow: /a", "/axb")
	f.Add("User-agent: facescan\nDisallow: /*/*.jpg\nCrawl-delay: 3", "/x/y.jpg")
	f.Add("user agent facescan\ndisallow /%zz%41", "/%zzA")
	f.Fuzz(func(t *testing.T, body, path string) {
		if len(body) > 4096 || len(path) > 256 {
			return
		}
		path = "/" + path
		r := Parse(body, "facescan")
		got := r.Allows(path)
		if r != nil && (r.Delay < 0 || r.Delay > MaxDelay) {
			t.Fatalf("a delay of %v", r.Delay)
		}
		if !plain(body, path) {
			return
		}
		if want := grobotstxt.AgentAllowed(body, "facescan", "http://a"+path); got != want {
			t.Errorf("%q of %q: %v, want %v", path, body, got, want)
		}
	})
}

// plain reports whether a file and a path are of the kind on which both agree: without escapes, and without
// what grobotstxt knows of index pages.
func plain(body, path string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/."
	return strings.Trim(path, letters) == "" && strings.Trim(body, letters+"*:\n ") == "" &&
		!strings.Contains(strings.ToLower(body), "index.htm") && path != "/robots.txt"
}

// FuzzMatches compares with the reference, which tries every place for every star.
func FuzzMatches(f *testing.F) {
	f.Add("/a/b.gif", "/*.gif$")
	f.Add("/aab", "/*a*b")
	f.Add("/", "$")
	f.Fuzz(func(t *testing.T, path, pattern string) {
		if len(path) > 256 || len(pattern) > 256 {
			return
		}
		path, pattern = canonical(path, false), canonical(pattern, true)
		if got, want := matches(path, pattern), grobotstxt.Matches(path, pattern); got != want {
			t.Errorf("%q, %q: %v, want %v", path, pattern, got, want)
		}
	})
}
