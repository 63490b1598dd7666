package pipeline

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
)

// TestHoldup: the judgement, case by case. What is named must be what would have to change.
func TestHoldup(t *testing.T) {
	now := time.Unix(1000, 0)
	pending := store.Counts{Pending: 900}
	// base is a run with rows that wait, and nothing that is used up.
	base := func() load {
		return load{observation: observation{looks: 50, waiting: 50 * 900, inFlight: 50 * 20,
			fetching: 50 * 20,
			decoding: 20, detecting: 30},
			perSecond: 40, bandwidthIs: 1 << 20, memory: 256 << 20, fetchers: 256, workers: 4, cores: 4,
			counts: pending, now: now,
			processors: 0.2}
	}
	idle := func(l *load) { l.empty, l.idle, l.waiting, l.inFlight, l.fetching = 50, 50, 0, 0, 0 }
	for _, c := range []struct {
		what   string
		change func(l *load)
		kind   string
		text   string
	}{
		{"nothing", func(l *load) {}, "", ""},
		{"too early", func(l *load) { l.observation = observation{looks: 3, rate: 3} }, "", ""},
		{"draining", func(l *load) { l.rate, l.draining = 50, true }, "", ""},
		{"the rate", func(l *load) { l.rate = 45 }, live.ByRate, "--rate (40 requests per second)"},
		{"the rate, with all fetchers in it", func(l *load) {
			l.rate, l.full, l.flightFull, l.bodies = 50, 50, 50, 50
		}, live.ByRate, "--rate"},
		{"a rate that is seldom reached", func(l *load) { l.rate, l.full = 15, 50 }, live.BySlowHosts,
			"--fetchers"},
		{"bandwidth", func(l *load) { l.bandwidth, l.full = 40, 50 }, live.ByBandwidth,
			"--bwlimit (1MiB per second)"},
		{"an output that nobody reads", func(l *load) { idle(l); l.output = 50 }, live.ByOutput,
			"taken more slowly"},
		{"memory for bodies", func(l *load) { l.bodies = 40 }, live.ByMemory, "--memory (256MiB)"},
		{"memory for pixels", func(l *load) { l.pixels, l.queued, l.decoding = 45, 50, 20 }, live.ByMemory,
			"--memory"},
		{"slow servers", func(l *load) { l.full = 48 }, live.BySlowHosts,
			"all 256 fetchers are busy); more --fetchers"},
		{"slow servers and rows of theirs in flight", func(l *load) { l.flightFull = 50 }, live.BySlowHosts,
			"--fetchers"},
		{"hosts that never answered", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByNewcomers, Rows: 70}
		},
			live.BySlowHosts, "70 rows wait for hosts that have not answered yet"},
		{"few descriptors", func(l *load) { l.full, l.fetchers, l.wanted = 50, 40, 256 }, live.ByFiles,
			"40 fetchers instead of 256); raise it first: ulimit -n 1024"},
		{"per host", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByPerHost, Rows: 900, Hosts: 1,
				Host: "a.example", Limit: 32}
		}, live.ByPerHost, "--per-host (32) at a.example: 900 rows wait"},
		{"Retry-After", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByPause, Rows: 1, Hosts: 1, Host: "a.example",
				Until: now.Add(12 * time.Second)}
		}, live.ByHostPace, "a pause that a.example asked for (429): one row waits, 12s more"},
		{"a host's ceiling", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByCeiling, Rows: 900, Hosts: 3,
				Host: "a.example", Limit: 5}
		}, live.ByHostPace, "a.example and 2 other hosts (5 requests per second)"},
		{"a host in trouble", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByLimit, Rows: 900, Hosts: 2,
				Host: "a.example", Limit: 0.5}
		}, live.ByHostPace, "a.example and another host (1 requests at once"},
		{"silent hosts", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByTrouble, Rows: 9, Hosts: 1,
				Host: "a.example"}
		}, live.ByRetries, "the silence of a.example"},
		{"pauses of retries", func(l *load) {
			l.starved, l.blocked = 50, host.Blocked{Cause: host.ByRetry, Rows: 9}
		}, live.ByRetries, "9 rows wait; fewer --retries"},
		{"workers", func(l *load) { l.queued, l.decoding, l.detecting = 50, 60, 130 }, live.ByWorkers,
			"the workers (95% busy, 32% of that decoding)"},
		{"workers that keep files", func(l *load) { l.queued, l.workersElse = 50, 150 }, live.ByWorkers,
			"busy"},
		{"one worker of four processors", func(l *load) { l.queued, l.workers, l.detecting = 50, 1, 45 },
			live.ByWorkers, "1 of 4 processors are used: more --workers may help"},
		{"workers that wait for rows", func(l *load) { l.decoding, l.detecting = 20, 30; l.full = 50 },
			live.BySlowHosts, ""},
		{"processors", func(l *load) { l.processors = 0.93 }, live.ByProcessors, "93% busy with this run"},
		{"a sidecar at work", func(l *load) {
			l.remote, l.flightFull, l.inFlight, l.detecting = true, 50, 50*512, 50*500
		}, live.BySidecar, "most rows in flight wait for; start another"},
		{"a busy sidecar", func(l *load) { l.remote, l.sidecarBusy = true, 50 }, live.BySidecar,
			"asks to wait"},
		{"a stopped sidecar", func(l *load) {
			l.remote, l.flightFull, l.inFlight, l.detecting, l.silence = true, 50, 50*512,
				50*500, 7*time.Second
		}, live.BySidecar, "has not answered for 7s; check that it runs"},
		{"a stopped sidecar with the last rows", func(l *load) {
			idle(l)
			l.remote, l.inFlight, l.detecting, l.silence = true, 50*3, 50*3, 7*time.Second
		}, live.BySidecar, "has not answered for 7s"},
		{"a stand-in", func(l *load) {
			l.remote, l.standIn, l.inFlight, l.detecting = true, 50, 50*512, 50*500
		}, live.BySidecar, "stand-in"},
		{"an unreachable sidecar", func(l *load) {
			l.remote, l.away, l.outage = true, true, host.Outage{On: true, Cause: "refused"}
		}, live.BySidecar, "cannot be used: refused"},
		{"an unreachable sidecar and a rate", func(l *load) { l.rate, l.remote, l.away = 50, true, true },
			live.BySidecar, "sidecar"},
		{"a network that is away", func(l *load) {
			l.full, l.outage = 50, host.Outage{On: true, Cause: "no resolver answers"}
		}, live.ByOutage, "no resolver answers"},
		{"a slow disk", func(l *load) { l.writing, l.flightFull, l.commit = 45, 50, 12*time.Millisecond },
			live.ByStore, "the disk of the job (12ms for a commit)"},
		{"a slow database", func(l *load) { l.writing, l.flightFull, l.database = 45, 50, "db:5432" },
			live.ByStore, "the database at db:5432"},
		{"a database that is slow to give rows", func(l *load) {
			l.claiming, l.empty, l.database = 45, 50, "db:5432"
		}, live.ByStore, "slow to give rows"},
		{"a writer that is busy and holds up nobody", func(l *load) { l.writing, l.full = 45, 50 },
			live.BySlowHosts, ""},
		{"a slow disk of kept files", func(l *load) { l.writing, l.keeping, l.flightFull = 45, 40, 50 },
			live.ByKeep, "kept on"},
		{"kept files that are read slowly", func(l *load) { l.reading, l.empty = 50, 50 }, live.ByKeep,
			"read from"},
		{"the list", func(l *load) { idle(l); l.counts.ImportIncomplete = []string{"urls.txt"} },
			live.ByImport, "the list"},
		{"stdin", func(l *load) { idle(l); l.pipe, l.counts.ImportIncomplete = true, []string{"-"} },
			live.ByImport, "stdin"},
		{"stdin that is watched and idle", func(l *load) {
			idle(l)
			l.pipe, l.watching, l.counts = true, true, store.Counts{ImportIncomplete: []string{"-"}}
		}, "", ""},
		{"a list that was read and may grow", func(l *load) { idle(l); l.counts.Pending = 0 }, "", ""},
		{"the last rows", func(l *load) { idle(l); l.inFlight = 150 }, live.ByTail,
			"the last rows: 3 in flight"},
		{"a slow last row", func(l *load) {
			idle(l)
			l.inFlight = 50
			l.oldest = &host.Flight{URL: "http://u:secret@a.example/x", Since: now.Add(-34 * time.Second)}
		}, live.ByTail, "waiting 34s for http://u:***@a.example/x; --tail-grace"},
		{"paused rows", func(l *load) { idle(l); l.counts.PausedPending = 900 }, live.ByPause, "900 rows"},
		{"rows of others", func(l *load) { idle(l); l.others = 2 }, live.ByOthers, "the last rows: 900"},
		{"no rows left", func(l *load) { idle(l); l.counts = store.Counts{} }, "", ""},
	} {
		l := base()
		c.change(&l)
		h := l.holdup()
		if h.Kind != c.kind || !strings.Contains(h.String(), c.text) {
			t.Errorf("%s: %q, %q; want %q, %q", c.what, h.Kind, h, c.kind, c.text)
		}
	}
}

