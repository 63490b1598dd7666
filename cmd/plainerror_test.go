package cmd

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline"
)

// TestPlainText: what Go's libraries say becomes plain words, within what others say around it.
func TestPlainText(t *testing.T) {
	t.Parallel()
	_, notNumber := strconv.Atoi("x")
	_, tooLarge := strconv.ParseInt("99999999999999999999", 10, 64)
	notJSON, notInt := json.Unmarshal([]byte("{"), new(int)), json.Unmarshal([]byte(`"a"`), new(int))
	_, notCSV := csv.NewReader(bytes.NewReader([]byte(`"a`))).Read()
	_, _, notAddress := net.ParseCIDR("h")
	gone := &fs.PathError{Op: "open", Path: "a.txt", Err: syscall.ENOENT}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("as it is"), "as it is"},
		{gone, "a.txt: no such file or directory"},
		{fmt.Errorf("read it: %w; give another", gone),
			"read it: a.txt: no such file or directory; give another"},
		{fmt.Errorf("a.txt: %w", gone), "a.txt: no such file or directory"},
		{errors.Join(fmt.Errorf("first: %w", gone), os.NewSyscallError("fsync", syscall.EIO)),
			"first: a.txt: no such file or directory\ninput/output error"},
		{&fs.PathError{Op: "open", Err: syscall.ENOENT}, "the name is empty"},
		{&fs.PathError{Op: "open", Path: "a/b", Err: syscall.ENOTDIR},
			"a/b: it is not a folder, or is in something that is not a folder"},
		{&fs.PathError{Op: "open", Path: "a", Err: syscall.ELOOP}, "a: too many symbolic links"},
		{&os.LinkError{Op: "rename", Old: "a.part", New: "a.csv", Err: syscall.EACCES},
			"a.csv: permission denied"},
		{&net.DNSError{Err: "unknown port", Name: "tcp/web"}, `"web" is not a port: use 0 to 65535`},
		{&net.DNSError{Err: "unknown port", Name: "udp/dns"}, `"dns" is not a port: use 0 to 65535`},
		{&net.DNSError{Err: "no such host", Name: "h.invalid", IsNotFound: true},
			"there is no host h.invalid"},
		{&net.DNSError{Err: "server misbehaving", Name: "a/b"}, "the address of a/b could not be looked up"},
		{&net.DNSError{Err: "timeout", Name: "h"}, "the address of h could not be looked up"},
		{&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)},
			"another process listens there: choose another port"},
		{&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)},
			"this machine does not have that address"},
		{&net.OpError{Op: "dial", Err: &net.AddrError{Err: "invalid port", Addr: "99999"}},
			`"99999" is not a port: use 0 to 65535`},
		{&net.AddrError{Err: "missing port in address", Addr: "h"}, `"h": missing port in address`},
		{notAddress, `"h" is not an address`},
		{&url.Error{Op: "Get", URL: "http://h/", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}},
			"http://h/: connection refused"},
		{notNumber, `"x" is not a number`}, {tooLarge, "99999999999999999999 is too large"},
		{notJSON, "not the JSON that is expected"}, {notInt, "not the JSON that is expected"},
		{notCSV, "quotes that are not closed"},
		{x509.UnknownAuthorityError{}, "certificate signed by unknown authority"},
	} {
		if got := plainText(c.err); got != c.want {
			t.Errorf("%v becomes %q, want %q", c.err, got, c.want)
		}
	}
	if got := oneLine(errors.New("\n a\x1b\nb ")); got != `a\u001b; b` {
		t.Errorf("on one line %q", got)
	}
	if got := (&exit{code: 3}).Error(); got != "exit 3" {
		t.Errorf("an exit without a text is %q", got)
	}
}

