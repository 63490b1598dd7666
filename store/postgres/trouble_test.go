package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/pgtest"
)

// TestServerCrashes stops a server dead, with its guarantees on, while rows are imported and done, and starts
// it again: the work goes on by itself, nothing acknowledged is lost, and nothing is there twice.
func TestServerCrashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := pgtest.New(t)
	url := server.Database(t)
	made, err := Create(ctx, url)
	ok(t, err)
	ok(t, made.Close())
	j, s := joinJob(t, url)
	_, err = j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	var rows, done atomic.Int64 // acknowledged
	var enough atomic.Bool
	ended := make(chan error, 2)
	go func() {
		var err error
		for at := 1; err == nil && !enough.Load(); at += 100 {
			if err = s.Append(ctx, l, listRows(at, 100), store.Position{Line: int64(at + 99)}, false,
				1000); err == nil {
				rows.Add(100)
			}
		}
		ended <- err
	}()
	go func() {
		var err error
		for err == nil && !enough.Load() {
			var n int
			if n, err = oneShard(s, 50); errors.Is(err, store.ErrNoShard) {
				time.Sleep(time.Millisecond) // the import is slower
				err = nil
			}
			done.Add(int64(n))
		}
		ended <- err
	}()
	var rowsWere, doneWere int64
	for range 2 {
		for end := time.Now().Add(time.Minute); rows.Load() < rowsWere+500 ||
			done.Load() < doneWere+200; time.Sleep(time.Millisecond) {
			if len(ended) > 0 || time.Now().After(end) {
				enough.Store(true)
				t.Fatal("nothing goes on", <-ended)
			}
		}
		server.Stop(t)
		rowsWere, doneWere = rows.Load(), done.Load()
		server.Start(t)
		c, err := j.Counts(ctx)
		ok(t, err)
		if c.Total < rowsWere || c.Done < doneWere {
			t.Errorf("acknowledged were %d rows and %d done, there are %d and %d", rowsWere, doneWere,
				c.Total, c.Done)
		}
	}
	enough.Store(true)
	for range 2 {
		ok(t, <-ended)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Error(found)
	}
}

// oneShard does all rows of a shard, and returns how many.
func oneShard(s store.Session, maxRows int) (int, error) {
	ctx := context.Background()
	l, err := s.Claim(ctx, maxRows)
	if err != nil {
		return 0, err
	}
	rows, err := s.Pending(ctx, l, 0, maxRows)
	if err != nil {
		return 0, err
	}
	var batch []store.Result
	for _, r := range rows {
		batch = append(batch, result(r.ID, 1))
	}
	if err := s.Commit(ctx, l, batch); err != nil {
		return 0, err
	}
	return len(batch), s.Release(ctx, []store.Lease{l})
}

// TestServerStaysAway has an error that names it.
func TestServerStaysAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := pgtest.New(t, "fsync=off")
	opened, err := Create(ctx, server.Database(t))
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	j.patience = 300 * time.Millisecond
	server.Stop(t)
	begin := time.Now()
	_, err = j.Counts(ctx)
	if err == nil || !strings.Contains(err.Error(), j.place.host) ||
		!strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("a server that is not there: %v", err)
	}
	if time.Since(begin) < j.patience {
		t.Error("it was not waited for")
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := j.Counts(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while it is away: %v", err)
	}
}

