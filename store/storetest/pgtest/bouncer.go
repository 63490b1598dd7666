package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// endBouncer runs a program ($1 …) until stdin ends, and then removes its folder.
const endBouncer = `"$@" >>log 2>&1 & read -r what; kill -TERM $! && wait $!; rm -rf "$PWD"`

// Bouncer starts PgBouncer in front of a database, with a pool_mode (session, transaction, statement), and
// returns the URL of the same database through it. It is gone after the test. Settings are name=value.
func Bouncer(t testing.TB, database, mode string, settings ...string) string {
	t.Helper()
	at, err := bounce(t, database, mode, settings)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func bounce(t testing.TB, database, mode string, settings []string) (string, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return "", errors.New("these tests need PgBouncer; install it: apt-get install pgbouncer " +
				"(macOS: brew install pgbouncer)")
		}
	}
	u, err := url.Parse(database)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "facescan-bouncer-")
	if err != nil {
		return "", err
	}
	var identity *syscall.SysProcAttr
	port, err := freePort()
	if err != nil {
		return "", err
	}
	config := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr = "+
		"127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = plain\nauth_file = users\npool_mode = %s\n%s\n", u.Port(), port, mode,
		strings.Join(settings, "\n"))
	for name, text := range map[string]string{"config": config, "users": fmt.Sprintf("%q %q\n", "facescan",
		Password)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if os.Getuid() == 0 { // it refuses to run as root
		id, err := lesser()
		if err != nil {
			return "", err
		}
		identity = &syscall.SysProcAttr{Credential: id}
		if err := os.Chown(dir, int(id.Uid), int(id.Gid)); err != nil {
			return "", err
		}
	}
	shell := exec.Command("/bin/sh", "-c", endBouncer, "sh", program, "config")
	shell.Dir, shell.SysProcAttr = dir, identity
	stdin, err := shell.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := shell.Start(); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = shell.Wait() // its code is that of the program it killed
	})
	u.Host = "127.0.0.1:" + strconv.Itoa(port)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		c, err := pgx.Connect(ctx, u.String())
		if err == nil {
			err = c.Close(ctx)
		}
		cancel()
		if err == nil {
			return u.String(), nil
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // only to tell more
		if time.Now().After(end) || strings.Contains(string(log), "FATAL") {
			return "", fmt.Errorf("PgBouncer does not start: %w\n%s", err, log)
		}
	}
}
