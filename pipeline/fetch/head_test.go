package fetch

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// stream is a connection that is only read.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// repaired returns what net/http gets to read of an answer.
func repaired(t *testing.T, answer io.Reader) []byte {
	return repairedBy(t, answer, func(r io.Reader) io.Reader { return r })
}

// repairedBy returns what is read of it in a way.
func repairedBy(t *testing.T, answer io.Reader, way func(io.Reader) io.Reader) []byte {
	c := &conn{Conn: stream{Reader: answer}}
	c.expectAnswer()
	out, err := io.ReadAll(way(c))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCutHead: of a head that is cut everything is passed on.
func TestCutHead(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nX: 1\r\n"
	c := &conn{Conn: stream{Reader: strings.NewReader(answer)}}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("a read of nothing: %d, %v", n, err)
	}
	for n := range len(answer) + 1 {
		if got := repaired(t, strings.NewReader(answer[:n])); string(got) != answer[:n] {
			t.Errorf("%q became %q", answer[:n], got)
		}
	}
}

// TestRepair: what net/http gets of the lines of a head, byte for byte.
func TestRepair(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for answer, want := range map[string]string{
		"X: a\r\n b\r\n\tc\r\n\r\n":                                  "X: a\r\n b\r\n\tc\r\n\r\n",
		"X: a\n b\nY: c\n\n":                                         "X: a\n b\nY: c\n\n",
		"no\r\n b: c\r\n\td: e\r\nX: a\r\n\r\n":                      "X: a\r\n\r\n",
		"a\r\nX: a\n\n":                                              "X: a\n\n",
		"Content-Length: 3, 3\nX: a\n\nbody":                         "Content-Length:3\r\nX: a\n\nbody",
		"Content-Length: 3,4\r\n\r\n":                                "Content-Length: 3,4\r\n\r\n",
		"Content-Length: ,\r\n\r\n":                                  "Content-Length: ,\r\n\r\n",
		"Content-Length: 3\n\n":                                      "Content-Length: 3\n\n",
		"Transfer-Encoding: chunked, identity\n\n":                   "Transfer-Encoding:chunked\r\n\n",
		"Transfer-Encoding: identity\r\n x\r\nX: a\n\n":              "X: a\n\n",
		"Transfer-Encoding: gzip, chunked\n\n":                       "Transfer-Encoding: gzip, chunked\n\n",
		"Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n": "Transfer-Encoding:chunked\r\n\n",
	} {
		for _, before := range []string{ok, "HTTP/1.1 103\n\n" + ok, "HTTP/1.1 110 X\r\nno\r\n\r\n" + ok,
			"HTTP/1.1 103 X\nTransfer-Encoding: chunked\n\n" + ok} {
			kept := strings.NewReplacer("no\r\n", "", ": chunked\n", ":chunked\r\n").Replace(before)
			if got := repaired(t, strings.NewReader(before+answer)); string(got) != kept+want {
				t.Errorf("%q became %q, want %q", before+answer, got, kept+want)
			}
		}
		// no head follows
		for _, status := range []string{"HTTP/1.1 101 X\r\n\r\n", "SSH-2.0\r\n", ok + "\r\n"} {
			if got := repaired(t, strings.NewReader(status+answer)); string(got) != status+answer {
				t.Errorf("%q became %q", status+answer, got)
			}
		}
	}
}

// FuzzHead: however an answer is cut into reads, net/http gets the same; and what it reads anyway is not
// changed.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
		"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" +
			"HTTP/1.1 200 OK\nNo colon\n folded\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n" +
			"X: " + strings.Repeat("x", 5000) + "\r\n\r\nno: head\r\n\r\n",
		"HTTP/1.1 101 Switching\r\n\r\nno colon\r\n", "no HTTP\r\nno colon\r\n\r\n", "HTT", "",
		"HTTP/1.1 200 OK\r\nhalf a line",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		whole := repaired(t, bytes.NewReader(answer))
		ways := []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader}
		for i, r := range ways {
			if got := repaired(t, r(bytes.NewReader(answer))); !bytes.Equal(got, whole) {
				t.Fatalf("%q in reads of kind %d: %q, whole %q", answer, i, got, whole)
			}
		}
		if got := repairedBy(t, bytes.NewReader(answer), iotest.OneByteReader); !bytes.Equal(got, whole) {
			t.Fatalf("%q read byte by byte: %q, whole %q", answer, got, whole)
		}
		before, err := readAnswer(answer)
		if err != nil {
			return
		}
		if after, err := readAnswer(whole); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("%q: %+v was repaired to %q: %+v, %v", answer, before, whole, after, err)
		}
	})
}

type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	failed  bool
}

// readAnswer reads an answer, and 1xx ones before it.
func readAnswer(b []byte) (answer, error) {
	r := bufio.NewReader(bytes.NewReader(b))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answer{}, err
		}
		if resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header, resp.Trailer, string(body), err != nil}, nil
	}
}
