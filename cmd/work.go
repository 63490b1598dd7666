package cmd

import (
	"log/slog"

	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/pipeline/fetch"
)

// workOptions are the flags of the commands that process rows of lists: run and estimate.
type workOptions struct {
	source sourceOptions
	detect detectOptions
	fetch  fetchOptions
	remote sidecarOptions
	pool   poolOptions
}

func (o *workOptions) addFlags(fs *pflag.FlagSet) {
	o.source.addFlags(fs)
	o.detect.addFlags(fs)
	o.fetch.addFlags(fs)
	fs.StringArrayVar(&o.fetch.allowFiles, "allow-files", nil,
		"`folder` below which lists may name files of this machine, as file:///folder/a.jpg; "+
			"no link leads out of it; for this run only, repeatable")
	o.remote.addFlags(fs)
	o.pool.addFlags(fs)
}

func (o *workOptions) check() error {
	for _, check := range []func() error{
		o.pool.check, o.detect.check, o.fetch.check, o.remote.check, o.source.check,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// options are those of a run with these flags.
func (o *workOptions) options(f *fetch.Fetcher, d detect.Detector, log *slog.Logger) pipeline.Options {
	po := pipeline.Options{
		Fetcher: f, Decode: o.detect.decode(), Detector: d, Encoded: o.remote.encoded(),
		ShardSize: o.source.shardSize, Retries: o.fetch.retries, LeaseTTL: o.source.leaseTTL,
		DrainGrace: drainGrace, TryDecode: tryDecodeInChild, Log: log,
	}
	o.pool.set(&po)
	return po
}
