package cmd

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"facescan/pipeline"
	"facescan/pipeline/estimate"
	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/top"
)

// printing makes the streams of a command that writes into buffers.
func printing() (g *globals, out, said *bytes.Buffer) {
	out, said = new(bytes.Buffer), new(bytes.Buffer)
	return &globals{streams: newStreams(nil, out, said), logFormat: "text"}, out, said
}

// same compares what was printed with what is wanted, both without the first line end.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}

// TestProgressLine: the line of a run that lasts, and what it says of its hold-up or its last request.
func TestProgressLine(t *testing.T) {
	t.Parallel()
	const ago = 65 * time.Second
	since := func(d time.Duration) func() []host.Flight {
		return func() []host.Flight {
			return []host.Flight{{URL: "http://me:secret@h/a\x1b.jpg", Since: time.Now().Add(-d)},
				{URL: "http://h/b"}}
		}
	}
	none := func() []host.Flight { return nil }
	base := live.Snapshot{Counts: store.Counts{Total: 10, Done: 4, Failed: 2, Faces: 3}, InFlight: 5,
		Rate: 1.25, Left: ago}
	for _, c := range []struct {
		name    string
		change  func(s *live.Snapshot)
		flights func() []host.Flight
		want    string
	}{
		{"all is well", func(*live.Snapshot) {}, since(ago),
			"4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight"},
		{"at the end", func(s *live.Snapshot) { s.Left, s.InFlight = 0, 0 }, none,
			"4 of 10 rows, 1.2/s, 0s left, 3 faces, 2 failed, 0 in flight"},
		{"the list is being read", func(s *live.Snapshot) {
			s.ImportIncomplete, s.Left = []string{"a.txt"},
				-1
		},
			none,
			"4 of 10+ rows, 1.2/s, time left unknown, 3 faces, 2 failed, 5 in flight"},
		{"without faces", func(s *live.Snapshot) { s.Detector = store.NoDetector }, none,
			"4 of 10 rows, 1.2/s, 1m5s left, 2 failed, 5 in flight"},
		{"held back", func(s *live.Snapshot) {
			s.Holdup = live.Holdup{Kind: live.ByRate, What: "--rate\n", Advice: "raise it"}
			s.Tail = time.Second
		}, since(ago), `4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight; held back by --rate\n`},
		{"the last rows", func(s *live.Snapshot) {
			s.Holdup = live.Holdup{Kind: live.ByTail, What: "the last rows"}
			s.Tail = 1
		}, since(ago), `4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight; ` +
			`waiting 1m5s for http://me:***@h/a\u001b.jpg`},
		{"the last rows, others waiting", func(s *live.Snapshot) { s.Tail, s.Waiting = 1, 1 }, since(ago),
			"4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight"},
		{"the last rows, of late", func(s *live.Snapshot) { s.Tail = 1 }, since(3 * time.Second),
			"4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight"},
		{"the last rows, after 5 s", func(s *live.Snapshot) { s.Tail = 1 }, since(5 * time.Second),
			"4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight; " +
				`waiting 5s for http://me:***@h/a\u001b.jpg`},
		{"the last rows, none in flight", func(s *live.Snapshot) { s.Tail = 1 }, none,
			"4 of 10 rows, 1.2/s, 1m5s left, 3 faces, 2 failed, 5 in flight"},
	} {
		s := base
		c.change(&s)
		g, out, said := printing()
		(&progress{g: g, mode: "plain"}).show(&s, c.flights)
		same(t, c.name, said.String(), "facescan: "+c.want+"\n")
		if out.Len() > 0 {
			t.Errorf("%s: on stdout %q", c.name, out)
		}
	}
	g, _, said := printing()
	(&progress{g: g, mode: "json"}).show(&base, none)
	var line map[string]any
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || len(line) != len(progressFigures) ||
		line["done"] != 4.0 || line["eta_seconds"] != 65.0 || line["held_back"] != nil {
		t.Errorf("as JSON %s, %v", said, err)
	}
	g, _, said = printing()
	g.logFormat = "json"
	(&progress{g: g, mode: "records"}).show(&base, none)
	if err := json.Unmarshal(said.Bytes(), &line); err != nil || line["msg"] != "progress" ||
		line["total"] != 10.0 {
		t.Errorf("as a record %s, %v", said, err)
	}
}