// TestLog: records for people, at each level, with their attributes; and those for programs.
func TestLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verbose int
		quiet   bool
		want    string
	}{
		{0, false,
			"facescan: told a=1 n=1\nfacescan: warning: told a=1 n=1\nfacescan: error: told a=1 n=1\n"},
		{1, false,
			"facescan: debug: told a=1 n=1\nfacescan: told a=1 n=1\nfacescan: warning: told a=1 n=1\n" +
				"facescan: error: told a=1 n=1\n"},
		{2, false, "facescan: debug: told a=1 n=1\nfacescan: debug: told a=1 n=1\nfacescan: told a=1 n=1\n" +
			"facescan: warning: told a=1 n=1\nfacescan: error: told a=1 n=1\n"},
		{2, true, "facescan: error: told a=1 n=1\n"},
	} {
		g, _, said := printing()
		g.verbose, g.quiet = c.verbose, c.quiet
		log := g.log().With("a", 1)
		for _, level := range []slog.Level{pipeline.LevelRow, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn,
			slog.LevelError} {
			log.Log(context.Background(), level, "told", "n", 1)
		}
		same(t, fmt.Sprint("-v ", c.verbose), said.String(), c.want)
	}
	g, _, said := printing()
	g.log().Info("a\nb", "plain", "x", "blank", "a b", "quote", `a"\`, "raw", "\x1b", "took",
		1500*time.Millisecond,
		"why", &fs.PathError{Op: "open", Path: "a.txt", Err: syscall.ENOENT})
	same(t, "attributes", said.String(),
		`facescan: a\nb plain=x blank="a b" quote="a\"\\" raw="\u001b" took=1.5s `+
			`why="a.txt: no such file or directory"`+"\n")
	for _, c := range []struct {
		quiet bool
		want  string
	}{{false,
		"facescan: a\\n of 1 row\nfacescan: bad; worse\nfacescan: see `facescan help run`\nfacescan: bad\n"},
		{true, "facescan: bad; worse\nfacescan: see `facescan help run`\nfacescan: bad\n"}} {
		g, _, said := printing()
		g.quiet = c.quiet
		g.report("facescan: %s of %s", "a\n", "1 row")
		g.fail(errors.New("bad\nworse"), exitUsage, "facescan help run")
		g.fail(errors.New("bad"), exitOK, "")
		same(t, "reports", said.String(), c.want)
	}
	g, _, said = printing()
	g.logFormat = "json"
	g.report("facescan: %s done ", "a")
	g.fail(errors.New("bad"), exitOK, "")
	g.fail(errors.New("bad"), exitError, "")
	g.fail(errors.New("bad"), exitUsage, "facescan help run")
	g.log().Info("told", "took", 1500*time.Millisecond)
	var got string
	for dec := json.NewDecoder(said); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprintln(line["level"], line["msg"], line["exit_code"], line["help"], line["took"])
	}
	same(t, "as JSON", got, `
INFO a done <nil> <nil> <nil>
ERROR bad <nil> <nil> <nil>
ERROR bad 1 <nil> <nil>
ERROR bad 2 facescan help run <nil>
INFO told <nil> <nil> 1.5s
`)
}

// broken is a stream that takes some bytes of each write, and has an error or none.
type broken struct {
	takes int
	err   error
}

func (b broken) Write(p []byte) (int, error) { return min(b.takes, len(p)), b.err }

// TestStreamsFail: a writer gets an error when a stream did not take it all.
func TestStreamsFail(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"plain", "raw\x1b"} {
		w := printableWriter{w: broken{1, syscall.EPIPE}}
		if n, err := w.Write([]byte(text)); n >= len(text) || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	w := printableWriter{w: broken{takes: 3}}
	if n, err := w.Write([]byte("raw\x1b")); n != 0 || err == nil {
		t.Errorf("a short write: %d, %v", n, err)
	}
	g, _, said := printing()
	g.report("facescan: %v, %v", &fs.PathError{Op: "open", Path: "a.txt", Err: syscall.ENOENT}, "b")
	if want := "facescan: a.txt: no such file or directory, b\n"; said.String() != want {
		t.Errorf("%q, want %q", said, want)
	}
	if err := printJSON(broken{err: syscall.EPIPE}, 1); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("JSON: %v", err)
	}
}
