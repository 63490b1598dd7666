package doctor

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"facescan/store/postgres"
	"facescan/store/storetest/pgtest"
)

// TestDatabase: what is found of a server is rated, with what to do about it.
func TestDatabase(t *testing.T) {
	t.Parallel()
	sound := postgres.Health{Version: "17.2", Host: "db:5432", RoundTrip: time.Millisecond, Commits: 900,
		Durable: true, MaxConnections: 97, Used: 7, PerProcess: 4,
		FreezeAge: 1000, FreezeMax: 200_000_000, Autovacuum: true}
	const ok = ""
	for _, c := range []struct {
		what, check string
		change      func(*postgres.Health)
		state       string // ok when empty
		found       string
		advice      string
	}{
		{"a server", "database", func(*postgres.Health) {}, ok, "PostgreSQL 17.2 at db:5432", ""},
		{"an old server", "database", func(h *postgres.Health) { h.TooOld = true }, "fail",
			"PostgreSQL 17.2 at db:5432", "facescan needs version 13 or later"},
		{"a standby", "database", func(h *postgres.Health) { h.ReadOnly = true }, "fail",
			"PostgreSQL 17.2 at db:5432", "this is a standby, which only reads: name the primary"},
		{"a pooler", "pooler", func(h *postgres.Health) { h.Pooler = postgres.SessionPooler }, ok,
			"in session mode; its limit of connections counts", ""},
		{"a pooler that is refused", "pooler", func(h *postgres.Health) {
			h.Pooler, h.PoolerErr = postgres.TransactionPooler, errors.New("not that one")
		}, "fail", "not that one", ""},
		{"a trip", "round trip", func(h *postgres.Health) { h.RoundTrip = 1_234_567 }, ok, "1.23ms", ""},
		{"a trip at the limit", "round trip", func(h *postgres.Health) { h.RoundTrip = slowTrip }, ok, "5ms",
			""},
		{"a long trip", "round trip", func(h *postgres.Health) { h.RoundTrip = slowTrip + 1 }, "warn", "5ms",
			"the database is far away"},
		{"commits", "commits", func(*postgres.Health) {}, ok, "900 per second, each durable", ""},
		{"enough commits", "commits", func(h *postgres.Health) { h.Commits = 50 }, ok, "50 per second", ""},
		{"few commits", "commits", func(h *postgres.Health) { h.Commits = 49.9 }, "warn", "50 per second",
			"SSD"},
		{"no commits", "commits", func(h *postgres.Health) { h.CommitErr = errors.New("denied") }, "warn",
			"not measured: denied", ""},
		{"vain commits", "commits", func(h *postgres.Health) { h.Durable = false }, "warn",
			"900 per second, but they may be lost", "synchronous_commit"},
		{"connections", "connections", func(*postgres.Health) {}, ok,
			"90 of 97 are left, room for 22 processes with up to 4 each", ""},
		{"enough connections", "connections", func(h *postgres.Health) { h.Used = 89 }, ok,
			"8 of 97 are left, room for 2 processes", ""},
		{"few connections", "connections", func(h *postgres.Health) { h.Used = 90 }, "warn",
			"7 of 97 are left, room for 1 processes", "raise max_connections"},
		{"more connections than there may be", "connections", func(h *postgres.Health) { h.Used = 99 },
			"warn", "0 of 97 are left, room for 0 processes", "raise max_connections"},
		{"vacuum", "vacuum", func(*postgres.Health) {}, ok,
			"the oldest rows are 1000 transactions old, 0% of autovacuum_freeze_max_age", ""},
		{"a vacuum of rows", "vacuum", func(h *postgres.Health) { h.Live, h.FreezeAge = 2000, 100_000_000 },
			ok,
			"50% of autovacuum_freeze_max_age; the job's tables have 2000 rows and 0 dead ones", ""},
		{"a vacuum of dead rows only", "vacuum", func(h *postgres.Health) { h.Dead = 1 }, ok,
			"; the job's tables have 0 rows and 1 dead ones", ""},
		{"rows of a good age", "vacuum", func(h *postgres.Health) { h.FreezeAge = 180_000_000 }, ok, "90%",
			""},
		{"old rows", "vacuum", func(h *postgres.Health) { h.FreezeAge = 180_000_001 }, "warn", "90%",
			"VACUUM (FREEZE)"},
		{"rows at the limit", "vacuum", func(h *postgres.Health) { h.FreezeAge = 1_500_000_000 }, "warn", "750%",
			"VACUUM (FREEZE)"},
		{"very old rows", "vacuum", func(h *postgres.Health) { h.FreezeAge = 1_500_000_001 }, "fail", "750%",
			"the server will soon refuse writes"},
		{"a server that does not say when it freezes", "vacuum", func(h *postgres.Health) {
			h.FreezeAge, h.FreezeMax = 0, 0
		}, ok, "0 transactions old, 0%", ""},
		{"no autovacuum", "vacuum", func(h *postgres.Health) { h.Autovacuum = false }, "warn", "",
			"turn it on"},
		{"a transaction", "vacuum", func(h *postgres.Health) { h.Oldest = longTx }, ok, "", ""},
		{"an old transaction", "vacuum", func(h *postgres.Health) { h.Oldest = longTx + 1 }, "warn", "",
			"a transaction has been open for 5m0s, "},
		{"dead rows", "vacuum", func(h *postgres.Health) {
			h.Live, h.Dead, h.Bloated = 100, 20_000, "shards"
		}, "warn", "100 rows and 20000 dead ones", "vacuum does not keep up with the table shards"},
	} {
		h := sound
		c.change(&h)
		checks, found := map[string]bool{}, false
		for _, f := range database(h) {
			checks[f.Check] = true
			if f.Check != c.check {
				if f.State != "ok" {
					t.Errorf("%s: %+v", c.what, f)
				}
				continue
			}
			found = true
			if f.State != cmp.Or(c.state, "ok") || !strings.Contains(f.Found, c.found) ||
				!strings.Contains(f.Advice, c.advice) || (f.Advice == "") != (c.advice == "") {
				t.Errorf("%s: %+v; want %s, %q, %q", c.what, f, cmp.Or(c.state, "ok"), c.found, c.advice)
			}
		}
		freeze := vacuum(h).Found
		if strings.Contains(freeze, "the job's tables") != (h.Live+h.Dead > 0) {
			t.Errorf("%s: %s", c.what, freeze)
		}
		if !found || checks["commits"] == h.ReadOnly || checks["pooler"] != (h.Pooler != postgres.NoPooler) ||
			!checks["database"] || !checks["round trip"] || !checks["connections"] || !checks["vacuum"] {
			t.Errorf("%s: checks %v", c.what, checks)
		}
	}
}

// TestDatabaseServer: a server that runs, and one that does not.
func TestDatabaseServer(t *testing.T) {
	t.Parallel()
	var checks []string
	for _, f := range Database(t.Context(), pgtest.Start(t)) {
		checks = append(checks, f.Check)
		if f.State == "fail" || f.Found == "" {
			t.Errorf("%+v", f)
		}
	}
	if got := strings.Join(checks, ", "); got != "database, round trip, commits, connections, vacuum" {
		t.Errorf("checks %s", got)
	}
	fs := Database(t.Context(), "postgres://127.0.0.1:1/job")
	if len(fs) != 1 || fs[0].Check != "database" || fs[0].State != "fail" ||
		!strings.Contains(fs[0].Found, "127.0.0.1:1") {
		t.Errorf("no server: %+v", fs)
	}
}
