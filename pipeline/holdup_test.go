package pipeline

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
)

// TestHoldup: the diagnosis, case by case. What is named must be what would have to change.
func TestHoldup(t *testing.T) {
	now := time.Unix(1000, 0)
	pending := store.Counts{Pending: 900}
	// base is a run with rows that wait, and nothing that is used up.
	base := func() load {
		return load{observation: observation{samples: 50, waiting: 50 * 900, inFlight: 50 * 20,
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
		text   string // a part of it, or after = all of it
	}{
		{"nothing", func(l *load) {}, "", ""},
		{"too early", func(l *load) { l.observation = observation{samples: 4, rate: 4} }, "", ""},
		{"early", func(l *load) { l.observation = observation{samples: 5, rate: 5} }, live.ByRate, ""},
		{"draining", func(l *load) { l.rate, l.draining = 50, true }, "", ""},
		{"the rate", func(l *load) { l.rate = 45 }, live.ByRate, "--rate (40 requests per second)"},
		{"most moments", func(l *load) { l.rate = 30 }, live.ByRate, ""},
		{"less than most moments", func(l *load) { l.rate = 29 }, "", ""},
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
		{"as many as wanted", func(l *load) { l.full, l.wanted = 50, 256 }, live.BySlowHosts, ""},
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
			"=the workers (95% busy, 32% of that decoding)"},
		{"workers that only decode", func(l *load) { l.decoding, l.detecting = 170, 0 }, live.ByWorkers,
			"=the workers (85% busy, 100% of that decoding)"},
		{"workers that are nearly busy", func(l *load) { l.decoding, l.detecting = 169, 0 }, "", ""},
		{"workers that rows wait for", func(l *load) { l.queued, l.decoding, l.detecting = 50, 50, 50 },
			live.ByWorkers, "(50% busy, 50% of"},
		{"workers that rows wait for, seldom busy", func(l *load) {
			l.queued, l.decoding, l.detecting = 50, 50, 49
		}, "", ""},
		{"workers half busy that no row waits for", func(l *load) { l.decoding, l.detecting = 50, 60 }, "",
			""},
		{"memory for pixels that no row waits for", func(l *load) { l.pixels = 45 }, "", ""},
		{"workers that keep files", func(l *load) { l.queued, l.workersElse = 50, 150 }, live.ByWorkers,
			"busy"},
		{"one worker of four processors", func(l *load) { l.queued, l.workers, l.detecting = 50, 1, 45 },
			live.ByWorkers, "(100% busy, 31% of that decoding); 1 of 4 processors are used: more --workers"},
		{"one worker, and processors that are busy", func(l *load) {
			l.queued, l.workers, l.detecting, l.processors = 50, 1, 45, 0.85
		}, live.ByWorkers, "=the workers (100% busy, 31% of that decoding)"},
		{"workers that wait for rows", func(l *load) { l.decoding, l.detecting = 20, 30; l.full = 50 },
			live.BySlowHosts, ""},
		{"processors", func(l *load) { l.processors = 0.85 }, live.ByProcessors, "85% busy with this run"},
		{"more than all processors", func(l *load) { l.processors = 1.2 }, live.ByProcessors, "(100% busy"},
		{"a sidecar at work", func(l *load) {
			l.remote, l.flightFull, l.inFlight, l.detecting = true, 50, 50*512, 50*500
		}, live.BySidecar, "most rows in flight wait for; start another"},
		{"a sidecar at work that holds up nobody", func(l *load) {
			l.remote, l.inFlight, l.detecting = true, 50*512, 50*500
		}, "", ""},
		{"a sidecar with half of the rows", func(l *load) {
			l.remote, l.flightFull, l.detecting, l.silence, l.standIn = true, 50, 500, 7*time.Second, 50
		}, live.BySlowHosts, ""},
		{"a sidecar with more than half", func(l *load) { l.remote, l.queued, l.detecting = true, 50, 501 },
			live.BySidecar, "most rows in flight"},
		{"a busy sidecar without rows", func(l *load) { l.remote, l.sidecarBusy, l.detecting = true, 50, 0 },
			"", ""},
		{"a busy sidecar with one row", func(l *load) { l.remote, l.sidecarBusy, l.detecting = true, 50, 1 },
			live.BySidecar, "asks to wait"},
		{"a sidecar that thinks", func(l *load) {
			l.remote, l.detecting, l.silence = true, 501, 1999*time.Millisecond
		}, "", ""},
		{"a sidecar that is silent", func(l *load) {
			l.remote, l.detecting, l.silence = true, 501, 2*time.Second
		}, live.BySidecar, "has not answered for 2s"},
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
		{"a slow disk", func(l *load) { l.writing, l.flightFull, l.commit = 35, 50, 12_345_678 },
			live.ByStore, "the disk of the job (12.3ms for a commit)"},
		{"a slow database", func(l *load) { l.writing, l.flightFull, l.database = 45, 50, "db:5432" },
			live.ByStore, "the database at db:5432; put"},
		{"a slow disk, and no row", func(l *load) { l.writing, l.empty, l.idle = 35, 50, 50 }, live.ByStore,
			""},
		{"a writer at work, and no row", func(l *load) { l.writing, l.empty = 45, 50 }, "", ""},
		{"a writer at work, and no shard", func(l *load) { l.writing, l.idle = 45, 50 }, "", ""},
		{"a writer with time to spare", func(l *load) { l.writing, l.keeping, l.flightFull = 34, 30, 50 },
			live.BySlowHosts, ""},
		{"a writer that keeps now and then", func(l *load) { l.writing, l.keeping = 10, 8 }, "", ""},
		{"claims, and rows that wait", func(l *load) { l.claiming = 50 }, "", ""},
		{"a database that is slow to give rows", func(l *load) {
			l.claiming, l.empty, l.database = 45, 50, "db:5432"
		}, live.ByStore, "slow to give rows"},
		{"a writer that is busy and holds up nobody", func(l *load) { l.writing, l.full = 45, 50 },
			live.BySlowHosts, ""},
		{"a slow disk of kept files", func(l *load) { l.writing, l.keeping, l.flightFull = 35, 18, 50 },
			live.ByKeep, "kept on"},
		{"a slow disk that files are kept on, too", func(l *load) {
			l.writing, l.keeping, l.flightFull = 35, 17, 50
		}, live.ByStore, ""},
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
		{"the list, and rows that wait", func(l *load) {
			l.idle, l.counts.ImportIncomplete = 50, []string{"urls.txt"}
		}, "", ""},
		{"the list, and shards", func(l *load) {
			l.empty, l.counts.ImportIncomplete = 50, []string{"urls.txt"}
		}, "", ""},
		{"lists that may grow, and a row", func(l *load) { idle(l); l.inFlight, l.watching = 1, true },
			live.ByTail, "=the last rows: 1 in flight"},
		{"stdin that has ended", func(l *load) { idle(l); l.inFlight, l.pipe = 50, true }, live.ByTail, ""},
		{"stdin that has ended, and is watched", func(l *load) {
			idle(l)
			l.inFlight, l.pipe, l.watching = 50, true, true
		}, live.ByTail, ""},
		{"a list that was read and may grow", func(l *load) { idle(l); l.counts.Pending = 0 }, "", ""},
		{"the last rows", func(l *load) { idle(l); l.inFlight = 150 }, live.ByTail,
			"=the last rows: 3 in flight"},
		{"a last row that just began", func(l *load) {
			idle(l)
			l.inFlight, l.oldest = 50, &host.Flight{URL: "http://a.example/", Since: now.Add(1 - oldFlight)}
		}, live.ByTail, "=the last rows: 1 in flight"},
		{"a last row that is old", func(l *load) {
			idle(l)
			l.inFlight, l.oldest = 50, &host.Flight{URL: "http://a.example/", Since: now.Add(-oldFlight)}
		}, live.ByTail, "waiting 5s for http://a.example/;"},
		{"a slow last row", func(l *load) {
			idle(l)
			l.inFlight = 50
			l.oldest = &host.Flight{URL: "http://u:secret@a.example/x", Since: now.Add(-34 * time.Second)}
		}, live.ByTail, "waiting 34s for http://u:***@a.example/x; --tail-grace"},
		{"paused rows", func(l *load) { idle(l); l.counts.PausedPending = 900 }, live.ByPause, "900 rows"},
		{"a paused row", func(l *load) { idle(l); l.counts.Pending, l.counts.PausedPending = 1, 1 },
			live.ByPause, "paused lists (1 row)"},
		{"a row of one other", func(l *load) { idle(l); l.others, l.counts.Pending = 1, 1 }, live.ByOthers,
			"the last rows: 1"},
		{"rows of nobody", func(l *load) { idle(l) }, "", ""},
		{"others, and no rows left", func(l *load) { idle(l); l.others, l.counts.Pending = 2, 0 }, "", ""},
		{"rows of others", func(l *load) { idle(l); l.others = 2 }, live.ByOthers, "the last rows: 900"},
		{"no rows left", func(l *load) { idle(l); l.counts = store.Counts{} }, "", ""},
	} {
		l := base()
		c.change(&l)
		h := l.holdup()
		whole, exact := strings.CutPrefix(c.text, "=")
		if h.Kind != c.kind || exact && h.String() != whole || !strings.Contains(h.String(), whole) {
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

// TestWaitShare: half of the time was spent waiting, and half of that was due to the output.
func TestWaitShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stats
		s.holdups.note(live.Holdup{}, 0)
		time.Sleep(10 * time.Second)
		busy := time.Minute
		done := s.Wait(SlowOutput, func() time.Duration { return busy })
		time.Sleep(10 * time.Second)
		busy += 5 * time.Second
		done()
		if m := s.holdups.most(); m.Kind != live.ByOutput || m.Share != 0.25 {
			t.Errorf("%+v", m)
		}
	})
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
