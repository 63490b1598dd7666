package cmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/cpu"

	"facescan/detect"
	"facescan/detect/pigo"
	"facescan/detect/sidecar"
	"facescan/detect/yunet"
	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/resolve"
	"facescan/pipeline/source"
	"facescan/store/figures"
	"facescan/store/hint"
	"facescan/store/open"
)

type doctorOptions struct {
	list   string
	dns    []string
	dir    string
	json   bool
	remote sidecarOptions
}

func (o *doctorOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.list, "list", "", "`list` whose hosts to measure the resolver with")
	fs.StringSliceVar(&o.dns, "dns", nil,
		"name `SERVERS` to measure, as host:port; default: those of the system")
	fs.StringVar(&o.dir, "dir", ".", "`folder` that jobs will lie in")
	fs.BoolVar(&o.json, "json", false, "print one JSON object per finding")
	o.remote.addFlags(fs)
}

func newDoctor(g *globals) *cobra.Command {
	var o doctorOptions
	c := &cobra.Command{
		Use:   "doctor [JOB]",
		Short: "Check what a run needs from this machine",
		Long: "Checks open files, processor, disk, certificates and resolver, and the sidecars and " +
			"the job if any are named; says what to change. Exits 1 if a check failed.",
		Example: `facescan doctor                             # this machine
facescan doctor --list urls.txt             # the resolver, with the hosts of a list
facescan doctor postgres://me@db.lan/faces  # a database as well
facescan doctor --sidecar http://gpu1:8000  # a sidecar as well`,
		Args: args(cobra.MaximumNArgs(1), "at most one job"),
		RunE: func(c *cobra.Command, args []string) error {
			return runDoctor(c.Context(), g, &o, args)
		},
	}
	o.addFlags(c.Flags())
	return c
}

// finding is one thing that was looked at.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warn or fail
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

func runDoctor(ctx context.Context, g *globals, o *doctorOptions, args []string) error {
	failed := 0
	if err := o.remote.check(); err != nil {
		return err
	}
	for _, server := range o.dns {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return usagef("--dns %q: write it as HOST:PORT, e.g. 127.0.0.1:53", server)
		}
	}
	tell := func(f finding) {
		if f.State == "fail" {
			failed++
		}
		if o.json {
			_ = printJSON(g.out, f) // as print, which says nothing of a stdout that is gone
			return
		}
		g.print("%-4s  %-12s %s", f.State, f.Check, f.Found)
		if f.Advice != "" {
			g.print("      %-12s → %s", "", f.Advice)
		}
	}
	tell(lookAtDescriptors())
	tell(lookAtProcessor())
	tell(lookAtDisk(o.dir))
	tell(lookAtCertificates())
	database := len(args) == 1 && open.IsURL(args[0])
	// A check of a database looks no names up, unless it is asked to.
	if !database || o.list != "" || len(o.dns) > 0 {
		dns, err := lookAtResolver(ctx, o)
		if err != nil {
			return err
		}
		tell(dns)
	}
	for _, url := range o.remote.urls {
		tell(lookAtSidecar(ctx, url, o.remote))
	}
	refused := false
	if database {
		for _, f := range lookAtDatabase(ctx, args[0]) {
			refused = refused || f.State == "fail"
			tell(f)
		}
	}
	if len(args) == 1 && !refused {
		tell(lookAtJob(ctx, args[0]))
	}
	if failed > 0 {
		return fmt.Errorf("checks failed: %d; a run needs all of them", failed)
	}
	return nil
}

// wantDescriptors is enough for the default number of fetchers, their idle connections and the job.
const wantDescriptors = 4096

func lookAtDescriptors() finding {
	f := finding{Check: "descriptors", State: "ok"}
	d := pipeline.ShareDescriptors()
	f.Found = fmt.Sprintf("%d may be open", d.Limit)
	if d.Limit < wantDescriptors {
		f.State, f.Advice = "warn", fmt.Sprintf("raise the limit for more than %d fetchers: ulimit -n %d",
			d.Fetchers, wantDescriptors)
	}
	return f
}

