package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/detect/cuda"
	"facescan/detect/pigo"
	"facescan/detect/sidecar"
	"facescan/pipeline/crash"
	"facescan/pipeline/decode"
	"facescan/store/hint"
)

// sidecarOptions are the flags of those who ask a sidecar.
type sidecarOptions struct {
	urls     []string
	input    string
	batch    int
	delay    time.Duration
	fallback string
	deadline time.Duration
}

func (o *sidecarOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.urls, "sidecar", nil,
		"find faces in another process: `URLS` such as http://host:8000/v2/models/face or "+
			"unix:///run/facescan.sock; several share the work")
	fs.Var(newChoice(&o.input, string(sidecar.Luma), string(sidecar.Encoded)), "sidecar-input",
		"`kind` of image to send: luma, or encoded for the original files")
	fs.IntVar(&o.batch, "sidecar-batch", 64,
		"images per request, one of them a known image that checks the sidecar")
	fs.DurationVar(&o.delay, "sidecar-delay", 5*time.Millisecond, "how long a request waits to be filled")
	fs.DurationVar(&o.deadline, "sidecar-deadline", 30*time.Second,
		"request timeout; the sidecar is health-checked before retrying")
	fs.Var(newOptionalChoice(&o.fallback, "cpu"), "sidecar-fallback",
		"`device` that finds faces while no sidecar answers: cpu; default: nothing, the run pauses")
}

func (o *sidecarOptions) check() error {
	switch {
	case o.batch < 1 || o.batch > 4096:
		return usagef("--sidecar-batch %d: give 1 to 4096", o.batch)
	case o.delay < 0 || o.delay > time.Minute:
		return usagef("--sidecar-delay %v: give a time up to 1m", o.delay)
	case o.deadline <= 0:
		return usagef("--sidecar-deadline %v: give a time such as 30s", o.deadline)
	}
	for _, u := range o.urls {
		if err := sidecar.CheckURL(u); err != nil {
			return usagef("--sidecar: %w", err)
		}
	}
	return nil
}

// encoded reports whether the detector wants the files.
func (o *sidecarOptions) encoded() bool {
	return len(o.urls) > 0 && o.input == string(sidecar.Encoded)
}

// open makes the detector: one that is built in, or a client of the sidecars.
func (o *sidecarOptions) open(ctx context.Context, p detect.Params, log *slog.Logger) (detect.Detector,
	error) {
	if len(o.urls) == 0 {
		return detect.New(p)
	}
	co := sidecar.Options{URLs: o.urls, Input: sidecar.Input(o.input), Batch: o.batch, Delay: o.delay,
		Params: p, Deadline: o.deadline, Log: log}
	if o.fallback == "cpu" {
		if p.Detector == "" {
			return nil, usagef("--sidecar-fallback cpu: the sidecar serves a model of others, which cannot " +
				"be asked here; leave the flag out")
		}
		d, err := detect.New(p)
		if err != nil {
			return nil, err
		}
		co.Fallback = d
	}
	c, err := sidecar.New(ctx, co)
	if err != nil {
		if co.Fallback != nil {
			err = errors.Join(err, co.Fallback.Close())
		}
		return nil, err
	}
	return c, nil
}

// sidecarCommandOptions are the flags of the server.
type sidecarCommandOptions struct {
	listen, device, token string
	detector              string
	workers, queue, conns int
	maxBody               size
	maxPixels             pixels
}

func (o *sidecarCommandOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8000", "`address` to serve on: host:port, or unix:PATH")
	fs.StringVar(&o.detector, "detector", "", "`name` of the detector: yunet or pigo; default: "+
		detect.Default+", pigo on a GPU")
	fs.StringVar(&o.device, "device", "cpu",
		"`device` that finds the faces: cpu, or cuda:N, which serves pigo")
	fs.StringVar(&o.token, "token", "",
		"`key` that clients must send as bearer token, or as password in the URL of "+
			"--sidecar; needed beyond loopback")
	fs.IntVar(&o.workers, "workers", 0,
		"concurrent images (batches on a GPU); default: one per core, 3 on a GPU")
	fs.IntVar(&o.queue, "queue", 1024, "images that may wait; more are refused for a while (503)")
	fs.IntVar(&o.conns, "max-connections", 256, "connections at once; fewer where few files may be open")
	o.maxBody = 128 << 20
	fs.Var(&o.maxBody, "max-body", "reject larger requests (413)")
	o.maxPixels.size = 100e6
	fs.Var(&o.maxPixels, "max-pixels", "reject images with more pixels (413)")
}

func newSidecar(g *globals) *cobra.Command {
	var o sidecarCommandOptions
	return command(&cobra.Command{
		Use:   "sidecar",
		Short: "Serve a detector to runs in other processes",
		Long: "Serves the detector as model face by the Open Inference Protocol v2, for `facescan run " +
			"--sidecar URL` and other clients. Beyond loopback it needs a --token. The first Ctrl-C " +
			"answers what was asked and exits 0, the second stops at once.",
		Example: `facescan sidecar --listen unix:/run/facescan.sock   # for this machine
facescan sidecar --listen 0.0.0.0:8000 --token KEY  # for others
facescan sidecar --device cuda:0                    # pigo on a GPU`,
		Args: args(cobra.NoArgs, "no arguments"),
	}, &o, func(ctx context.Context, _ []string) error { return runSidecar(ctx, g, &o) })
}

// sidecarGrace is what requests underway get after the first signal.
const sidecarGrace = 30 * time.Second