// TestHeldBackMostly sums up what held a run back.
func TestHeldBackMostly(t *testing.T) {
	var hs holdups
	if m := hs.most(); m.Kind != "" {
		t.Errorf("at first %+v", m)
	}
	hs.note(live.Holdup{Kind: live.ByRate, What: "--rate"}, 3*time.Second)
	hs.note(live.Holdup{Kind: live.ByTail, What: "old"}, 4*time.Second)
	hs.note(live.Holdup{}, 3*time.Second)
	hs.note(live.Holdup{Kind: live.ByRate, What: "--rate 2"}, 2*time.Second)
	hs.note(live.Holdup{Kind: live.ByTail, What: "the tail"}, 8*time.Second)
	if m := hs.most(); m.What != "the tail" || m.Share != 0.6 {
		t.Errorf("%+v", m)
	}
}

// TestWait counts of a wait only what was at work meanwhile.
func TestWait(t *testing.T) {
	for _, c := range []struct {
		busy time.Duration
		want string
	}{{0, ""}, {time.Hour, live.ByOutput}} {
		var s Stats
		s.holdups.note(live.Holdup{}, 0)
		busy := time.Minute
		done := s.Wait(SlowOutput, func() time.Duration { return busy })
		if h := s.Snapshot().Holdup; h.Kind != live.ByOutput {
			t.Errorf("while it waits: %+v", h)
		}
		busy += c.busy
		done()
		if m := s.Snapshot().Mostly; m.Kind != c.want || m.Share > 1 {
			t.Errorf("busy for %v: %+v", c.busy, m)
		}
	}
}