func lookAtProcessor() finding {
	f := finding{Check: "processor", State: "ok"}
	var features []string
	for _, c := range []struct {
		name string
		has  bool
	}{{"AVX2", cpu.X86.HasAVX2}, {"AVX-512", cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL},
		{"NEON", cpu.ARM64.HasASIMD}} {
		if c.has {
			features = append(features, c.name)
		}
	}
	f.Found = fmt.Sprintf("%d cores, %s; yunet runs on %s, pigo on %s", cores, strings.Join(features, " "),
		yunet.Path(), pigo.Path())
	if len(features) == 0 {
		f.State, f.Found = "warn",
			fmt.Sprintf("%d cores without vector instructions; yunet runs on %s, pigo on %s", cores,
				yunet.Path(), pigo.Path())
		f.Advice = "detection is several times slower here; --min-face 40 makes up for it"
	}
	return f
}

// lookAtCertificates looks for those of authorities. A bare system has none, and a static program brings
// none.
func lookAtCertificates() finding {
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		return finding{"certificates", "warn", "none of any authority: rows with https fail, for tls",
			"install the package ca-certificates, or name a file of certificates by SSL_CERT_FILE; " +
				"rows that failed so: facescan retry JOB --reason tls"}
	}
	return finding{Check: "certificates", State: "ok", Found: "the system's, for https"}
}

func lookAtDisk(dir string) finding {
	f := finding{Check: "disk", State: "ok"}
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return finding{"disk", "fail", fmt.Sprintf("%s: %v", dir, err), "name a folder with --dir"}
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	took, err := syncTime(dir)
	if err != nil {
		return finding{"disk", "fail", err.Error(), "a job needs a folder that can be written to"}
	}
	f.Found = fmt.Sprintf("%.1f GB free in %s, room for about %s rows; a commit takes %v",
		float64(free)/1e9, dir, figures.About(float64(free)/200),
		took.Round(10*time.Microsecond))
	switch {
	case free < 1<<30:
		f.State, f.Advice = "warn", "make room: a million rows take about 200 MB"
	case took > 20*time.Millisecond:
		f.State, f.Advice = "warn", "a slow disk: jobs belong on an SSD of this machine"
	}
	return f
}

// syncTime is how long a small write takes to be durable, the median of some.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".facescan-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const n = 11
	times := make([]time.Duration, 0, n)
	page := make([]byte, 4096)
	for range n {
		begin := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	return median(times), nil
}

// doctorNames is how many names are looked up, so many at once, within so long.
const (
	doctorNames   = 500
	doctorQueries = 64
	doctorTime    = 10 * time.Second
)

