package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/figures"
)

const (
	barEvery   = 200 * time.Millisecond
	plainEvery = 5 * time.Second
	lookEvery  = time.Second // how often the job's counters are read, for what other processes did
)

// progress shows a run on stderr: as a bar, as lines, as JSON, as records of --log-format json, or not.
type progress struct {
	g    *globals
	mode string

	mu  sync.Mutex // the bar and the log take turns
	bar *progressbar.ProgressBar
}

func newProgress(g *globals, mode string) *progress {
	if mode == "auto" {
		mode = "plain"
		if isTerminal(g.rawErr) && os.Getenv("TERM") != "dumb" && !g.json() {
			mode = "bar"
		}
	}
	if mode == "plain" && g.json() {
		mode = "records"
	}
	if g.quiet && mode != "json" {
		mode = "none"
	}
	return &progress{g: g, mode: mode}
}

func isTerminal(w io.Writer) bool {
	if p, ok := w.(*printableWriter); ok {
		w = p.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// log is where messages go: stderr, around the bar.
func (p *progress) log() io.Writer { return aroundBar{p} }

type aroundBar struct{ p *progress }

func (w aroundBar) Write(b []byte) (int, error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.p.bar != nil {
		_ = w.p.bar.Clear() // the bar is drawn again in a moment; a failed clear is harmless
	}
	return w.p.g.err.Write(b)
}

// run shows the figures until the function it returns is called.
func (p *progress) run(job store.Job, stats *pipeline.Stats) (stop func()) {
	if p.mode == "none" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watchers sync.WaitGroup
	watchers.Go(func() { // on its own: a store that hangs must not keep the figures from being shown
		defer crash.Exit()
		for sleep(ctx, lookEvery) == nil {
			if c, err := job.Counts(ctx); err == nil {
				stats.See(c)
			}
		}
	})
	watchers.Go(func() {
		defer crash.Exit()
		every := plainEvery
		if p.mode == "bar" {
			every = barEvery
		}
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-ctx.Done():
				p.finish()
				return
			}
			s := stats.Snapshot()
			p.show(&s, stats.Flights)
		}
	})
	return func() {
		cancel()
		watchers.Wait()
	}
}

// progressFigures are the figures of a line of progress as JSON.
var progressFigures = []string{"elapsed_seconds", "total", "done", "pending", "ok", "failed", "faces",
	"rate", "eta_seconds", "in_flight", "waiting", "outage", "held_back_by", "held_back"}

func (p *progress) show(s *live.Snapshot, flights func() []host.Flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.mode {
	case "json":
		_ = printJSON(p.g.err, pick(s, progressFigures...))
	case "records":
		p.g.log().Info("progress", asAttrs(pick(s, progressFigures...))...)
	case "plain":
		fmt.Fprintf(p.g.err, "facescan: %d of %s rows, %s, %s, %s%d failed, %d in flight%s\n",
			s.Done, total(s), figures.Rate(s.Rate), timeLeft(s), faces(s), s.Failed,
			s.InFlight, holdup(s, flights))
	case "bar":
		if p.bar == nil {
			opts := []progressbar.Option{
				progressbar.OptionSetWriter(p.g.rawErr), progressbar.OptionFullWidth(),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false),
				progressbar.OptionThrottle(barEvery / 2),
			}
			if os.Getenv("NO_COLOR") == "" {
				opts = append(opts, progressbar.OptionEnableColorCodes(true),
					progressbar.OptionSetTheme(progressbar.Theme{Saucer: "[green]=[reset]",
						SaucerHead: "[green]>[reset]", SaucerPadding: " ", BarStart: "[", BarEnd: "]"}))
			}
			p.bar = progressbar.NewOptions64(max(s.Total, 1), opts...)
		}
		p.bar.ChangeMax64(max(s.Total, 1))
		text := printable(fmt.Sprintf("%s, %s, %s%d failed%s", figures.Rate(s.Rate), timeLeft(s), faces(s),
			s.Failed, holdup(s, flights)))
		// the bar takes [red] for a colour
		p.bar.Describe(strings.NewReplacer("[", "(", "]", ")").Replace(text))
		_ = p.bar.Set64(min(s.Done, s.Total)) // a bar that cannot be drawn must not end a run
	}
}

// finish leaves the bar's last state on a line of its own.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		p.bar = nil
	}
}

// total is the number of rows, with a plus while lists are still being read.
func total(s *live.Snapshot) string {
	if len(s.ImportIncomplete) > 0 {
		return fmt.Sprintf("%d+", s.Total)
	}
	return fmt.Sprint(s.Total)
}

// holdup names what holds a run back, or describes the oldest of the last requests.
func holdup(s *live.Snapshot, flights func() []host.Flight) string {
	if s.Holdup.Kind != "" && s.Holdup.Kind != live.ByTail {
		return "; held back by " + printable(s.Holdup.Short())
	}
	if s.Tail == 0 || s.Waiting > 0 {
		return ""
	}
	fs := flights()
	if len(fs) == 0 || time.Since(fs[0].Since) < 5*time.Second {
		return ""
	}
	return fmt.Sprintf("; waiting %v for %s", time.Since(fs[0].Since).Round(time.Second),
		printable(store.Redact(fs[0].URL)))
}

// dumpFlights prints what is in flight, the oldest first: what SIGUSR1 asks for.
func dumpFlights(g *globals, w io.Writer, stats *pipeline.Stats) {
	s := stats.Snapshot()
	if g.json() {
		log := g.logger(w)
		log.Info("rows in flight", "in_flight", s.InFlight, "waiting", s.Waiting)
		for _, f := range stats.Flights() {
			log.Info("in flight", "url", store.Redact(f.URL), "since", time.Since(f.Since),
				"attempt", f.Attempt, "slow_lane", f.Slow)
		}
		return
	}
	fmt.Fprintf(w, "facescan: %s in flight, %d waiting for their hosts\n",
		figures.Of(s.InFlight, "row"), s.Waiting)
	for _, f := range stats.Flights() {
		slow := ""
		if f.Slow {
			slow = ", slow lane"
		}
		fmt.Fprintf(w, "  %8v  attempt %d%s  %s\n", time.Since(f.Since).Round(time.Millisecond), f.Attempt,
			slow, printable(store.Redact(f.URL)))
	}
}

func timeLeft(s *live.Snapshot) string {
	if s.Left >= 0 {
		return figures.Span(s.Left) + " left"
	}
	return "time left unknown"
}

// faces is how many were found, where any are looked for.
func faces(s *live.Snapshot) string {
	if !s.LooksForFaces() {
		return ""
	}
	return figures.Of(s.Faces, "face") + ", "
}