// TestProgressModes: what is shown without a terminal.
func TestProgressModes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode, format string
		quiet        bool
		want         string
	}{
		{"auto", "text", false, "plain"}, {"auto", "json", false, "records"}, {"plain", "json", false,
			"records"},
		{"plain", "text", false, "plain"}, {"bar", "text", false, "bar"}, {"bar", "json", false, "bar"},
		{"json", "text", true, "json"}, {"json", "json", false, "json"}, {"bar", "text", true, "none"},
		{"auto", "json", true, "none"}, {"none", "text", false, "none"},
	} {
		g, _, _ := printing()
		g.logFormat, g.quiet = c.format, c.quiet
		if got := newProgress(g, c.mode).mode; got != c.want {
			t.Errorf("--progress %s --log-format %s, quiet %t: %s, want %s", c.mode, c.format, c.quiet, got,
				c.want)
		}
	}
}

// TestPrintStatus has everything that status may say of a job.
func TestPrintStatus(t *testing.T) {
	t.Parallel()
	merged := map[string]string{store.MergeSetting: `["a.db"]`}
	sources := []store.Source{
		{Number: 0, Name: "a.txt", Rows: 7, Complete: true},
		{Number: 1, Name: "b.txt", Rows: 3, Pending: 2, Importer: "host-7", Paused: true, Priority: -2,
			Position: store.Position{Rows: 3}},
		{Number: 2, Name: "c.txt", Rows: 1, Position: store.Position{Rows: 2}},
		{Number: 3, Name: "d.txt", Rows: 1, Position: store.Position{Rows: -1}},
	}
	s := live.Snapshot{Counts: store.Counts{Total: 12, AlreadyDone: 5, Done: 8, Pending: 4, OK: 6, Failed: 2,
		ImagesWithFaces: 3, Faces: 1, Failures: map[store.Reason]int64{store.Timeout: 1, store.HTTP4xx: 1},
		Shards: store.ShardCounts{Total: 4, Done: 1, Leased: 2, Free: 1},
		Owners: []store.OwnerCounts{
			{Owner: store.Owner{ID: "one", PID: 7, Host: "h1"}, Shards: 1, Pending: 2, Alive: true,
				Age: 61400 * time.Millisecond, Expires: 29600 * time.Millisecond,
				Progress: store.Progress{Rate: 2.25, Why: "--rate"}},
			{Owner: store.Owner{ID: "two", PID: 8, Host: "h2"}, Shards: 2, Pending: 1, Age: time.Hour,
				Progress: store.Progress{Why: "--rate"}},
			{Owner: store.Owner{ID: "three", PID: 9, Host: "h3"}, Alive: true},
		}}, Detector: "yunet-1", Rate: 2, Left: 90 * time.Second}
	g, out, _ := printing()
	printStatus(g, "a.db", &s, merged, sources)
	same(t, "a job at work", out.String(), `
job      a.db
source              7   rows of a.txt
source              3   rows of b.txt, import not complete, imported by host-7, paused, priority -2, 2 left
source              1   rows of c.txt, import not complete, 1 row missing
source              1   rows of d.txt, import not complete, rows missing
detector yunet-1
rows               12
  already done    5
  done              8   66.7%
  pending           4
ok                  6   3 with faces, 1 face
failed              2   25.0% of done
  http_4xx                  1  permanent
  timeout                   1  transient
shards              4   1 done, 2 leased, 1 free
  owner  one pid 7 on h1, alive, joined 1m1s ago: 1 shard, 2 pending rows, lease ends in 30s
         2.2 rows/s, held back by --rate
  owner  two pid 8 on h2, gone, joined 1h0m0s ago: 2 shards, 1 pending row, lease ends in 0s
  owner  three pid 9 on h3, alive, joined 0s ago: 0 shards, 0 pending rows, lease ends in 0s
rate              2.0 rows/s
left            1m30s
`)
	if got := missingRows(merged, sources); got != nil {
		t.Errorf("%v rows are missing, of one list nobody knows", got)
	}
	if got := missingRows(merged, sources[:3]); got != int64(1) {
		t.Errorf("%v rows are missing, want 1", got)
	}
	g, out, _ = printing()
	printStatus(g, "a.db", &live.Snapshot{Counts: store.Counts{Total: 1, Pending: 1},
		Detector: store.NoDetector,
		Left:     90 * time.Second}, nil, nil)
	same(t, "a job of images without faces", out.String(), `
job      a.db
detector none
rows                1
  done              0   0%
  pending           1
ok                  0   no faces were looked for
failed              0   – of done
shards              0   0 done, 0 leased, 0 free
`)
	g, out, _ = printing()
	printRest(g, []store.Source{sources[0], sources[1], sources[2], sources[3], sources[1]}, merged)
	printRest(g, sources[:1], nil)
	printRest(g, []store.Source{{Rows: 1, Complete: true}}, nil)
	same(t, "more lists", out.String(), `
source             15   rows of 5 more lists, 4 imports not complete, 2 paused, 4 left, 2 with rows missing
source              7   rows of 1 more list
source              1   row of 1 more list
`)
	for _, c := range []struct{ lists, lines int }{{topSources, topSources},
		{topSources + 1, topSources + 1}} {
		g, out, _ = printing()
		var lists []store.Source
		for i := range c.lists {
			lists = append(lists, store.Source{Number: i, Name: "x", Rows: 1, Pending: int64(i),
				Complete: true})
		}
		printSources(g, lists, nil)
		more := c.lists > topSources
		if n := strings.Count(out.String(), "\n"); n != c.lines || strings.Contains(out.String(),
			"more list") != more ||
			strings.HasPrefix(out.String(), "source              1   rows of x\n") == more {
			t.Errorf("%d lists take %d lines:\n%s", c.lists, n, out)
		}
	}
}

