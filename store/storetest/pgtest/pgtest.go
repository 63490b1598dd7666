// Package pgtest gives tests a real PostgreSQL server: Debian's package on a temporary data directory and a
// loopback port, as a user who is not root. Without the package a test fails, and says how to install it.
//
// Start hands out fresh databases of one server a test binary. A server ends with the process that began it,
// however that ends: it runs under a shell that waits for the end of its stdin, then stops it and removes its
// files.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store/storetest/must"
)

// Password of the superuser, who is called facescan. No output of a program under test may have it.
const Password = "s3cret%word"

// patience is how long a server may take to start or stop.
const patience = 60 * time.Second

var shared = sync.OnceValues(func() (*Server, error) { return create("fsync=off", "full_page_writes=off") })

// Start returns the URL of a fresh database, with user and password, that is dropped after the test.
func Start(t testing.TB) string {
	t.Helper()
	return must.Get(shared())(t).Database(t)
}

// Server is a server of a test's own, to be stopped and started.
type Server struct {
	bin, dir string
	port     int
	settings []string
	identity *syscall.SysProcAttr

	shell     *exec.Cmd
	stdin     io.WriteCloser
	databases int
	mu        sync.Mutex
}

// New starts a server that is gone after the test. Settings are name=value.
func New(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := must.Get(create(settings...))(t)
	t.Cleanup(func() {
		if err := s.stop(""); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Open starts a server for a program, such as a benchmark. Close ends it.
func Open(settings ...string) (*Server, error) { return create(settings...) }

// Close ends a server for good.
func (s *Server) Close() error { return s.stop("") }

// Create makes a database and returns its URL.
func (s *Server) Create() (url string, err error) {
	name, err := s.database()
	return s.url(name), err
}

func (s *Server) database() (name string, err error) {
	s.mu.Lock()
	s.databases++
	name = fmt.Sprintf("test%d", s.databases)
	s.mu.Unlock()
	return name, s.exec("CREATE DATABASE " + name)
}

// Database makes a database and returns its URL. It is dropped after the test, if the server runs by then.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := must.Get(s.database())(t)
	t.Cleanup(func() {
		s.mu.Lock()
		running := s.shell != nil
		s.mu.Unlock()
		if !running {
			return
		}
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.url(name)
}

func (s *Server) url(database string) string {
	return fmt.Sprintf("postgres://facescan:%s@127.0.0.1:%d/%s", strings.ReplaceAll(Password, "%", "%25"),
		s.port, database)
}

func (s *Server) exec(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, text)
	return errors.Join(err, c.Close(ctx))
}

// Stop ends the server at once, without a word to its clients, as a crash does. Start starts it again, on the
// same port.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	must.OK(t, s.stop("keep"))
}

// Start starts a stopped server again.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	must.OK(t, s.start())
}

// create makes a data directory and starts a server on it.
func create(settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if s.dir, err = os.MkdirTemp("", "facescan-pg-"); err != nil {
		return nil, err
	}
	if s.identity, err = hand(s.dir); err != nil {
		return nil, err
	}
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password+"\n"), 0o644); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", s.data(), "--username", "facescan",
		"--pwfile", password, "--auth", "password", "--encoding", "UTF8", "--locale", "C", "--no-sync",
		"--no-instructions")
	initdb.Dir, initdb.SysProcAttr, initdb.Env = s.dir, s.identity, append(os.Environ(), "LC_ALL=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(s.dir))
	}
	for range 5 { // another process may take the port before the server does
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// watch runs the server ($1 …) until stdin ends; its files go too unless a line there says to keep them.
const watch = `"$@" >>log 2>&1 & read -r what; kill -QUIT $! && wait $!; [ "$what" = keep ] || rm -rf "$PWD"`

// start starts the server and waits until it takes connections.
func (s *Server) start() error {
	args := []string{"-c", watch, "sh", filepath.Join(s.bin, "postgres"), "-D", s.data()}
	for _, set := range append([]string{"port=" + strconv.Itoa(s.port), "listen_addresses=127.0.0.1",
		"unix_socket_directories=", "max_connections=200", "shared_buffers=64MB",
		"dynamic_shared_memory_type=mmap"}, s.settings...) {
		args = append(args, "-c", set)
	}
	shell := exec.Command("/bin/sh", args...)
	shell.Dir, shell.SysProcAttr = s.dir, s.identity
	shell.Env = append(os.Environ(), "LC_ALL=C")
	stdin, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.shell, s.stdin = shell, stdin
	s.mu.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := s.exec("SELECT 1")
		if err == nil {
			return nil
		}
		log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // only to tell more
		if time.Now().After(end) || strings.Contains(string(log), "could not bind") {
			return errors.Join(fmt.Errorf("the server does not start: %w\n%s", err, log), s.stop("keep"))
		}
	}
}

// stop ends the server; how is what its shell reads.
func (s *Server) stop(how string) error {
	s.mu.Lock()
	shell, stdin := s.shell, s.stdin
	s.shell = nil
	s.mu.Unlock()
	if shell == nil {
		if how == "keep" {
			return nil
		}
		return os.RemoveAll(s.dir)
	}
	_, err := io.WriteString(stdin, how+"\n")
	if err := errors.Join(err, stdin.Close()); err != nil {
		return err
	}
	timer := time.AfterFunc(patience, func() { _ = shell.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := shell.Wait(); err != nil && !errors.As(err, &exit) { // its code is that of the server it killed
		return err
	}
	return nil
}

// hand gives a folder to a user who may run a server in it, and returns how to run that as this user: servers
// refuse to run as root. Debian's package makes a user. Who is not root needs none.
func hand(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err := strconv.ParseUint(u.Uid, 10, 32)
			gid, e := strconv.ParseUint(u.Gid, 10, 32)
			if err := errors.Join(err, e, os.Chown(dir, int(uid), int(gid))); err != nil {
				return nil, err
			}
			id := syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return &syscall.SysProcAttr{Credential: &id}, nil
		}
	}
	return nil, errors.New("there is no user, postgres or nobody, to run a database server as")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

var version = regexp.MustCompile(`[0-9]+`)

// binaries is the folder with the newest server that is installed.
func binaries() (string, error) {
	best, newest := "", -1
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, dir := range found {
			n, err := strconv.Atoi(version.FindString(dir))
			if _, missing := os.Stat(filepath.Join(dir, "initdb")); err == nil && missing == nil &&
				n > newest {
				best, newest = dir, n
			}
		}
	}
	if best != "" {
		return best, nil
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb), nil
	}
	return "", errors.New("these tests need PostgreSQL's server; install it: apt-get install postgresql " +
		"(macOS: brew install postgresql@17)")
}
