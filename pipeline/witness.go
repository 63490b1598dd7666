package pipeline

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"facescan/pipeline/fetch"
	"facescan/store"
)

const (
	witnessesFresh = time.Minute // a draw serves for this long: an outage asks every few seconds
	witnessesMost  = 4_096       // hosts drawn
	scanRows       = 300_000     // a job of more rows is not read through, but sampled
	sampleRows     = 2_000
	answeredTries  = 8
)

// witnesses are hosts drawn from the whole job, done rows included, that can show whether this machine is cut
// off: what waits in the queue now may all be dead.
type witnesses struct {
	job store.Job

	mu    sync.Mutex
	drawn time.Time
	hosts []witness
}

type witness struct{ host, url string }

// pick returns the URLs of at most n hosts that are wanted: first those that were answered before, then as
// rows and chance have it.
func (w *witnesses) pick(ctx context.Context, n int, wanted func(host string) bool) (urls []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.drawn) > witnessesFresh {
		w.hosts = w.draw(ctx)
		if ctx.Err() == nil {
			w.drawn = time.Now()
		}
	}
	for _, h := range w.hosts {
		if len(urls) == n {
			break
		}
		if wanted(h.host) {
			urls = append(urls, h.url)
		}
	}
	return urls
}

// draw reads the job. What cannot be read is left out: the outage goes on, and a store that fails ends the
// run itself.
func (w *witnesses) draw(ctx context.Context) (out []witness) {
	c, err := w.job.Counts(ctx)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	add := func(url string) {
		host := fetch.Host(url)
		if host != "" && !seen[host] && len(out) < witnessesMost {
			seen[host] = true
			out = append(out, witness{host, url})
		}
	}
	spans := w.spans(ctx)
	if c.Done > 0 {
		for range answeredTries {
			add(w.answered(ctx, spans))
		}
	}
	if c.Total+c.AlreadyDone <= scanRows {
		rows, others := w.scan(ctx)
		for _, url := range append(rows, others...) {
			add(url)
		}
		return out
	}
	for range sampleRows {
		add(w.sample(ctx, spans))
	}
	return out
}

// scan reads all rows: some by chance, so that a host with many rows is among them, and one of every host.
func (w *witnesses) scan(ctx context.Context) (rows, others []string) {
	seen := map[string]bool{}
	n := 0
	for row, err := range w.job.Rows(ctx, math.MinInt64, math.MaxInt64) {
		if err != nil {
			break
		}
		if n++; len(rows) < sampleRows {
			rows = append(rows, row.URL)
		} else if i := rand.IntN(n); i < sampleRows {
			rows[i] = row.URL
		}
		if host := fetch.Host(row.URL); !seen[host] && len(seen) < 1<<16 {
			seen[host] = true
			others = append(others, row.URL)
		}
	}
	for _, urls := range [][]string{rows, others} {
		rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	}
	return rows, others
}

// span is a range of ids with rows in it, from lo up to hi, which is not in it.
type span struct{ lo, hi int64 }

// spans finds where the ids of the sources begin and end.
func (w *witnesses) spans(ctx context.Context) (out []span) {
	sources, err := w.job.Sources(ctx)
	if err != nil {
		return nil
	}
	for _, s := range sources {
		from, to := store.FirstOf(s.Number), store.FirstOf(s.Number+1)
		if s.Format == store.TableFormat {
			from, to = math.MinInt64, math.MaxInt64
		}
		first, ok := w.row(ctx, from, to)
		if !ok {
			continue
		}
		lo, hi := first.ID, to                      // a row is at lo, and none at or above hi
		for uint64(hi-lo) > 1 && ctx.Err() == nil { // which is right for any two ids
			mid := lo + int64(uint64(hi-lo)/2)
			if r, ok := w.row(ctx, mid, hi); ok {
				lo = r.ID
			} else {
				hi = mid
			}
		}
		out = append(out, span{first.ID, hi})
	}
	return out
}

// row is the first row of a range.
func (w *witnesses) row(ctx context.Context, from, to int64) (store.Row, bool) {
	for r, err := range w.job.Rows(ctx, from, to) {
		return r, err == nil
	}
	return store.Row{}, false
}

// somewhere is an id by chance, and the end of its span; not ok when there is none.
func somewhere(spans []span) (id, end int64, ok bool) {
	if len(spans) == 0 {
		return 0, 0, false
	}
	s := spans[rand.IntN(len(spans))]
	return s.lo + int64(rand.Uint64N(uint64(s.hi-s.lo))), s.hi, true
}

// sample is the URL of a row by chance; empty if there is none.
func (w *witnesses) sample(ctx context.Context, spans []span) string {
	id, end, ok := somewhere(spans)
	if !ok || ctx.Err() != nil {
		return ""
	}
	for width := int64(64); ; width *= 64 { // a narrow range is read quickly, and most have a row
		to := end
		if uint64(end-id) > uint64(width) {
			to = id + width
		}
		if r, ok := w.row(ctx, id, to); ok {
			return r.URL
		}
		if to == end || ctx.Err() != nil {
			return ""
		}
	}
}

// answered is the URL of a row whose host answered in this run or an earlier one; empty if none is found
// soon.
func (w *witnesses) answered(ctx context.Context, spans []span) string {
	id, end, ok := somewhere(spans)
	if !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for r, err := range w.job.Select(ctx, store.Query{From: id, To: end, Brief: true, Where: wasAnswered{}}) {
		if err != nil {
			return ""
		}
		if r.HTTPStatus != 0 {
			return r.URL
		}
	}
	return ""
}

// wasAnswered is the condition that a row's latest attempt got an HTTP answer.
type wasAnswered struct{}

// SQL implements store.Condition.
func (wasAnswered) SQL(_ store.Dialect, _ int, column func(string) string) (string, []any, error) {
	return column("http_status") + " > 0", nil, nil
}