// TestPrintRanking: exact figures and those that are not, of values of one source and of several.
func TestPrintRanking(t *testing.T) {
	t.Parallel()
	values := []top.Ranked{
		{Tally: store.Tally{Value: "h", Source: 1, Rows: 6, OK: 3, Faces: 2, Bytes: 100}, Error: 1},
		{Tally: store.Tally{Source: 1, Rows: 2, Faces: 1}, Error: 2},
	}
	g, out, said := printing()
	printRanking(g, "host", top.Ranking{Rows: 8, Values: 3, Exact: true, Top: values})
	same(t, "some of them", out.String()+said.String(), `
        rows                   ok       failed        faces           bytes  host
           6   75.0%            3            2            2             100  h
           2   25.0%            0            0            1               0  (no host)
facescan: 1 more; --top 0 lists all
`)
	values[0].Source = 0
	g, out, said = printing()
	printRanking(g, "group", top.Ranking{Rows: 8, Values: 2, Exact: true, Top: values})
	same(t, "all of two sources", out.String()+said.String(), `
        rows                   ok       failed        faces           bytes  group
           6   75.0%            3            2            2             100  h  (source 0)
           2   25.0%            0            0            1               0  (no group)  (source 1)
`)
	g, _, said = printing()
	printRanking(g, "host", top.Ranking{Rows: 8, Values: 100, Top: values})
	same(t, "too many values", said.String(),
		"facescan: there are more than 100 values: counts of rows may be up to 2 "+
			"too high, the other sums as much too low\n")
}

