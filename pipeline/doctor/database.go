package doctor

import (
	"context"
	"fmt"
	"time"

	"facescan/store/figures"
	"facescan/store/postgres"
)

const (
	slowTrip    = 5 * time.Millisecond
	fewCommits  = 50              // per second
	fewProcs    = 2               // processes that there is room for
	longTx      = 5 * time.Minute // for a transaction
	nearFreeze  = 0.9             // of the age at which the server freezes by force
	tooOldRows  = 1_500_000_000   // transactions; the server stops at two billions
	databaseFor = 30 * time.Second
)

// Database measures a database server, and rates it.
func Database(ctx context.Context, url string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, databaseFor)
	defer cancel()
	h, err := postgres.Examine(ctx, url)
	if err != nil {
		return []Finding{{"database", "fail", err.Error(), ""}}
	}
	return database(h)
}

func database(h postgres.Health) []Finding {
	fs := []Finding{{"database", "ok", fmt.Sprintf("PostgreSQL %s at %s", h.Version, h.Host), ""}}
	server := &fs[0]
	switch {
	case h.TooOld:
		server.State, server.Advice = "fail", "facescan needs version 13 or later"
	case h.ReadOnly:
		server.State, server.Advice = "fail", "this is a standby, which only reads: name the primary"
	}
	switch {
	case h.PoolerErr != nil:
		fs = append(fs, Finding{"pooler", "fail", h.PoolerErr.Error(), ""})
	case h.Pooler != postgres.NoPooler:
		fs = append(fs, Finding{"pooler", "ok",
			"PgBouncer, or a pooler like it, in session mode; its limit of connections counts, too", ""})
	}
	trip := Finding{"round trip", "ok", fmt.Sprint(h.RoundTrip.Round(10 * time.Microsecond)), ""}
	if h.RoundTrip > slowTrip {
		trip.State, trip.Advice = "warn",
			"the database is far away: run facescan near it, or use --node and merge"
	}
	fs = append(fs, trip)
	if !h.ReadOnly {
		fs = append(fs, commits(h))
	}
	return append(fs, connections(h), vacuum(h))
}

func commits(h postgres.Health) Finding {
	f := Finding{"commits", "ok", fmt.Sprintf("%.0f per second, each durable", h.Commits), ""}
	switch {
	case h.CommitErr != nil:
		f.State, f.Found = "warn", fmt.Sprintf("not measured: %v", h.CommitErr)
	case !h.Durable:
		f.State, f.Found = "warn",
			fmt.Sprintf("%.0f per second, but they may be lost when the server crashes", h.Commits)
		f.Advice = "turn fsync and synchronous_commit on"
	case h.Commits < fewCommits:
		f.State, f.Advice = "warn", "the server's disk is slow to sync: put its log (pg_wal) on an SSD"
	}
	return f
}

func connections(h postgres.Health) Finding {
	left := max(0, h.MaxConnections-h.Used)
	procs := left / h.PerProcess
	f := Finding{"connections", "ok",
		fmt.Sprintf("%d of %d are left, room for %d processes with up to %d each", left, h.MaxConnections,
			procs, h.PerProcess), ""}
	if procs < fewProcs {
		f.State, f.Advice = "warn",
			"raise max_connections (or the limit of the role or database), or end idle clients"
	}
	return f
}

func vacuum(h postgres.Health) Finding {
	age := float64(h.FreezeAge) / float64(max(1, h.FreezeMax))
	f := Finding{"vacuum", "ok",
		fmt.Sprintf("the oldest rows are %d transactions old, %.0f%% of autovacuum_freeze_max_age",
			h.FreezeAge, 100*age), ""}
	if h.Live+h.Dead > 0 {
		f.Found += fmt.Sprintf("; the job's tables have %s and %d dead ones",
			figures.Of(h.Live, "row"), h.Dead)
	}
	switch {
	case h.FreezeAge > tooOldRows:
		f.State, f.Advice = "fail",
			"the server will soon refuse writes: end old transactions, then run VACUUM in this database"
	case !h.Autovacuum:
		f.State, f.Advice = "warn", "autovacuum is off: claims become slow as dead rows pile up; turn it on"
	case h.Oldest > longTx:
		f.State = "warn"
		f.Advice = fmt.Sprintf("a transaction has been open for %v, which keeps dead rows and slows "+
			"claims: end it (pg_stat_activity)",
			h.Oldest.Round(time.Second))
	case age > nearFreeze:
		f.State, f.Advice = "warn", "a vacuum of everything is near: run VACUUM (FREEZE) at a quiet time"
	case h.Bloated != "":
		f.State = "warn"
		f.Advice = fmt.Sprintf("vacuum does not keep up with the table %s: lower "+
			"autovacuum_vacuum_scale_factor, or run VACUUM ANALYZE", h.Bloated)
	}
	return f
}
