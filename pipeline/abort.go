package pipeline

import (
	"fmt"
	"strconv"
	"strings"

	"facescan/store"
)

// AbortRule ends a run early: when more rows failed than it allows. It looks at what was done since the run
// began.
type AbortRule struct {
	Reason  store.Reason // of the failures that count; empty for all
	Count   int64        // more than so many,
	Percent float64      // or, if not negative, than this share of the rows done
	After   int64        // rows done before it holds
}

// shareAfter is how many rows a share needs to mean something when a rule does not say.
const shareAfter = 100

// ParseAbortRule reads `failed > 60% after 10000`: failed, or a reason; a number of rows, or a share; and how
// many rows must be done before, 0 for a number and 100 for a share if left out.
func ParseAbortRule(text string) (AbortRule, error) {
	bad := func(what string) (AbortRule, error) {
		return AbortRule{}, fmt.Errorf("%q: %s; write it as 'failed > 60%% after 10000', with a reason "+
			"such as timeout in place of failed, or a number in place of 60%%", text, what)
	}
	words := strings.Fields(strings.ToLower(strings.ReplaceAll(text, ">", " > ")))
	if len(words) < 3 || words[1] != ">" {
		return bad("no rule")
	}
	r := AbortRule{Percent: -1}
	if words[0] != "failed" {
		if r.Reason = store.Reason(words[0]); !r.Reason.Known() {
			return bad("there is no reason " + words[0])
		}
	}
	limit, rest := words[2], words[3:]
	if len(rest) > 0 && rest[0] == "%" {
		limit, rest = limit+"%", rest[1:]
	}
	var err error
	if digits, ok := strings.CutSuffix(limit, "%"); ok {
		r.Percent, err = strconv.ParseFloat(digits, 64)
		if err != nil || !(r.Percent >= 0 && r.Percent < 100) {
			return bad(limit + " is not a share from 0% to below 100%")
		}
		r.After = shareAfter
	} else if r.Count, err = strconv.ParseInt(limit, 10, 64); err != nil || r.Count < 0 {
		return bad(limit + " is not a number of rows")
	}
	switch {
	case len(rest) == 0:
		return r, nil
	case rest[0] != "after" || len(rest) < 2 || len(rest) > 3 || len(rest) == 3 && rest[2] != "rows":
		return bad("what follows " + limit + " is not understood")
	}
	if r.After, err = strconv.ParseInt(rest[1], 10, 64); err != nil || r.After < 0 {
		return bad(rest[1] + " is not a number of rows")
	}
	return r, nil
}

// String is the rule as ParseAbortRule reads it.
func (r AbortRule) String() string {
	what, limit := "failed", strconv.FormatInt(r.Count, 10)
	if r.Reason != "" {
		what = string(r.Reason)
	}
	if r.Percent >= 0 {
		limit = strconv.FormatFloat(r.Percent, 'g', -1, 64) + "%"
	}
	return fmt.Sprintf("%s > %s after %d", what, limit, r.After)
}

// holds reports whether the rule ends a run that has so many rows done, and so many of them failed; n is
// those that count.
func (r AbortRule) holds(done, failed int64, failures map[store.Reason]int64) (n int64, ends bool) {
	if n = failed; r.Reason != "" {
		n = failures[r.Reason]
	}
	switch {
	case done < r.After || done == 0:
		return n, false
	case r.Percent >= 0:
		return n, float64(n)*100 > r.Percent*float64(done)
	}
	return n, n > r.Count
}

// Aborted is the rule that ended a run, and what it saw.
type Aborted struct {
	Rule    AbortRule
	N, Done int64
}

func (a *Aborted) Error() string {
	what := "failed"
	if a.Rule.Reason != "" {
		what = "failed with " + string(a.Rule.Reason)
	}
	return fmt.Sprintf("%d of the %d rows since the start %s: %v", a.N, a.Done, what, a.Rule)
}

// breaks applies the rule to what was done since the run began: by this process, or, where more is known, by
// all of them, with the rows that were no URLs when they were imported.
func (s *Stats) breaks(rule AbortRule) *Aborted {
	s.mu.Lock()
	defer s.mu.Unlock()
	done, failed, failures := s.own.Done, s.own.Failed, s.own.Failures
	if all := s.job.Done - s.base.Done; all > done {
		done, failed, failures = all, s.job.Failed-s.base.Failed, map[store.Reason]int64{}
		for reason, n := range s.job.Failures {
			failures[reason] = n - s.base.Failures[reason]
		}
	}
	n, ends := rule.holds(done, failed, failures)
	if !ends {
		return nil
	}
	s.aborted = &Aborted{rule, n, done}
	return s.aborted
}

// Aborted is why a rule ended the run; nil when none did.
func (s *Stats) Aborted() *Aborted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.aborted
}