// TestPrintPrediction has figures that are known, and those with an interval.
func TestPrintPrediction(t *testing.T) {
	t.Parallel()
	exact := func(v float64) estimate.Bounds { return estimate.Bounds{Value: v, Low: v, High: v} }
	p := estimate.Prediction{Rows: 2000, Sampled: 50, Success: estimate.Bounds{Value: 0.5, Low: 0.25,
		High: 0.625},
		Failures: map[store.Reason]estimate.Bounds{store.Timeout: exact(0.125), store.HTTP4xx: {Value: 0.375,
			Low:  0.3,
			High: 0.4}}, Detector: "yunet-1", WithFaces: exact(800), Faces: estimate.Bounds{Value: 1000, Low: 900,
			High: 1100}, Bytes: estimate.Bounds{Value: 2e6, Low: 1e6, High: 3e6}, Database: 4e6, Seconds: 90,
		LimitText: "the processors", Limits: map[string]float64{"processors": 90, "requests": 30},
		Suggestion: []estimate.Suggestion{{Flags: "--workers 8", Why: "there are cores left"}}}
	g, out, _ := printing()
	printPrediction(g, p)
	same(t, "with faces", out.String(), `
rows                 2000, of which 50 were fetched and processed
detector             yunet-1
ok                     50.0 %  (25.0 to 62.5)
  http_4xx             37.5 %  (30.0 to 40.0)  permanent
  timeout              12.5 %  transient
images with faces    800
faces                1000  (900 to 1100)
downloads            2 MB  (1 MB to 3 MB)
job file             4 MB
time                 1m30s, limited by the processors
  processors         1m30s
  requests           30s
consider             --workers 8  there are cores left
`)
	p.Detector = store.NoDetector
	g, out, _ = printing()
	if printPrediction(g, p); strings.Contains(out.String(), "faces") {
		t.Errorf("without a detector:\n%s", out)
	}
}

