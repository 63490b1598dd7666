package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store/storetest/must"
)

// endBouncer runs a program ($1 …) until stdin ends, and then removes its folder.
const endBouncer = `"$@" >>log 2>&1 & read -r what; kill -TERM $! && wait $!; rm -rf "$PWD"`

// Bouncer starts PgBouncer in front of a database, with a pool_mode (session, transaction, statement), and
// returns the URL of the same database through it. It is gone after the test. Settings are name=value.
func Bouncer(t testing.TB, database, mode string, settings ...string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Fatal("these tests need PgBouncer; install it: apt-get install pgbouncer " +
				"(macOS: brew install pgbouncer)")
		}
	}
	u := must.Get(url.Parse(database))(t)
	dir := must.Get(os.MkdirTemp("", "facescan-bouncer-"))(t)
	port := must.Get(freePort())(t)
	config := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr = "+
		"127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = plain\nauth_file = users\npool_mode = %s\n%s\n", u.Port(), port, mode,
		strings.Join(settings, "\n"))
	for name, text := range map[string]string{"config": config, "users": fmt.Sprintf("%q %q\n", "facescan",
		Password)} {
		must.OK(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	shell := exec.Command("/bin/sh", "-c", endBouncer, "sh", program, "config")
	shell.Dir, shell.SysProcAttr = dir, must.Get(hand(dir))(t)
	stdin := must.Get(shell.StdinPipe())(t)
	must.OK(t, shell.Start())
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
			return u.String()
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log")) // only to tell more
		if time.Now().After(end) || strings.Contains(string(log), "FATAL") {
			t.Fatalf("PgBouncer does not start: %v\n%s", err, log)
		}
	}
}
