// Package doctor looks at what a run needs from a machine, its resolver, sidecars and database server, and
// says what to change.
package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

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
)

// Finding is what was found of one thing.
type Finding struct {
	Check  string `json:"check"`
	State  string `json:"state"` // ok, warn or fail
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// EnoughDescriptors is enough for the default number of fetchers, their idle connections and the job.
const EnoughDescriptors = 4096

// Descriptors looks at how many files may be open.
func Descriptors() Finding { return descriptors(pipeline.ShareDescriptors()) }

func descriptors(d pipeline.Descriptors) Finding {
	f := Finding{Check: "descriptors", State: "ok", Found: fmt.Sprintf("%d may be open", d.Limit)}
	if d.Limit < EnoughDescriptors {
		f.State, f.Advice = "warn", fmt.Sprintf("raise the limit for more than %d fetchers: ulimit -n %d",
			d.Fetchers, EnoughDescriptors)
	}
	return f
}

// Processor looks for instructions that make detection fast.
func Processor(cores int) Finding {
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
	return processor(cores, features)
}

func processor(cores int, features []string) Finding {
	f := Finding{Check: "processor", State: "ok"}
	has := ", " + strings.Join(features, " ")
	if len(features) == 0 {
		has = " without vector instructions"
		f.State, f.Advice = "warn", "detection is several times slower here; --min-face 40 makes up for it"
	}
	f.Found = fmt.Sprintf("%d cores%s; yunet runs on %s, pigo on %s", cores, has, yunet.Path(), pigo.Path())
	return f
}

// Certificates looks for those of authorities. A bare system has none, and a static program brings
// none.
func Certificates() Finding { return certificates(x509.SystemCertPool()) }

func certificates(pool *x509.CertPool, err error) Finding {
	if err != nil || pool.Equal(x509.NewCertPool()) {
		return Finding{"certificates", "warn", "none of any authority: rows with https fail, for tls",
			"install the package ca-certificates, or name a file of certificates by SSL_CERT_FILE; " +
				"rows that failed so: facescan retry JOB --reason tls"}
	}
	return Finding{Check: "certificates", State: "ok", Found: "the system's, for https"}
}

// Disk looks for room in a folder, and how long a write to it takes to be durable.
func Disk(dir string) Finding {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Finding{"disk", "fail", fmt.Sprintf("%s: %v", dir, err), "name a folder with --dir"}
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	took, err := syncTime(dir)
	if err != nil {
		return Finding{"disk", "fail", err.Error(), "a job needs a folder that can be written to"}
	}
	return disk(dir, free, took)
}

func disk(dir string, free int64, took time.Duration) Finding {
	f := Finding{Check: "disk", State: "ok"}
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
	var times []time.Duration
	page := make([]byte, 4096)
	for range measured {
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

// lookups is how many names are looked up, so many at once, within so long.
const (
	lookups    = 500
	queries    = 64
	lookupTime = 10 * time.Second
)

// Resolver measures name servers, those of the system if there are none, with the hosts of a list if its name
// is not empty. A *resolve.Error or an error of the list is returned.
func Resolver(ctx context.Context, servers []string, list string) (Finding, error) {
	names, err := hosts(ctx, list)
	if err != nil {
		return Finding{}, err
	}
	if len(names) == 0 {
		return Finding{"resolver", "ok", "the list's hosts are addresses: no resolver is needed", ""}, nil
	}
	r, err := resolve.New(resolve.Options{Servers: servers, Queries: queries})
	if err != nil {
		return Finding{}, pipeline.Usagef("%v", err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	begin := time.Now()
	var g errgroup.Group
	g.SetLimit(queries)
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
	return resolver(n, len(names), took, r.Servers()), nil
}

// resolver rates lookups, of which n were answered.
func resolver(n, of int, took time.Duration, servers []resolve.Server) Finding {
	rate := float64(n) / took.Seconds()
	f := Finding{Check: "resolver", State: "ok",
		Found: fmt.Sprintf("%.0f names per second, %d of %d answered", rate, n, of)}
	for _, s := range servers {
		f.Found += fmt.Sprintf("; %s in %v", s.Addr, s.Time.Round(100*time.Microsecond))
	}
	switch {
	case n == 0:
		f.State, f.Advice = "fail", "no name server answers: check /etc/resolv.conf and the network"
	case n < of*98/100:
		f.State, f.Advice = "warn", "the resolver drops queries: run a caching one on this machine "+
			"(unbound, knot-resolver), or ask a larger one"
	case rate < 100:
		f.State, f.Advice = "warn", "a slow resolver holds back lists with many hosts: run a "+
			"caching one on this machine"
	}
	return f
}

// hosts are names to look up: those of a list, or some that do not exist, in a domain kept for
// examples.
func hosts(ctx context.Context, list string) (names []string, err error) {
	if list == "" {
		for range lookups / 10 {
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
		for scanned := 0; scanned < 1e6 && len(names) < lookups; {
			n, err := r.Next(rows)
			if err != nil {
				break // the end, or damage that a run will tell of
			}
			scanned += n
			for _, row := range rows[:n] {
				u, err := fetch.Canonical(row.URL)
				if err != nil || seen[u.Hostname()] || len(names) == lookups {
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

// Sidecar has a sidecar pass what it must pass before a run uses it, and times one picture after the other.
// Open makes a client of it.
func Sidecar(ctx context.Context, model string,
	open func(context.Context, detect.Params) (detect.Detector, error)) Finding {
	const check, noStart = "sidecar", "a run would not begin: start it, or name another with --sidecar"
	_, kind, err := sidecar.Detector(ctx, []string{model})
	if err != nil {
		return Finding{check, "fail", err.Error(), noStart}
	}
	d, err := open(ctx, detect.Defaults(kind.Name))
	if err != nil {
		return Finding{check, "fail", err.Error(), noStart}
	}
	defer d.Close()
	luma := image.NewGray(image.Rect(0, 0, 500, 375))
	picture := detect.Image{Luma: luma, Scale: 1, Width: 500, Height: 375,
		FromStored: func(f detect.Face) detect.Face { return f }}
	var file bytes.Buffer
	if err := png.Encode(&file, luma); err != nil {
		return Finding{check, "fail", err.Error(), ""}
	}
	picture.Encoded = file.Bytes()
	var times []time.Duration
	for range measured {
		begin := time.Now()
		if _, err := d.Detect(ctx, []detect.Image{picture}); err != nil {
			return Finding{check, "fail", err.Error(), ""}
		}
		times = append(times, time.Since(begin))
	}
	u, err := url.Parse(model)
	if err != nil {
		return Finding{check, "fail", err.Error(), ""}
	}
	u.User = nil // a token
	return Finding{check, "ok", fmt.Sprintf("%s at %s; a picture of 500x375 in %v", d.Fingerprint(), u,
		median(times).Round(10*time.Microsecond)), ""}
}

// measured is how often something is done whose time is the median of so many.
const measured = 11

func median(ts []time.Duration) time.Duration {
	slices.Sort(ts)
	return ts[len(ts)/2]
}
