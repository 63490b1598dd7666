package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"facescan/store/postgres"
)

// TestDatabase: what is found of a server is judged, with what to do about it.
func TestDatabase(t *testing.T) {
	t.Parallel()
	sound := postgres.Health{RoundTrip: time.Millisecond, Commits: 900, Durable: true, MaxConnections: 97,
		Used: 7, PerProcess: 4,
		FreezeAge: 1000, FreezeMax: 200_000_000, Autovacuum: true}
	for _, c := range []struct {
		what   string
		judge  func(postgres.Health) Finding
		change func(*postgres.Health)
		state  string
		text   string
	}{
		{"commits", commits, func(*postgres.Health) {}, "ok", "900 per second, each durable"},
		{"few commits", commits, func(h *postgres.Health) { h.Commits = 12 }, "warn", "SSD"},
		{"no commits", commits, func(h *postgres.Health) { h.CommitErr = errors.New("denied") }, "warn",
			"denied"},
		{"vain commits", commits, func(h *postgres.Health) { h.Durable = false }, "warn",
			"synchronous_commit"},
		{"connections", connections, func(*postgres.Health) {}, "ok",
			"90 of 97 are left, room for 22 processes"},
		{"few connections", connections, func(h *postgres.Health) { h.Used = 91 }, "warn",
			"room for 1 processes"},
		{"more connections than there may be", connections, func(h *postgres.Health) { h.Used = 99 },
			"warn", "0 of 97"},
		{"vacuum", vacuum, func(*postgres.Health) {}, "ok", "0% of autovacuum_freeze_max_age"},
		{"old rows", vacuum, func(h *postgres.Health) { h.FreezeAge = 190_000_000 }, "warn",
			"VACUUM (FREEZE)"},
		{"very old rows", vacuum, func(h *postgres.Health) { h.FreezeAge = 1_900_000_000 }, "fail",
			"refuse writes"},
		{"no autovacuum", vacuum, func(h *postgres.Health) { h.Autovacuum = false }, "warn",
			"turn it on"},
		{"an old transaction", vacuum, func(h *postgres.Health) { h.Oldest = 3 * time.Hour }, "warn",
			"3h0m0s"},
		{"dead rows", vacuum, func(h *postgres.Health) {
			h.Live, h.Dead, h.Bloated = 100, 20_000, "shards"
		}, "warn", "table shards"},
	} {
		h := sound
		c.change(&h)
		if f := c.judge(h); f.State != c.state || !strings.Contains(f.Found+" "+f.Advice, c.text) {
			t.Errorf("%s: %+v; want %s, %q", c.what, f, c.state, c.text)
		}
	}
}
