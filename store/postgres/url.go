package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	defaultSchema = "facescan"
	connections   = 4 // of one process at most; pool_max_conns in the URL changes it

	connectTimeout   = 10 * time.Second
	statementTimeout = 60 * time.Second // every statement of a run is far shorter
	silence          = 20 * time.Second // after which a machine that does not answer is gone
	idleInside       = 10 * time.Second // most that a transaction may wait for us; see session.begin
)

// connectionSettings hold for every connection. Each statement of a run has an index made for it, which the
// planner would not always choose: of rows that were just imported it knows nothing, takes ranges of ids for
// short, and reads all of one again for each row of another.
const connectionSettings = `SET search_path = %s; SET statement_timeout = %d;
	SET idle_in_transaction_session_timeout = %d;
	SET tcp_user_timeout = %d; SET jit = off;
	SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_material = off;
	SET max_parallel_workers_per_gather = 0`

// IsURL reports whether a job's name is a URL of a database.
func IsURL(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

var secrets = regexp.MustCompile(`(?i)(postgres(?:ql)?://[^\s:/?#]*):\S*@|([?&](?:ssl)?password)=[^\s&]*`)

// Redact returns a text with the passwords of all database URLs in it replaced. It takes away too much rather
// than too little.
func Redact(text string) string {
	return secrets.ReplaceAllStringFunc(text, func(s string) string {
		m := secrets.FindStringSubmatch(s)
		if m[2] != "" {
			return m[2] + "=***"
		}
		return m[1] + ":***@"
	})
}

// WithoutPassword is the URL of a job as its Path has it, to be used where the password comes from elsewhere.
func WithoutPassword(raw string) string {
	if p, err := parse(raw); err == nil {
		return p.path
	}
	return Redact(raw)
}

// place is where a job is, taken from its URL.
type place struct {
	pool   *pgxpool.Config
	schema string
	path   string // the URL without passwords
	host   string // host:port, or the folder of a socket
}

// The names of a schema that need no thought: identifiers that are no keyword's business, as they are always
// quoted.
var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// parse reads a URL. Everything but the schema is pgx's business: host, user, passwords from PGPASSWORD and
// .pgpass, TLS.
func parse(raw string) (p place, err error) {
	u, err := url.Parse(raw)
	if err != nil { // its text would show the password
		return p, errors.New("the database URL cannot be read: it is " +
			"postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, " +
			"where what is special in a password is written as %XX")
	}
	p.schema = defaultSchema
	var rest, shown []string
	for _, pair := range strings.Split(u.RawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "schema":
			p.schema = value
			shown = append(shown, pair)
		case "password", "sslpassword":
			rest = append(rest, pair)
		case "":
		default:
			rest, shown = append(rest, pair), append(shown, pair)
		}
	}
	if !schemaName.MatchString(p.schema) || strings.HasPrefix(p.schema, "pg_") {
		return p, fmt.Errorf("%q cannot be the schema of a job: letters, digits and underscores, beginning "+
			"with a letter, at most 63", p.schema)
	}
	u.RawQuery = strings.Join(rest, "&")
	if p.pool, err = pgxpool.ParseConfig(u.String()); err != nil {
		text := err.Error()
		if i := strings.LastIndex(text, "`: "); i >= 0 { // before it, the URL
			text = text[i+3:]
		}
		if password, ok := u.User.Password(); ok && password != "" {
			text = strings.ReplaceAll(text, password, "***")
		}
		return p, fmt.Errorf("the database URL cannot be used: %s; write it as "+
			"postgres://USER@HOST:PORT/DATABASE", strings.TrimPrefix(Redact(text), "failed to "))
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	u.RawQuery = strings.Join(shown, "&")
	p.path = u.String()
	c := p.pool.ConnConfig
	p.host = net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
	if strings.HasPrefix(c.Host, "/") {
		p.host = c.Host
	}
	if !strings.Contains(u.RawQuery, "pool_max_conns=") {
		p.pool.MaxConns = connections
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = fmt.Sprintf("facescan %d", os.Getpid())
	}
	c.DialFunc = dialer().DialContext
	p.pool.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, fmt.Sprintf(connectionSettings, pgx.Identifier{p.schema}.Sanitize(),
			statementTimeout.Milliseconds(), idleInside.Milliseconds(), silence.Milliseconds()))
		return err
	}
	return p, nil
}

// dialer notices a server's machine that is gone without a word, both while we wait for it and while we talk
// to it.
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 2, Interval: silence / 8,
			Count: 4},
		Control: giveUpAfter(silence),
	}
}
