package fetch_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"facescan/pipeline/fetch"
)

// cutServer answers /first with 200 and an empty body, on a connection that is kept, and any other path with
// as many bytes of the message as its query says, before it closes or resets the connection. It returns its
// host and port.
func cutServer(t *testing.T, message []byte, secure *tls.Config) string {
	return listen(t, func(c net.Conn) {
		tcp := c.(*net.TCPConn)
		if secure != nil {
			c = tls.Server(c, secure)
			defer c.Close()
		}
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		for ; err == nil && req.URL.Path == "/first"; req, err = http.ReadRequest(r) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		if err != nil {
			return
		}
		var n int
		var how string
		fmt.Sscanf(req.URL.RawQuery, "%d-%s", &n, &how)
		c.Write(message[:n])
		if how == "reset" {
			tcp.SetLinger(0)
			tcp.Close()
		}
	})
}

// TestCut cuts messages at every byte. What was cut is always worth another attempt.
func TestCut(t *testing.T) {
	const picture = "all the bytes of a picture"
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, picture)
	w.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nX-Folded: a\r\n b\r\n"
	const length = "Content-Length: 26\r\n\r\n" + picture
	zipped := fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", z.Len(), z.Bytes())
	chunked := head + "Transfer-Encoding: chunked\r\n\r\n" +
		"9;x=y\r\n" + picture[:9] + "\r\n11\r\n" + picture[9:] + "\r\n0\r\n"
	for name, c := range map[string]struct {
		message string
		body    int // where the body has ended
	}{
		"length":  {head + length, 0},
		"bare LF": {strings.ReplaceAll(head, "\r", "") + "Content-Length: 26\n\n" + picture, 0},
		"interim": {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + head + length, 0},
		"repaired": {"HTTP/1.1 200 OK\r\nNonsense\r\n more\r\n" + strings.Replace(length, "26",
			"26, 26", 1), 0},
		"chunked":     {chunked + "\r\n", len(chunked)},
		"trailer":     {chunked + "X-Sum: 1\r\n\r\n", len(chunked)},
		"gzip length": {head + zipped, 0},
	} {
		body := c.body
		if body == 0 {
			body = len(c.message)
		}
		addr := cutServer(t, []byte(c.message), nil)
		f := newFetcher(t, fetch.Options{})
		for _, kept := range []bool{false, true} {
			for n := range len(c.message) + 1 {
				for _, how := range []string{"end", "reset"} {
					if kept {
						if _, e := attempt(t, f, "http://"+addr+"/first"); e != nil {
							t.Fatal(e)
						}
					}
					got, e := attempt(t, f, fmt.Sprintf("http://%s/?%d-%s", addr, n, how))
					switch {
					case e == nil && got == picture && n >= body:
					case e == nil:
						t.Errorf("%s cut at %d by %s: %q", name, n, how, got)
					case !temporary(e) || e.Outage:
						t.Errorf("%s cut at %d by %s: %v, which lasts", name, n, how, e)
					case how == "end" && (n >= body || (e.Reason == fetch.Truncated) != (n > 0)):
						t.Errorf("%s cut at %d (%q): %v", name, n, c.message[:n], e)
					}
				}
			}
		}
	}
}

// TestCutTLS: the end of a TLS connection is an end, announced or not.
func TestCutTLS(t *testing.T) {
	cert, pool := certificate(t, "127.0.0.1")
	const message = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	addr := cutServer(t, []byte(message), &tls.Config{Certificates: []tls.Certificate{cert}})
	f := newFetcher(t, fetch.Options{RootCAs: pool})
	for n := range len(message) + 1 {
		for _, how := range []string{"end", "reset"} {
			got, e := attempt(t, f, fmt.Sprintf("https://%s/?%d-%s", addr, n, how))
			switch {
			case e == nil && (got != "abc" || n < len(message)-2), e != nil && !temporary(e),
				e != nil && how == "end" && (e.Reason == fetch.Truncated) != (n > 0):
				t.Errorf("cut at %d by %s: %q, %v", n, how, got, e)
			}
		}
	}
}

// answering serves one answer per connection, after a request, and ends it.
func answering(t *testing.T, answer string) string {
	return "http://" + listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.WriteString(c, answer)
		}
	}) + "/"
}

// TestMalformed: an answer that is not HTTP is http_error, even if the connection ends after it; what
// browsers accept is accepted.
func TestMalformed(t *testing.T) {
	f := newFetcher(t, fetch.Options{})
	const ok = "HTTP/1.1 200 OK\r\n"
	flood := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 5)
	for answer, want := range map[string]string{
		"SSH-2.0-server":                                                                     fetch.HTTPError,
		"220 mail.test ESMTP\r\n":                                                            fetch.HTTPError,
		"\xff\xd8\xff\xe0 a picture":                                                         fetch.HTTPError,
		"HTTP/1.1 abc OK\r\n\r\n":                                                            fetch.HTTPError,
		"HTTP/1.1 200 OK\r\nBad\x00Name: 1\r\n\r\n":                                          fetch.HTTPError,
		ok + "Content-Length: abc\r\n\r\nabc":                                                fetch.HTTPError,
		ok + "Content-Length: -1\r\n\r\nabc":                                                 fetch.HTTPError,
		ok + "Content-Length: 3, 4\r\n\r\nabc":                                               fetch.HTTPError,
		ok + "Content-Length: 3, \r\n\r\nabc":                                                fetch.HTTPError,
		ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc":                             fetch.HTTPError,
		ok + "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":                 fetch.HTTPError,
		ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n":                                     fetch.HTTPError,
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n":                    fetch.HTTPError,
		ok + "X: " + strings.Repeat("x", 300<<10) + "\r\n\r\nabc":                            fetch.HTTPError,
		ok + strings.Repeat("no colon\r\n", 30<<10) + "Content-Length: 3\r\n\r\na":           fetch.HTTPError,
		flood + "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 3\r\n\r\nabc":        fetch.HTTPError,
		strings.Repeat(flood, 100):                                                           fetch.HTTPError,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nabc": fetch.HTTPError,

		ok + "Content-Length: 3\r\n\r\nabc":                                                          "",
		flood + ok + "Content-Length: 3\r\n\r\nabc":                                                  "",
		ok + "Content-Length: 3, 3\r\n\r\nabcdef":                                                    "",
		ok + "content-length: 3 ,3,\t3\nContent-Length: 3\n\nabcdef":                                 "",
		ok + "no colon\r\n\tat all\r\nContent-Length: 3\r\n\r\nabcdef":                               "",
		ok + "Transfer-Encoding: identity\r\n\r\nabc":                                                "",
		ok + "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabcdef":                        "",
		ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n": "",
		ok + "Transfer-Encoding: chunked, identity\r\n\r\n3\r\nabc\r\n0\r\n\r\n":                     "",
		ok + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n3\r\nabc\r\n0\r\n\r\n":          "",
		ok + "X: " + strings.Repeat("x", 200<<10) + "\r\nContent-Length: 3, 3\r\n\r\nabc":            "",
	} {
		got, e := attempt(t, f, answering(t, answer))
		answer = answer[:min(len(answer), 120)]
		switch {
		case want == "" && (e != nil || got != "abc"):
			t.Errorf("%q: %q, %v, want abc", answer, got, e)
		case want != "" && (e == nil || e.Reason != want || temporary(e)):
			t.Errorf("%q: %q, %v, want %s", answer, got, e, want)
		}
	}
}
