package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/live"
	"facescan/store"
)

// liveOptions are the flags of what shows a run while it works.
type liveOptions struct {
	listen string
	pprof  bool
}

func (o *liveOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.listen, "listen", "",
		"`address` to serve a live page and /metrics at, e.g. 127.0.0.1:9187; loopback if it "+
			"names no host, port 0 for any")
	fs.BoolVar(&o.pprof, "pprof", false, "serve /debug/pprof at --listen, too")
}

// begin takes the address, so that one which cannot be had is reported before anything is done. What it
// returns is nil without --listen.
func (o *liveOptions) begin() (*live.Server, error) {
	if o.listen == "" {
		return nil, nil
	}
	s, err := live.Listen(o.listen)
	var bad *net.AddrError
	switch {
	case errors.As(err, &bad):
		return nil, usagef("--listen: %w", err)
	case err != nil:
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return s, nil
}

// watch serves the figures of a run until the function it returns is called with how it ended.
func (o *liveOptions) watch(s *live.Server, job store.Job, stats *pipeline.Stats,
	pictures *pipeline.Pictures, log *slog.Logger) (stop func(end string)) {
	if s == nil {
		return func(string) {}
	}
	var picture func(id int64) []byte
	if pictures != nil {
		picture = pictures.JPEG
	}
	s.Serve(live.Options{Job: job.Path(), Self: pipeline.Self(),
		Hint: func(r store.Reason) string { return pipeline.Hint(r, job.Path()) }, Pprof: o.pprof,
		Picture: picture, Log: log,
		Look: func(ctx context.Context) (live.Snapshot, error) { return stats.Look(ctx, job) }})
	return s.Close
}
