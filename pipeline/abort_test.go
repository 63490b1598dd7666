package pipeline

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"facescan/store"
)

func TestAbortRule(t *testing.T) {
	for text, want := range map[string]AbortRule{
		"failed > 60% after 10000":    {Percent: 60, After: 10000},
		"failed>60%after 10000":       {}, // after wants a blank before it
		"failed > 60 %":               {Percent: 60, After: 100},
		"FAILED > 60 % AFTER 5 rows":  {Percent: 60, After: 5},
		"http_429>500":                {Reason: store.HTTP429, Count: 500, Percent: -1},
		" timeout > 0 ":               {Reason: store.Timeout, Percent: -1},
		"failed > 2.5%":               {Percent: 2.5, After: 100},
		"bad_url > 0% after 0":        {Reason: store.BadURL},
		"failed > 7 after 20":         {Count: 7, Percent: -1, After: 20},
		"":                            {},
		"failed":                      {},
		"failed >":                    {},
		"failed > many":               {},
		"failed < 5":                  {},
		"failed > -1":                 {},
		"failed > 100%":               {},
		"failed > NaN%":               {},
		"failed > 5% after":           {},
		"failed > 5% before 100":      {},
		"failed > 5% after ten":       {},
		"failed > 5% after -1":        {},
		"failed > 5% after 10 rows x": {},
		"failed > 5% after 10 cows":   {},
		"ok > 5":                      {},
		"failed > 5% or timeout > 3":  {},
		"failed > > 5":                {},
	} {
		got, err := ParseAbortRule(text)
		if fails := want == (AbortRule{}); fails != (err != nil) || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), "failed > 60% after 10000") {
			t.Errorf("%q: the message does not show how: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		"ok > 5":                 "there is no reason ok;",
		"failed > 100%":          "100% is not a share from 0% to below 100%;",
		"failed > 5% before 100": "what follows 5% is not understood;",
		"failed > 5% after ten":  "ten is not a number of rows;",
	} {
		if _, err := ParseAbortRule(text); err == nil || !strings.Contains(err.Error(), ": "+want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	failures := map[store.Reason]int64{store.Timeout: 30, store.HTTP4xx: 20}
	for _, c := range []struct {
		text string
		done int64
		ends bool
	}{
		{"failed > 60% after 100", 99, false}, {"failed > 50% after 100", 100, false},
		{"failed > 49.9% after 100", 100, true},
		{"failed > 40%", 99, false}, {"failed > 40%", 100, true},
		{"failed > 49", 50, true}, {"failed > 50", 1000, false}, {"failed > 49 after 51", 50, false},
		{"timeout > 29%", 100, true}, {"timeout > 30%", 100, false}, {"timeout > 29", 30, true},
		{"http_4xx > 20", 100, false}, {"reset > 0", 100, false},
		{"failed > 0% after 0", 0, false}, {"failed > 0.5%", 20_000, false},
	} {
		r, err := ParseAbortRule(c.text)
		if err != nil {
			t.Fatal(err)
		}
		failed := min(c.done, 50)
		if _, ends := r.holds(c.done, failed, failures); ends != c.ends {
			t.Errorf("%s with %d of %d: %v", c.text, failed, c.done, ends)
		}
	}
}

// TestAbortRuleText: what a rule is written as is that rule.
func TestAbortRuleText(t *testing.T) {
	if text := (AbortRule{}).String(); text != "failed > 0% after 0" {
		t.Error(text)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := AbortRule{Percent: -1, After: rapid.Int64Range(0, 1<<40).Draw(t, "after")}
		if rapid.Bool().Draw(t, "reason") {
			r.Reason = rapid.SampledFrom([]store.Reason{store.Timeout, store.HTTP4xx, store.OptOut}).Draw(t,
				"word")
		}
		if rapid.Bool().Draw(t, "share") {
			r.Percent = rapid.Float64Range(0, 99.99).Draw(t, "percent")
		} else {
			r.Count = rapid.Int64Range(0, 1<<40).Draw(t, "count")
		}
		if again, err := ParseAbortRule(r.String()); err != nil || again != r {
			t.Fatalf("%+v is written as %q and read as %+v, %v", r, r, again, err)
		}
	})
}

// TestRunAborts: a rule that holds ends the run, which says what it saw; rows of earlier runs do not count.
func TestRunAborts(t *testing.T) {
	b := newBench(t, two, "/status/404/1", "/status/404/2")
	b.want(Finished, "failed http_4xx", "failed http_4xx")
	b.ok(appendTo(b.list, b.server.URL+"/f/a.png\n"))
	b.opts.AbortIf = []AbortRule{{Reason: store.HTTP4xx, Percent: -1, Count: 0}}
	b.want(Finished, "failed http_4xx", "failed http_4xx", "ok")
	if a := b.stats.Aborted(); a != nil {
		t.Errorf("failures of the run before: %v", a)
	}
	b.ok(appendTo(b.list, b.server.URL+"/status/404/3\n"))
	if end, err := b.run(); err != nil || end != TooManyFail {
		t.Fatal(end, err)
	}
	want := "1 of the 1 rows since the start failed with http_4xx: http_4xx > 0 after 0"
	if a := b.stats.Aborted(); a == nil || a.Error() != want {
		t.Errorf("%v, want %s", a, want)
	}
}

// TestBreaksOfOthers: a rule also counts what other processes did since the run began.
func TestBreaksOfOthers(t *testing.T) {
	s := &Stats{base: store.Counts{Done: 100, Failed: 50,
		Failures: map[store.Reason]int64{store.Timeout: 50}}}
	s.own.Done, s.own.Failed, s.own.Failures = 10, 2, map[store.Reason]int64{store.Timeout: 2}
	rule := AbortRule{Reason: store.Timeout, Count: 5, Percent: -1}
	if a := s.breaks(rule); a != nil {
		t.Errorf("2 of its own: %v", a)
	}
	s.job = store.Counts{Done: 120, Failed: 56, Failures: map[store.Reason]int64{store.Timeout: 56}}
	if a := s.breaks(rule); a == nil || a.N != 6 || a.Done != 20 {
		t.Errorf("6 of all: %+v", a)
	}
	rule.Reason = ""
	s.job.Failed = 55
	if a := s.breaks(rule); a != nil {
		t.Errorf("5 failures of all: %+v", a)
	}
}
