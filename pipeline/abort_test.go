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
		{"failed > 0% after 0", 0, false},
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