// TestHints: an error says what to do about what the server, or the way to it, refuses.
func TestHints(t *testing.T) {
	t.Parallel()
	p, err := parse("postgres://me:secret@db.lan/faces?schema=s")
	ok(t, err)
	j := &job{place: p}
	refused := func(code string) error {
		return fmt.Errorf("cannot: %w", &pgconn.PgError{Severity: "ERROR", Code: code, Message: "no"})
	}
	said := func(code string) string { return " (cannot: ERROR: no (SQLSTATE " + code + "))" }
	const away = "doing: the database at db.lan:5432 cannot be reached: see that it runs, and that this " +
		"machine " +
		"may connect to it; then run the same command again: what was acknowledged is kept "
	for _, c := range []struct {
		err  error
		want string
	}{
		{refused("53300"),
			"doing: the server takes no more connections: raise its max_connections (a process " +
				"of facescan uses up to 4), or run fewer processes" + said("53300")},
		{refused("28P01"), "doing: the server refuses the user or the password: give it in PGPASSWORD, in " +
			"~/.pgpass or in the URL" + said("28P01")},
		{refused("3D000"), "doing: make the database first: createdb faces" + said("3D000")},
		{refused("42501"),
			"doing: the user lacks rights there: GRANT CREATE ON DATABASE, or have the schema s " +
				"made for this user" + said("42501")},
		{refused("25006"), "doing: this server only reads; name the primary" + said("25006")},
		{refused("22012"), "doing: cannot: ERROR: no (SQLSTATE 22012)"},
		{io.ErrUnexpectedEOF, away + "(unexpected EOF)"},
		{context.Canceled, "doing: context canceled"},
	} {
		err := j.wrap("doing", c.err)
		if err == nil || err.Error() != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if err := j.wrap("doing", refused("53100")); !errors.Is(err, store.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
	if err := j.wrap("doing", nil); err != nil {
		t.Error(err)
	}
	for err, want := range map[error]string{
		refused("53300"): "no",
		&net.DNSError{Name: "db.lan", Err: "no such"}:                    "there is no host db.lan",
		&net.OpError{Op: "dial", Err: fmt.Errorf("connect: %w", io.EOF)}: "EOF",
		fmt.Errorf("a: %w", fmt.Errorf("b: %w", io.EOF)):                 "EOF",
	} {
		if got := causeOf(err); got != want {
			t.Errorf("%v: the cause is %q, want %q", err, got, want)
		}
	}
	for code, passes := range map[string]bool{"40001": true, "40P01": true, "25P03": true, "57P01": true,
		"57P02": true, "57P03": true, "53300": true, "53100": false, "23505": false} {
		if isTransient(refused(code)) != passes {
			t.Errorf("%s passes: %t", code, !passes)
		}
	}
	for err, passes := range map[error]bool{io.EOF: true, io.ErrUnexpectedEOF: true, net.ErrClosed: true,
		&net.DNSError{}: true, io.ErrShortWrite: false} {
		if isTransient(fmt.Errorf("cannot: %w", err)) != passes {
			t.Errorf("%v passes: %t", err, !passes)
		}
	}
}

// TestJoinsOnce: an owner's name is taken until it leaves.
func TestJoinsOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	opened, err := Open(ctx, target.Create(t))
	ok(t, err)
	defer opened.Close()
	s, err := opened.Join(ctx, store.Owner{ID: "me"}, time.Hour)
	ok(t, err)
	if _, err := opened.Join(ctx, store.Owner{ID: "me"}, time.Hour); err == nil ||
		err.Error() != "join: an owner called me has joined before" {
		t.Error(err)
	}
	ok(t, s.Leave(ctx))
	s, err = opened.Join(ctx, store.Owner{ID: "me"}, time.Hour)
	ok(t, err)
	ok(t, s.Leave(ctx))
	if _, err := s.Claim(ctx, 1); err == nil || !strings.Contains(err.Error(),
		"this session has left the job") {
		t.Errorf("after it left: %v", err)
	}
}

// TestNoRoom lets the server say that its disk is full, in the middle of a batch.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, s := openJob(t)
	fill(t, j, s, 100)
	l, err := s.Claim(ctx, 50)
	ok(t, err)
	var batch []store.Result
	for id := l.Lo; id <= l.Hi; id++ {
		batch = append(batch, result(id, 1))
	}
	ok(t, s.Commit(ctx, l, batch[:10]))
	_, err = j.pool.Exec(ctx, fmt.Sprintf(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
		IF NEW.id > 20 THEN RAISE 'could not extend file: No space left on device' USING ERRCODE =
		'disk_full'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER full_disk BEFORE INSERT ON results FOR EACH ROW EXECUTE FUNCTION %s.full_disk();
		CREATE TRIGGER full_disk BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION %[1]s.full_disk()`,
		j.schema()))
	ok(t, err)
	if err := s.Commit(ctx, l, batch); !errors.Is(err, store.ErrFull) {
		t.Errorf("committed with %v", err)
	}
	source, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	if err := s.Append(ctx, source, listRows(101, 10), store.Position{Line: 110}, true, 10); !errors.Is(err,
		store.ErrFull) {
		t.Errorf("appended with %v", err)
	}
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.Total != 100 || c.Done != 10 {
		t.Errorf("%d rows, %d done", c.Total, c.Done)
	}
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Errorf("with a full disk: %v", found)
	}
	_, err = j.pool.Exec(ctx, "DROP TRIGGER full_disk ON results; DROP TRIGGER full_disk ON rows")
	ok(t, err)
	ok(t, s.Commit(ctx, l, batch))
	ok(t, s.Append(ctx, source, listRows(101, 10), store.Position{Line: 110}, true, 10))
}

// TestStoppedInATransaction has an owner that stops answering in the middle of a commit, with its shard
// locked: others work on meanwhile, the server ends its transaction, and then its rows are in work again.
func TestStoppedInATransaction(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := target.Create(t)
	j, s := joinJob(t, url)
	fill(t, j, s, 40)
	other, err := Open(ctx, url)
	ok(t, err)
	defer other.Close()
	joined, err := other.Join(ctx, store.Owner{}, time.Second)
	ok(t, err)
	hung := joined.(*session)
	l, err := hung.Claim(ctx, 32)
	ok(t, err)
	inside := make(chan error)
	go func() {
		first := true
		inside <- hung.update(ctx, func(pt pgx.Tx) error {
			if !first {
				return errors.New("once is enough")
			}
			first = false
			if _, err := hung.fence(ctx, pt, []store.Batch{{Lease: l}}, []int64{1}); err != nil {
				return err
			}
			inside <- nil
			<-inside
			_, err := pt.Exec(ctx, "SELECT 1")
			return err
		})
	}()
	ok(t, <-inside)
	begin := time.Now()
	m, err := s.Claim(ctx, 100)
	ok(t, err)
	if m.Lo != l.Hi+1 {
		t.Errorf("claimed from %d on, while %d to %d are held", m.Lo, l.Lo, l.Hi)
	}
	if _, err := j.Counts(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 700*time.Millisecond {
		t.Logf("others waited for %s", took) // by a busy machine's clock this proves nothing
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		again, err := s.Claim(ctx, 100)
		if err == nil && again.Lo == l.Lo {
			break
		}
		if err != nil && !errors.Is(err, store.ErrNoShard) {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("its rows are not in work again")
		}
	}
	inside <- nil
	if err := <-inside; err == nil || !strings.Contains(err.Error(), "once is enough") {
		t.Errorf("the transaction ended with %v, and was not tried again", err)
	}
	if err := hung.Commit(ctx, l, []store.Result{result(1, 0)}); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("the zombie's write: %v", err)
	}
}

// TestRefusedForAnothersSake runs into deadlocks and serialization failures, which pass.
func TestRefusedForAnothersSake(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, _ := openJob(t)
	ok(t, j.Set(ctx, map[string]string{"a": "0", "b": "0"}))
	meet := make(chan bool)
	var tries atomic.Int64
	add := func(first, second string) error {
		tried := false
		return j.update(ctx, func(pt pgx.Tx) error {
			tries.Add(1)
			if _, err := pt.Exec(ctx, "UPDATE settings SET value = value::int + 1 WHERE key = $1",
				first); err != nil {
				return err
			}
			if !tried { // each holds one row and wants the other's
				tried = true
				select {
				case meet <- true:
				case <-meet:
				}
			}
			_, err := pt.Exec(ctx, "UPDATE settings SET value = value::int + 1 WHERE key = $1", second)
			return err
		})
	}
	errs := make(chan error, 2)
	go func() { errs <- add("a", "b") }()
	go func() { errs <- add("b", "a") }()
	ok(t, <-errs)
	ok(t, <-errs)
	got, err := j.Settings(ctx)
	ok(t, err)
	if got["a"] != "2" || got["b"] != "2" || tries.Load() != 3 {
		t.Errorf("%v after %d tries", got, tries.Load())
	}
	for code, again := range map[string]bool{"40001": true, "40P01": true, "25P03": true, "57P01": true,
		"23505": false, "53100": false, "42P01": false} {
		if isTransient(&pgconn.PgError{Code: code}) != again {
			t.Errorf("%s passes: %v", code, !again)
		}
	}
}

// proxy passes connections on to a server. While it is armed, it breaks the next one that brings the news of
// a COMMIT, before anybody hears them.
func proxy(t *testing.T, server string) (address string, armed *atomic.Bool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	armed = &atomic.Bool{}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			end := sync.OnceFunc(func() { _, _ = client.Close(), upstream.Close() })
			go func() {
				defer end()
				_, _ = io.Copy(upstream, client)
			}()
			go func() {
				defer end()
				b := make([]byte, 64<<10)
				for {
					n, err := upstream.Read(b)
					if err != nil || bytes.Contains(b[:n], []byte("COMMIT\x00")) &&
						armed.CompareAndSwap(true, false) {
						return
					}
					if _, err := client.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), armed
}

// TestLostAnswers loses the answers to COMMITs that were carried out: what they did is there once.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, path, _ := strings.Cut(strings.SplitAfter(target.Create(t), "@")[1], "/")
	address, armed := proxy(t, server)
	password := strings.ReplaceAll(pgtest.Password, "%", "%25")
	j, s := joinJob(t, fmt.Sprintf("postgres://facescan:%s@%s/%s", password, address, path))
	_, err := j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	lose := func(what string, f func() error) {
		t.Helper()
		armed.Store(true)
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if armed.Swap(false) {
			t.Errorf("%s: no answer was lost", what)
		}
	}
	for at := range 3 {
		lose("append", func() error {
			return s.Append(ctx, l, listRows(100*at+1, 100),
				store.Position{Line: int64(100*at + 100), Mark: []byte{1}}, at == 2, 40)
		})
	}
	shard, err := s.Claim(ctx, 40)
	ok(t, err)
	lose("commit", func() error {
		return s.Commit(ctx, shard,
			[]store.Result{result(shard.Lo, 2), result(shard.Lo+1, 0)})
	})
	lose("renew", func() error {
		held, err := s.Renew(ctx, []store.Lease{shard})
		if err == nil && len(held) != 1 {
			err = errors.New("the lease is lost")
		}
		return err
	})
	lose("release", func() error { return s.Release(ctx, []store.Lease{shard}) })
	lose("release source", func() error { return s.ReleaseSource(ctx, l) })
	lose("set", func() error { return j.Set(ctx, map[string]string{"a": "b"}) })
	lose("retry", func() error { _, err := j.Retry(ctx, store.Selection{OK: true}); return err })
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.Total != 300 || c.Done != 0 || len(c.ImportIncomplete) != 0 {
		t.Errorf("counts %+v", c)
	}
	lose("leave", func() error { return s.Leave(ctx) })
	if found := storetest.Problems(t, j, true); len(found) > 0 {
		t.Error(found)
	}
}