func TestFlagText(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB",
		256 << 20: "256MiB", 3 << 30: "3GiB"} {
		if got := figures.Flag(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// TestTrend: what becomes more frequent is returned once, and again only after it became rarer.
func TestTrend(t *testing.T) {
	var tr trend
	var said []string
	rows := func(n int, every int, f failed) {
		for i := range n {
			if every > 0 && i%every == 0 {
				tr.add(f)
			} else {
				tr.add(failed{})
			}
			for _, r := range tr.rises() {
				said = append(said, fmt.Sprintf("%s %s %.0f", r.reason, r.host, 100*r.is))
			}
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if fmt.Sprint(said) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", what, said, want)
		}
		said = nil
	}
	slow := failed{store.Timeout, "a.example"}
	rows(400, 2, slow)
	expect("a tiny run")
	tr = trend{}
	rows(1000, 10, slow)
	expect("a run that has a tenth from the start")
	rows(1000, 2, slow)
	if len(said) != 1 || !strings.HasPrefix(said[0], "timeout a.example ") {
		t.Errorf("half of the rows: %q", said)
	}
	said = nil
	rows(3000, 0, slow)
	rows(1000, 1, slow)
	if len(said) != 1 {
		t.Errorf("again, after it fell: %q", said)
	}
	said = nil
	rows(1000, 1, failed{store.NotImage, "a.example"})
	expect("a reason that nothing can be done about")
	for i := range 256 {
		tr.add(failed{store.HTTP429, fmt.Sprint(i, ".example")})
	}
	if r := tr.rises(); len(r) != 1 || r[0].reason != store.HTTP429 || r[0].host != "" || r[0].is != 1 {
		t.Errorf("many hosts: %+v", r)
	}
}

// TestWarnOf: what became more frequent is said with what to change, and with the command for afterwards.
func TestWarnOf(t *testing.T) {
	b := newBench(t, two)
	var said bytes.Buffer
	b.opts.Log, b.opts.PerHost = slog.New(slog.NewTextHandler(&said, nil)), 8
	r := &run{Options: b.opts, job: b.job, stats: &Stats{}}
	for reason, want := range map[store.Reason]string{
		store.Timeout: "run fewer --fetchers (now 4)",
		store.HTTP429: "lower --per-host (now 8), or set --rate below 1",
		store.Connect: "a router may be out of room", store.DNSTimeout: "facescan doctor",
		store.TooSlow: "lower --min-rate",
	} {
		said.Reset()
		r.warnOf([]rise{{reason: reason, was: 0.014, is: 0.25, host: "a.invalid", hostShare: 0.6}})
		text := said.String()
		if !strings.Contains(text, string(reason)+" rose from 1.4% to 25% of the rows, 60% of them at "+
			"a.invalid: ") ||
			!strings.Contains(text, want) || !strings.Contains(text, "--reason "+string(reason)) {
			t.Errorf("%s: %s", reason, text)
		}
	}
	if len(trended) != 5 {
		t.Errorf("%d reasons are watched", len(trended))
	}
	r.PerHost = 1
	if text := trended[store.HTTP429](r); strings.Contains(text, "--per-host") {
		t.Errorf("with one request at a time: %s", text)
	}
}
