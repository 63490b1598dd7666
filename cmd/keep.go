package cmd

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"facescan/pipeline/decode"
	"facescan/pipeline/keep"
	"facescan/store"
	"facescan/store/export"
)

// cropMargin is the margin around a face in its crop, as a fraction of its sides.
const cropMargin = 0.25

// keepOptions say what a run makes of images besides their results.
type keepOptions struct {
	keep, where, crops, blurred string
	thumbnails                  int
	blurFaces                   bool
}

func (o *keepOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.keep, "keep", "",
		"keep images as downloaded, in tar files in `FOLDER`; their rows are not downloaded "+
			"again")
	fs.StringVar(&o.where, "keep-where", "", "`condition` for images to keep, e.g. 'faces > 0'; default: all")
	fs.StringVar(&o.crops, "crops", "", "write each face, with a margin of a quarter of it, into `FOLDER`")
	fs.StringVar(&o.blurred, "blurred", "",
		"write pictures with their faces blurred into `FOLDER`; faces that are not found "+
			"stay visible")
	fs.IntVar(&o.thumbnails, "thumbnails", 0,
		"keep a random sample of `N` small pictures for the report; default: none")
	fs.BoolVar(&o.blurFaces, "blur-faces", false, "blur faces in thumbnails")
}

func (o *keepOptions) check() error {
	switch {
	case o.where != "" && o.keep == "":
		return usagef("--keep-where says what to keep: add --keep FOLDER")
	case o.thumbnails < 0 || o.thumbnails > 10_000:
		return usagef("--thumbnails %d: give 0 to 10000", o.thumbnails)
	}
	_, err := o.filter()
	return err
}

// withoutFaces refuses what cannot be made of images in which no faces are looked for, nor decoded.
func (o *keepOptions) withoutFaces() error {
	for _, f := range []struct {
		name string
		set  bool
	}{{"crops", o.crops != ""}, {"blurred", o.blurred != ""}, {"thumbnails", o.thumbnails > 0}} {
		if f.set {
			return usagef("--%s needs a detector, and --detector none looks for no faces: leave "+
				"one of them out", f.name)
		}
	}
	return nil
}

// filter reads --keep-where; nil for none.
func (o *keepOptions) filter() (*export.Filter, error) {
	if o.where == "" {
		return nil, nil
	}
	f, err := export.ParseFilter(o.where, export.Options{Detectors: exportDetectors()})
	if err == nil {
		err = keep.CheckWhere(f)
	}
	var bad *export.UsageError
	if errors.As(err, &bad) {
		return nil, usagef("%s", strings.Replace(bad.Text, "--where", "--keep-where", 1))
	}
	return f, err
}

// open is nil when there is nothing to keep, and nothing was kept before.
func (o *keepOptions) open(ctx context.Context, job store.Job, d decode.Options,
	log *slog.Logger) (*keep.Keeper, error) {
	where, err := o.filter()
	if err != nil {
		return nil, err
	}
	return keep.Open(ctx, keep.Options{Job: job, Bodies: o.keep, Where: where,
		Crops: o.crops, Margin: cropMargin, Blurred: o.blurred, Thumbnails: o.thumbnails,
		BlurFaces: o.blurFaces, Decode: d, Log: log})
}
