package pipeline

import (
	"fmt"

	"facescan/pipeline/fetch"
	"facescan/store"
	"facescan/store/hint"
)

// A failure that becomes more frequent in a run is often of our making: too many requests at once, for a
// server, a resolver or a link. One line says so, and what to change; not again before it became rarer.

const (
	trendRows  = 256  // the latest rows, which are compared with all rows of the run before them
	leastRise  = 0.05 // the share of the latest rows that a reason must have
	steepRise  = 2    // how many times the share that it had before
	slightRise = 0.02 // and how much more than that
)

// trended are the reasons that are watched, and what to change.
var trended = map[store.Reason]func(r *run) string{
	store.Timeout: func(r *run) string {
		return fmt.Sprintf("servers, or this machine's link, became slower: run fewer --fetchers (now %d), "+
			"or allow a longer --timeout", r.Fetchers)
	},
	store.HTTP429: func(r *run) string {
		text := "servers get too many requests: "
		if r.PerHost != 1 {
			text += fmt.Sprintf("lower --per-host (now %d), or ", r.PerHost)
		}
		if rate, _ := r.Fetcher.Limits(); rate > 0 {
			return text + fmt.Sprintf("lower --rate (now %v)", rate)
		}
		return text + fmt.Sprintf("set --rate below %.0f", max(1, r.stats.Rate()))
	},
	store.Connect: func(r *run) string {
		return fmt.Sprintf("connections fail: run fewer --fetchers (now %d); a router may be out of room "+
			"for connections", r.Fetchers)
	},
	store.DNSTimeout: func(r *run) string {
		return "the resolver does not keep up: run a caching one on this machine (unbound, knot-resolver), " +
			"or fewer --fetchers; to measure it: " + hint.Words("facescan", "doctor")
	},
	store.TooSlow: func(r *run) string {
		return fmt.Sprintf("downloads became slower: run fewer --fetchers (now %d), or lower --min-rate",
			r.Fetchers)
	},
}

// rise is a reason that became more frequent.
type rise struct {
	reason    store.Reason
	was, is   float64 // share of the rows
	host      string  // with most of the latest, if those are more than half
	hostShare float64
}

// trend compares the latest rows with those before.
type trend struct {
	latest [trendRows]failed // a ring
	rows   int64
	counts map[store.Reason]*reasonCount
}

// reasonCount is how many rows failed for a reason.
type reasonCount struct {
	all, latest int64
	said        float64 // the share when it was said; 0 when it may be said
}

// failed is why a row failed, empty for ok, and on which host.
type failed struct {
	reason store.Reason
	host   string
}

// add takes in how a row ended.
func (t *trend) add(f failed) {
	if t.counts == nil {
		t.counts = map[store.Reason]*reasonCount{}
		for reason := range trended {
			t.counts[reason] = &reasonCount{}
		}
	}
	slot := &t.latest[t.rows%trendRows]
	if c := t.counts[slot.reason]; c != nil {
		c.latest--
	}
	*slot = f
	t.rows++
	if c := t.counts[f.reason]; c != nil {
		c.all++
		c.latest++
	}
}

// rises are the reasons that became more frequent and have not been returned since.
func (t *trend) rises() (out []rise) {
	before := t.rows - trendRows
	if before < trendRows {
		return nil
	}
	for reason, c := range t.counts {
		is, was := float64(c.latest)/trendRows, float64(c.all-c.latest)/float64(before)
		switch risen := is >= leastRise && is >= steepRise*was+slightRise; {
		case c.said > 0 && is < c.said/2:
			c.said = 0
		case c.said == 0 && risen:
			c.said = is
			r := rise{reason: reason, was: was, is: is}
			r.host, r.hostShare = t.worst(reason)
			out = append(out, r)
		}
	}
	return out
}

// worst is the host with most of the latest failures for a reason, if it has more than half of them.
func (t *trend) worst(reason store.Reason) (host string, share float64) {
	n, hosts := 0, map[string]int{}
	for _, f := range t.latest {
		if f.reason == reason {
			n++
			hosts[f.host]++
		}
	}
	for h, k := range hosts {
		if 2*k > n {
			return h, float64(k) / float64(n)
		}
	}
	return "", 0
}

// failedOf is what the trend is told of a result.
func failedOf(r *store.Result) failed {
	if r.Status != store.Failed || trended[r.Reason] == nil {
		return failed{}
	}
	return failed{r.Reason, fetch.Host(r.URL)}
}

// warnOf says what to change about reasons that became more frequent.
func (r *run) warnOf(rises []rise) {
	for _, x := range rises {
		of := ""
		if x.host != "" {
			of = fmt.Sprintf(", %.0f%% of them at %s", 100*x.hostShare, x.host)
		}
		r.Log.Warn(fmt.Sprintf("%s rose from %.1f%% to %.0f%% of the rows%s: %s; then: %s", x.reason,
			100*x.was, 100*x.is, of,
			trended[x.reason](r), hint.On("retry", r.job.Path(), "--reason",
				string(x.reason))))
	}
}
