package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler is how a connection pooler in front of the server, PgBouncer or one like it, lends
// connections.
type Pooler int

const (
	NoPooler          Pooler = iota
	SessionPooler            // for as long as a client stays connected
	TransactionPooler        // for a transaction
	StatementPooler          // for a statement
)

const (
	poolerTries = 5               // rounds of statements: other clients may take the connection between two
	poolerTime  = 5 * time.Second // a pool with one connection lets a second client wait
)

// poolerOf finds out what is behind a connection. A pooler makes up the process id that it greets clients
// with. One that lends connections for less than a session shows two clients the same process of the server,
// or one client two of them.
func poolerOf(ctx context.Context, c *pgx.Conn) (Pooler, error) {
	pid, err := backend(ctx, c)
	if err != nil || pid <= 0 || pid == int64(c.PgConn().PID()) {
		return NoPooler, err
	}
	// The pooler itself answers who connects; a statement waits for one of the server's connections.
	other, err := pgx.ConnectConfig(ctx, c.Config())
	if err != nil {
		return SessionPooler, ctx.Err()
	}
	defer other.Close(ctx)
	brief, cancel := context.WithTimeout(ctx, poolerTime)
	defer cancel()
	for range poolerTries {
		theirs, err := backend(brief, other)
		if err != nil { // it waits for the one connection that this session has
			return SessionPooler, ctx.Err()
		}
		ours, err := backend(ctx, c)
		if err == nil && ours == pid && ours != theirs {
			// Where the pooler lends two connections by turns, the second statement in a row shows it.
			ours, err = backend(ctx, c)
		}
		if err != nil {
			return NoPooler, err
		}
		if ours == theirs || ours != pid {
			// A pooler of statements refuses a transaction, and closes the connection.
			if _, err := other.Exec(brief, "BEGIN"); err != nil &&
				strings.Contains(err.Error(), "statement pooling") {
				return StatementPooler, nil
			}
			return TransactionPooler, nil
		}
	}
	return SessionPooler, nil
}

// backend is the server's process that answers.
func backend(ctx context.Context, c *pgx.Conn) (pid int64, err error) {
	// Prepared statements of a session are what some poolers do not know.
	err = c.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return pid, err
}

// err says why a job cannot be worked on through the pooler; nil if it can.
func (p Pooler) err(host string) error {
	lends := ""
	switch p {
	case TransactionPooler:
		lends = "transaction"
	case StatementPooler:
		lends = "statement"
	default:
		return nil
	}
	return fmt.Errorf("PgBouncer, or a pooler like it, at %s is in %s mode: it lends connections for one "+
		"%s, and facescan needs each "+
		"for its whole session; set pool_mode = session for this database there, or name the port of the "+
		"server itself in the URL",
		host, lends, lends)
}