func lookAtResolver(ctx context.Context, o *doctorOptions) (finding, error) {
	names, err := doctorHosts(ctx, o.list)
	if err != nil {
		return finding{}, err
	}
	if len(names) == 0 {
		return finding{"resolver", "ok", "the list's hosts are addresses: no resolver is needed", ""}, nil
	}
	r, err := resolve.New(resolve.Options{Servers: o.dns, Queries: doctorQueries})
	if err != nil {
		return finding{}, &exit{exitUsage, err}
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	begin := time.Now()
	var g errgroup.Group
	g.SetLimit(doctorQueries)
	answered := make([]bool, len(names))
	for i, name := range names {
		g.Go(func() error {
			defer crash.Exit()
			_, err := r.Lookup(ctx, name)
			var e *resolve.Error
			answered[i] = err == nil || errors.As(err, &e) && e.Kind == resolve.NotFound
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	took, n := time.Since(begin), 0
	for _, ok := range answered {
		if ok {
			n++
		}
	}
	rate := float64(n) / took.Seconds()
	f := finding{Check: "resolver", State: "ok",
		Found: fmt.Sprintf("%.0f names per second, %d of %d answered", rate, n, len(names))}
	for _, s := range r.Servers() {
		f.Found += fmt.Sprintf("; %s in %v", s.Addr, s.Time.Round(100*time.Microsecond))
	}
	switch {
	case n == 0:
		f.State, f.Advice = "fail", "no name server answers: check /etc/resolv.conf and the network"
	case n < len(names)*98/100:
		f.State, f.Advice = "warn", "the resolver drops queries: run a caching one on this machine "+
			"(unbound, knot-resolver), or ask a larger one"
	case rate < 100:
		f.State, f.Advice = "warn", "a slow resolver holds back lists with many hosts: run a "+
			"caching one on this machine"
	}
	return f, nil
}

// doctorHosts are names to look up: those of a list, or some that do not exist, in a domain kept for
// examples.
func doctorHosts(ctx context.Context, list string) (names []string, err error) {
	if list == "" {
		for range doctorNames / 10 {
			names = append(names, strings.ToLower(rand.Text())+".example.com")
		}
		return names, nil
	}
	specs, err := source.Expand([]string{list}, false)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, spec := range specs {
		r, err := source.Open(ctx, spec, source.Position{})
		if err != nil {
			return nil, err
		}
		defer r.Close()
		rows := make([]source.Row, 512)
		for scanned := 0; scanned < 1e6 && len(names) < doctorNames; {
			n, err := r.Next(rows)
			if err != nil {
				break // the end, or damage that a run will tell of
			}
			scanned += n
			for _, row := range rows[:n] {
				u, err := fetch.Canonical(row.URL)
				if err != nil || seen[u.Hostname()] || len(names) == doctorNames {
					continue
				}
				seen[u.Hostname()] = true
				if _, err := netip.ParseAddr(u.Hostname()); err != nil {
					names = append(names, u.Hostname())
				}
			}
		}
	}
	return names, nil
}

// lookAtSidecar has a sidecar pass what it must pass before a run asks it, and asks for one picture after the
// other.
func lookAtSidecar(ctx context.Context, model string, o sidecarOptions) finding {
	const check, noStart = "sidecar", "a run would not begin: start it, or name another with --sidecar"
	o.urls, o.delay, o.fallback = []string{model}, 0, ""
	_, kind, err := sidecar.Detector(ctx, o.urls)
	if err != nil {
		return finding{check, "fail", err.Error(), noStart}
	}
	d, err := o.open(ctx, detect.Defaults(kind.Name), slog.New(slog.DiscardHandler))
	if err != nil {
		return finding{check, "fail", err.Error(), noStart}
	}
	defer d.Close()
	luma := image.NewGray(image.Rect(0, 0, 500, 375))
	picture := detect.Image{Luma: luma, Scale: 1, Width: 500, Height: 375,
		FromStored: func(f detect.Face) detect.Face { return f }}
	var file bytes.Buffer
	if err := png.Encode(&file, luma); err != nil {
		return finding{check, "fail", err.Error(), ""}
	}
	picture.Encoded = file.Bytes()
	times := make([]time.Duration, 0, 11)
	for range cap(times) {
		begin := time.Now()
		if _, err := d.Detect(ctx, []detect.Image{picture}); err != nil {
			return finding{check, "fail", err.Error(), ""}
		}
		times = append(times, time.Since(begin))
	}
	u, err := url.Parse(model)
	if err != nil {
		return finding{check, "fail", err.Error(), ""}
	}
	u.User = nil // a token
	return finding{check, "ok", fmt.Sprintf("%s at %s; a picture of 500x375 in %v", d.Fingerprint(), u,
		median(times).Round(10*time.Microsecond)), ""}
}

func lookAtJob(ctx context.Context, arg string) finding {
	job, err := readJob(ctx, arg)
	if open.IsURL(arg) && errors.Is(err, fs.ErrNotExist) {
		return finding{"job", "ok", "there is none yet",
			"to make it of a list: " + hint.On("import", "urls.txt", "--db", nameOf(arg))}
	}
	if err != nil {
		return finding{"job", "fail", err.Error(), ""}
	}
	defer job.Close()
	begin := time.Now()
	c, err := job.Counts(ctx)
	if err != nil {
		return finding{"job", "fail", err.Error(), ""}
	}
	return finding{"job", "ok", fmt.Sprintf("%s: %s, %d done, counted in %v", filepath.Base(job.Path()),
		figures.Of(c.Total, "row"), c.Done, time.Since(begin).Round(time.Millisecond)), ""}
}

func median(ts []time.Duration) time.Duration {
	slices.Sort(ts)
	return ts[len(ts)/2]
}