// TestSummary: what the end of a run says, for each end, and the commands that go on from there.
func TestSummary(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	summaryOf := func(change func(s *summary)) (s *summary, said *bytes.Buffer) {
		g, _, said := printing()
		s = &summary{globals: g, mode: "none", name: "a.txt", resume: "facescan run a.txt",
			end: pipeline.Finished,
			Snapshot: &live.Snapshot{Start: start, Now: start.Add(20 * time.Second),
				Counts: store.Counts{Total: 5000, Done: 5000, OK: 4000, Failed: 1000, ImagesWithFaces: 7,
					Faces:    9,
					Failures: map[store.Reason]int64{store.HTTP4xx: 1000}},
				Own: live.Work{Done: 1000}, Tail: 1500 * time.Millisecond}}
		change(s)
		s.reportAll()
		return s, said
	}
	const ok = "  ok            4000   7 of them with faces, 9 faces\n  failed        1000\n" +
		"    http_4xx             1000   gone or forbidden: the list names what is not there\n"
	hint := pipeline.Hint(store.HTTP4xx, "a.txt")
	failed := strings.Replace(ok, "gone or forbidden: the list names what is not there", hint, 1)
	const export = "  next: facescan export a.txt -o results.csv\n"
	pending := func(s *summary) { s.Pending, s.Done = 10, 4990 }
	for _, c := range []struct {
		name   string
		change func(s *summary)
		want   string
	}{
		{"finished", func(*summary) {},
			"facescan: finished: 5000 of 5000 rows are done; this run did 1000 in 20s " +
				"(50.0/s)\n  the last 1% of the rows took 1.5s\n" + failed + export},
		{"few rows", func(s *summary) { s.Own.Done = 999 },
			"facescan: finished: 5000 of 5000 rows are done; this run did 999 in 20s (50.0/s)\n" + failed +
				export},
		{"a short end", func(s *summary) { s.Tail = time.Second },
			"facescan: finished: 5000 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" + failed +
				export},
		{"interrupted", func(s *summary) { s.end = pipeline.Interrupted; pending(s) },
			"facescan: interrupted: 4990 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" +
				failed +
				"  pending         10   nothing is lost; go on with: facescan run a.txt\n" + export},
		{"interrupted after the last row", func(s *summary) { s.end = pipeline.Interrupted },
			"facescan: interrupted after the last row: 5000 of 5000 rows are done; this run did 1000 in 20s " +
				"(50.0/s)\n" + failed + export},
		{"limited after the last row", func(s *summary) { s.end = pipeline.Limited },
			"facescan: stopped by a limit after the last row: 5000 of 5000 rows are done; this run did 1000 " +
				"in 20s " +
				"(50.0/s)\n" + failed + export},
		{"nothing imported yet", func(s *summary) {
			s.end, s.Counts, s.Own.Done = pipeline.Interrupted, store.Counts{}, 0
		}, "facescan: interrupted: 0 of 0 rows are done; this run did 0 in 20s (0.0/s)\n" +
			"  ok               0   0 of them with faces, 0 faces\n  failed           0\n" +
			"  nothing is lost; go on with: facescan run a.txt\n"},
		{"the list is not read to its end", func(s *summary) {
			s.end, s.ImportIncomplete = pipeline.Limited,
				[]string{"a"}
		},
			"facescan: stopped by a limit after the last row: 5000 of 5000 rows are done; this run did 1000 " +
				"in 20s " +
				"(50.0/s)\n" + failed + "  nothing is lost; go on with: facescan run a.txt\n" + export},
		{"paused", func(s *summary) { s.end = pipeline.Paused; pending(s); s.PausedPending = 10 },
			"facescan: paused: 4990 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" + failed +
				"  paused          10   they wait in paused lists; to release them: facescan resume a.txt\n" +
				"                       then go on with: facescan run a.txt\n" + export},
		{"an error", func(s *summary) { s.err = os.ErrInvalid; s.ImportIncomplete = []string{"a"} },
			"facescan: stopped by an error: 5000 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" +
				failed +
				export},
		{"an error while paused", func(s *summary) {
			s.end, s.err = pipeline.Paused,
				os.ErrInvalid
			pending(s)
		},
			"facescan: stopped by an error: 4990 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" +
				failed +
				"  pending         10   nothing is lost; go on with: facescan run a.txt\n" + export},
		{"reasons that pass", func(s *summary) {
			s.Failures = map[store.Reason]int64{store.Timeout: 2, store.HTTP5xx: 1}
			s.Failed, s.Tail, s.Detector = 3, 0, store.NoDetector
		}, "facescan: finished: 5000 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" +
			"  ok            4000   no faces were looked for\n  failed           3\n" +
			"    timeout                 2   " + pipeline.Hint(store.Timeout, "a.txt") + "\n" +
			"    http_5xx                1   " + pipeline.Hint(store.HTTP5xx, "a.txt") + "\n" + export +
			"        facescan retry a.txt      (3 failed for reasons that may have passed)\n"},
		{"reasons that pass, and pending rows", func(s *summary) {
			s.end, s.Failures = pipeline.TooManyFail, map[store.Reason]int64{store.Timeout: 1000}
			pending(s)
		}, "facescan: aborted, too many failures: 4990 of 5000 rows are done; this run did 1000 in 20s " +
			"(50.0/s)\n" +
			"  ok            4000   7 of them with faces, 9 faces\n  failed        1000\n" +
			"    timeout              1000   " + pipeline.Hint(store.Timeout, "a.txt") + "\n" +
			"  pending         10   nothing is lost; go on with: facescan run a.txt\n" + export},
		{"held back", func(s *summary) {
			s.Tail, s.password = 0, true
			s.Mostly = live.HeldBack{Holdup: live.Holdup{Kind: live.ByRate, What: "--rate",
				Advice: "raise it"},
				Share: 0.2}
		}, "facescan: finished: 5000 of 5000 rows are done; this run did 1000 in 20s (50.0/s)\n" +
			"  held back mostly by --rate: 20% of the time\n    raise it\n" + failed + export +
			"  these commands lack the database's password: put it into PGPASSWORD or ~/.pgpass\n"},
		{"held back a little", func(s *summary) {
			s.Tail, s.Now = 0, start
			s.Mostly = live.HeldBack{Holdup: live.Holdup{Kind: live.ByRate, What: "--rate"}, Share: 0.19}
		}, "facescan: finished: 5000 of 5000 rows are done; this run did 1000 in 0s (1000000.0/s)\n" +
			failed + export},
	} {
		_, said := summaryOf(c.change)
		same(t, c.name, said.String(), c.want)
	}
	if _, said := summaryOf(func(s *summary) { s.quiet = true }); said.Len() > 0 {
		t.Errorf("with -q %q", said)
	}
	for _, held := range []bool{false, true} {
		hold := func(s *summary) {
			if s.end = pipeline.Paused; held {
				s.Mostly = live.HeldBack{Holdup: live.Holdup{Kind: live.ByRate, What: "--rate",
					Advice: "raise it"},
					Share: 0.5}
			}
			pending(s)
		}
		s, said := summaryOf(func(s *summary) { s.mode = "json"; hold(s) })
		var line, record map[string]any
		if err := json.Unmarshal(said.Bytes(), &line); err != nil || line["summary"] != "paused" ||
			line["elapsed_seconds"] != 20.0 || line["done"] != 4990.0 || len(line) != len(jobFigures)+5 {
			t.Errorf("as JSON %s, %v", said, err)
		}
		want := []any{nil, nil, nil}
		if held {
			want = []any{"rate", s.Mostly.Holdup.String(), 0.5}
		}
		for i, name := range []string{"held_back_by", "held_back", "held_back_share"} {
			if line[name] != want[i] {
				t.Errorf("%s is %v, want %v", name, line[name], want[i])
			}
		}
		_, said = summaryOf(func(s *summary) { s.logFormat = "json"; hold(s) })
		if err := json.Unmarshal(said.Bytes(), &record); err != nil || record["msg"] != "paused" ||
			record["release"] != "facescan resume a.txt" || record["resume"] != "facescan run a.txt" ||
			record["export"] != "facescan export a.txt -o results.csv" || record["summary"] != nil ||
			record["held_back_by"] != want[0] {
			t.Errorf("as a record %s, %v", said, err)
		}
		if _, is := record["retry"]; is {
			t.Errorf("nothing is to be retried: %s", said)
		}
	}
}