func runSidecar(ctx context.Context, g *globals, o *sidecarCommandOptions) error {
	switch {
	case sidecar.Beyond(o.listen) && o.token == "":
		return usagef("--listen %s: others than this machine could ask; give a --token, or listen on "+
			"127.0.0.1 or unix:PATH", o.listen)
	case o.workers < 0 || o.workers > 4096:
		return usagef("--workers %d: give 1 to 4096, or 0 for as many as fit", o.workers)
	case o.queue < 1:
		return usagef("--queue %d: give 1 or more images", o.queue)
	case o.conns < 1:
		return usagef("--max-connections %d: give 1 or more", o.conns)
	case o.maxBody < 1:
		return usagef("--max-body %v: give a size such as 128MiB", &o.maxBody)
	case o.maxPixels.size < 1:
		return usagef("--max-pixels %v: give a number of pixels, e.g. 100M", &o.maxPixels)
	}
	if o.detector == "" {
		o.detector = detect.Default
		if o.device != "cpu" {
			o.detector = detect.Pigo
		}
	}
	kind, known := detect.KindNamed(o.detector)
	switch {
	case !known:
		return usagef("--detector %q: a sidecar serves yunet or pigo", o.detector)
	case o.device != "cpu" && o.detector != detect.Pigo:
		return usagef("--device %s: only %s runs on a GPU, and --detector is %s; choose --detector %s, or "+
			"--device cpu", o.device, detect.Pigo, o.detector, detect.Pigo)
	}
	so := sidecar.ServerOptions{Detector: o.detector, Token: o.token, Workers: o.workers, Queue: o.queue,
		Conns: o.conns, MaxBody: int64(o.maxBody), MaxPixels: int64(o.maxPixels.size), Decode: o.decode,
		Log: g.logger(g.err)}
	free, err := o.openDevice(&so)
	if err != nil {
		return err
	}
	defer free()
	s, err := sidecar.NewServer(so)
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := sidecar.Listen(o.listen)
	if path, is := strings.CutPrefix(o.listen, "unix:"); is && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--listen %s: the folder %s does not exist: make it first", o.listen,
			filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	drain := g.signals.drain(
		func() { g.report("draining: what was asked is answered; interrupt again to stop at once") })
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer crash.Exit()
		select {
		case <-drain:
		case <-serving.Done():
		}
		cancel()
	}()
	g.report("serving %s (%s) on %s; use it with: %s", s.Detector(), kind.Name, o.device,
		hint.On("run", "urls.txt", "--sidecar", address(l)))
	err = s.Serve(serving, ctx.Done(), l, sidecarGrace)
	if ctx.Err() != nil {
		return &exit{code: exitInterrupted}
	}
	return err
}

// gpuBatch is how many images a GPU is given at once.
const gpuBatch = 256

// openDevice sets what finds the faces; free is for the end.
func (o *sidecarCommandOptions) openDevice(so *sidecar.ServerOptions) (free func(), err error) {
	if o.device == "cpu" {
		so.Open = detect.New
		return func() {}, nil
	}
	digits, ok := strings.CutPrefix(o.device, "cuda:")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil {
		return nil, usagef("--device %q: it is cpu, or cuda:N with N from 0", o.device)
	}
	c, err := pigo.Parse(pigo.Facefinder)
	if err != nil {
		return nil, err
	}
	e, err := cuda.Open(c, int(n))
	if err != nil {
		return nil, fmt.Errorf("--device %s: %w; --device cpu works everywhere", o.device, err)
	}
	so.Open = func(p detect.Params) (detect.Detector, error) { return detect.NewWith(p, sharedEngine{e}) }
	so.Batch = gpuBatch
	if so.Workers == 0 {
		so.Workers = gpuWorkers
	}
	return func() { _ = e.Close() }, nil
}

// gpuWorkers are as many as there are lanes to the GPU.
const gpuWorkers = 3

// sharedEngine is an engine of several detectors, none of which closes it.
type sharedEngine struct{ pigo.Engine }

func (sharedEngine) Close() error { return nil }

// address is how clients on this machine call a listener.
func address(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		path, err := filepath.Abs(l.Addr().String()) // --sidecar takes no other
		if err != nil {
			path = l.Addr().String()
		}
		return "unix://" + path
	}
	return "http://" + l.Addr().String()
}

// decode reads the files of those who send them as downloaded.
func (o *sidecarCommandOptions) decode(file []byte, p detect.Params) (sidecar.Picture, error) {
	d := decode.New(decode.Options{MaxPixels: int64(o.maxPixels.size), MinFace: p.MinFace})
	img, err := d.Decode(file)
	if err != nil {
		d.Close()
		if errors.Is(err, decode.ErrTooManyPixels) {
			err = fmt.Errorf("%w (%s)", sidecar.ErrTooManyPixels,
				strings.TrimPrefix(err.Error(), decode.ErrTooManyPixels.Error()+": "))
		}
		return sidecar.Picture{}, err
	}
	toStored := func(x, y, width, height float64) decode.Box {
		return decode.ToStored(decode.Box{X: x * img.Scale, Y: y * img.Scale, Width: width * img.Scale,
			Height: height * img.Scale}, img.Orientation, float64(img.Width), float64(img.Height))
	}
	return sidecar.Picture{Luma: img.Luma, Scale: img.Scale, Release: d.Close,
		ToStored: func(f detect.Face) detect.Face {
			b := toStored(f.X, f.Y, f.Width, f.Height)
			f.X, f.Y, f.Width, f.Height = b.X, b.Y, b.Width, b.Height
			for i, p := range f.Landmarks {
				b := toStored(p.X, p.Y, 0, 0)
				f.Landmarks[i] = detect.Point{X: b.X, Y: b.Y}
			}
			if decode.Mirrors(img.Orientation) {
				f.Landmarks = f.Landmarks.Mirrored()
			}
			return f
		}}, nil
}