// TestProgressBar draws the figures, in colours unless they are unwanted, and leaves nothing behind.
func TestProgressBar(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	for _, c := range []struct {
		plain string
		total int64
		want  string
	}{{"", 10, "(4/10"}, {"1", 10, "(4/10"}, {"1", 0, "(0/1"}} {
		t.Setenv("NO_COLOR", c.plain)
		g, _, said := printing()
		p := progress{g: g, mode: "bar"}
		s := live.Snapshot{Counts: store.Counts{Total: c.total, Done: min(4, c.total), Failed: 2},
			Rate: 1.25, Detector: store.NoDetector, Holdup: live.Holdup{Kind: live.ByRate, What: "[red]"}}
		const text = "1.2/s, 0s left, 2 failed; held back by (red)"
		eventually(t, "the bar is drawn, not too often", func() bool {
			p.show(&s, nil)
			return c.total == 0 || strings.Contains(said.String(), text)
		})
		drawn := said.String()
		if !strings.Contains(drawn, c.want) {
			t.Errorf("of %d rows %q is not in %q", c.total, c.want, drawn)
		}
		if strings.Contains(drawn, "s:") { // its own guess of the time left
			t.Errorf("two times left: %q", drawn)
		}
		if colours := strings.Contains(drawn, "\x1b[32m"); colours != (c.plain == "") {
			t.Errorf("NO_COLOR=%s draws %q", c.plain, drawn)
		}
		before := said.Len()
		_, err := p.log().Write([]byte("a message\n"))
		if told := said.String()[before:]; err != nil || !strings.HasSuffix(told, "a message\n") ||
			!strings.Contains(told, "\r") {
			t.Errorf("around a message, %v: %q", err, told)
		}
		before = said.Len()
		p.finish()
		p.finish()
		if rest := said.String()[before:]; p.bar != nil || strings.TrimSpace(rest) != "" {
			t.Errorf("at the end %q", rest)
		}
	}
}
